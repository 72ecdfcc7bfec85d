import asyncio

import pytest
from event_loop import later, move
from vendor import Caller, Endpoint, Whole, call, open_sessions, scope

from antiphon.core.errors import AntiphonError, UnsupportedParameter
from antiphon.core.identity import Scope
from antiphon.core.routing import CallRow
from antiphon.core.wire import Close, Head, Url
from antiphon.transports import http
from antiphon.transports import uploads as module
from antiphon.transports.bounds import PRESENCE, Presence
from antiphon.transports.http import CallRoute, Reply
from antiphon.transports.uploads import Uploads
from session_house import audio, until

SPEECH = audio(900, 700)


def row(endpoint):
    return CallRow("/v1/listen", "deepgram", endpoint, Scope.TRANSCRIBE, form=True)


@pytest.fixture
def route(house, uploads):
    def make(**given):
        return CallRoute(row(Endpoint(Whole(), **given)), house.door, house.clock, uploads)

    return make


async def test_a_recording_is_answered_and_charged(house, route, uploads):
    caller = Caller()
    caller.body(SPEECH[:1000], SPEECH[1000:])
    await call(route(), caller)
    status, text = caller.answer
    assert (status, text.split()[0]) == (200, b"one")
    assert (b"content-length", str(len(text)).encode()) in caller.sent[0]["headers"]
    assert caller.types == ["start", "body"]
    assert house.charged() == {0: 1600}
    assert uploads.held == 0
    assert not open_sessions(house)


async def test_the_key_is_checked_before_the_body_is_read(house, route):
    caller = Caller()
    async with asyncio.timeout(60):
        await call(route(), caller, key=None)  # who waits for a body waits for ever
    assert caller.answer == (401, b"unauthenticated")
    assert 'antiphon_refused_total{code="unauthenticated",surface="deepgram"} 1.0' in house.metrics()


@pytest.mark.parametrize("headers", [[(b"content-length", b"999999999")], []])
async def test_a_body_that_is_too_large_is_refused_at_once(house, route, uploads, headers):
    caller = Caller()
    piece = bytes(500_000)
    caller.body(*(piece for _ in range(6)))
    await call(route(), caller, headers=headers)
    assert caller.answer == (413, b"too_large")
    assert caller.says.qsize() >= (6 if headers else 1)  # the rest was not read
    assert uploads.held == 0


async def test_bodies_are_bounded_together_while_they_arrive(house, monkeypatch):
    monkeypatch.setattr(module, "SMALL_BYTES", 1000)
    uploads = Uploads(each_bytes=1_000_000, all_bytes=1_000_000)
    route = CallRoute(row(Endpoint(Whole())), house.door, house.clock, uploads)
    halves = [Caller() for _ in range(2)]
    answering = []
    for caller in halves:
        caller.says.put_nowait({"type": "http.request", "body": bytes(600_000), "more_body": True})
        answering.append(asyncio.create_task(route(scope(), caller.receive, caller.send)))
    await asyncio.wait(answering, return_when=asyncio.FIRST_COMPLETED)
    assert [caller.answer for caller in halves if caller.sent] == [(429, b"over_capacity")]
    for caller in halves:
        caller.says.put_nowait({"type": "http.disconnect"})
    await asyncio.gather(*answering)
    assert uploads.held == 0


async def test_a_body_that_stops_arriving_is_given_up(route, uploads, monkeypatch):
    monkeypatch.setattr(module, "PROGRESS_S", 0.01)
    caller = Caller()
    caller.says.put_nowait({"type": "http.request", "body": b"x", "more_body": True})
    await call(route(), caller)
    assert caller.answer == (408, b"request_timeout")
    assert uploads.held == 0


async def test_a_caller_who_leaves_while_sending(house, route, uploads):
    caller = Caller()
    caller.says.put_nowait({"type": "http.request", "body": b"x", "more_body": True})
    caller.says.put_nowait({"type": "http.disconnect"})
    await call(route(), caller)
    assert caller.sent == []
    assert uploads.held == 0


async def test_a_caller_who_leaves_while_waiting_ends_the_work(house, route):
    elsewhere = route(media=Url("https://example.com"))  # which never answers
    caller = Caller()
    caller.body(b"x")
    asked = scope() | {PRESENCE: caller.presence}
    answering = asyncio.create_task(elsewhere(asked, caller.receive, caller.send))
    await until(lambda: open_sessions(house))
    caller.leave()
    await answering
    assert caller.sent == []
    assert house.ledger.entries == []
    assert not open_sessions(house)


async def test_a_caller_who_does_not_read_is_given_up(house, route, monkeypatch):
    monkeypatch.setattr(http, "SEND_TIMEOUT_S", 0.01)
    caller = Caller()
    caller.body(SPEECH)
    caller.reads.clear()
    await call(route(), caller)
    assert not open_sessions(house)
    assert house.ledger.entries[-1].kind == "abandoned"


async def test_a_caller_who_reads_slowly_gets_a_large_answer(monkeypatch):
    """Over HTTP/2, whose pieces wait for a window."""
    move(monkeypatch, 0)
    told = bytearray()

    async def send(message):
        if told or message.get("body"):
            await later(monkeypatch, 0.6 * http.SEND_TIMEOUT_S * len(message["body"]) / http.LARGE_BYTES)
        told.extend(message.get("body", b""))

    reply = Reply(send, Presence())
    await reply.send([Head(200, ()), bytes(4 * http.LARGE_BYTES + 1)], Close())
    assert (len(told), reply.ended) == (4 * http.LARGE_BYTES + 1, True)


async def test_a_server_that_is_stopped_in_the_middle_still_closes_the_session(house, route):
    caller = Caller()
    caller.body(SPEECH)
    caller.reads.clear()
    answering = asyncio.create_task(route()(scope(), caller.receive, caller.send))
    await until(lambda: house.ledger.entries and open_sessions(house))
    house.ledger.gate.clear()
    for _ in range(5):  # wherever in its taking down it is
        answering.cancel()
        await asyncio.sleep(0)
    house.ledger.gate.set()
    await house.sessions.all.settle()
    await asyncio.gather(answering, return_exceptions=True)
    assert not open_sessions(house)
    assert house.ledger.entries[-1].kind == "abandoned"


@pytest.mark.parametrize(
    ("error", "answer"),
    [(UnsupportedParameter("no"), (400, b"unsupported_parameter")), (ValueError("words"), (500, b"internal_error"))],
)
async def test_every_error_is_told_in_the_vendors_shape(route, error, answer, caplog):
    def fail():
        raise error

    caller = Caller()
    caller.body(b"x")
    await call(route(on_negotiate=fail), caller)
    assert caller.answer == answer
    assert (b"content-type", b"text/vendor") in caller.sent[0]["headers"]
    assert len(caplog.records) == (not isinstance(error, AntiphonError))


async def test_an_idempotent_retry_is_charged_once_and_another_body_refused(house, route):
    async def ask(body):
        caller = Caller()
        caller.body(body)
        await call(route(), caller, headers=[(b"idempotency-key", b"k")])
        return caller.answer

    assert (await ask(SPEECH))[0] == 200
    assert await ask(SPEECH) == (422, b"already_answered")
    assert house.charged() == {0: 1600}
    assert await ask(SPEECH[:-2]) == (422, b"conflict")
