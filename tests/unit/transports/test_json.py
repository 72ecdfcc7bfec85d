import asyncio
import gc
import weakref
from dataclasses import replace

import pytest
from event_loop import settle
from json_vendor import Endpoint, Plain
from vendor import Caller, call

from antiphon.calls.generation import Generation
from antiphon.core.entry import EntryKind
from antiphon.core.errors import (
    CapacityError,
    Draining,
    EngineError,
    InternalError,
    LedgerUnavailable,
    UnknownModel,
    UnsupportedParameter,
)
from antiphon.core.events import ChoiceEnded, Completed, Failed, FinishReason, Opened, TextDelta, TokenUsage
from antiphon.core.routing import CallRow
from antiphon.core.usage import Dimension
from antiphon.core.wire import BROKEN_OFF, Keep, Step
from antiphon.transports import http as module
from antiphon.transports import uploads as reading
from antiphon.transports.http import CallRoute
from antiphon.transports.uploads import Uploads
from session_house import kinds, until

OUT = Dimension.LLM_OUTPUT_TOKENS
COUNTED = b"one two three four five"


@pytest.fixture
def route(house, uploads):
    def make(**given):
        return CallRoute(CallRow("/", "openai", Endpoint(**given)), house.door, house.clock, uploads)

    return make


@pytest.fixture
def caller():
    caller = Caller()
    caller.body(b"count")
    return caller


def nobody_is_left(house):
    return 'antiphon_sessions_open{surface="openai"} 1.0' not in house.metrics() and house.generator.running == []


# -- bodies ------------------------------------------------------------------------------------------------------------


async def test_a_whole_answer(house, route, uploads):
    caller = Caller()
    caller.body(b"please ", b"count", b"")
    await call(route(), caller)
    assert caller.answer == (200, COUNTED)
    assert [message.get("more_body") for message in caller.sent] == [None, False]
    assert (b"content-length", b"23") in caller.sent[0]["headers"]
    assert house.generator.calls[0][0].prompt == "please count"
    assert kinds(house)[-1] is EntryKind.COMPLETED
    assert uploads.held == 0
    assert nobody_is_left(house)


async def test_the_key_is_checked_before_the_body_is_read(house, route):
    caller = Caller()
    async with asyncio.timeout(60):
        await call(route(), caller, key=None)  # who waits for a body waits for ever
    assert caller.answer == (401, b"unauthenticated")
    assert 'antiphon_refused_total{code="unauthenticated",surface="openai"} 1.0' in house.metrics()


@pytest.mark.parametrize(
    "headers", [[(b"content-length", b"999999999")], [], [(b"content-length", "²".encode("latin-1"))]]
)
async def test_a_body_that_is_too_large_is_refused_at_once(house, route, uploads, headers):
    caller = Caller()
    piece = bytes(600_000)
    caller.body(*(piece for _ in range(6)))
    await call(route(), caller, headers=headers)
    assert caller.answer == (413, b"too_large")
    assert caller.says.qsize() == (6 if headers and headers[0][1].isdigit() else 4)  # the rest was not read
    assert uploads.held == 0


async def test_the_largest_body(house, route):
    caller = Caller()
    caller.body(b"x" * 1_000_000)
    await call(route(), caller, headers=[(b"content-length", b"1000000")])
    assert caller.answer[0] == 200


async def test_bodies_are_bounded_together_until_they_are_answered(house, monkeypatch):
    monkeypatch.setattr(reading, "SMALL_BYTES", 1000)
    uploads = Uploads(each_bytes=1_000_000, all_bytes=1_000_000)
    made = CallRoute(CallRow("/", "openai", Endpoint()), house.door, house.clock, uploads)
    house.generator.gate.clear()
    first, second, third = Caller(), Caller(), Caller()
    first.body(b"x" * 600_000)
    answering = asyncio.create_task(call(made, first))
    await until(lambda: house.generator.held)
    assert uploads.held == 600_000
    second.body(b"x" * 600_000)
    await call(made, second)
    assert second.answer == (429, b"over_capacity")
    house.generator.gate.set()
    await answering
    assert first.answer[0] == 200
    assert uploads.held == 0
    third.body(b"x" * 600_000)
    await call(made, third)
    assert third.answer[0] == 200


