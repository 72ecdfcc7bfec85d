"""The example vendor touches no file but its own: its rows alone serve it, live and from files."""

import importlib.util
import sys
from pathlib import Path

import pytest
from starlette.applications import Starlette
from vendor import Caller, scope

from antiphon.core.usage import Dimension
from antiphon.transports import table
from antiphon.transports.bounds import PRESENCE
from antiphon.transports.uploads import Uploads
from session_house import audio, closed

SPEECH = audio(900, 700)
EXAMPLE = Path(__file__).parents[3] / "examples" / "plain_vendor.py"


def wav(pcm):
    head = b"WAVEfmt " + (16).to_bytes(4, "little") + bytes.fromhex("01000100803e0000007d000002001000")
    data = head + b"data" + len(pcm).to_bytes(4, "little") + pcm
    return b"RIFF" + len(data).to_bytes(4, "little") + data


@pytest.fixture
def serve(house):
    spec = importlib.util.spec_from_file_location("plain_vendor", EXAMPLE)
    example = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    app = Starlette(routes=table.routes(example.ROWS, house.door, house.clock, Uploads(1 << 20, 1 << 22)))

    async def ask(kind, caller, key=b"secret", query=b""):
        given = scope(kind, [(b"x-plain-key", key)]) | {"path": "/plain/listen", "query_string": query}
        await app(given | {PRESENCE: caller.presence}, caller.receive, caller.send)
        await closed()

    return ask


def live(*messages):
    caller = Caller()
    caller.says.put_nowait({"type": "websocket.connect"})
    caller.hear(*messages)
    return caller


def posting(body):
    caller = Caller()
    caller.body(body)
    return caller


async def test_a_stream_is_transcribed_and_charged(house, serve):
    caller = live(SPEECH, "end")
    await serve("websocket", caller)
    assert caller.types == ["accept", "send", "close"]
    assert caller.sent[1]["text"].startswith("one two")
    assert {(e.surface, e.quantity.dimension) for e in house.ledger.entries} == {("plain", Dimension.STT_AUDIO_MS)}
    assert house.charged() == {0: 1600}


async def test_a_file_is_transcribed_and_charged(house, serve):
    caller = posting(wav(SPEECH))
    await serve("http", caller)
    status, body = caller.answer
    assert (status, body[:3]) == (200, b"one")
    assert house.charged() == {0: 1600}


async def test_errors_are_the_vendors_own(house, serve):
    refused = live()
    await serve("websocket", refused, key=b"other")
    assert refused.answer == (401, b"error unauthenticated: the API key is not valid")
    wrong = live("what?")
    await serve("websocket", wrong)
    assert (wrong.sent[1]["text"], wrong.sent[2]["code"]) == ("error invalid_request: A text is 'end'.", 1008)
    for body, query, status in ((b"", b"", 400), (b"no audio", b"", 400), (wav(SPEECH), b"model=none", 404)):
        caller = posting(body)
        await serve("http", caller, query=query)
        assert caller.answer[0] == status
        assert caller.answer[1].startswith(b"error ")
    assert house.charged() == {}
