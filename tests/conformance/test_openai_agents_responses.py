"""OpenAI's Agents SDK, unmodified, on the real server and its embedded model, over responses, as it is by default."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from agents import (
    Agent,
    AgentOutputSchema,
    ModelSettings,
    OpenAIResponsesModel,
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
# No bound on tokens: this SDK takes a response that was cut for a failure. So what is asked for ends by itself.
GREEDY = ModelSettings(temperature=0)
HELLO = "Say hello."
WEATHER = function_tool(get_weather)


@pytest.fixture
def model(async_client: AsyncOpenAI) -> OpenAIResponsesModel:
    """Of a project that keeps nothing."""
    return OpenAIResponsesModel(model=MODEL, openai_client=async_client)


@pytest.fixture
async def keeper(server: Any, keeping: str) -> AsyncIterator[OpenAIResponsesModel]:
    async with AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=keeping, max_retries=0, timeout=60) as client:
        yield OpenAIResponsesModel(model=MODEL, openai_client=client)


def grocer(model: OpenAIResponsesModel) -> Agent:
    return Agent(
        name="grocer",
        instructions="Give a fruit.",
        model=model,
        output_type=AgentOutputSchema(Fruit),
        model_settings=GREEDY,
    )


async def test_a_typed_answer_and_the_next(model: OpenAIResponsesModel) -> None:
    result = await Runner.run(grocer(model), "A fruit, please.", run_config=UNTRACED)
    assert isinstance(result.final_output, Fruit)
    assert result.context_wrapper.usage.output_tokens > 0
    said = [*result.to_input_list(), {"role": "user", "content": "Another."}]
    again = await Runner.run(grocer(model), said, run_config=UNTRACED)
    assert isinstance(again.final_output, Fruit)
    assert again.context_wrapper.usage.input_tokens > result.context_wrapper.usage.input_tokens


async def test_an_answer_in_a_stream(model: OpenAIResponsesModel) -> None:
    result = Runner.run_streamed(Agent(name="helper", model=model, model_settings=GREEDY), HELLO, run_config=UNTRACED)
    deltas = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent)
    ]
    assert deltas
    assert "".join(deltas) == result.final_output


def forecaster(model: OpenAIResponsesModel) -> Agent:
    return Agent(
        name="forecaster",
        instructions="Tell the weather.",
        model=model,
        tools=[WEATHER],
        model_settings=ModelSettings(temperature=0, tool_choice="get_weather", parallel_tool_calls=False),
        tool_use_behavior="stop_on_first_tool",
    )


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_is_called_and_its_result_read(model: OpenAIResponsesModel, streamed: bool) -> None:
    question = "What is the weather in Rome?"
    if streamed:
        result: Any = Runner.run_streamed(forecaster(model), question, run_config=UNTRACED)
        async for _ in result.stream_events():
            pass
    else:
        result = await Runner.run(forecaster(model), question, run_config=UNTRACED)
    called, told = result.new_items
    assert isinstance(called, ToolCallItem)
    assert isinstance(told, ToolCallOutputItem)
    assert result.final_output in ("Rain in Rome.", "Rain in Paris.")
    next_one = await Runner.run(grocer(model), result.to_input_list(), run_config=UNTRACED)
    assert isinstance(next_one.final_output, Fruit)


async def test_a_conversation_that_the_server_keeps(keeper: OpenAIResponsesModel) -> None:
    """Each turn sends nothing but what is new, the output of a tool among it."""
    first = await Runner.run(forecaster(keeper), "How is it in Rome?", run_config=UNTRACED)
    output = first.to_input_list()[-1:]
    second = await Runner.run(grocer(keeper), output, run_config=UNTRACED, previous_response_id=first.last_response_id)
    assert isinstance(second.final_output, Fruit)
    third = await Runner.run(
        grocer(keeper), "Another.", run_config=UNTRACED, previous_response_id=second.last_response_id
    )
    assert isinstance(third.final_output, Fruit)
    read = [run.context_wrapper.usage.input_tokens for run in (second, third)]
    assert read == sorted(read)