async def test_a_body_that_stops_arriving_is_given_up(route, uploads, monkeypatch):
    monkeypatch.setattr(reading, "PROGRESS_S", 0.01)
    caller = Caller()
    caller.says.put_nowait({"type": "http.request", "body": b"x", "more_body": True})
    await call(route(), caller)
    assert caller.answer == (408, b"request_timeout")
    assert uploads.held == 0


async def test_a_caller_who_leaves_while_sending(house, route, uploads):
    caller = Caller()
    caller.says.put_nowait({"type": "http.request", "body": b"x", "more_body": True})
    caller.leave()
    await call(route(), caller)
    assert caller.sent == []
    assert uploads.held == 0
    assert house.generator.calls == []


async def test_a_server_that_is_stopped_while_a_body_arrives(route, uploads):
    caller = Caller()
    caller.says.put_nowait({"type": "http.request", "body": b"x", "more_body": True})
    answering = asyncio.create_task(call(route(), caller))
    await until(lambda: uploads.held == 1)
    answering.cancel()
    await asyncio.wait((answering,))
    assert uploads.held == 0


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [UnsupportedParameter("no", param="x"), UnknownModel("no"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "words")],
)
async def test_what_makes_no_sense_is_refused_in_the_vendors_words(house, route, uploads, caller, error, caplog):
    await call(route(error=error), caller)
    status = getattr(error, "status", 500)
    assert caller.answer == (status, getattr(error, "code", "internal_error").encode())
    assert 'antiphon_sessions_open{surface="openai"}' not in house.metrics()
    assert "words" not in " ".join(record.getMessage() for record in caplog.records)
    assert uploads.held == 0


async def test_models_that_there_are_not_or_that_do_something_else(house, route):
    for model, answer in (("none", (404, b"model_not_found")), ("vectors-2026", (400, b"invalid_request"))):
        caller = Caller()
        caller.body(b"count")
        await call(route(model=model), caller)
        assert caller.answer == answer
    assert nobody_is_left(house)


async def test_a_full_house(house, route, caller):
    house.generator.gate.clear()
    callers = [Caller() for _ in range(4)]
    for one in callers:
        one.body(b"count")
    answering = [asyncio.create_task(call(route(), one)) for one in callers]
    await until(lambda: len(house.generator.held) == 4)
    await call(route(), caller)
    assert caller.answer == (429, b"over_capacity")
    house.generator.gate.set()
    await asyncio.gather(*answering)
    again = Caller()
    again.body(b"count")
    await call(route(), again)
    assert again.answer == (200, COUNTED)


@pytest.mark.parametrize("error", [CapacityError("full"), EngineError("down"), LedgerUnavailable("full")])
@pytest.mark.parametrize("stream", [True, False])
async def test_what_fails_before_anything_was_said_has_its_status(house, route, caller, stream, error):
    house.generator.error = error
    await call(route(stream=stream), caller)
    assert caller.answer == (error.status, error.code.encode())
    assert caller.sent[-1]["more_body"] is False
    assert house.ledger.entries == []
    assert nobody_is_left(house)


async def test_nothing_is_served_that_cannot_be_recorded(house, route, caller):
    house.ledger.error = LedgerUnavailable("full")
    await call(route(), caller)
    assert caller.answer == (503, b"ledger_unavailable")
    assert house.generator.calls == []


# -- answers -----------------------------------------------------------------------------------------------------------


async def test_what_came_at_once_leaves_at_once(house, route, caller):
    together = (TextDelta(0, "one", 1), TextDelta(0, " two", 1))
    end = ChoiceEnded(0, FinishReason.STOP)
    house.generator.script = lambda spec: [together, (TextDelta(0, " three", 1), end), (TokenUsage(1, 3),)]
    await call(route(stream=True), caller)
    assert caller.types == ["start", "body", "body", "body"]
    assert [m["body"] for m in caller.sent[1:]] == [b"one two", b" three", b"|"]
    assert [m["more_body"] for m in caller.sent[1:]] == [True, True, False]
    assert b"content-length" not in dict(caller.sent[0]["headers"])


