import asyncio
import threading

import pytest
from vendor import Caller, Endpoint, Live, open_sessions, scope

from antiphon.core.errors import AntiphonError, UnsupportedParameter
from antiphon.core.routing import DialogueRow
from antiphon.core.units import BESIDE_BYTES
from antiphon.core.wire import Bearer, Pending
from antiphon.transports import dialogues, websocket
from antiphon.transports.uploads import Uploads
from antiphon.transports.websocket import DialogueRoute, WebSocket
from session_house import audio, until

SPEECH = audio(900, 700)


@pytest.fixture
def route(house):
    def make(surface=None, **given):
        endpoint = Endpoint(surface or Live(), live=True, incremental=True, **given)
        return DialogueRoute(DialogueRow("/v1/listen", "deepgram", endpoint), house.door, house.clock, Uploads(1, 1))

    return make


@pytest.fixture
def caller():
    caller = Caller()
    caller.says.put_nowait({"type": "websocket.connect"})
    return caller


def call(route, caller, **given):
    return asyncio.create_task(route(scope("websocket", **given), caller.receive, caller.send))


async def test_a_stream_from_accept_to_close(house, route, caller):
    caller.hear(SPEECH, "end")
    await call(route(), caller)
    assert caller.types == ["accept", "send", "close"]
    assert caller.sent[1]["text"].startswith("one two")
    assert caller.sent[2]["code"] == 1000
    assert house.charged() == {0: 1600}
    assert house.ledger.entries[-1].kind == "completed"
    assert not open_sessions(house)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (None, (401, b"unauthenticated")),
        (UnsupportedParameter("no"), (400, b"unsupported_parameter")),
        (ValueError("words"), (500, b"internal_error")),
    ],
)
async def test_a_refused_handshake_is_answered_in_the_vendors_shape(route, caller, error, answer, caplog):
    def fail():
        if error:
            raise error

    await call(route(on_negotiate=fail), caller, key="secret" if error else "other")
    assert caller.answer == answer
    assert (b"content-type", b"text/vendor") in caller.sent[0]["headers"]
    assert len(caplog.records) == (error is not None and not isinstance(error, AntiphonError))


class Late(Endpoint):
    """The first message is the key."""

    def credential(self, opening, first=None):
        if first is None:
            return Pending.PENDING
        return Bearer(first) if isinstance(first, str) else None


@pytest.fixture
def late(house):
    def make(**given):
        endpoint = Late(Live(), live=True, incremental=True, **given)
        return DialogueRoute(DialogueRow("/v1/listen", "deepgram", endpoint), house.door, house.clock, Uploads(1, 1))

    return make


async def test_a_key_in_the_first_message(house, late, caller):
    """The message is the surface's, too, like every other: here it ends the stream."""
    caller.hear("secret", SPEECH)
    await call(late(), caller)
    assert caller.types == ["accept", "close"]
    assert caller.sent[1]["code"] == 1000
    assert not open_sessions(house)


@pytest.mark.parametrize(
    ("first", "code"), [(("other",), "unauthenticated"), ((b"secret",), "unauthenticated"), ((), "request_timeout")]
)
async def test_a_first_message_without_a_key_is_told_and_closes(house, late, caller, monkeypatch, first, code):
    monkeypatch.setattr(dialogues, "FIRST_MESSAGE_S", 0.01)
    caller.hear(*first)
    await call(late(), caller)
    assert caller.types == ["accept", "send", "close"]
    assert (caller.sent[1]["text"], caller.sent[2]["code"]) == (code, 1008)
    assert not house.ledger.entries
    assert f'code="{code}"' in house.metrics()


async def test_who_leaves_before_the_first_message(house, late, caller):
    caller.says.put_nowait({"type": "websocket.disconnect", "code": 1006})
    await call(late(), caller)
    assert caller.types == ["accept"]
    assert not house.ledger.entries


async def test_an_opening_that_makes_no_sense_is_refused_before_the_key(late, caller):
    def fail():
        raise UnsupportedParameter("no")

    await call(late(on_negotiate=fail), caller)
    assert caller.answer == (400, b"unsupported_parameter")


