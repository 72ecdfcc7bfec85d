"""A pool that hedges, on fake engines: who is asked too, whose answer it is, what is left of the other."""

import asyncio
from contextlib import aclosing

import pytest
from event_loop import later, move, settle

from antiphon.core.errors import EngineError
from antiphon.core.events import ChoiceEnded, FinishReason, TextDelta, TokenUsage
from antiphon.core.ports import EngineCall
from antiphon.core.specs import GenerateSpec
from antiphon.core.units import NS_PER_MS
from antiphon.pools.backend import Backend
from antiphon.pools.breaker import TOLERATED, State
from antiphon.pools.gate import Ask
from antiphon.pools.pool import RETRY_BURST, Pool
from antiphon.pools.queue import QueueLimits
from antiphon.testing import FakeClock

SPEC = GenerateSpec("m", "Once")
AFTER_S = 10
NEVER_MS = 3_600_000


class Engine:
    """Says its name in two pieces once `gate` is open, or raises `before` instead, or `amid` after the first. `counts`
    is said at once.
    """

    def __init__(self, name):
        self.name = name
        self.before = self.amid = None
        self.counts = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = []
        self.running = 0

    async def generate(self, spec, call):
        self.asked.append(call)
        self.running += 1
        try:
            if self.counts:
                yield (TokenUsage(3, 0),)
            await self.gate.wait()
            if self.before:
                raise self.before
            yield (TextDelta(0, self.name, 1),)
            if self.amid:
                raise self.amid
            yield (TextDelta(0, ".", 1),)
            yield (ChoiceEnded(0, FinishReason.STOP), TokenUsage(3, 2))
        finally:
            self.running -= 1


class House:
    """Engines behind a pool that hedges after `AFTER_S`; `first` is where the request belongs, and slow. A test moves
    the loop's clock.
    """

    def __init__(self, names="ab", hedge_after_ms=AFTER_S * 1000, most=10):
        self.patch = pytest.MonkeyPatch()
        self.clock = FakeClock()
        self.engines = [Engine(name) for name in names]
        backends = [Backend(engine.name, engine, outstanding=most) for engine in self.engines]
        self.pool = Pool(backends, self.clock, QueueLimits(), hedge_after_ms)

    async def __aenter__(self):
        name = (await self.say())[0].text
        self.first = next(engine for engine in self.engines if engine.name == name)
        self.others = [engine for engine in self.engines if engine is not self.first]
        self.first.asked.clear()
        self.first.gate.clear()
        return self

    async def __aexit__(self, *_):
        """Nothing is held, running or left over anywhere."""
        await settle()
        self.patch.undo()
        assert {engine.running for engine in self.engines} == {0}
        assert {backend.outstanding for backend in self.pool.stats().backends} == {0}
        assert len(asyncio.all_tasks()) == 1

    async def say(self, deadline_ns=None):
        batches = [batch async for batch in self.pool.generate(SPEC, EngineCall("id", deadline_ns))]
        return [event for batch in batches for event in batch]

    async def late(self):
        """Let the time pass after which another is asked."""
        await settle()
        await later(self.patch, AFTER_S)
        await settle()

    async def say_late(self, deadline_ns=None):
        """Return a request after that time."""
        saying = asyncio.create_task(self.say(deadline_ns))
        await self.late()
        return saying

    async def hedged(self, deadline_ns=None):
        """Return a request that another is asked, too, and that other."""
        saying = await self.say_late(deadline_ns)
        (other,) = (engine for engine in self.others if engine.asked)
        return saying, other

    def stats(self, engine):
        return next(backend for backend in self.pool.stats().backends if backend.name == engine.name)


def answer(engine):
    return [TextDelta(0, engine.name, 1), TextDelta(0, ".", 1), ChoiceEnded(0, FinishReason.STOP), TokenUsage(3, 2)]


async def test_one_that_answers_in_time_is_the_only_one_asked():
    async with House(hedge_after_ms=NEVER_MS) as house:
        house.first.gate.set()
        assert await house.say() == answer(house.first)
        assert house.others[0].asked == []
        assert house.pool.stats().hedged == 0


async def test_where_hedging_is_off_a_slow_one_is_waited_for():
    async with House(hedge_after_ms=0) as house:
        saying = await house.say_late()
        house.first.gate.set()
        assert await saying == answer(house.first)
        assert house.others[0].asked == []


async def test_a_slow_one_loses_to_another_and_is_cancelled_without_a_verdict():
    async with House() as house:
        for _ in range(TOLERATED):
            assert await (await house.say_late(deadline_ns=7 * NS_PER_MS)) == answer(house.others[0])
        assert len(house.first.asked) == TOLERATED
        assert [call.deadline_ns for call in house.others[0].asked] == [7 * NS_PER_MS] * TOLERATED
        assert (house.stats(house.first).state, house.stats(house.first).failed) == (State.CLOSED, 0)
        stats = house.pool.stats()
        assert (stats.hedged, stats.retried) == (TOLERATED, 0)


async def test_one_that_loses_past_the_deadline_has_failed():
    async with House() as house:
        house.others[0].gate.clear()
        saying, _ = await house.hedged(deadline_ns=house.clock.now_ns() + 9 * NS_PER_MS)
        house.clock.advance_ms(9)
        house.others[0].gate.set()
        assert await saying == answer(house.others[0])
        assert house.stats(house.first).failed == 1


