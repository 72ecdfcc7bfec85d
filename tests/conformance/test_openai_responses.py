"""OpenAI's official SDK, unmodified, asks the real server and its embedded model for responses over a real socket."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from model_tasks import Fruit
from openai import AsyncOpenAI, AzureOpenAI, OpenAI
from openai.types.responses import FunctionToolParam, ResponseFunctionToolCall

MODEL = "gpt-4o-mini"
VERSION = "smollm2-135m-instruct"
QUESTION = "Name three colours of the rainbow."
LONG = "Write a very long story about a dog, a cat and a bird."
WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


@pytest.fixture
def keeper(server: Any, keeping: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.base_url}/v1", api_key=keeping, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
async def async_keeper(server: Any, keeping: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=keeping, max_retries=0, timeout=60) as client:
        yield client


# -- an answer ---------------------------------------------------------------------------------------------------------


def test_whole(client: OpenAI) -> None:
    raw = client.responses.with_raw_response.create(
        model=MODEL, input=QUESTION, instructions="You are a helpful assistant.", temperature=0, max_output_tokens=60
    )
    answer = raw.parse()
    assert answer.id == f"resp_{(raw.request_id or '').replace('-', '')}"
    assert answer.model == VERSION
    assert answer.output_text
    assert answer.to_dict()["store"] is False
    assert answer.usage
    assert answer.usage.input_tokens > 20
    assert 0 < answer.usage.output_tokens <= 60
    cut = answer.usage.output_tokens == 60
    assert answer.status == ("incomplete" if cut else "completed")
    if cut:
        assert answer.incomplete_details
        assert answer.incomplete_details.reason == "max_output_tokens"


def test_streamed_adds_up_to_the_whole(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": MODEL, "input": QUESTION, "temperature": 0, "max_output_tokens": 30}
    events = list(client.responses.create(**asked, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert kinds.count("response.output_text.delta") > 5
    assert text == client.responses.create(**asked).output_text


async def test_the_stream_helper_async(async_keeper: AsyncOpenAI) -> None:
    async with async_keeper.responses.stream(model=MODEL, input="Say hello.", temperature=0) as stream:
        snapshots = [event.snapshot async for event in stream if event.type == "response.output_text.delta"]
        answer = await stream.get_final_response()
    assert answer.status == "completed"
    assert answer.output_text == snapshots[-1]
    assert await async_keeper.responses.retrieve(answer.id) == await async_keeper.responses.retrieve(answer.id)


def test_parse_reads_a_schema(client: OpenAI) -> None:
    answer = client.responses.parse(model=MODEL, input="Give me a fruit as JSON.", text_format=Fruit, temperature=0)
    assert isinstance(answer.output_parsed, Fruit)
    with client.responses.stream(model=MODEL, input="A fruit as JSON.", text_format=Fruit, temperature=0) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Fruit)


def test_json_objects(client: OpenAI) -> None:
    answer = client.responses.create(
        model=MODEL, input="A JSON object.", text={"format": {"type": "json_object"}}, max_output_tokens=60
    )
    if answer.status == "completed":
        assert isinstance(json.loads(answer.output_text), dict)


def test_logprobs(client: OpenAI) -> None:
    answer = client.responses.create(
        model=MODEL,
        input="Hi",
        temperature=0,
        max_output_tokens=5,
        include=["message.output_text.logprobs"],
        top_logprobs=0,
    )
    (message,) = answer.output
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    assert message.content[0].logprobs
    assert all(token.logprob <= 0 for token in message.content[0].logprobs)


def test_azure_addresses_it_too(server: Any) -> None:
    with AzureOpenAI(
        azure_endpoint=server.base_url, api_key=server.api_key, api_version="preview", max_retries=0, timeout=60
    ) as client:
        assert client.responses.create(model=MODEL, input="Hi", max_output_tokens=3).output_text


# -- tools -------------------------------------------------------------------------------------------------------------


def call_of(output: list[Any]) -> ResponseFunctionToolCall:
    (call,) = [item for item in output if item.type == "function_call"]
    assert isinstance(call, ResponseFunctionToolCall)
    return call


def test_a_tool_is_called_and_answered(client: OpenAI) -> None:
    said: list[Any] = [{"role": "user", "content": "How is the weather in Paris?"}]
    one: dict[str, Any] = {"tools": [WEATHER], "parallel_tool_calls": False, "temperature": 0}
    answer = client.responses.create(model=MODEL, input=said, tool_choice="required", **one)
    call = call_of(answer.output)
    assert call.name == "get_weather"
    assert json.loads(call.arguments)["city"] in ("Paris", "Rome")
    said += answer.output
    said.append({"type": "function_call_output", "call_id": call.call_id, "output": "Sunny, 25 degrees."})
    assert client.responses.create(model=MODEL, input=said, tool_choice="none", max_output_tokens=40, **one).output_text


def test_a_calls_arguments_are_streamed(client: OpenAI) -> None:
    with client.responses.stream(
        model=MODEL,
        input="How is the weather in Rome?",
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "get_weather"},
        temperature=0,
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        call = call_of(stream.get_final_response().output)
    assert len(deltas) > 1
    assert "".join(deltas) == call.arguments
    assert json.loads(call.arguments)["city"] in ("Paris", "Rome")


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_a_project_that_keeps_nothing_says_so(client: OpenAI) -> None:
    answer = client.responses.create(model=MODEL, input="Hi", max_output_tokens=3)
    assert answer.store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)
    answer = client.responses.create(model=MODEL, input="Hi", max_output_tokens=3, store=False)
    for given, param in (
        ({"store": True}, "store"),
        ({"previous_response_id": answer.id}, "previous_response_id"),
        ({"background": True}, "background"),
    ):
        with pytest.raises(openai.BadRequestError) as error:
            client.responses.create(model=MODEL, input="Hi", **given)  # type: ignore[call-overload]
        assert error.value.param == param


def test_a_conversation_goes_on(keeper: OpenAI) -> None:
    first = keeper.responses.create(
        model=MODEL, input="My name is Bob.", instructions="Be brief.", temperature=0, max_output_tokens=20
    )
    second = keeper.responses.create(
        model=MODEL, input="What is my name?", previous_response_id=first.id, temperature=0, max_output_tokens=20
    )
    replayed = keeper.responses.create(
        model=MODEL,
        input=[
            {"role": "user", "content": "My name is Bob."},
            {"role": "assistant", "content": first.output_text},
            {"role": "user", "content": "What is my name?"},
        ],
        temperature=0,
        max_output_tokens=20,
    )
    assert second.previous_response_id == first.id
    assert second.output_text == replayed.output_text
    assert second.usage
    assert replayed.usage
    assert second.usage.input_tokens == replayed.usage.input_tokens


def test_a_tools_output_goes_on_from_its_call(keeper: OpenAI) -> None:
    asked = keeper.responses.create(
        model=MODEL,
        input="The weather in Paris?",
        tools=[WEATHER],
        tool_choice="required",
        parallel_tool_calls=False,
        temperature=0,
    )
    output: Any = {"type": "function_call_output", "call_id": call_of(asked.output).call_id, "output": "Sunny."}
    answer = keeper.responses.create(
        model=MODEL, input=[output], previous_response_id=asked.id, temperature=0, max_output_tokens=20
    )
    assert answer.output_text


def test_kept_listed_and_deleted(keeper: OpenAI, client: OpenAI) -> None:
    made = keeper.responses.create(model=MODEL, input=QUESTION, max_output_tokens=5, metadata={"team": "a"})
    assert keeper.responses.retrieve(made.id) == made
    (item,) = keeper.responses.input_items.list(made.id)
    assert item.type == "message"
    assert item.content[0].to_dict() == {"type": "input_text", "text": QUESTION}
    with pytest.raises(openai.NotFoundError):  # another project
        client.responses.retrieve(made.id)
    keeper.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        keeper.responses.retrieve(made.id)


def test_in_the_background(keeper: OpenAI) -> None:
    answer = keeper.responses.create(model=MODEL, input=QUESTION, background=True, max_output_tokens=20)
    assert answer.status == "in_progress"
    deadline = time.monotonic() + 30
    while answer.status == "in_progress":
        assert time.monotonic() < deadline
        time.sleep(0.05)
        answer = keeper.responses.retrieve(answer.id)
    assert answer.status in ("completed", "incomplete")
    assert answer.output_text


def test_a_run_in_the_background_is_cancelled(keeper: OpenAI) -> None:
    begun = keeper.responses.create(model=MODEL, input=LONG, background=True, max_output_tokens=2000)
    assert keeper.responses.cancel(begun.id).status == "cancelled"
    assert keeper.responses.retrieve(begun.id).status == "cancelled"


async def test_async(async_keeper: AsyncOpenAI) -> None:
    begun = await async_keeper.responses.create(model=MODEL, input=LONG, background=True, max_output_tokens=2000)
    assert (await async_keeper.responses.cancel(begun.id)).status == "cancelled"
    texts = [
        item.content[0].to_dict()["text"]
        async for item in async_keeper.responses.input_items.list(begun.id)
        if item.type == "message"
    ]
    assert texts == [LONG]
    await async_keeper.responses.delete(begun.id)
    with pytest.raises(openai.NotFoundError):
        await async_keeper.responses.retrieve(begun.id)


def test_no_words_are_in_the_log(server: Any, keeper: OpenAI) -> None:
    keeper.responses.create(model=MODEL, input="xyzzy-my-own-words", max_output_tokens=3)
    assert "xyzzy" not in (server.data_dir / "log").read_text()