async def test_a_head_may_go_before_the_first_word(house, route, caller):
    house.generator.gate.clear()
    answering = asyncio.create_task(call(route(surface=Plain("at once"), stream=True), caller))
    await until(lambda: house.generator.held)
    assert caller.types == ["start", "body"]
    house.generator.gate.set()
    await answering
    assert caller.answer == (200, COUNTED + b"|")


async def test_embeddings(house, route, caller):
    await call(route(model="vectors"), caller)
    assert caller.answer == (200, b"1")


async def test_a_stream_that_fails_says_so_at_its_end(house, route, caller):
    house.generator.error, house.generator.fails_at = EngineError("died"), 2
    await call(route(stream=True), caller)
    assert caller.answer == (200, b"one twoengine_failed")
    assert caller.sent[-1]["more_body"] is False
    assert house.tokens()[OUT] == 2


@pytest.mark.parametrize("breaks", [Opened, TextDelta, ChoiceEnded, Completed])
async def test_a_defect_in_a_surface_is_answered_before_anything_was_said(house, route, caller, caplog, breaks):
    await call(route(surface=Plain(False, breaks)), caller)
    assert caller.answer == (500, b"internal_error")
    assert kinds(house)[-1:] == ([EntryKind.ABANDONED] if breaks is Completed else [])
    assert [record.getMessage() for record in caplog.records] == ["request failed"]
    assert nobody_is_left(house)


async def test_a_defect_in_a_surface_cuts_what_was_begun(house, route, caller, caplog):
    await call(route(surface=Plain(True, ChoiceEnded), stream=True), caller)
    assert caller.types == ["start"] + ["body"] * 5
    assert all(m["more_body"] for m in caller.sent[1:])
    assert house.tokens()[OUT] == 5
    assert kinds(house)[-1] is EntryKind.ABANDONED


async def test_a_surface_that_does_not_end_its_answer_is_defective(house, route, caller, caplog):
    await call(route(surface=Plain(True, unending=True), stream=True), caller)
    assert [record.getMessage() for record in caplog.records] == ["request failed"]
    assert caller.sent[-1]["more_body"]
    assert kinds(house)[-1] is EntryKind.ABANDONED


async def test_an_answer_that_breaks_off_has_no_end(house, route, caller, caplog):
    class Breaking(Plain):
        def emit(self, event, now_ns):
            return Step(close=BROKEN_OFF) if isinstance(event, Failed) else super().emit(event, now_ns)

    house.generator.error, house.generator.fails_at = EngineError("died"), 2
    await call(route(surface=Breaking(True), stream=True), caller)
    assert caller.types == ["start", "body", "body"]
    assert all(m["more_body"] for m in caller.sent[1:])
    assert b"".join(m["body"] for m in caller.sent[1:]) == b"one two"
    assert kinds(house)[-1] is EntryKind.ABANDONED
    assert "request failed" not in [record.getMessage() for record in caplog.records]
    assert nobody_is_left(house)


async def test_what_cannot_be_kept_is_said_once(house, route, caller, monkeypatch):
    async def keep(generation, keep):
        raise InternalError("the disk is full")

    class Keeping(Plain):
        def emit(self, event, now_ns):
            step = super().emit(event, now_ns)
            return replace(step, keep=Keep("id", b"")) if isinstance(event, Opened) else step

    monkeypatch.setattr(Generation, "keep", keep)
    await call(route(surface=Keeping(False)), caller)
    assert caller.answer == (500, b"internal_error")
    assert caller.types == ["start", "body"]


async def test_a_defect_while_saying_what_failed(house, route, caller):
    house.generator.error = EngineError("down")
    await call(route(surface=Plain(False, Failed)), caller)
    assert caller.answer == (500, b"internal_error")


# -- callers who leave -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("holds_at", range(6))
async def test_a_caller_who_leaves_ends_the_work_inside_the_engine(house, route, uploads, caller, stream, holds_at):
    house.generator.holds_at = holds_at
    house.generator.gate.clear()
    answering = asyncio.create_task(call(route(stream=stream), caller))
    await until(lambda: house.generator.held)
    caller.leave()
    await answering
    assert len(house.generator.cancelled) == 1
    sent = min(holds_at, 5) if stream else 0
    assert house.tokens().get(OUT, 0) == sent
    assert kinds(house)[-1:] == ([EntryKind.ABANDONED] if sent else [])
    assert uploads.held == 0
    assert nobody_is_left(house)


