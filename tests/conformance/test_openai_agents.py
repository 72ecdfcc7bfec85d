"""OpenAI's Agents SDK, unmodified, on the real server and its embedded model, over chat completions."""

from typing import Any

import pytest
from agents import (
    Agent,
    AgentOutputSchema,
    ModelSettings,
    OpenAIChatCompletionsModel,
    RunConfig,
    Runner,
    ToolCallItem,
    ToolCallOutputItem,
    function_tool,
)
from model_tasks import Fruit, get_weather
from openai import AsyncOpenAI
from openai.types.responses import ResponseTextDeltaEvent

MODEL = "gpt-4o-mini"
UNTRACED = RunConfig(tracing_disabled=True)
BRIEF = ModelSettings(temperature=0, max_tokens=60)
WEATHER = function_tool(get_weather)


@pytest.fixture
def model(async_client: AsyncOpenAI) -> OpenAIChatCompletionsModel:
    return OpenAIChatCompletionsModel(model=MODEL, openai_client=async_client)


async def test_an_answer(model: OpenAIChatCompletionsModel) -> None:
    agent = Agent(name="helper", instructions="Be brief.", model=model, model_settings=BRIEF)
    result = await Runner.run(agent, "Name a colour.", run_config=UNTRACED)
    assert result.final_output
    assert result.context_wrapper.usage.output_tokens > 0
    again = await Runner.run(
        agent, [*result.to_input_list(), {"role": "user", "content": "Another."}], run_config=UNTRACED
    )
    assert again.final_output


async def test_an_answer_in_a_stream(model: OpenAIChatCompletionsModel) -> None:
    agent = Agent(name="helper", instructions="Be brief.", model=model, model_settings=BRIEF)
    result = Runner.run_streamed(agent, "Name a colour.", run_config=UNTRACED)
    deltas = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent)
    ]
    assert "".join(deltas) == result.final_output


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_is_called_and_its_result_read(model: OpenAIChatCompletionsModel, streamed: bool) -> None:
    agent = Agent(
        name="forecaster",
        instructions="Tell the weather.",
        model=model,
        tools=[WEATHER],
        model_settings=ModelSettings(
            temperature=0, max_tokens=120, tool_choice="get_weather", parallel_tool_calls=False
        ),
        tool_use_behavior="stop_on_first_tool",
    )
    question = "What is the weather in Rome?"
    if streamed:
        result: Any = Runner.run_streamed(agent, question, run_config=UNTRACED)
        async for _ in result.stream_events():
            pass
    else:
        result = await Runner.run(agent, question, run_config=UNTRACED)
    called, told = result.new_items
    assert isinstance(called, ToolCallItem)
    assert isinstance(told, ToolCallOutputItem)
    assert result.final_output in ("Rain in Rome.", "Rain in Paris.")
    teller = Agent(name="teller", model=model, model_settings=BRIEF)
    told_so = await Runner.run(teller, result.to_input_list(), run_config=UNTRACED)
    assert told_so.final_output


async def test_a_typed_output(model: OpenAIChatCompletionsModel) -> None:
    agent = Agent(
        name="grocer",
        instructions="Give a fruit.",
        model=model,
        output_type=AgentOutputSchema(Fruit),
        model_settings=ModelSettings(temperature=0, max_tokens=120),
    )
    result = await Runner.run(agent, "A fruit, please.", run_config=UNTRACED)
    assert isinstance(result.final_output, Fruit)
