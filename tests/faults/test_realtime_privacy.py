"""What is said in a conversation, by either side, appears in no log, no metric, no ledger, no file, and no error."""

import asyncio
import json

import pytest
from starlette.applications import Starlette
from test_language_privacy import MARK, TOOL, house, kept, logged

from antiphon.core.errors import EngineError
from antiphon.routes import ROUTES
from antiphon.transports import table
from antiphon.transports.uploads import Uploads
from session_house import until

assert house  # fixtures of that module
assert logged

SAID = [{"type": "input_text", "text": f"{MARK} prompt"}]
MESSAGE = {"type": "message", "role": "user", "content": SAID}
SESSION = {"instructions": f"{MARK} instructions", "tools": [{"type": "function", **TOOL}], "max_output_tokens": 50}
RIGHT = (
    {"type": "session.update", "session": SESSION},
    {"type": "conversation.item.create", "item": MESSAGE},
    {
        "type": "conversation.item.create",
        "item": {"type": "function_call", "call_id": MARK, "name": MARK, "arguments": MARK},
    },
    {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": MARK, "output": MARK}},
    {"type": "response.create", "response": {"metadata": {MARK: MARK}}},
)
WRONG = (
    f'"{MARK}"',
    f"{MARK}",
    json.dumps({"type": MARK}),
    json.dumps({"type": "session.update", "session": {"tool_choice": MARK}}),
    json.dumps({"type": "session.update", "session": {"instructions": {MARK: MARK}}}),
    json.dumps({"type": "session.update", "session": {"output_modalities": [MARK]}}),
    json.dumps({"type": "session.update", "session": {"audio": {"input": {"transcription": {"language": MARK}}}}}),
    json.dumps({"type": "session.update", "session": {"audio": {"input": {"format": {"type": MARK}}}}}),
    json.dumps({"type": "conversation.item.create", "item": {"type": MARK}}),
    json.dumps({"type": "conversation.item.create", "item": {**MESSAGE, "role": MARK}}),
    json.dumps({"type": "conversation.item.create", "item": {**MESSAGE, "content": MARK}}),
    json.dumps(
        {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": MARK, "output": MARK}}
    ),
    json.dumps({"type": "conversation.item.delete", "item_id": MARK}),
    json.dumps({"type": "input_audio_buffer.append", "audio": f"{MARK}!"}),
    json.dumps({"type": "response.create", "response": {"conversation": MARK}}),
    json.dumps({"type": "response.create", "response": {"input": [{"type": "item_reference", "id": MARK}]}}),
    json.dumps({"type": "response.cancel", "response_id": MARK}),
)


class Call:
    """A WebSocket of the whole app, without a server."""

    def __init__(self, house):
        app = Starlette(routes=table.routes(ROUTES, house.door, house.clock, Uploads(1 << 20, 1 << 24)))
        self.says: asyncio.Queue = asyncio.Queue()
        self.told = []
        self.says.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket",
            "path": "/v1/realtime",
            "query_string": b"model=counter",
            "headers": [(b"authorization", b"Bearer secret")],
            "subprotocols": [],
        }
        self.task = asyncio.create_task(app(scope, self.says.get, self.send))

    async def send(self, message):
        if message["type"] == "websocket.send":
            self.told.append(json.loads(message["text"]))

    def say(self, message):
        self.says.put_nowait({"type": "websocket.receive", "text": message})

    def of(self, kind):
        return [told for told in self.told if told["type"] == kind]

    async def leave(self, house):
        self.says.put_nowait({"type": "websocket.disconnect"})
        await self.task
        await until(lambda: not house.sessions.all)


async def test_a_conversation_that_goes_well(house, tmp_path, logged):
    call = Call(house)
    for event in RIGHT:
        call.say(json.dumps(event))
    await until(lambda: call.of("response.done"))
    assert call.of("error") == []
    assert MARK in json.dumps(call.of("response.done"))
    assert call.of("response.output_audio.delta")
    await call.leave(house)
    everything = kept(house, tmp_path, logged)
    assert MARK not in everything
    assert "session ended" in everything


async def fails(call):
    """The response is told of as failed, and not in the caller's words."""
    await until(lambda: call.of("response.done"))
    (done,) = call.of("response.done")
    assert done["response"]["status"] == "failed"
    assert MARK not in json.dumps(done["response"]["status_details"])


@pytest.mark.parametrize(
    "error", [EngineError("the model is down"), ValueError(f"{MARK} in an exception")], ids=["told", "defect"]
)
async def test_a_response_that_fails(house, tmp_path, logged, error):
    house.generator.error, house.generator.fails_at = error, 2
    call = Call(house)
    for event in RIGHT:
        call.say(json.dumps(event))
    await fails(call)
    await call.leave(house)
    assert MARK not in kept(house, tmp_path, logged)


async def test_events_that_make_no_sense(house, tmp_path, logged):
    call = Call(house)
    for message in WRONG:
        call.say(message)
    await until(lambda: len(call.of("error")) == len(WRONG))
    for told, message in zip(call.of("error"), WRONG, strict=True):
        assert MARK not in told["error"]["message"], message
    await call.leave(house)
    assert MARK not in kept(house, tmp_path, logged)