async def test_a_caller_who_leaves_while_the_ledger_writes(house, route, caller):
    house.ledger.gate.clear()
    answering = asyncio.create_task(call(route(), caller))
    await house.ledger.entered.wait()
    caller.leave()
    for _ in range(3):
        await asyncio.sleep(0)
    house.ledger.gate.set()
    await answering
    assert caller.sent == []
    assert house.tokens()[OUT] == 5
    assert kinds(house)[-1] is EntryKind.ABANDONED


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_was_sent_whole_is_delivered_though_the_engine_still_ends(house, route, stream):
    house.generator.holds_at = 7  # after its last word
    house.generator.gate.clear()
    caller = Caller()
    caller.body(b"count")
    answering = asyncio.create_task(call(route(stream=stream), caller))
    await until(lambda: house.generator.held)
    assert caller.answer[1].startswith(COUNTED)
    caller.presence.on_gone()
    for _ in range(5):
        await asyncio.sleep(0)
    house.generator.gate.set()
    await answering
    assert kinds(house)[-1] is EntryKind.COMPLETED
    assert house.generator.cancelled == []


@pytest.mark.parametrize("stream", [True, False])
async def test_a_caller_who_does_not_read_is_given_up(house, route, caller, monkeypatch, stream):
    monkeypatch.setattr(module, "SEND_TIMEOUT_S", 0.01)
    caller.reads.clear()
    await call(route(stream=stream), caller)
    assert caller.sent == []
    assert house.generator.running == []
    assert kinds(house)[-1] is EntryKind.ABANDONED
    assert bool(house.tokens()) != stream
    assert nobody_is_left(house)


async def test_a_caller_who_stops_reading_pays_for_what_was_read(house, route, caller, monkeypatch):
    monkeypatch.setattr(module, "SEND_TIMEOUT_S", 0.05)
    house.generator.holds_at = 3
    house.generator.gate.clear()
    answering = asyncio.create_task(call(route(stream=True), caller))
    await until(lambda: house.generator.held)
    caller.reads.clear()
    house.generator.gate.set()
    await answering
    assert house.tokens()[OUT] == 3
    assert len(house.generator.cancelled) == 1


async def test_stopped_at_every_await(house, route):
    """Wherever the server is stopped, the engine's work ends, and what was sent is charged once."""

    class Slow(Caller):
        async def send(self, message):
            await asyncio.sleep(0)
            await super().send(message)

    ends = set()
    for steps in range(60):
        house.ledger.entries.clear()
        caller = Slow()
        caller.body(b"count")
        answering = asyncio.create_task(call(route(stream=True), caller))
        for _ in range(steps):
            await asyncio.sleep(0)
        for _ in range(3):
            answering.cancel()
            await asyncio.sleep(0)
        await asyncio.wait((answering,))
        await house.sessions.all.settle()
        words = b"".join(m.get("body", b"") for m in caller.sent).split()
        ended = bool(caller.sent) and not caller.sent[-1].get("more_body", True)  # after the head there is more
        charged = house.tokens().get(OUT, 0)
        assert charged in (5, len(words) - 1, len(words)) if not ended else charged == 5
        assert nobody_is_left(house)
        ends.add((ended, charged))
    assert {(False, 0), (True, 5)} < ends


async def test_draining(house, route, caller):
    house.generator.gate.clear()
    answering = asyncio.create_task(call(route(), caller))
    await until(lambda: house.generator.held)
    draining = asyncio.create_task(house.sessions.all.drain(10))
    await asyncio.sleep(0)
    late = Caller()
    late.body(b"count")
    await call(route(), late)
    assert late.answer == (503, b"draining")
    house.generator.gate.set()
    await asyncio.gather(draining, answering)
    assert caller.answer == (200, COUNTED)


