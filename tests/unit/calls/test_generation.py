import asyncio
import gc
import logging
import uuid
import weakref
from contextlib import aclosing

import pytest
from event_loop import later

from antiphon.calls import generation as module
from antiphon.calls.generation import ENTRY_TOKENS, HELD_TOKENS
from antiphon.core.call import Call
from antiphon.core.entry import EntryKind
from antiphon.core.errors import (
    AlreadyAnswered,
    CallerError,
    Cancelled,
    CapacityError,
    Conflict,
    Draining,
    EngineError,
    EngineTimeout,
    InternalError,
    LedgerUnavailable,
    StillRunning,
    Unauthenticated,
)
from antiphon.core.events import (
    ChoiceEnded,
    Completed,
    Embedded,
    Failed,
    FinishReason,
    Opened,
    ReasoningDelta,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
)
from antiphon.core.specs import GenerateSpec, Message, Role, Tool, ToolChoice, ToolMode
from antiphon.core.usage import By, Dimension, UsageQuery
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.testing import FakeGenerator
from session_house import batches_of, events_of, kinds, listen, until

STOP = (ChoiceEnded(0, FinishReason.STOP),)
IN, CACHED = Dimension.LLM_INPUT_TOKENS, Dimension.LLM_CACHED_TOKENS
OUT, THOUGHT = Dimension.LLM_OUTPUT_TOKENS, Dimension.LLM_REASONING_TOKENS
INPUT = 4  # words of the house's prompt, "please count for me"
ESTIMATED = 5  # its tokens, as long as no engine has counted them


def text(events):
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def script(house, *batches):
    house.generator.script = lambda spec: batches


def words(count, at_once=1):
    return [(TextDelta(0, "word " * at_once, at_once),)] * count


def check_corrections(house):
    """Each refers to a written entry that charges for the same."""
    written = {entry.sequence: entry for entry in house.ledger.entries}
    for entry in house.ledger.entries:
        if entry.kind is EntryKind.CORRECTION:
            corrected = written[entry.corrects.sequence]
            assert (corrected.kind, corrected.quantity.dimension) == (EntryKind.USAGE, entry.quantity.dimension)


# -- what is said, and what is paid ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
async def test_a_generation_from_open_to_close(house, stream):
    generation = house.generate(stream=stream)
    events = await events_of(generation)
    await generation.close(delivered=True)
    assert events[0] == Opened("counter-2026", "fp_1")
    assert text(events) == "one two three four five"
    assert events[-2:] == [*STOP, Completed(TokenUsage(INPUT, 5))]
    assert house.tokens() == {IN: INPUT, OUT: 5}
    assert kinds(house) == [EntryKind.USAGE, EntryKind.USAGE, EntryKind.COMPLETED]
    assert {entry.model for entry in house.ledger.entries} == {"counter-2026"}
    assert {entry.feature for entry in house.ledger.entries} == {"stream" if stream else "whole"}
    assert (house.generator.running, house.generator.cancelled) == ([], [])


async def test_what_came_at_once_leaves_at_once(house):
    generation = house.generate(choices=3)
    batches = await batches_of(generation)
    assert [len(batch) for batch in batches] == [1, 3, 3, 3, 3, 3, 3, 1]
    assert batches[-1] == (Completed(TokenUsage(INPUT, 15)),)
    await generation.close(delivered=True)


async def test_cached_and_reasoning_tokens_are_apart(house):
    script(house, (ReasoningDelta(0, "hm", 2),), *words(3), STOP, (TokenUsage(10, 5, cached=4, reasoning=2),))
    generation = house.generate()
    await events_of(generation)
    await generation.close(delivered=True)
    assert house.tokens() == {IN: 6, CACHED: 4, OUT: 3, THOUGHT: 2}


async def test_tool_calls_count(house):
    house.generator.tokens = 70
    choice = ToolChoice(ToolMode.REQUIRED)
    generation = house.generate(tools=(Tool("f"),), tool_choice=choice)
    async with aclosing(generation.events()) as events:
        sent = 0
        async for batch in events:
            sent += sum(event.tokens for event in batch if isinstance(event, ToolCallDelta))
            assert sent <= house.durable().get(OUT, 0)
    await generation.close(delivered=True)
    assert house.tokens() == {IN: INPUT, OUT: 70}


async def test_tags_and_key_are_in_every_entry(house):
    generation = house.generate(tags=("a", "b"))
    await events_of(generation)
    await generation.close(delivered=True)
    assert {(entry.tags, entry.key_id, entry.project) for entry in house.ledger.entries} == {(("a", "b"), "k1", "acme")}


# -- durable before it leaves ------------------------------------------------------------------------------------------


async def test_a_whole_answer_is_durable_before_it_leaves(house):
    house.ledger.gate.clear()
    generation = house.generate(stream=False)
    hearing = asyncio.create_task(events_of(generation))
    await house.ledger.entered.wait()
    assert not hearing.done()
    house.ledger.gate.set()
    assert isinstance((await hearing)[-1], Completed)
    assert kinds(house) == [EntryKind.USAGE, EntryKind.USAGE]
    await generation.close(delivered=True)
    assert kinds(house)[-1] is EntryKind.COMPLETED


