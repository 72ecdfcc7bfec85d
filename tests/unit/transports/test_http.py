import asyncio

import pytest
from starlette.datastructures import Headers
from vendor import Caller, Endpoint, Whole, scope

from antiphon.core.errors import AntiphonError, CallerError, UnsupportedParameter
from antiphon.core.wire import Url
from antiphon.transports import http
from antiphon.transports import uploads as module
from antiphon.transports.http import UnaryRoute
from antiphon.transports.uploads import Uploads
from session_house import audio, until

SPEECH = audio(900, 700)


@pytest.fixture
def uploads():
    return Uploads(each_bytes=10_000_000, all_bytes=20_000_000)


@pytest.fixture
def route(house, uploads):
    def make(**given):
        return UnaryRoute("deepgram", Endpoint(Whole(), **given), house.sessions, house.clock, uploads)

    return make


def open_sessions(house):
    return 'antiphon_sessions_open{surface="deepgram"} 1.0' in house.metrics()


async def test_a_recording_is_answered_and_charged(house, route, uploads):
    caller = Caller()
    caller.body(SPEECH[:1000], SPEECH[1000:])
    await route()(scope(), caller.receive, caller.send)
    status, text = caller.answer
    assert (status, text.split()[0]) == (200, b"one")
    assert caller.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert house.charged() == {0: 1600}
    assert uploads.held == 0
    assert not open_sessions(house)


async def test_the_key_is_checked_before_the_body_is_read(house, route):
    caller = Caller()
    async with asyncio.timeout(5):
        await route()(scope(key=None), caller.receive, caller.send)  # who waits for a body waits for ever
    assert caller.answer == (401, b"unauthenticated")
    assert 'antiphon_refused_total{code="unauthenticated",surface="deepgram"} 1.0' in house.metrics()


@pytest.mark.parametrize("headers", [[(b"content-length", b"999999999")], []])
async def test_a_body_that_is_too_large_is_refused_at_once(house, route, uploads, headers):
    caller = Caller()
    piece = bytes(500_000)
    caller.body(*(piece for _ in range(6)))
    await route()(scope(headers=headers), caller.receive, caller.send)
    assert caller.answer == (413, b"too_large")
    assert caller.says.qsize() >= (6 if headers else 1)  # the rest was not read
    assert uploads.held == 0


async def test_bodies_are_bounded_together_while_they_arrive(route, uploads):
    uploads.all_bytes = 1_000_000
    halves = [Caller() for _ in range(2)]
    answering = []
    for caller in halves:
        caller.says.put_nowait({"type": "http.request", "body": bytes(600_000), "more_body": True})
        answering.append(asyncio.create_task(route()(scope(), caller.receive, caller.send)))
    await asyncio.wait(answering, return_when=asyncio.FIRST_COMPLETED)
    assert [caller.answer for caller in halves if caller.sent] == [(429, b"over_capacity")]
    for caller in halves:
        caller.says.put_nowait({"type": "http.disconnect"})
    await asyncio.gather(*answering)
    assert uploads.held == 0