async def test_a_drain_is_bounded(house, route, caller):
    house.generator.holds_at = 2
    house.generator.gate.clear()
    answering = asyncio.create_task(call(route(stream=True), caller))
    await until(lambda: house.generator.held)
    await house.sessions.all.drain(0.01)
    await answering
    assert caller.answer == (200, b"one two" + Draining.code.encode())


async def test_hundreds_of_streams_leave_nothing_behind(house, route, uploads):
    before = len(asyncio.all_tasks())
    surfaces = []
    for n in range(400):
        caller = Caller()
        caller.body(b"count")
        surface = Plain("at once")
        surfaces.append(weakref.ref(surface))
        answering = asyncio.create_task(call(route(surface=surface, stream=True), caller))
        for _ in range(n % 40):
            await asyncio.sleep(0)
        caller.leave()
        await answering
        del surface, caller, answering
    await asyncio.sleep(0)
    gc.collect()
    assert len(asyncio.all_tasks()) == before
    assert [surface for surface in surfaces if surface() is not None] == []
    assert uploads.held == 0
    assert nobody_is_left(house)


# -- charged once ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "charged"),
    [
        ([("x-stainless-retry-count", "0"), ("x-stainless-retry-count", "1")], 10),
        ([("x-stainless-retry-count", "0"), ("x-stainless-retry-count", "0")], 10),
        ([("x-other", "0"), ("x-other", "0")], 10),
    ],
)
async def test_the_same_request_again(house, route, headers, charged):
    for name, value in headers:
        caller = Caller()
        caller.body(b"count")
        await call(route(), caller, headers=[(name.encode(), value.encode())])
        assert caller.answer == (200, COUNTED)
    assert house.tokens()[OUT] == charged


KEY = [(b"idempotency-key", b"k")]


@pytest.mark.parametrize("headers", [KEY, [(b"x-stainless-retry-count", b"%d")]])
async def test_an_answer_that_did_not_leave_is_given_again_uncharged(house, route, headers):
    for number, reads in enumerate((False, True)):
        caller = Caller()
        caller.body(b"count")
        if not reads:
            house.ledger.gate.clear()
        named = [(name, value.replace(b"%d", b"%d" % number)) for name, value in headers]
        answering = asyncio.create_task(call(route(), caller, headers=named))
        if not reads:
            await house.ledger.entered.wait()
            caller.leave()
            await settle()
            house.ledger.gate.set()
        await answering
        await house.sessions.all.settle()
        assert caller.sent == [] or reads
    assert caller.answer == (200, COUNTED)
    assert house.tokens()[OUT] == 5


async def test_the_same_key_again_is_refused(house, route):
    for body, status in ((b"one", 200), (b"one", 422), (b"two", 422)):
        caller = Caller()
        caller.body(body)
        await call(route(), caller, headers=KEY)
        await house.sessions.all.settle()
        assert caller.answer[0] == status
    assert house.tokens()[OUT] == 5


async def test_while_the_first_runs_the_same_key_is_told_to_come_again(house, route):
    house.generator.holds_at = 3
    house.generator.gate.clear()
    first, second = Caller(), Caller()
    for caller in (first, second):
        caller.body(b"count")
    answering = asyncio.create_task(call(route(), first, headers=KEY))
    await until(lambda: house.generator.held)
    await call(route(), second, headers=KEY)
    assert second.answer == (409, b"still_running")
    house.generator.gate.set()
    await answering
    assert first.answer == (200, COUNTED)
    assert house.tokens()[OUT] == 5


async def test_a_body_that_is_gone_is_not_counted(house):
    """What was asked for is: here a word in half a megabyte of nothing."""

    class Padded(Endpoint):
        def negotiate(self, opening, body):
            return super().negotiate(opening, body.strip())

    uploads = Uploads(each_bytes=1_000_000, all_bytes=1_000_000)
    made = CallRoute(CallRow("/", "openai", Padded()), house.door, house.clock, uploads)
    house.generator.gate.clear()
    caller = Caller()
    caller.body(b"word" + b" " * 500_000)
    answering = asyncio.create_task(call(made, caller))
    await until(lambda: house.generator.held)
    assert uploads.held == len("word")
    house.generator.gate.set()
    await answering
    assert uploads.held == 0
