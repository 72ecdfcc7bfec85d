"""The official openai SDK holds conversations: spoken and written, with functions, out of band, only transcribing."""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI, AuthenticationError, OpenAI
from websockets.exceptions import InvalidStatus

from serving import Server

MODEL = "gpt-4o-mini"
PATIENCE_S = 60
BYTES_PER_S = 48_000
SILENCE = bytes(BYTES_PER_S)
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def question(server: Server) -> bytes:
    """Spoken by the embedded voice: 24 kHz mono int16, with silence behind."""
    with OpenAI(base_url=f"{server.base_url}/v1", api_key=server.api_key) as client:
        text = "What is the weather like in Paris today?"
        spoken = client.audio.speech.create(model="tts-1", voice="alloy", input=text, response_format="pcm")
        return spoken.content + SILENCE


@asynccontextmanager
async def connected(server: Server, key: str = "", **asked: Any) -> AsyncIterator[Any]:
    client = AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=key or server.api_key)
    async with client, client.realtime.connect(**asked or {"model": MODEL}) as connection:
        yield connection


async def until(connection: Any, *ends: str) -> list[Any]:
    """All events up to the first of one of these types. Errors are not expected."""
    events = []
    async with asyncio.timeout(PATIENCE_S):
        while True:
            event = await connection.recv()
            assert event.type != "error" or "error" in ends, event
            events.append(event)
            if event.type in ends:
                return events


async def say(connection: Any, pcm: bytes, piece: int = 9_600) -> None:
    for start in range(0, len(pcm), piece):
        await connection.input_audio_buffer.append(audio=b64encode(pcm[start : start + piece]).decode())


def kinds(events: list[Any]) -> list[str]:
    """Their types, each run of the same one once."""
    return [e.type for n, e in enumerate(events) if n == 0 or events[n - 1].type != e.type]


def spoken(events: list[Any]) -> bytes:
    return b"".join(b64decode(event.delta) for event in events if event.type == "response.output_audio.delta")


async def test_a_spoken_question_is_answered_aloud(server: Server, question: bytes):
    async with connected(server) as connection:
        (created,) = await until(connection, "session.created")
        assert created.session.type == "realtime"
        assert created.session.model == MODEL
        asked = {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}, "output": {"voice": "marin"}}
        session = {"type": "realtime", "audio": asked, "max_output_tokens": 12}
        await connection.session.update(session=session)
        (updated,) = await until(connection, "session.updated")
        assert updated.session.audio.output.voice == "marin"
        await say(connection, question)
        events = await until(connection, "response.done")
        told = kinds(events)
        order = [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_audio_transcript.delta",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ]
        assert sorted(order, key=told.index) == order
        (heard,) = [e for e in events if e.type == "conversation.item.input_audio_transcription.completed"]
        assert "weather" in heard.transcript.lower()
        assert heard.usage.seconds > 1
        response = events[-1].response
        assert response.status in ("completed", "incomplete")
        (message,) = response.output
        assert message.content[0].transcript.strip()
        assert len(spoken(events)) > BYTES_PER_S / 4
        assert response.usage.input_token_details.audio_tokens > 0
        assert response.usage.output_token_details.audio_tokens > 0
        assert response.usage.output_token_details.text_tokens > 0


async def test_a_function_is_called_and_its_output_is_answered(server: Server, question: bytes):
    async with connected(server) as connection:
        tools = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False}
        await connection.session.update(session={"type": "realtime", "max_output_tokens": 64, **tools})
        await say(connection, question)
        events = await until(connection, "response.done")
        (call,) = events[-1].response.output
        assert (call.type, call.name, call.status) == ("function_call", "get_weather", "completed")
        assert json.loads(call.arguments)["city"] in ("Paris", "Rome")
        deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
        assert "".join(deltas) == call.arguments
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "It is sunny."}
        await connection.conversation.item.create(item=output)
        told = "Tell the user in one short sentence what the weather is like. Use plain words, and no tags."
        asked: Any = {"tool_choice": "none", "max_output_tokens": 48, "instructions": told}
        await connection.response.create(response=asked)
        events = await until(connection, "response.done")
        assert spoken(events)
        assert events[-1].response.output[0].type == "message"