async def test_a_body_that_stops_arriving_is_given_up(route, uploads, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    caller = Caller()
    caller.says.put_nowait({"type": "http.request", "body": b"x", "more_body": True})
    await route()(scope(), caller.receive, caller.send)
    assert caller.answer == (408, b"request_timeout")
    assert uploads.held == 0


async def test_a_sender_may_take_its_time_in_proportion(route, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    monkeypatch.setattr(module, "SLOWEST_BYTES_PER_S", 10)
    caller = Caller()
    answering = asyncio.create_task(route()(scope(), caller.receive, caller.send))
    caller.says.put_nowait({"type": "http.request", "body": SPEECH, "more_body": True})
    await asyncio.sleep(0.15)
    assert not answering.done()
    caller.body(b"")
    await answering
    assert caller.answer[0] == 200


async def test_a_caller_who_leaves_while_sending(house, route, uploads):
    caller = Caller()
    caller.says.put_nowait({"type": "http.request", "body": b"x", "more_body": True})
    caller.says.put_nowait({"type": "http.disconnect"})
    await route()(scope(), caller.receive, caller.send)
    assert caller.sent == []
    assert uploads.held == 0


async def test_a_caller_who_leaves_while_waiting_ends_the_work(house, route):
    elsewhere = route(media=Url("https://example.com"))  # which never answers
    caller = Caller()
    caller.body(b"x")
    answering = asyncio.create_task(elsewhere(scope(), caller.receive, caller.send))
    await until(lambda: open_sessions(house))
    caller.says.put_nowait({"type": "http.disconnect"})
    await answering
    assert caller.sent == []
    assert house.ledger.entries == []
    assert not open_sessions(house)


async def test_a_caller_who_does_not_read_is_given_up(house, route, monkeypatch):
    monkeypatch.setattr(http, "SEND_TIMEOUT_S", 0.01)
    caller = Caller()
    caller.body(SPEECH)
    caller.reads.clear()
    await route()(scope(), caller.receive, caller.send)
    assert not open_sessions(house)
    assert house.ledger.entries[-1].kind == "abandoned"


async def test_a_server_that_is_stopped_in_the_middle_still_closes_the_session(house, route):
    caller = Caller()
    caller.body(SPEECH)
    caller.reads.clear()
    answering = asyncio.create_task(route()(scope(), caller.receive, caller.send))
    await until(lambda: open_sessions(house) and house.ledger.entries)
    house.ledger.gate.clear()
    for _ in range(5):  # wherever in its taking down it is
        answering.cancel()
        await asyncio.sleep(0)
    house.ledger.gate.set()
    await house.sessions.settle()
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
    await route(on_negotiate=fail)(scope(), caller.receive, caller.send)
    assert caller.answer == answer
    assert (b"content-type", b"text/vendor") in caller.sent[0]["headers"]
    assert len(caplog.records) == (not isinstance(error, AntiphonError))


async def test_an_idempotent_retry_is_charged_once_and_another_body_refused(house, route):
    async def ask(body):
        caller = Caller()
        caller.body(body)
        await route()(scope(headers=[(b"idempotency-key", b"k")]), caller.receive, caller.send)
        return caller.answer

    first = await ask(SPEECH)
    assert await ask(SPEECH) == first
    assert house.charged() == {0: 1600}
    assert await ask(SPEECH[:-2]) == (422, b"conflict")


# -- forms -------------------------------------------------------------------------------------------------------------

HEAD = {"content-type": 'Multipart/Form-Data; boundary="B"'}
FORM = (
    b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nDATA\r\n--B--\r\n'
)


async def read(raw, headers=HEAD):
    return await http._body(Headers(headers), bytes(raw))


async def test_a_form():
    body = await read(FORM)
    assert (body.data, body.fields, body.filename, body.has_file) == (b"DATA", (("model", "whisper-1"),), "a.wav", True)


async def test_a_form_in_many_pieces(monkeypatch):
    whole = await read(FORM)
    monkeypatch.setattr(http, "PIECE_BYTES", 3)
    assert await read(FORM) == whole


async def test_a_form_with_an_empty_file_is_not_one_without():
    assert (await read(FORM.replace(b"DATA", b""))).has_file
    assert not (await read(FORM[: FORM.index(b"\r\n--B\r\n", 5)] + b"\r\n--B--")).has_file


@pytest.mark.parametrize("raw", [b"raw", b""])
async def test_any_other_body_is_itself(raw):
    assert (await read(raw, {"content-type": "audio/wav"})).data == raw


@pytest.mark.parametrize(
    "raw",
    [
        *(FORM[:end] for end in range(0, FORM.index(b"--B--") + 4, 7)),
        FORM.replace(b"--B", b"--C"),
        b"junk",
        FORM.replace(b' name="model"', b""),
        FORM.replace(b"--B--", b'--B\r\nContent-Disposition: form-data; name="b"; filename="b"\r\n\r\nX\r\n--B--'),
        FORM.replace(b'name="file"', b'name="audio"'),
        FORM.replace(b"Content-Disp", b"Content\x00Disp"),
    ],
)
async def test_a_form_that_is_damaged_or_cut_short_is_refused(raw):
    with pytest.raises(CallerError):
        await read(raw)


async def test_a_form_without_a_boundary_is_refused():
    with pytest.raises(CallerError):
        await read(FORM, {"content-type": "multipart/form-data"})
