"""OpenAI's official SDK, unmodified, chats with the real server and its embedded model over a real socket."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from model_tasks import Fruit
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam
from pydantic import BaseModel

MODEL = "gpt-4o-mini"
VERSION = "smollm2-135m-instruct"
QUESTION: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Name three colours of the rainbow."},
]
# Counted on, greedily, so a digit as the stop text comes soon: the SDK's helpers raise where the bound on tokens does.
COUNT: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Count from 1 to 9."},
    {"role": "assistant", "content": "1 2 3 4 5 6 7 8 9"},
    {"role": "user", "content": "Again."},
]
API_VERSION = "2024-10-21"


class GetWeather(BaseModel):
    """The weather in a city."""

    city: Literal["Paris", "Rome"]
    unit: Literal["celsius", "fahrenheit"]


WEATHER = openai.pydantic_function_tool(GetWeather, name="get_weather")


@pytest.fixture
def azure(server: Any) -> Iterator[AzureOpenAI]:
    with AzureOpenAI(
        azure_endpoint=server.base_url, api_key=server.api_key, api_version=API_VERSION, max_retries=0, timeout=60
    ) as client:
        yield client


def text_of(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    return "".join(each.delta.content or "" for chunk in chunks for each in chunk.choices if each.index == index)


# -- an answer ---------------------------------------------------------------------------------------------------------


def test_whole(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=QUESTION, temperature=0, max_completion_tokens=60
    )
    answer = raw.parse()
    assert answer.model == VERSION
    assert answer.system_fingerprint
    assert raw.request_id
    assert answer.id == f"chatcmpl-{raw.request_id.replace('-', '')}"
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.message.refusal is None
    assert answer.usage
    assert answer.usage.prompt_tokens > 20
    assert 0 < answer.usage.completion_tokens <= 60
    assert choice.finish_reason == ("length" if answer.usage.completion_tokens == 60 else "stop")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_whole_async(async_client: AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.create(model=VERSION, messages=QUESTION, max_tokens=20)
    assert answer.choices[0].message.content
    assert answer.usage
    assert answer.usage.completion_tokens <= 20


def test_a_stream_is_the_whole(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_completion_tokens": 40}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert text_of(chunks) == whole.choices[0].message.content
    assert len(chunks) > 10
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage
    assert whole.usage
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert {(chunk.id, chunk.created, chunk.model) for chunk in chunks} == {(chunks[0].id, chunks[0].created, VERSION)}


async def test_a_stream_async(async_client: AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=20, stream=True)
    chunks = [chunk async for chunk in stream]
    assert text_of(chunks)
    assert all(chunk.usage is None for chunk in chunks)


def test_a_beginning_that_was_read_before_is_cached(client: OpenAI) -> None:
    long: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Count the sheep. " * 60}]
    for _ in range(2):
        answer = client.chat.completions.create(model=MODEL, messages=long, max_tokens=4)
    assert answer.usage
    assert answer.usage.prompt_tokens_details
    assert 0 < (answer.usage.prompt_tokens_details.cached_tokens or 0) <= answer.usage.prompt_tokens


# -- stream helpers ----------------------------------------------------------------------------------------------------


def test_the_stream_helper(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model=MODEL, messages=COUNT, temperature=0, stop="5", max_tokens=90, stream_options={"include_usage": True}
    ) as stream:
        events = list(stream)
    final = stream.get_final_completion()
    deltas = "".join(event.delta for event in events if event.type == "content.delta")
    assert deltas == final.choices[0].message.content
    assert [event.content for event in events if event.type == "content.done"] == [deltas]
    assert final.usage
    assert final.choices[0].finish_reason == "stop"
    assert 0 < final.usage.completion_tokens < 90


async def test_the_stream_helper_with_several_choices_async(async_client: AsyncOpenAI) -> None:
    async with async_client.chat.completions.stream(
        model=MODEL, messages=COUNT, temperature=0, stop="5", max_tokens=60, n=3, logprobs=True
    ) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()
    assert [choice.index for choice in final.choices] == [0, 1, 2]
    assert all(choice.message.content and choice.finish_reason for choice in final.choices)
    assert all(choice.logprobs and choice.logprobs.content for choice in final.choices)


def test_who_leaves_early_leaves_room(client: OpenAI) -> None:
    for _ in range(3):
        with client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=1000, stream=True) as stream:
            assert next(iter(stream)).choices
    assert client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4).choices


# -- sampling ----------------------------------------------------------------------------------------------------------


def test_the_bound_on_tokens(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_completion_tokens=5, temperature=0)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage
    assert answer.usage.completion_tokens == 5


def test_a_stop_text(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 40}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    assert whole
    stop = whole.split()[3]
    for stream in (False, True):
        with client.chat.completions.stream(**asked, stop=[stop, "never said"]) as helper:
            final = helper.get_final_completion() if stream else client.chat.completions.create(**asked, stop=stop)
        assert final.choices[0].message.content == whole.partition(stop)[0]
        assert final.choices[0].finish_reason == "stop"


def test_a_seed(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": MODEL, "messages": QUESTION, "temperature": 1.2, "max_tokens": 30}
    texts = [client.chat.completions.create(**asked, seed=seed).choices[0].message.content for seed in (7, 7, 8, 9)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


def test_log_probabilities(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=20, logprobs=True)
    (choice,) = answer.choices
    assert choice.logprobs
    assert choice.logprobs.content
    assert all(token.logprob <= 0 for token in choice.logprobs.content)
    assert "".join(token.token for token in choice.logprobs.content) == choice.message.content


# -- formats and tools -------------------------------------------------------------------------------------------------


def test_parse(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "user", "content": "Give me a fruit."}],
        response_format=Fruit,
        temperature=0,
        max_tokens=80,
    )
    assert isinstance(answer.choices[0].message.parsed, Fruit)
    again = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Give me a fruit."}, answer.choices[0].message, *QUESTION[1:]],
        max_tokens=5,
    )
    assert again.choices[0].message.content


async def test_parse_async(async_client: AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "user", "content": "A fruit?"}],
        response_format=Fruit,
        temperature=0,
        max_tokens=80,
    )
    assert isinstance(answer.choices[0].message.parsed, Fruit)


def test_parse_a_stream(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model=MODEL,
        messages=[{"role": "user", "content": "A fruit?"}],
        response_format=Fruit,
        temperature=0,
        max_tokens=80,
    ) as stream:
        done = [event for event in stream if event.type == "content.done"]
    assert isinstance(done[0].parsed, Fruit)


def test_any_json(client: OpenAI) -> None:
    """A model this small needs an example to come to an end."""
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "user", "content": "Ann is 7."},
            {"role": "assistant", "content": '{"name": "Ann", "age": 7}'},
            {"role": "user", "content": "Bob is 9."},
        ],
        response_format={"type": "json_object"},
        temperature=0,
        max_tokens=60,
    )
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


def test_a_tool_and_its_result(client: OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer = client.chat.completions.create(
        model=MODEL,
        messages=messages,
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        temperature=0,
        max_tokens=120,
    )
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert message.tool_calls
    (call,) = message.tool_calls
    assert call.type == "function"
    GetWeather.model_validate_json(call.function.arguments)
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": '{"degrees": 21}'}]
    told = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[WEATHER], tool_choice="none", max_tokens=20
    )
    assert told.choices[0].message.content
    assert told.choices[0].message.tool_calls is None


def test_a_tool_is_parsed(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "user", "content": "Weather in Rome?"}],
        tools=[WEATHER],
        tool_choice="required",
        parallel_tool_calls=False,
        temperature=0,
        max_tokens=120,
    )
    message = answer.choices[0].message
    assert message.tool_calls
    assert isinstance(message.tool_calls[0].function.parsed_arguments, GetWeather)
    again = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "user", "content": "Weather in Rome?"},
            message,
            {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Rain."},
        ],
        max_tokens=5,
    )
    assert again.choices[0].message.content


async def test_a_tool_in_a_stream_async(async_client: AsyncOpenAI) -> None:
    async with async_client.chat.completions.stream(
        model=MODEL,
        messages=[{"role": "user", "content": "Weather in Rome?"}],
        tools=[WEATHER],
        tool_choice="required",
        parallel_tool_calls=False,
        temperature=0,
        max_tokens=120,
    ) as stream:
        events = [event async for event in stream]
    deltas = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
    (done,) = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert "".join(event.arguments_delta for event in deltas) == done.arguments
    assert isinstance(done.parsed_arguments, GetWeather)
    final = await stream.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"


# -- errors ------------------------------------------------------------------------------------------------------------


def test_errors(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model=MODEL, messages=[{"role": "robot", "content": "x"}])  # type: ignore[list-item]
    assert (wrong.value.param, wrong.value.code) == ("messages[0].role", "unsupported_parameter")
    with pytest.raises(openai.BadRequestError) as unknown:
        client.chat.completions.create(model=MODEL, messages=QUESTION, extra_body={"top_x": 4}, stream=True)
    assert (unknown.value.param, unknown.value.code) == ("top_x", "unsupported_parameter")
    with pytest.raises(openai.NotFoundError) as absent:
        client.chat.completions.create(model="gpt-7", messages=QUESTION)
    assert (absent.value.param, absent.value.code) == ("model", "model_not_found")
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "far " * 20_000}])
    assert long.value.code == "context_length_exceeded"
    assert "maximum context length" in long.value.message
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").chat.completions.create(model=MODEL, messages=QUESTION)


# -- completions -------------------------------------------------------------------------------------------------------


def test_a_completion(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": MODEL, "prompt": "Once upon a time, there was", "temperature": 0}
    whole = client.completions.create(**asked, logprobs=0)
    assert whole.model == VERSION
    (choice,) = whole.choices
    assert choice.text
    assert choice.finish_reason == "length"
    assert choice.logprobs
    assert choice.logprobs.tokens
    assert "".join(choice.logprobs.tokens) == choice.text
    assert whole.usage
    assert whole.usage.completion_tokens == 16
    chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(each.text for chunk in chunks for each in chunk.choices) == choice.text
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 16


# -- Azure's addresses -------------------------------------------------------------------------------------------------


def test_azure(azure: AzureOpenAI) -> None:
    asked: dict[str, Any] = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 20}
    answer = azure.chat.completions.create(**asked)
    assert answer.model == VERSION
    chunks = list(azure.chat.completions.create(**asked, stream=True))
    assert text_of(chunks) == answer.choices[0].message.content
    assert azure.completions.create(model=MODEL, prompt="Once", max_tokens=4).choices[0].text
    assert MODEL in [model.id for model in azure.models.list()]
    with pytest.raises(openai.NotFoundError):
        azure.chat.completions.create(model="gpt-7", messages=QUESTION)
    with pytest.raises(openai.AuthenticationError):
        azure.with_options(api_key="wrong").chat.completions.create(**asked)


def test_azure_hears_and_embeds(azure: AzureOpenAI, beckett: Path) -> None:
    with beckett.open("rb") as file:
        assert azure.audio.transcriptions.create(model="whisper-1", file=file).text
    assert len(azure.embeddings.create(model="all-minilm-l6-v2", input="A cat.").data[0].embedding) == 384


async def test_azure_with_one_deployment_async(server: Any) -> None:
    """The deployment answers, whatever the call names."""
    async with AsyncAzureOpenAI(
        azure_endpoint=server.base_url,
        azure_deployment=VERSION,
        api_key=server.api_key,
        api_version=API_VERSION,
        max_retries=0,
    ) as client:
        answer = await client.chat.completions.create(model="anything", messages=QUESTION, max_tokens=4)
        assert answer.model == VERSION


def test_azure_under_its_own_prefix(server: Any) -> None:
    with OpenAI(base_url=f"{server.base_url}/openai/v1/", api_key=server.api_key, max_retries=0) as client:
        answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=4)
        assert answer.choices[0].message.content
        assert MODEL in [model.id for model in client.models.list()]