async def test_a_written_conversation_with_the_caller_in_charge(server: Server):
    async with connected(server) as connection:
        turn_detection: Any = {"input": {"turn_detection": None}}
        session = {"type": "realtime", "output_modalities": ["text"], "audio": turn_detection}
        await connection.session.update(session=session)
        text = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Name a colour."}]}
        await connection.conversation.item.create(item={**text, "id": "mine"})
        events = await until(connection, "conversation.item.done")
        assert (events[-1].item.id, events[-1].previous_item_id) == ("mine", None)
        await connection.response.create(response={"max_output_tokens": 8})
        events = await until(connection, "response.done")
        written = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        assert written
        assert events[-1].response.output[0].content[0].text == written
        assert not spoken(events)
        await connection.conversation.item.retrieve(item_id="mine")
        (retrieved,) = await until(connection, "conversation.item.retrieved")
        assert retrieved.item.content[0].text == "Name a colour."
        await connection.conversation.item.delete(item_id="mine")
        await until(connection, "conversation.item.deleted")


async def test_a_response_beside_the_conversation(server: Server):
    async with connected(server) as connection:
        await until(connection, "session.created")
        asked = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say yes."}]}]
        await connection.response.create(
            response={
                "conversation": "none",
                "input": asked,
                "instructions": "Answer in one word.",
                "output_modalities": ["text"],
                "max_output_tokens": 5,
                "metadata": {"topic": "beside"},
            }
        )
        events = await until(connection, "response.done")
        response = events[-1].response
        assert response.metadata == {"topic": "beside"}
        assert response.conversation_id is None
        assert response.output[0].content[0].text
        assert "conversation.item.added" not in kinds(events)


async def test_the_caller_commits_by_hand_and_truncates_what_was_not_heard(server: Server, question: bytes):
    async with connected(server) as connection:
        none: Any = {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}
        await connection.session.update(session={"type": "realtime", "audio": none, "max_output_tokens": 40})
        await say(connection, question, piece=len(question))
        await connection.input_audio_buffer.commit()
        await connection.response.create()
        events = await until(connection, "response.done")
        assert "input_audio_buffer.speech_started" not in kinds(events)
        message = events[-1].response.output[0]
        assert len(spoken(events)) > BYTES_PER_S / 4
        await connection.conversation.item.truncate(item_id=message.id, content_index=0, audio_end_ms=200)
        (truncated,) = [e for e in await until(connection, "conversation.item.truncated") if "truncated" in e.type]
        assert truncated.audio_end_ms == 200
        await connection.conversation.item.retrieve(item_id=message.id)
        (retrieved,) = await until(connection, "conversation.item.retrieved")
        assert len(retrieved.item.content[0].transcript) < len(message.content[0].transcript)


async def test_an_event_may_have_minutes_of_audio(server: Server, question: bytes):
    async with connected(server) as connection:
        none: Any = {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}
        await connection.session.update(session={"type": "realtime", "audio": none})
        await say(connection, bytes(5 << 20) + question, piece=6 << 20)
        await connection.input_audio_buffer.commit()
        events = await until(connection, "conversation.item.input_audio_transcription.completed")
        assert "weather" in events[-1].transcript.lower()


async def test_speech_breaks_in(server: Server, question: bytes):
    async with connected(server) as connection:
        await connection.session.update(session={"type": "realtime", "instructions": "Tell a very long story."})
        await say(connection, question)
        await until(connection, "response.output_audio.delta")
        await say(connection, question)
        events = await until(connection, "response.done")
        assert "input_audio_buffer.speech_started" in kinds(events)
        response = events[-1].response
        if response.status != "completed":  # it may have been made before; then only what is played is cut
            assert (response.status, response.status_details.reason) == ("cancelled", "turn_detected")


async def test_a_response_is_cancelled(server: Server):
    async with connected(server) as connection:
        await connection.session.update(session={"type": "realtime", "instructions": "Count to one thousand."})
        await connection.response.create()
        await until(connection, "response.created")
        await connection.response.cancel()
        events = await until(connection, "response.done")
        assert events[-1].response.status_details.reason == "client_cancelled"


async def test_errors_name_their_event_and_keep_the_session(server: Server):
    async with connected(server) as connection:
        await until(connection, "session.created")
        faults: list[tuple[Callable[[], Any], str]] = [
            (lambda: connection.input_audio_buffer.commit(event_id="e"), "input_audio_buffer_commit_empty"),
            (lambda: connection.response.cancel(event_id="e"), "response_cancel_not_active"),
            (
                lambda: connection.conversation.item.delete(item_id="none", event_id="e"),
                "item_delete_invalid_item_id",
            ),
            (lambda: connection.output_audio_buffer.clear(event_id="e"), "unsupported_parameter"),
            (
                lambda: connection.send({"type": "session.update", "event_id": "e", "session": {"type": 5}}),
                "invalid_value",
            ),
            (
                lambda: connection.session.update(
                    session={"type": "realtime", "audio": {"output": {"voice": "nobody"}}}, event_id="e"
                ),
                "voice_not_found",
            ),
        ]
        for fault, code in faults:
            await fault()
            (event,) = await until(connection, "error")
            assert (event.error.code, event.error.event_id) == (code, "e")
            assert event.error.type == "invalid_request_error"
        await connection.session.update(session={"type": "realtime", "instructions": "Be brief."})
        await until(connection, "session.updated")


