"""Every route by which speech leaves says in the head of its answer that a machine made it."""

import json

import pytest

from antiphon.calls.relay import relay
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError
from antiphon.core.identity import Scope
from antiphon.core.routing import CallRow, DialogueRow
from antiphon.core.wire import SYNTHETIC, Head, Opening
from antiphon.routes import GRPC_ROUTES, JOB_CALLS, ROUTES
from antiphon.session.arrival import Arrival, OpenStream
from antiphon.surfaces.openai.realtime.live import RealtimeEndpoint

KEYS = {"authorization": "Bearer secret", "api-key": "secret", "xi-api-key": "secret"}
TEXT = "Hello there."
LINES = [{"text": TEXT, "voice_id": "alloy"}]
# By vendor and the end of the path: the query, and the body.
ASKED = {
    ("openai", "/audio/speech"): ((), {"model": "tone", "voice": "alloy", "input": TEXT}),
    ("openai", "/realtime"): ((("model", "counter"),), None),
    ("deepgram", "/speak"): ((("model", "alloy"),), {"text": TEXT}),
    ("elevenlabs", "/stream-input"): ((("model_id", "tone"),), None),
    ("elevenlabs", "/multi-stream-input"): ((("model_id", "tone"),), None),
    ("elevenlabs", "/text-to-speech/{voice_id}"): ((), {"model_id": "tone", "text": TEXT}),
    ("elevenlabs", "/text-to-dialogue"): ((), {"model_id": "tone", "inputs": LINES}),
}
EVERY = [row for row in (*ROUTES, *GRPC_ROUTES, *JOB_CALLS) if isinstance(row, CallRow | DialogueRow)]
SPEAKING = [row for row in EVERY if row.scope is Scope.SPEAK or isinstance(row.endpoint, RealtimeEndpoint)]


def request(row):
    path = row.path.replace("/with-timestamps", "").removesuffix("/stream")
    found = [each for (vendor, end), each in ASKED.items() if vendor == row.surface and path.endswith(end)]
    assert found, f"how is speech asked for at {row.path}?"
    return found[0]


def opening(row, query):
    path = row.path.replace("{voice_id}", "alloy").replace("{deployment:path}", "tone")
    kind = {"content-type": "application/json"}
    id = "00000000-0000-0000-0000-000000000001"
    return Opening("POST" if isinstance(row, CallRow) else "GET", path, query, KEYS | kind, request_id=id)


class Held:
    def add(self, more_bytes):
        pass

    def keep(self, most_bytes):
        pass

    def release(self):
        pass


async def head(house, row, query, body):
    """The fields of the head of the answer."""
    asked = opening(row, query)
    if isinstance(row, DialogueRow):
        opened = await Arrival(house.door, row, asked).enter()
        assert isinstance(opened, OpenStream)
        await opened.session.close(delivered=True)
        return opened.accepted.headers

    async def read(principal):
        return Held(), json.dumps(body).encode()

    sent = []

    async def send(messages, close):
        sent.extend(messages)

    opened = await house.door.call(row, asked, read)
    await relay(opened.session, opened.surface, house.clock, send)
    opened.session.end(delivered=True)
    first = sent[0]
    assert isinstance(first, Head)
    assert first.status == 200
    return first.headers


@pytest.mark.parametrize("row", SPEAKING, ids=lambda row: f"{type(row).__name__} {row.path}")
async def test_speech_is_marked_as_synthetic(house, row):
    query, body = request(row)
    assert set(SYNTHETIC) <= set(await head(house, row, query, body))


def test_no_other_route_opens_speech_or_a_conversation(house):
    """What asks for speech and has another scope would be missed above."""
    for row in EVERY:
        if row not in SPEAKING and isinstance(row, DialogueRow):
            for query, _ in ASKED.values():
                try:
                    accepted = row.endpoint.negotiate(opening(row, query), None)
                except AntiphonError:
                    continue
                assert not isinstance(getattr(accepted, "spec", None), ConverseSpec), row.path