@pytest.mark.parametrize("at_once", [1, 7, 64, 200])
async def test_a_stream_is_never_ahead_of_the_ledger(house, at_once):
    script(house, *words(400 // at_once, at_once), STOP, (TokenUsage(INPUT, 400 // at_once * at_once),))
    generation = house.generate()
    sent = 0
    async with aclosing(generation.events()) as events:
        async for batch in events:
            sent += sum(event.tokens for event in batch if isinstance(event, TextDelta))
            if len(batch) > 1 or not isinstance(batch[0], Opened):
                assert house.durable() == {IN: INPUT if isinstance(batch[-1], Completed) else ESTIMATED, OUT: sent}
    assert house.ledger.appends <= 400 // ENTRY_TOKENS + 1
    await generation.close(delivered=True)
    assert house.tokens() == {IN: INPUT, OUT: sent}
    assert house.ledger.notes == {}


async def test_a_token_waits_until_it_is_durable(house):
    house.ledger.note_gate.clear()
    generation, events = house.generate(), []
    reading = asyncio.create_task(listen(generation, events))
    await until(lambda: house.generator.running)
    for _ in range(20):
        await asyncio.sleep(0)
    assert text(events) == ""
    house.ledger.note_gate.set()
    await reading
    await generation.close(delivered=True)
    assert house.tokens() == {IN: INPUT, OUT: 5}


async def test_what_was_noted_and_not_sent_is_not_charged(house):
    """Nothing of it stays in the ledger as if it were owed."""
    house.ledger.note_gate.clear()
    generation = house.generate()
    reading = asyncio.create_task(events_of(generation))
    await until(lambda: house.generator.running)
    for _ in range(20):
        await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait((reading,))
    house.ledger.note_gate.set()
    await generation.close(delivered=False)
    assert (house.tokens(), house.ledger.notes) == ({}, {})
    assert kinds(house) == [EntryKind.ABANDONED]


async def test_each_choice_of_a_stream_counts(house):
    house.generator.tokens = 20
    generation = house.generate(choices=5)
    sent = 0
    async with aclosing(generation.events()) as events:
        async for batch in events:
            sent += sum(isinstance(event, TextDelta) for event in batch)
            assert sent <= house.durable().get(OUT, 0)
    await generation.close(delivered=True)
    assert house.tokens() == {IN: INPUT, OUT: 100}


# -- the engine's count and ours ---------------------------------------------------------------------------------------


async def test_what_was_charged_too_much_is_corrected(house):
    script(house, (ReasoningDelta(0, "hm", 10),), *words(120), STOP, (TokenUsage(3, 90, cached=2),))
    generation = house.generate()
    await events_of(generation)
    await generation.close(delivered=True)
    assert house.tokens() == {IN: 1, CACHED: 2, OUT: 90}
    assert kinds(house).count(EntryKind.CORRECTION) == 3  # of the input's estimate, of the output, of what was thought
    check_corrections(house)


async def test_a_second_correction_refers_to_what_was_charged_too(house):
    early = (TokenUsage(30, 0), TokenUsage(20, 0))
    script(house, early[:1], *words(64), early[1:], *words(64), STOP, (TokenUsage(10, 128),))
    generation = house.generate()
    await events_of(generation)
    await generation.close(delivered=True)
    assert house.tokens() == {IN: 10, OUT: 128}
    assert kinds(house).count(EntryKind.CORRECTION) == 2
    check_corrections(house)


async def test_the_ledger_on_disk_takes_corrections_and_totals_include_them(house, tmp_path):
    ledger = SqliteLedger(tmp_path / "ledger.db", "a")
    house.ledger.append = ledger.append
    script(house, (ReasoningDelta(0, "hm", 10),), *words(120), STOP, (TokenUsage(3, 90, cached=2),))
    generation = house.generate()
    await events_of(generation)
    await generation.close(delivered=True)
    await ledger.close()
    totals = {total.dimension: total.amount for total in await ledger.totals(UsageQuery(by=(By.PROJECT,)))}
    assert {dimension: amount for dimension, amount in totals.items() if amount} == {IN: 1, CACHED: 2, OUT: 90}


async def test_an_engine_that_counts_more_than_passed_is_paid(house):
    script(house, *words(3), STOP, (TokenUsage(INPUT, 9),))
    generation = house.generate()
    await events_of(generation)
    await generation.close(delivered=True)
    assert house.tokens() == {IN: INPUT, OUT: 9}
    assert "antiphon_llm_token_drift_total 6.0" in house.metrics()


@pytest.mark.parametrize(
    "count", [TokenUsage(-1, 5), TokenUsage(5, -1), TokenUsage(5, 5, cached=6), TokenUsage(5, 5, reasoning=6)]
)
async def test_a_count_that_makes_no_sense_is_the_engines_failure(house, count):
    script(house, *words(5), STOP, (count,))
    generation = house.generate()
    assert isinstance((await events_of(generation))[-1].error, EngineError)
    await generation.close(delivered=True)
    assert house.tokens() == {IN: ESTIMATED, OUT: 5}


# -- leaving early -----------------------------------------------------------------------------------------------------


async def take(generation, batches):
    """As a caller who leaves when so many were sent."""
    async with aclosing(generation.events()) as events:
        for _ in range(batches):
            await anext(events)
        await anext(events)  # on its way when the caller leaves
    await generation.close(delivered=False)


@pytest.mark.parametrize(("early", "asked"), [(True, INPUT), (False, ESTIMATED)])
async def test_who_leaves_a_stream_pays_for_what_was_sent(house, early, asked):
    house.generator.early_usage = early
    generation = house.generate()
    await take(generation, 1 + 3)
    assert house.tokens() == {IN: asked, OUT: 3}
    assert kinds(house) == [EntryKind.USAGE, EntryKind.USAGE, EntryKind.ABANDONED]
    assert house.generator.cancelled == [generation.call.id]


async def test_who_leaves_late_pays_what_was_not_charged_yet(house):
    house.generator.tokens = 200
    generation = house.generate()
    await take(generation, 1 + 100)
    assert house.tokens() == {IN: ESTIMATED, OUT: 100}
    assert kinds(house)[-1] is EntryKind.ABANDONED


async def test_a_result_that_was_charged_and_not_sent_is_said_to_be(house):
    house.generator.tokens = 200
    generation = house.generate()
    await take(generation, 1 + ENTRY_TOKENS - 1)
    assert house.tokens() == {IN: ESTIMATED, OUT: ENTRY_TOKENS}  # one more than was certainly sent
    assert EntryKind.CORRECTION not in kinds(house)
    assert kinds(house)[-1] is EntryKind.ABANDONED


@pytest.mark.parametrize("batches", [0, 1])
async def test_who_leaves_before_anything_was_sent_pays_nothing(house, batches):
    generation = house.generate()
    await take(generation, batches)
    assert house.tokens() == house.durable() == {}


@pytest.mark.parametrize("batches", range(6))
async def test_who_leaves_a_whole_answer_before_its_end_pays_nothing(house, batches):
    generation = house.generate(stream=False)
    await take(generation, batches)
    assert house.tokens() == house.durable() == {}
    assert house.generator.running == []


async def test_who_leaves_while_the_last_byte_is_sent_is_charged_and_it_is_said(house):
    generation = house.generate(stream=False)
    await take(generation, 7)
    assert house.tokens() == {IN: INPUT, OUT: 5}
    assert kinds(house)[-1] is EntryKind.ABANDONED


async def test_the_input_is_estimated_from_all_messages(house):
    prompt = (Message(Role.SYSTEM, "1234567890"), Message(Role.USER, "né"))
    generation = house.generate(prompt=prompt)
    await take(generation, 2)
    assert house.tokens() == {IN: 4, OUT: 1}


# -- failures of the engine --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [EngineError("down"), CapacityError("full", retry_after_s=1), CallerError("no")])
@pytest.mark.parametrize("stream", [True, False])
async def test_an_engine_that_refuses(house, stream, error):
    house.generator.error = error
    generation = house.generate(stream=stream)
    assert await batches_of(generation) == [(Opened("counter-2026", "fp_1"),), (Failed(error),)]
    await generation.close(delivered=True)
    assert house.ledger.entries == []
    assert f'antiphon_sessions_total{{outcome="{error.code}",surface="openai"}} 1.0' in house.metrics()


@pytest.mark.parametrize(("stream", "paid"), [(True, {IN: ESTIMATED, OUT: 3}), (False, {})])
async def test_a_failed_stream_is_paid_as_far_as_it_came_and_a_failed_answer_not(house, stream, paid):
    house.generator.error = EngineError("died")
    house.generator.fails_at = 3
    generation = house.generate(stream=stream)
    events = await events_of(generation)
    await generation.close(delivered=True)
    assert text(events) == "one two three"
    assert events[-1] == Failed(house.generator.error)
    assert house.tokens() == paid
    assert kinds(house)[-1:] == ([EntryKind.ABANDONED] if stream else [])


async def test_a_defect_is_logged_without_what_it_says_and_told_as_one(house, caplog):
    house.generator.error = ValueError("the caller's words")
    generation = house.generate()
    events = await events_of(generation)
    await generation.close(delivered=True)
    assert isinstance(events[-1].error, InternalError)
    assert "words" not in events[-1].error.message
    assert not any("words" in record.getMessage() for record in caplog.records)
    assert any(record.levelno == logging.ERROR for record in caplog.records)


@pytest.mark.parametrize(
    "batches", [[], words(2), [*words(2), STOP], [*words(2), (TokenUsage(3, 2),), STOP], [(TokenUsage(3, 0),)]]
)
async def test_an_engine_that_ends_without_an_end_has_failed(house, batches):
    script(house, *batches)
    generation = house.generate()
    events = await events_of(generation)
    await generation.close(delivered=True)
    assert isinstance(events[-1].error, EngineError)
    assert not any(isinstance(event, Completed) for event in events)
    assert house.generator.running == []


async def test_the_last_choice_and_the_count_may_come_together(house):
    script(house, (TextDelta(0, "hi", 1), *STOP, TokenUsage(INPUT, 1)))
    generation = house.generate()
    batches = await batches_of(generation)
    assert batches[-1] == (TextDelta(0, "hi", 1), *STOP, Completed(TokenUsage(INPUT, 1)))
    await generation.close(delivered=True)


async def test_a_count_before_the_last_choice_has_ended_is_not_the_last(house):
    second = (ChoiceEnded(1, FinishReason.LENGTH),)
    script(house, (*STOP, TokenUsage(INPUT, 1)), (TextDelta(1, "hi", 1),), second, (TokenUsage(INPUT, 2),))
    generation = house.generate(choices=2)
    assert (await events_of(generation))[-1] == Completed(TokenUsage(INPUT, 2))
    await generation.close(delivered=True)


class Stubborn(FakeGenerator):
    """Its end fails, or never comes; `cancelled_inside` has its own work cancelled."""

    def __init__(self, end=None, cancelled_inside=False):
        super().__init__()
        self.end = end
        self.cancelled_inside = cancelled_inside

    async def generate(self, spec, call):
        try:
            async with aclosing(super().generate(spec, call)) as batches:
                async for batch in batches:
                    yield batch
                    if self.cancelled_inside:
                        own = asyncio.get_running_loop().create_future()
                        own.cancel()
                        await own
        finally:
            if self.end == "hang":
                await asyncio.Event().wait()
            if self.end:
                raise self.end


def serve(house, generator):
    served = house.served["counter-2026"]
    object.__setattr__(served, "engine", generator)
    house.generator = generator


@pytest.mark.parametrize("end", [EngineError("late"), ValueError("late"), "hang"])
@pytest.mark.parametrize("leaves", [True, False])
async def test_how_an_engine_ends_its_work_does_not_change_the_answer(house, monkeypatch, caplog, end, leaves):
    monkeypatch.setattr(module, "RELEASE_S", 0.01)
    serve(house, Stubborn(end))
    generation = house.generate()
    if leaves:
        await take(generation, 3)
    else:
        events = await events_of(generation)
        assert isinstance(events[-1], Completed)
        assert not any(isinstance(event, Failed) for event in events)
        await generation.close(delivered=True)
        assert kinds(house)[-1] is EntryKind.COMPLETED
    assert any(record.getMessage() == "an engine could not be stopped" for record in caplog.records)


async def test_an_engine_whose_own_work_is_cancelled_has_failed_and_nobody_else_is_cancelled(house):
    serve(house, Stubborn(cancelled_inside=True))
    generation = house.generate()
    events = await events_of(generation)
    assert isinstance(events[-1].error, EngineError)
    assert asyncio.current_task().cancelling() == 0
    await generation.close(delivered=True)


async def test_an_engine_that_has_said_everything_comes_to_its_own_end(house):
    """Or a connection to it could not be used again."""
    generation = house.generate()
    async with aclosing(generation.events()) as events:
        async for batch in events:
            if isinstance(batch[-1], Completed):
                break
    assert house.generator.cancelled == []
    await generation.close(delivered=False)


# -- ended from outside ------------------------------------------------------------------------------------------------

GONE = Unauthenticated("revoked")


@pytest.mark.parametrize("stream", [True, False])
async def test_fail_before_the_start(house, stream):
    generation = house.generate(stream=stream)
    generation.fail(GONE)
    generation.fail(EngineError("another"))
    assert (await events_of(generation))[1:] == [Failed(GONE)]
    await generation.close(delivered=True)
    assert house.generator.running == []
    assert house.ledger.entries == []


async def test_fail_while_the_engine_works(house):
    house.generator.holds_at = 2
    house.generator.gate.clear()
    generation = house.generate()
    hearing = asyncio.create_task(events_of(generation))
    await until(lambda: house.generator.held)
    generation.fail(GONE)
    generation.fail(EngineError("another"))
    events = await hearing
    assert hearing.cancelling() == 0
    assert events[-1] == Failed(GONE)
    assert text(events) == "one two"
    assert house.generator.cancelled == [generation.call.id]
    await generation.close(delivered=True)
    assert house.tokens() == {IN: ESTIMATED, OUT: 2}
    assert 'outcome="unauthenticated"' in house.metrics()


async def test_fail_while_it_is_sent(house):
    generation = house.generate()
    events = []
    async for batch in generation.events():
        events += batch
        if text(events) == "one two":
            generation.fail(GONE)
            await asyncio.sleep(0)
    assert events[-1] == Failed(GONE)
    assert text(events) == "one two"
    await generation.close(delivered=True)
    assert house.tokens() == {IN: ESTIMATED, OUT: 2}


async def test_fail_while_the_last_charge_is_written_comes_too_late(house):
    house.ledger.gate.clear()
    generation = house.generate(stream=False)
    hearing = asyncio.create_task(events_of(generation))
    await house.ledger.entered.wait()
    generation.fail(GONE)
    house.ledger.gate.set()
    assert isinstance((await hearing)[-1], Completed)
    await generation.close(delivered=True)
    assert kinds(house)[-1] is EntryKind.COMPLETED
    assert 'outcome="completed"' in house.metrics()


@pytest.mark.parametrize("steps", range(8))
async def test_fail_and_the_engines_answer_at_the_same_time(house, steps):
    """Whichever comes first, the task that listens is not cancelled, and what fails is said once."""
    house.generator.holds_at = 2
    house.generator.gate.clear()
    generation = house.generate()
    hearing = asyncio.create_task(events_of(generation))
    await until(lambda: house.generator.held)
    asyncio.get_running_loop().call_soon(house.generator.gate.set)
    for _ in range(steps):
        await asyncio.sleep(0)
    generation.fail(GONE)
    events = await hearing
    assert hearing.cancelling() == 0
    ends = [event for event in events if isinstance(event, Failed | Completed)]
    assert len(ends) == 1
    assert ends[0] in (Failed(GONE), Completed(TokenUsage(INPUT, 5)))
    await generation.close(delivered=True)
    assert house.generator.running == []


@pytest.mark.parametrize("steps", range(6))
@pytest.mark.parametrize("fail_first", [True, False])
async def test_a_cancellation_beside_a_failure_is_not_swallowed(house, steps, fail_first):
    house.generator.gate.clear()
    generation = house.generate()
    hearing = asyncio.create_task(events_of(generation))
    await until(lambda: house.generator.held)
    first, second = (lambda: generation.fail(GONE), hearing.cancel)[:: 1 if fail_first else -1]
    first()
    for _ in range(steps):
        await asyncio.sleep(0)
    if hearing.done():
        assert fail_first or hearing.cancelled()
    else:
        second()
        await asyncio.wait((hearing,))
        assert hearing.cancelled()
    await generation.close(delivered=False)
    assert house.generator.running == []


class Swallowing(FakeGenerator):
    """Goes on though it was cancelled, or says something else about it."""

    def __init__(self, error=None):
        super().__init__()
        self.instead = error

    async def generate(self, spec, call):
        self.running.append(call.id)
        try:
            yield (TextDelta(0, "one", 1),)
            try:
                self.held.append(call.id)
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if self.instead:
                    raise self.instead from None
            yield (TextDelta(0, " two", 1),)
            yield (*STOP, TokenUsage(1, 2))
        finally:
            self.running.remove(call.id)


@pytest.mark.parametrize("error", [None, EngineError("interrupted"), TimeoutError()])
async def test_a_failure_is_said_whatever_the_engine_makes_of_it(house, error):
    serve(house, Swallowing(error))
    generation = house.generate()
    hearing = asyncio.create_task(events_of(generation))
    await until(lambda: house.generator.held)
    generation.fail(GONE)
    assert (await hearing)[-1] == Failed(GONE)
    await generation.close(delivered=True)
    assert house.generator.running == []


async def test_a_failure_while_the_engine_is_being_ended(house):
    class Slow(FakeGenerator):
        async def generate(self, spec, call):
            try:
                self.held.append(call.id)
                await asyncio.Event().wait()
                yield ()
            finally:
                await self.gate.wait()

    serve(house, Slow())
    house.generator.gate.clear()
    generation = house.generate()
    hearing = asyncio.create_task(events_of(generation))
    await until(lambda: house.generator.held)
    for error in (GONE, EngineError("another"), EngineError("a third")):
        generation.fail(error)
        for _ in range(3):
            await asyncio.sleep(0)
    house.generator.gate.set()
    assert (await hearing)[-1] == Failed(GONE)
    await generation.close(delivered=True)


async def test_nothing_holds_on_to_a_generation_that_is_closed(house):
    generation = house.generate()
    await events_of(generation)
    await generation.close(delivered=True)
    gone = weakref.ref(generation)
    del generation
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("stream", [True, False])
async def test_a_deadline(house, stream):
    house.generator.gate.clear()
    generation = house.generate(stream=stream)
    generation._deadline_ns = house.clock.now_ns() + 5_000_000
    assert isinstance((await events_of(generation))[-1].error, EngineTimeout)
    await generation.close(delivered=True)
    assert house.generator.cancelled == [generation.call.id]


async def test_the_deadline_is_of_the_whole_generation(house, monkeypatch):
    generation = house.generate()
    generation._deadline_ns = house.clock.now_ns() + 200 * 1_000_000_000
    events = []
    async for batch in generation.events():
        events += batch
        await later(monkeypatch, 60)
    assert isinstance(events[-1].error, EngineTimeout)
    assert text(events).startswith("one")
    await generation.close(delivered=True)


async def test_the_engine_is_told_the_deadline_and_the_id(house):
    generation = house.generate()
    await events_of(generation)
    await generation.close(delivered=True)
    ((_, call),) = house.generator.calls
    assert call.id == generation.call.id
    assert call.deadline_ns == 600 * 1_000_000_000


async def test_an_engines_own_time_is_up(house):
    house.generator.error = TimeoutError("the caller's words")
    generation = house.generate()
    assert isinstance((await events_of(generation))[-1].error, EngineTimeout)
    await generation.close(delivered=True)


async def test_a_revoked_key_a_drain_and_a_failed_ledger_end_it(house):
    house.generator.gate.clear()
    for error in (Unauthenticated("x"), Draining("x"), LedgerUnavailable("x")):
        generation = house.generate()
        hearing = asyncio.create_task(events_of(generation))
        await until(lambda: house.generator.held)
        generation.drain()
        assert not hearing.done()
        generation.fail(error)
        assert (await hearing)[-1] == Failed(error)
        await generation.close(delivered=True)


# -- the ledger --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
async def test_nothing_more_is_delivered_when_the_ledger_fails(house, stream):
    house.generator.tokens = 200
    generation = house.generate(stream=stream)
    events = []
    async for batch in generation.events():
        events += batch
        if len(events) == 10:
            house.ledger.error = LedgerUnavailable("full")
    assert events[-1] == Failed(house.ledger.error)
    sent = sum(isinstance(event, TextDelta) for event in events)
    assert sent == (9 if stream else 200)
    await generation.close(delivered=True)
    assert house.ledger.entries == []
    assert house.durable() == ({IN: ESTIMATED, OUT: 9} if stream else {})  # an entry when the next server starts


async def test_what_was_sent_is_paid_when_the_ledger_is_well_again(house):
    house.generator.tokens = 200
    generation = house.generate()
    async for batch in generation.events():
        if isinstance(batch[0], TextDelta):
            house.ledger.error = LedgerUnavailable("full")
    house.ledger.error = None
    await generation.close(delivered=True)
    assert house.tokens() == {IN: ESTIMATED, OUT: 1}
    assert kinds(house)[-1] is EntryKind.ABANDONED


async def test_a_ledger_that_breaks_does_not_break_the_close(house, caplog):
    generation = house.generate()
    await events_of(generation)
    house.ledger.append = None
    await generation.close(delivered=True)
    assert 'antiphon_sessions_open{surface="openai"} 0.0' in house.metrics()
    assert any(record.levelno == logging.ERROR for record in caplog.records)


@pytest.mark.parametrize("write_first", [True, False])
@pytest.mark.parametrize(("stream", "tokens", "paid"), [(True, 200, ENTRY_TOKENS), (True, 5, 5), (False, 5, 5)])
async def test_cancelled_during_an_append(house, write_first, stream, tokens, paid):
    """Nobody knows whether it was written: the same entries are written again, and taken once."""
    house.generator.tokens = tokens
    house.ledger.gate.clear()
    house.ledger.write_first = write_first
    generation = house.generate(stream=stream)
    hearing = asyncio.create_task(events_of(generation))
    await house.ledger.entered.wait()
    hearing.cancel()
    await asyncio.wait((hearing,))
    assert hearing.cancelled()
    house.ledger.gate.set()
    await generation.close(delivered=False)
    assert house.tokens()[OUT] == paid
    assert len({entry.key for entry in house.ledger.entries}) == len(house.ledger.entries)
    assert kinds(house)[-1] is EntryKind.ABANDONED
    assert house.generator.running == []


async def test_cancelled_at_every_await(house):
    """Wherever it is cancelled, the engine's work has ended, what was sent is paid, and nothing twice."""
    house.generator.tokens = 80  # more than are charged at once
    outcomes = set()
    for steps in range(220):
        house.ledger.entries.clear()
        house.generator.gate.set()
        generation = house.generate()
        sent = []

        async def send(generation=generation, sent=sent):
            async with aclosing(generation.events()) as events:
                async for batch in events:
                    await asyncio.sleep(0)
                    sent += batch

        sending = asyncio.create_task(send())
        for _ in range(steps):
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait((sending,))
        delivered = not sending.cancelled()
        await generation.close(delivered)
        got = sum(isinstance(event, TextDelta) for event in sent)
        charged = house.tokens().get(OUT, 0)
        if delivered:
            assert (got, charged) == (80, 80)
        else:
            assert got <= charged <= got + 1 or charged == 80
            assert kinds(house)[-1:] in ([], [EntryKind.ABANDONED])
        assert house.generator.running == []
        outcomes.add((delivered, charged > 0))
    assert outcomes == {(False, False), (False, True), (True, True)}


async def test_a_close_goes_on_when_its_caller_is_cancelled(house):
    generation = house.generate()
    await events_of(generation)
    house.ledger.gate.clear()
    closing = asyncio.create_task(generation.close(delivered=True))
    await until(lambda: house.ledger.appends == 2)
    closing.cancel()
    await asyncio.wait((closing,))
    house.ledger.gate.set()
    await house.sessions.all.settle()
    assert kinds(house)[-1] is EntryKind.COMPLETED


# -- idempotency keys --------------------------------------------------------------------------------------------------


async def test_an_answer_that_may_not_have_arrived_is_given_again_uncharged_and_once(house, caplog):
    caplog.set_level(logging.INFO)
    for delivered in (False, True):
        claim = await house.claim("key", "body")
        assert (claim.replay_of is not None) == delivered
        generation = house.generate(claim, claim.session, stream=False)
        assert isinstance((await events_of(generation))[-1], Completed)
        await generation.close(delivered)
    with pytest.raises(AlreadyAnswered):
        await house.claim("key", "body")
    assert house.tokens() == {IN: INPUT, OUT: 5}
    assert kinds(house) == [EntryKind.USAGE, EntryKind.USAGE, EntryKind.ABANDONED]
    assert 'dimension="llm.output_tokens",model="counter-2026",surface="openai"} 5.0' in house.metrics()
    assert [record.charged for record in caplog.records if hasattr(record, "charged")] == [{IN: INPUT, OUT: 5}, {}]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_left_is_not_given_again(house, stream):
    claim = await house.claim("key", "body")
    generation = house.generate(claim, claim.session, stream=stream)
    await events_of(generation)
    await generation.close(delivered=True)
    with pytest.raises(AlreadyAnswered) as refused:
        await house.claim("key", "body")
    assert refused.value.session == generation.call.id
    with pytest.raises(Conflict):
        await house.claim("key", "another body")


async def test_a_stream_that_broke_off_is_answered_and_charged_anew(house):
    for n in (3, 5):
        claim = await house.claim("key", "body")
        assert claim.replay_of is None
        generation = house.generate(claim, claim.session)
        if n == 3:
            await take(generation, 1 + n)
        else:
            await events_of(generation)
            await generation.close(delivered=True)
    assert house.tokens()[OUT] == 3 + 5
    with pytest.raises(AlreadyAnswered):
        await house.claim("key", "body")


async def test_while_the_first_with_a_key_runs_no_second_does(house):
    claims = [await house.claim("key", "body") for _ in range(2)]
    first = house.generate(claims[0], claims[0].session)
    with pytest.raises(StillRunning):
        house.generate(claims[1], claims[1].session)
    with pytest.raises(StillRunning):
        await house.claim("key", "body")
    with pytest.raises(Conflict):
        await house.claim("key", "another body")
    await events_of(first)
    await first.close(delivered=True)
    assert house.tokens() == {IN: INPUT, OUT: 5}
    assert house.sessions.limits(house.principal)[0].remaining == 4


async def test_a_key_whose_answer_failed_is_free_again(house):
    house.generator.error = EngineError("down")
    for error in (house.generator.error, None):
        house.generator.error = error
        claim = await house.claim("key", "body")
        generation = house.generate(claim, claim.session, stream=False)
        assert isinstance((await events_of(generation))[-1], Failed) == (error is not None)
        await generation.close(delivered=True)
    assert house.tokens() == {IN: INPUT, OUT: 5}


async def test_an_answer_given_again_that_fails_may_be_asked_for_once_more(house):
    for delivered, error in ((False, None), (True, EngineError("down")), (True, None)):
        house.generator.error = error
        claim = await house.claim("key", "body")
        generation = house.generate(claim, claim.session, stream=False)
        await events_of(generation)
        await generation.close(delivered)
    with pytest.raises(AlreadyAnswered):
        await house.claim("key", "body")
    assert house.tokens() == {IN: INPUT, OUT: 5}


# -- how long it took --------------------------------------------------------------------------------------------------


async def test_it_is_measured_from_the_request_to_the_sending(house):
    generation = house.generate()
    house.clock.advance_ms(40)
    async for batch in generation.events():
        if isinstance(batch[0], TextDelta):
            house.clock.advance_ms(10)  # while it is sent
    await generation.close(delivered=True)
    metrics = house.metrics()
    assert "antiphon_llm_ttft_seconds_sum 0.05" in metrics
    assert "antiphon_llm_tpot_seconds_sum 0.01" in metrics
    assert "antiphon_llm_total_seconds_sum 0.09" in metrics
    assert 'antiphon_llm_generations_total{good="true"} 1.0' in metrics


async def test_a_slow_one_is_not_good(house):
    generation = house.generate()
    house.clock.advance_ms(600)
    await events_of(generation)
    await generation.close(delivered=True)
    assert 'antiphon_llm_generations_total{good="false"} 1.0' in house.metrics()


async def test_one_that_sent_nothing_had_no_first_token(house):
    house.generator.tokens = 0
    generation = house.generate()
    house.clock.advance_ms(600)
    await events_of(generation)
    await generation.close(delivered=True)
    metrics = house.metrics()
    assert "antiphon_llm_ttft_seconds_count 0.0" in metrics
    assert "antiphon_llm_total_seconds_sum 0.6" in metrics
    assert 'antiphon_llm_generations_total{good="true"} 1.0' in metrics
    assert not house.observer._generated


async def test_one_that_failed_is_not_measured(house):
    house.generator.error, house.generator.fails_at = EngineError("died"), 2
    generation = house.generate()
    await events_of(generation)
    await generation.close(delivered=True)
    assert "antiphon_llm_ttft_seconds_count 0.0" in house.metrics()


# -- embeddings --------------------------------------------------------------------------------------------------------


async def test_embeddings(house):
    generation = house.embed("two words", (1, 2, 3))
    events = await events_of(generation)
    await generation.close(delivered=True)
    assert events[0] == Opened("vectors-2026")
    assert isinstance(events[1], Embedded)
    assert [vector[0] for vector in events[1].vectors] == [2.0, 3.0]
    assert events[2] == Completed(TokenUsage(5, 0))
    assert house.tokens() == {Dimension.EMBEDDING_TOKENS: 5}
    assert kinds(house) == [EntryKind.USAGE, EntryKind.COMPLETED]
    assert house.ledger.entries[0].feature == "embedding"


@pytest.mark.parametrize("error", [CallerError("too long"), EngineError("died"), LedgerUnavailable("full")])
async def test_embeddings_that_fail_are_free(house, error):
    generation = house.embed("text")
    if isinstance(error, LedgerUnavailable):
        house.ledger.error = error
    else:
        house.embedder.error = error
    assert (await events_of(generation))[1:] == [Failed(error)]
    house.ledger.error = None
    await generation.close(delivered=True)
    assert house.ledger.entries == []


@pytest.mark.parametrize("how", ["fail", "deadline", "cancel", "before"])
async def test_embeddings_are_ended_inside_the_engine(house, how):
    house.embedder.gate.clear()
    generation = house.embed("text")
    if how == "deadline":
        generation._deadline_ns = house.clock.now_ns() + 5_000_000
    if how == "before":
        generation.fail(GONE)
    hearing = asyncio.create_task(events_of(generation))
    if how != "before":
        await until(lambda: house.embedder.calls)
    if how == "fail":
        generation.fail(GONE)
    if how == "cancel":
        hearing.cancel()
    await asyncio.wait((hearing,))
    assert hearing.cancelled() == (how == "cancel")
    if how != "cancel":
        assert isinstance(hearing.result()[-1].error, EngineTimeout if how == "deadline" else Unauthenticated)
    await generation.close(delivered=how != "cancel")
    assert house.embedder.cancelled == ([] if how == "before" else [generation.call.id])
    assert house.ledger.entries == []


async def test_embeddings_that_nobody_waited_for_any_more_are_charged_once_they_were_counted(house):
    house.ledger.gate.clear()
    generation = house.embed("text")
    hearing = asyncio.create_task(events_of(generation))
    await house.ledger.entered.wait()
    hearing.cancel()
    await asyncio.wait((hearing,))
    house.ledger.gate.set()
    await generation.close(delivered=False)
    assert kinds(house) == [EntryKind.USAGE, EntryKind.ABANDONED]


# -- ahead of the caller's word ----------------------------------------------------------------------------------------


def held(house):
    asked = GenerateSpec(model="counter", prompt="please count for me", stream=True)
    return house.sessions.generate(Call(str(uuid.uuid4()), house.principal, "openai", asked), held=True)


@pytest.mark.parametrize("tokens", [5, HELD_TOKENS + 5])
async def test_what_is_held_says_little_and_is_not_charged_until_it_is_confirmed(house, tokens):
    house.generator.tokens = tokens
    generation, events = held(house), []
    reading = asyncio.create_task(listen(generation, events))
    await until(lambda: text(events).count(" ") == min(tokens, HELD_TOKENS - 1) - 1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert text(events).count(" ") == min(tokens, HELD_TOKENS - 1) - 1
    assert house.ledger.entries == []
    await generation.confirm()
    await reading
    await generation.close(delivered=True)
    assert events[-1] == Completed(TokenUsage(INPUT, tokens))
    assert house.tokens() == {IN: INPUT, OUT: tokens}


async def test_what_was_held_is_durable_once_confirmed_though_no_more_was_asked_for(house):
    generation = held(house)
    events = generation.events()
    async with aclosing(events):
        batches = [await anext(events), await anext(events)]
        await generation.confirm()
        told = sum(event.tokens for batch in batches for event in batch if isinstance(event, TextDelta))
        (noted,) = house.ledger.notes.values()
        assert noted[Dimension.LLM_OUTPUT_TOKENS, 0] == told > 0
    await generation.close(delivered=False)


async def test_what_was_held_and_not_wanted_is_free(house):
    generation, events = held(house), []
    reading = asyncio.create_task(listen(generation, events))
    await until(lambda: text(events))
    generation.fail(Cancelled("the speaker goes on"))
    await reading
    assert isinstance(events[-1], Failed)
    await generation.close(delivered=False)
    assert house.ledger.entries == []
    assert not house.generator.running