async def test_two_responses_at_once_are_one_too_many(server: Server):
    async with connected(server) as connection:
        await connection.session.update(session={"type": "realtime", "instructions": "Count to one thousand."})
        await connection.response.create()
        await connection.response.create(event_id="second")
        (*_, error) = await until(connection, "error")
        assert (error.error.code, error.error.event_id) == ("conversation_already_has_active_response", "second")


@pytest.mark.parametrize("format", ["audio/pcmu", "audio/pcma"])
async def test_telephones(server: Server, question: bytes, format: str):
    """Silence in, G.711 out."""
    async with connected(server) as connection:
        formats = {"input": {"format": {"type": format}}, "output": {"format": {"type": format}}}
        await connection.session.update(session={"type": "realtime", "audio": formats, "max_output_tokens": 8})
        await until(connection, "session.updated")
        await connection.response.create(response={"instructions": "Say hello."})
        events = await until(connection, "response.done")
        audio_ms = len(spoken(events)) // 8
        assert audio_ms > 200
        tokens = events[-1].response.usage.output_token_details.audio_tokens
        assert abs(tokens * 50 - audio_ms) <= 100


async def test_a_session_that_only_transcribes(server: Server, question: bytes):
    async with connected(server, extra_query={"intent": "transcription"}) as connection:
        (created,) = await until(connection, "session.created")
        assert created.session.type == "transcription"
        transcription = {"model": "gpt-4o-transcribe", "language": "en"}
        include = ["item.input_audio_transcription.logprobs"]
        session = {"type": "transcription", "audio": {"input": {"transcription": transcription}}, "include": include}
        await connection.session.update(session=session)
        await say(connection, question)
        events = await until(connection, "conversation.item.input_audio_transcription.completed")
        assert "weather" in events[-1].transcript.lower()
        assert "".join(each.token for each in events[-1].logprobs).strip() == events[-1].transcript
        assert "conversation.item.input_audio_transcription.delta" in kinds(events)


@pytest.mark.parametrize("model", ["gpt-realtime-whisper", "gpt-live-transcribe"])
async def test_a_session_without_turn_detection_is_committed_by_its_client(server: Server, question: bytes, model: str):
    """As LiveKit's and Pipecat's recognition services set it up, each with what it sends unasked."""
    async with connected(server, extra_query={"intent": "transcription"}) as connection:
        (created,) = await until(connection, "session.created")
        assert created.session.audio.input.transcription.model
        heard = {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "transcription": {"model": model, "prompt": "Cities."},
        }
        heard["noise_reduction"] = {"type": "near_field"}
        await connection.session.update(session={"type": "transcription", "audio": {"input": heard}})
        (updated,) = await until(connection, "session.updated")
        assert updated.session.audio.input.turn_detection is None
        assert updated.session.audio.input.noise_reduction is None
        await say(connection, question)
        await connection.input_audio_buffer.commit()
        events = await until(connection, "conversation.item.input_audio_transcription.completed")
        assert "weather" in events[-1].transcript.lower()
        assert not [each for each in events if "speech_" in each.type]


async def test_answers_keep_the_order_of_what_they_answer(server: Server):
    async with connected(server) as connection:
        (created,) = await until(connection, "session.created")
        assert created.session.audio.output.voice
        said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}
        for n in range(20):
            item = {**said, "id": f"item_{n}"}
            await connection.send({"type": "conversation.item.create", "event_id": f"a{n}", "item": item})
            await connection.send({"type": "conversation.item.create", "event_id": f"b{n}", "item": {"type": "poem"}})
            await connection.send({"type": "conversation.item.retrieve", "event_id": f"c{n}", "item_id": "nobody"})
            await connection.send({"type": "conversation.item.delete", "event_id": f"d{n}", "item_id": f"item_{n}"})
        told: list[str] = []
        while len(told) < 80:
            event = await connection.recv()
            if event.type == "error":
                told.append(event.error.event_id)
            elif event.type in ("conversation.item.added", "conversation.item.deleted"):
                told.append(event.item.id if event.type.endswith("added") else event.item_id)
        assert told == [each for n in range(20) for each in (f"item_{n}", f"b{n}", f"c{n}", f"item_{n}")]


