"""The surface upon a real conversation with fake engines: whatever is said, every answer is an event that the official
SDK knows, and the session goes on until the caller leaves.
"""

import asyncio
import json
import uuid
from base64 import b64encode
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from test_realtime_fuzz import mutated

from antiphon.core.call import Call
from antiphon.core.conversation import outputs
from antiphon.core.conversation.inputs import Configure
from antiphon.core.wire import Opening, Step
from antiphon.surfaces.openai.realtime import live as module
from antiphon.surfaces.openai.realtime.live import RealtimeEndpoint
from session_house import House, audio, until

ADAPTER: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
LAST = "$last"  # the newest item, or response
SETTLED = json.dumps({"type": "session.update", "session": {"instructions": "the end"}})


def event(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, "event_id": "e", **fields})


def spoken(*parts: int) -> str:
    return event("input_audio_buffer.append", audio=b64encode(audio(*parts)).decode())


SAID = [{"type": "input_text", "text": "please count for me"}]
MESSAGE = {"type": "message", "role": "user", "content": SAID}
WORDS = [{"type": "input_audio", "audio": b64encode(audio(300, 300)).decode()}]
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}}
PLAIN = [
    spoken(900, 1200),
    spoken(900, 1200),
    spoken(600),
    spoken(0, 900),
    event("input_audio_buffer.commit"),
    event("input_audio_buffer.clear"),
    event("conversation.item.create", item=MESSAGE),
    event("conversation.item.create", item={**MESSAGE, "content": WORDS}, previous_item_id="root"),
    event("conversation.item.create", item={"type": "function_call_output", "call_id": "call_1", "output": "it"}),
    event("conversation.item.retrieve", item_id=LAST),
    event("conversation.item.truncate", item_id=LAST, content_index=0, audio_end_ms=10),
    event("conversation.item.delete", item_id=LAST),
    event("response.create"),
    event("response.create", response={"conversation": "none", "output_modalities": ["text"], "input": [MESSAGE]}),
    event("response.create", response={"tools": [TOOL], "tool_choice": "required"}),
    event("response.cancel"),
    event("response.cancel", response_id=LAST),
    event("session.update", session={"output_modalities": ["text"]}),
    event("session.update", session={"output_modalities": ["audio"], "audio": {"input": {"turn_detection": None}}}),
    event("session.update", session={"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}),
    event("session.update", session={"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}),
    event("session.update", session={"audio": {"input": {"transcription": {"model": "nova-3"}}}}),
    event("session.update", session={"audio": {"output": {"voice": "nobody"}}}),
    event("session.update", session={"audio": {"input": {"format": {"type": "audio/pcmu"}}}}),
]
steps = st.lists(st.sampled_from(PLAIN) | st.sampled_from(PLAIN) | mutated() | st.just("wait"), min_size=3, max_size=20)


class Connection:
    """One connection: what a transport does."""

    def __init__(self, house: House) -> None:
        query = (("model", "counter"),)
        accepted = RealtimeEndpoint().negotiate(Opening("GET", "/v1/realtime", query, request_id=str(uuid.uuid4())))
        self.surface = accepted.surface
        self.session = house.sessions.open(Call(str(uuid.uuid4()), house.principal, "openai", accepted.spec))
        self.told: list[dict[str, Any]] = []
        self.closed = False
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for batch in self.session.events():
            for output in batch:
                self._take(self.surface.emit(output, 0))

    def _take(self, step: Step) -> None:
        self.told += [json.loads(str(sent)) for sent in step.sends]
        self.closed |= step.close is not None

    async def say(self, message: str) -> None:
        step = self.surface.receive(message.replace(LAST, self._last(message)), 0)
        self._take(step)
        for each in step.inputs:
            await self.session.feed(each)

    def _last(self, message: str) -> str:
        kind = "response.created" if "response.cancel" in message else "conversation.item.added"
        named = [each["response"]["id"] if "response" in each else each["item"]["id"] for each in self.of(kind)]
        return named[-1] if named else "none"

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.told if each["type"] == kind]

    def settled(self) -> bool:
        return any(each["session"].get("instructions") == "the end" for each in self.of("session.updated"))


async def live(script: list[str]) -> None:
    house = House()
    await house.runner.start()
    try:
        call = Connection(house)
        for step in script:
            await (asyncio.sleep(0.005) if step == "wait" else call.say(step))
        await call.say(SETTLED)
        await until(lambda: call.settled() or call.closed)
        assert not call.closed, call.told[-1]
        await call.session.close(delivered=True)
        call.reading.cancel()
        await asyncio.gather(call.reading, return_exceptions=True)
        await until(lambda: not house.sessions.all)
        assert call.told[0]["type"] == "session.created"
        for told in call.told:
            known = ADAPTER.validate_python({**told, "previous_item_id": ""} if "previous_item_id" in told else told)
            assert known.type == told["type"]
            # Of recordings there may be more than are heard at once.
            assert told["type"] != "error" or told["error"]["type"] in ("invalid_request_error", "requests"), told
        assert len({told["event_id"] for told in call.told}) == len(call.told)
    finally:
        await house.close()


@settings(max_examples=60, derandomize=True)
@given(steps)
def test_any_order_of_events_keeps_the_session(script: list[str]):
    asyncio.run(live(script))


def test_all_that_makes_sense_is_said_once_at_least():
    asyncio.run(live([*PLAIN, "wait", *PLAIN]))


def test_many_updates_that_are_answered_at_once_are_read_once(monkeypatch: Any) -> None:
    """Each of them may be long."""
    read, updated = 0, module.settings.updated

    def counted(*given: Any) -> Any:
        nonlocal read
        read += 1
        return updated(*given)

    monkeypatch.setattr(module.settings, "updated", counted)
    spec = module.settings.initial("realtime", "m")
    surface = module.Realtime(spec, "s")
    surface.emit(outputs.Began("c", spec, 0), 0)
    updates = [event("session.update", session={"instructions": f"{n}"}) for n in range(50)]
    asked = [surface.receive(update, 0).inputs[0] for update in updates]
    for each in asked[:-1]:
        assert isinstance(each, Configure)
        surface.emit(outputs.Configured(each.spec), 0)
    assert surface.receive(updates[0], 0).inputs[0].base == replace(spec, instructions="49")  # type: ignore[union-attr]
    assert read == 50 + 1 + 1


def test_a_schema_as_deep_as_can_be_read_is_shown() -> None:
    """It is read where fewer calls are under way than where it is shown."""
    depths = []
    for depth in range(800, 1_000):
        spec = module.settings.initial("realtime", "m")
        surface = module.Realtime(spec, "s")
        surface.emit(outputs.Began("c", spec, 0), 0)
        schema = '{"a":' * depth + "1" + "}" * depth
        tools = f'[{{"type":"function","name":"f","parameters":{schema}}}]'
        given = surface.receive(f'{{"type":"session.update","session":{{"tools":{tools}}}}}', 0).inputs[0]
        if isinstance(given, Configure):
            (told,) = surface.emit(outputs.Configured(given.spec), 0).sends
            assert schema in str(told)
            depths.append(depth)
    assert depths
