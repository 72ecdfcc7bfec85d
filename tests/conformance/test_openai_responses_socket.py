"""OpenAI's official SDK, unmodified, holds a dialogue over `responses.connect()` with the real server and its model."""

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.resources.responses.responses import AsyncResponsesConnection, ResponsesConnection
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter
from websockets.exceptions import InvalidStatus

MODEL = "gpt-4o-mini"
LAST = ("response.completed", "response.incomplete", "response.failed", "error")
EVENT: TypeAdapter[Any] = TypeAdapter(ResponsesServerEvent)


def read(connection: ResponsesConnection) -> list[Any]:
    """The events of one answer, each of which is as the SDK types it."""
    events: list[Any] = []
    while not events or events[-1].type not in LAST:
        raw = connection.recv_bytes()
        EVENT.validate_python(json.loads(raw), strict=True)
        events.append(connection.parse_event(raw))
    return events


async def read_async(connection: AsyncResponsesConnection) -> list[Any]:
    events: list[Any] = []
    while not events or events[-1].type not in LAST:
        events.append(await connection.recv())
    return events


def test_a_dialogue_where_nothing_is_kept(client: OpenAI) -> None:
    with client.responses.connect() as connection:
        connection.response.create(model=MODEL, input="Say hello.", temperature=0, max_output_tokens=40, store=False)
        events = read(connection)
        assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
        first = events[-1].response
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert text == first.output[0].content[0].text
        connection.response.create(
            model=MODEL, input="Again, please.", previous_response_id=first.id, temperature=0, max_output_tokens=10
        )
        second = read(connection)[-1].response
        assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens
        refers: Any = [{"type": "item_reference", "id": first.output[0].id}, {"role": "user", "content": "Again."}]
        connection.response.create(model=MODEL, input=refers, max_output_tokens=5, stream_id="main")
        third = read(connection)
        assert {event.stream_id for event in third} == {"main"}
        assert third[-1].response.usage.input_tokens > first.usage.output_tokens
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with client.responses.connect() as connection:
        connection.response.create(model=MODEL, input="Again.", previous_response_id=first.id)
        (refused,) = read(connection)
        assert (refused.status, refused.error.code) == (400, "previous_response_not_found")
        assert refused.error.param == "previous_response_id"


async def test_prepared_then_asked_async(async_client: AsyncOpenAI) -> None:
    async with async_client.responses.connect() as connection:
        await connection.response.create(model=MODEL, instructions="Be brief.", input="I am Anna.", generate=False)
        prepared = (await read_async(connection))[-1].response
        assert (prepared.status, prepared.output, prepared.usage.total_tokens) == ("completed", [], 0)
        await connection.response.create(
            model=MODEL, input="Who am I?", previous_response_id=prepared.id, max_output_tokens=5
        )
        await connection.response.create(model=MODEL, input="Hi", max_output_tokens=1)
        asked, greeted = [(await read_async(connection))[-1].response for _ in range(2)]
        assert asked.usage.input_tokens > greeted.usage.input_tokens


def test_a_response_is_taken_back(client: OpenAI) -> None:
    with client.responses.connect() as connection:
        connection.response.create(model=MODEL, input="Write a very long story.", temperature=0)
        created: Any = connection.recv()
        connection.send_raw(json.dumps({"type": "response.cancel", "response_id": created.response.id}))
        last = read(connection)[-1]
        assert (last.type, last.response.status) == ("response.failed", "cancelled")
        connection.response.create(model=MODEL, input="Hi", max_output_tokens=1)
        assert read(connection)[-1].type in LAST[:2]


def test_errors(client: OpenAI) -> None:
    with client.responses.connect() as connection:
        connection.response.create(model="gpt-0", input="Hi")
        connection.send_raw("no JSON")
        connection.response.steer(previous_response_id="resp_1", input="Faster.")
        unknown, malformed = (read(connection)[-1] for _ in range(2))
        assert (unknown.status, unknown.error.code) == (404, "model_not_found")
        assert (malformed.status, malformed.error.type) == (400, "invalid_request_error")
        steered: Any = connection.recv()
        assert (steered.type, steered.error.code) == ("response.steer.failed", "steering_not_supported")
        assert steered.steer.input == "Faster."
        connection.response.create(model=MODEL, input="Hi", max_output_tokens=1)
        assert read(connection)[-1].type in LAST[:2]


def test_a_key_that_does_not_hold(client: OpenAI) -> None:
    with pytest.raises(InvalidStatus) as refused, client.with_options(api_key="none").responses.connect():
        pass
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body or b"")["error"]["code"] == "invalid_api_key"