async def test_a_caller_who_vanishes_pays_and_leaves_nothing(house, route, caller):
    caller.hear(audio(500))
    caller.says.put_nowait({"type": "websocket.disconnect", "code": 1006})
    before = len(asyncio.all_tasks())
    await call(route(), caller)
    assert house.charged() == {0: 500}
    assert house.ledger.entries[-1].kind == "abandoned"
    assert 'outcome="abandoned"' in house.metrics()
    assert not open_sessions(house)
    assert len(asyncio.all_tasks()) == before


async def test_a_caller_who_leaves_in_the_handshake(house, route, caller):
    async def gone(message):
        raise ConnectionResetError

    await route()(scope("websocket"), caller.receive, gone)
    assert not open_sessions(house)


async def test_a_defect_of_the_surface_is_told_and_closes(house, route, caller, caplog):
    caller.hear("broken")
    await call(route(), caller)
    assert caller.types == ["accept", "send", "close"]
    assert (caller.sent[1]["text"], caller.sent[2]["code"]) == ("internal_error", 1011)
    assert not open_sessions(house)
    assert caplog.records[0].getMessage() == "connection failed"


async def test_an_error_of_the_session_is_told_and_closes(route, caller, house):
    answering = call(route(), caller)
    await until(lambda: open_sessions(house))
    house.keys.revoked = True
    watching = asyncio.create_task(house.sessions.all.watch())
    await answering
    watching.cancel()
    assert (caller.sent[-1]["code"], caller.sent[-1]["reason"]) == (1008, "unauthenticated")


async def test_a_caller_who_does_not_read_is_cut_off(house, route, caller, monkeypatch):
    monkeypatch.setattr(websocket, "SEND_TIMEOUT_S", 0.01)
    answering = call(route(), caller)
    await until(lambda: caller.types == ["accept"])
    caller.reads.clear()
    caller.hear(SPEECH)
    async with asyncio.timeout(60):
        await answering
    assert caller.types == ["accept"]
    assert house.charged() == {0: 1600}
    assert house.ledger.entries[-1].kind == "abandoned"


async def test_a_caller_who_reads_slowly_takes_many_messages_that_came_at_once(monkeypatch):
    loop, sent, later_s = asyncio.get_running_loop(), [], 0.0
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + later_s)

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        nonlocal later_s
        later_s += 0.6 * websocket.SEND_TIMEOUT_S
        for _ in range(3):  # so that what is due is done
            await asyncio.sleep(0)
        sent.append(message.get("text"))

    carrier = WebSocket(receive, send)
    await carrier.accept((), None)
    await carrier.send(("one", "two", "three"))
    assert sent[1:] == ["one", "two", "three"]


async def test_the_surfaces_deadline_is_kept(house, route, caller):
    surface = Live()
    surface.deadline = 0
    await call(route(surface), caller)
    assert (caller.sent[-1]["code"], caller.sent[-1]["reason"]) == (1011, "idle")
    assert not open_sessions(house)


async def test_a_server_that_is_stopped_in_the_middle_still_closes_the_session(house, route, caller):
    caller.hear(audio(500))
    answering = call(route(), caller)
    await until(lambda: house.detector.calls)
    house.ledger.gate.clear()
    for _ in range(5):
        answering.cancel()
        await asyncio.sleep(0)
    house.ledger.gate.set()
    await house.sessions.all.settle()
    await asyncio.gather(answering, return_exceptions=True)
    assert house.charged() == {0: 500}


async def test_a_large_message_is_read_beside_the_event_loop(house, route, caller):
    threads = []

    class Slow(Live):
        def receive(self, message, now_ns):
            threads.append(threading.current_thread() is threading.main_thread())
            return super().receive(message, now_ns)

    caller.hear(bytes(BESIDE_BYTES), bytes(BESIDE_BYTES + 2), "end")
    await call(route(Slow()), caller)
    assert threads == [True, False, True]
    assert caller.types[-1] == "close"