async def test_the_first_may_still_win_and_the_other_is_cancelled():
    async with House() as house:
        house.others[0].gate.clear()
        saying, _ = await house.hedged()
        assert [house.stats(engine).outstanding for engine in house.engines] == [1, 1]
        house.first.gate.set()
        assert await saying == answer(house.first)


async def test_the_loser_is_gone_while_the_winner_still_speaks():
    async with House() as house, aclosing(house.pool.generate(SPEC, EngineCall("id"))) as produced:
        first = asyncio.create_task(anext(produced))
        await house.late()
        assert await first == (TextDelta(0, house.others[0].name, 1),)
        assert (house.first.running, house.stats(house.first).outstanding) == (0, 0)
        assert house.stats(house.others[0]).outstanding == 1


async def test_a_count_alone_is_no_answer_and_only_the_winners_is_passed_on():
    async with House() as house:
        house.first.counts = house.others[0].counts = True
        assert await (await house.say_late()) == [TokenUsage(3, 0), *answer(house.others[0])]


async def test_there_is_never_a_third():
    async with House("abc") as house:
        for engine in house.others:
            engine.gate.clear()
        saying, _ = await house.hedged()
        await house.late()
        assert sum(len(engine.asked) for engine in house.others) == 1
        house.first.gate.set()
        assert await saying == answer(house.first)


async def test_one_that_fails_leaves_the_answer_to_the_other():
    async with House() as house:
        house.others[0].before = EngineError("died")
        saying, _ = await house.hedged()
        assert house.stats(house.others[0]).failed == 1
        house.first.gate.set()
        assert await saying == answer(house.first)


async def test_one_that_fails_at_the_moment_at_which_the_other_answers_leaves_it_the_answer():
    for _ in range(20):  # which of two that end together is seen first is by chance
        async with House() as house:
            house.others[0].gate.clear()
            saying, other = await house.hedged()
            house.first.before = EngineError("died")
            for engine in (house.first, other):
                engine.gate.set()
            assert await saying == answer(other)


async def test_where_both_fail_so_does_the_request_and_each_was_asked_once():
    async with House() as house:
        house.first.before = EngineError("first")
        house.others[0].before = EngineError("other")
        saying, _ = await house.hedged()
        house.first.gate.set()
        with pytest.raises(EngineError, match="first"):
            await saying
        assert [len(engine.asked) for engine in house.engines] == [1, 1]


async def test_one_that_fails_at_once_is_tried_elsewhere_as_ever():
    async with House(hedge_after_ms=NEVER_MS) as house:
        house.first.before = EngineError("died")
        house.first.gate.set()
        assert await house.say() == answer(house.others[0])
        stats = house.pool.stats()
        assert (stats.hedged, stats.retried) == (0, 1)


async def test_a_retry_never_goes_where_the_hedge_is():
    async with House("abc") as house:
        house.first.before = EngineError("died")
        for engine in house.others:
            engine.gate.clear()
        saying, hedge = await house.hedged()
        house.first.gate.set()
        await settle()
        third = next(engine for engine in house.others if engine is not hedge)
        assert [len(engine.asked) for engine in (house.first, hedge, third)] == [1, 1, 1]
        third.gate.set()
        assert await saying == answer(third)


async def test_one_that_dies_amid_its_answer_is_not_replaced():
    async with House() as house:
        house.others[0].amid = EngineError("died")
        with pytest.raises(EngineError, match="died"):
            await (await house.say_late())
        assert house.stats(house.others[0]).failed == 1


async def test_hedges_share_the_budget_of_retries():
    async with House() as house:
        allowed = 0
        while await answered(house):
            allowed += 1
        assert house.pool.stats().hedged == allowed
        assert RETRY_BURST <= allowed <= RETRY_BURST * 1.2  # each request earns a tenth


async def answered(house):
    """Whether a request whose first backend says nothing is answered."""
    saying = await house.say_late()
    done = saying.done()
    saying.cancel()
    await asyncio.gather(saying, return_exceptions=True)
    return done


async def test_there_is_no_hedge_past_the_deadline():
    async with House() as house:
        saying = asyncio.create_task(house.say(deadline_ns=house.clock.now_ns() + 9 * NS_PER_MS))
        await settle()
        house.clock.advance_ms(9)
        await house.late()
        assert house.others[0].asked == []
        house.first.gate.set()
        assert await saying == answer(house.first)


async def test_there_is_no_hedge_without_room():
    async with House(most=1) as house:
        saying = asyncio.create_task(house.say())
        await settle()
        held = house.pool.claim(Ask())  # the other's only place
        await house.late()
        assert house.others[0].asked == []
        house.first.gate.set()
        assert await saying == answer(house.first)
        house.pool.give_back(held)


@pytest.mark.parametrize("hedging", [False, True])
@pytest.mark.parametrize("turns", range(5))
async def test_who_leaves_at_any_moment_leaves_nothing_behind(turns, hedging):
    async with House() as house:
        house.others[0].gate.clear()
        saying = asyncio.create_task(house.say())
        if hedging:
            await settle()
            move(house.patch, AFTER_S)
            while not house.pool.stats().hedged:  # noqa: ASYNC110
                await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)