async def test_a_client_secret_opens_one_session_as_it_was_settled(server: Server):
    async with AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=server.api_key) as client:
        session: Any = {"type": "realtime", "model": MODEL, "instructions": "Be brief.", "output_modalities": ["text"]}
        made = await client.realtime.client_secrets.create(expires_after={"seconds": 60}, session=session)
    assert made.value.startswith("ek_")
    assert made.session.instructions == "Be brief."
    async with connected(server, made.value, model=MODEL) as connection:
        (created,) = await until(connection, "session.created")
        assert created.session.instructions == "Be brief."
        await connection.response.create(response={"max_output_tokens": 4})
        events = await until(connection, "response.done")
        assert events[-1].response.output[0].content[0].text
    with pytest.raises(InvalidStatus) as caught:
        async with connected(server, made.value, model=MODEL):
            pass
    assert caught.value.response.status_code == 401


async def test_a_client_secret_is_no_key_for_anything_else(server: Server):
    async with AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=server.api_key) as client:
        made = await client.realtime.client_secrets.create()
    async with AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=made.value) as client:
        with pytest.raises(AuthenticationError):
            await client.models.list()


async def test_a_client_secret_dies_with_its_key(server: Server):
    bearer = {"authorization": f"Bearer {server.api_key}"}
    async with httpx.AsyncClient(base_url=server.base_url) as admin:
        parent = (await admin.post("/admin/v1/keys", headers=bearer, json={"project": "default"})).json()
        async with AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=parent["key"]) as client:
            early, late = [await client.realtime.client_secrets.create() for _ in range(2)]
        async with connected(server, early.value, model=MODEL) as connection:
            await until(connection, "session.created")
            gone = await admin.delete(f"/admin/v1/keys/{parent['id']}", headers=bearer)
            assert gone.status_code < 300
            (event,) = await until(connection, "error")
            assert event.error.code == "invalid_api_key"
    with pytest.raises(InvalidStatus):
        async with connected(server, late.value, model=MODEL):
            pass


async def test_a_key_must_be_allowed_what_the_session_does(server: Server):
    bearer = {"authorization": f"Bearer {server.api_key}"}
    asked = {"project": "default", "scopes": ["transcribe", "generate"]}
    async with httpx.AsyncClient(base_url=server.base_url) as admin:
        key = (await admin.post("/admin/v1/keys", headers=bearer, json=asked)).json()["key"]
    async with connected(server, key, extra_query={"intent": "transcription"}) as connection:
        await until(connection, "session.created")
    with pytest.raises(InvalidStatus) as caught:
        async with connected(server, key, model=MODEL):
            pass
    assert caught.value.response.status_code == 403
    async with AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=key) as client:
        written: Any = {"type": "realtime", "output_modalities": ["text"]}
        made = await client.realtime.client_secrets.create(session=written)
    async with connected(server, made.value, model=MODEL) as connection:
        await until(connection, "session.created")
        await connection.session.update(session={"type": "realtime", "output_modalities": ["audio"]})
        (refused,) = await until(connection, "error")
        assert refused.error.code == "forbidden"


async def test_openings_that_are_refused(server: Server):
    for asked, status in (({"model": "nothing"}, 404), ({"model": MODEL, "extra_query": {"a": "b"}}, 400)):
        with pytest.raises(InvalidStatus) as caught:
            async with connected(server, **asked):
                pass
        assert caught.value.response.status_code == status
    with pytest.raises(InvalidStatus) as caught:
        async with connected(server, "wrong", model=MODEL):
            pass
    assert caught.value.response.status_code == 401


async def test_azures_address(server: Server):
    ws = f"{server.ws_url}/openai"
    client = AsyncAzureOpenAI(
        azure_endpoint=server.base_url, websocket_base_url=ws, api_key=server.api_key, api_version="2025-08-28"
    )
    async with client, client.realtime.connect(model=MODEL) as connection:
        (created,) = await until(connection, "session.created")
        assert created.session.model == MODEL


def test_the_synchronous_client(server: Server, question: bytes):
    client = OpenAI(base_url=f"{server.base_url}/v1", api_key=server.api_key)
    with client, client.realtime.connect(model=MODEL) as connection:
        connection.session.update(session={"type": "realtime", "max_output_tokens": 8})
        for start in range(0, len(question), 9_600):
            connection.input_audio_buffer.append(audio=b64encode(question[start : start + 9_600]).decode())
        events = []
        for event in connection:
            assert event.type != "error", event
            events.append(event)
            if event.type == "response.done":
                break
        assert spoken(events)
