"""A pool on fake engines and a fake clock: where requests go, what is tried again, what is held and given back."""

import asyncio
from contextlib import aclosing

import pytest
from event_loop import settle

from antiphon.core.errors import CallerError, CapacityError, EngineError, EngineMisconfigured, EngineTimeout
from antiphon.core.events import ChoiceEnded, Embedded, FinishReason, TextDelta, TokenUsage
from antiphon.core.ports import EngineCall
from antiphon.core.specs import GenerateSpec, Message, Role
from antiphon.core.units import NS_PER_MS
from antiphon.pools.backend import Backend
from antiphon.pools.breaker import FIRST_WAIT_NS, TOLERATED, State
from antiphon.pools.limit import FIRST_SHARED, FIRST_STARTING, SHARED_NS, AdaptiveLimit
from antiphon.pools.pool import RETRY_BURST, Pool
from antiphon.pools.queue import QueueLimits
from antiphon.slo.filling import Traffic
from antiphon.testing import FakeClock

END = (ChoiceEnded(0, FinishReason.STOP), TokenUsage(3, 2))


class Engine:
    """Says its name in two pieces. `before` and `amid` are raised at the start and after the first; `gate` is waited at
    before anything comes.
    """

    def __init__(self, name="a"):
        self.name = name
        self.before = self.amid = self.ill = None
        self.silent = self.endless = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.probing = asyncio.Event()
        self.probing.set()
        self.asked = []
        self.running = self.probes = 0
        self.closed = False

    async def generate(self, spec, call):
        self.asked.append(call)
        self.running += 1
        try:
            await self.gate.wait()
            if self.before:
                raise self.before
            if self.silent:
                return
            yield (TextDelta(0, self.name, 1),)
            if self.amid:
                raise self.amid
            yield (TextDelta(0, ".", 1),)
            if not self.endless:
                yield END
        finally:
            self.running -= 1

    async def check(self):
        self.probes += 1
        await self.probing.wait()
        if self.ill:
            raise self.ill

    async def close(self):
        self.closed = True


class EmbeddingEngine:
    """Gives a number for each text, or raises `before`."""

    def __init__(self, name="a"):
        self.name = name
        self.before = None
        self.asked = []

    async def embed(self, texts, call):
        self.asked.append(call)
        if self.before:
            raise self.before
        return Embedded(((1.0,),) * len(texts), 7)

    async def check(self):
        pass

    async def close(self):
        pass


class House:
    """Engines behind a pool."""

    def __init__(self, *names, most=10, **limits):
        self.clock = FakeClock()
        self.engines = [Engine(name) for name in names]
        backends = [Backend(engine.name, engine, outstanding=most) for engine in self.engines]
        self.pool = Pool(backends, self.clock, QueueLimits(**limits))

    async def say(self, first="Hello", deadline_ns=None, stream=False):
        """What is said, and by whom."""
        spec = GenerateSpec("m", (Message(Role.USER, first),), stream=stream)
        text = ""
        async with asyncio.timeout(60), aclosing(self.pool.generate(spec, EngineCall("id", deadline_ns))) as produced:
            async for batch in produced:
                text += "".join(event.text for event in batch if isinstance(event, TextDelta))
        return text

    def stats(self, name):
        return next(backend for backend in self.pool.stats().backends if backend.name == name)

    async def belonging_to(self, name):
        """The first message of a conversation that belongs to that backend."""
        for n in range(100):
            if await self.say(f"hello {n}") == name + ".":
                return f"hello {n}"
        raise AssertionError("none")

    def idle(self):
        """Nothing is held anywhere."""
        stats = self.pool.stats()
        running = [engine.running for engine in self.engines]
        return stats.waiting == 0 and not any(running) and not any(b.outstanding for b in stats.backends)


# -- where it goes -----------------------------------------------------------------------------------------------------


async def test_one_backend_gets_everything_as_it_is():
    house = House("a")
    spec = GenerateSpec("m", "Once")
    call = EngineCall("id", 5)
    batches = [batch async for batch in house.pool.generate(spec, call)]
    assert batches == [(TextDelta(0, "a", 1),), (TextDelta(0, ".", 1),), END]
    assert house.engines[0].asked == [call]
    assert (house.stats("a").chosen, house.stats("a").sticky) == (1, 0)
    assert house.idle()


async def test_a_conversation_stays_and_conversations_spread():
    house = House("a", "b")
    said = {first: {await house.say(first) for _ in range(3)} for first in map(str, range(30))}
    assert {len(answers) for answers in said.values()} == {1}
    assert set().union(*said.values()) == {"a.", "b."}
    assert (
        sum(b.sticky for b in house.pool.stats().backends) == sum(b.chosen for b in house.pool.stats().backends) == 90
    )


async def test_a_busy_backend_is_left_for_another():
    house = House("a", "b")
    first = await house.belonging_to("a")
    house.engines[0].gate.clear()
    held = [asyncio.create_task(house.say(first)) for _ in range(10)]
    await settle()
    assert house.stats("a").outstanding == 5  # those that are not clearly more, and one
    house.engines[0].gate.set()
    assert {await task for task in held} == {"a.", "b."}
    assert house.idle()


# -- what is tried again -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [EngineError("died"), CapacityError("full"), ConnectionError("cut")])
async def test_what_fails_before_it_began_is_tried_elsewhere(error):
    house = House("a", "b")
    first = await house.belonging_to("a")
    house.engines[0].before = error
    assert await house.say(first) == "b."
    assert house.pool.stats().retried == 1
    assert house.idle()


async def test_an_engine_that_says_nothing_at_all_has_failed():
    house = House("a", "b")
    first = await house.belonging_to("a")
    house.engines[0].silent = True
    assert await house.say(first) == "b."
    assert house.stats("a").failed == 1


async def test_each_backend_is_tried_once():
    house = House("a", "b", "c")
    for engine in house.engines:
        engine.before = EngineError(engine.name)
    with pytest.raises(EngineError):
        await house.say()
    assert [len(engine.asked) for engine in house.engines] == [1, 1, 1]
    assert house.idle()


async def test_one_backend_alone_is_not_asked_again():
    house = House("a")
    house.engines[0].before = EngineError("died")
    with pytest.raises(EngineError, match="died"):
        await house.say()
    assert len(house.engines[0].asked) == 1
    assert house.idle()


async def test_what_the_caller_did_wrong_is_not_tried_again_and_nobodys_fault():
    house = House("a", "b")
    for engine in house.engines:
        engine.before = CallerError("too long")
    for _ in range(5):
        with pytest.raises(CallerError):
            await house.say()
    assert house.pool.stats().retried == 0
    assert {b.state for b in house.pool.stats().backends} == {State.CLOSED}
    assert {b.failed for b in house.pool.stats().backends} == {0}


async def test_a_backend_that_dies_amid_ends_the_stream_with_its_error():
    house = House("a", "b")
    first = await house.belonging_to("a")
    asked = len(house.engines[1].asked)
    house.engines[0].amid = EngineError("died")
    produced = house.pool.generate(GenerateSpec("m", (Message(Role.USER, first),)), EngineCall("id"))
    assert await anext(produced) == (TextDelta(0, "a", 1),)
    with pytest.raises(EngineError, match="died"):
        await anext(produced)
    assert len(house.engines[1].asked) == asked
    assert house.stats("a").failed == 1
    assert house.idle()


async def test_a_stream_that_ends_without_an_end_has_failed():
    house = House("a")
    house.engines[0].endless = True
    with pytest.raises(EngineError):
        await house.say()
    assert house.stats("a").failed == 1


async def test_retries_are_a_tenth_of_the_requests_and_a_few():
    house = House("a", "b")
    first = await house.belonging_to("a")
    house.engines[0].before = CapacityError("full", retry_after_s=1)
    again = failed = 0
    for _ in range(300):
        try:
            again += await house.say(first) == "b."
        except CapacityError:
            failed += 1
        house.clock.advance_ms(1001)  # it is asked anew each time
    assert again == house.pool.stats().retried
    assert RETRY_BURST + 28 <= again <= RETRY_BURST + 31
    assert again + failed == 300
    assert house.idle()


async def test_after_the_deadline_nothing_is_tried_again():
    house = House("a", "b")
    first = await house.belonging_to("a")
    house.engines[0].gate.clear()
    house.engines[0].before = EngineError("died")
    saying = asyncio.create_task(house.say(first, deadline_ns=100 * NS_PER_MS))
    await settle()
    house.clock.advance_ms(100)
    house.engines[0].gate.set()
    with pytest.raises(EngineError, match="died"):
        await saying
    assert house.pool.stats().retried == 0


async def test_the_deadline_travels():
    house = House("a", "b")
    await house.say(deadline_ns=123)
    assert [call.deadline_ns for engine in house.engines for call in engine.asked] == [123]


# -- health ------------------------------------------------------------------------------------------------------------


async def failing(house, engine, first):
    """That engine's breaker opens."""
    engine.before = EngineError("died")
    for _ in range(TOLERATED):
        await house.say(first)
    engine.before = None
    assert house.stats(engine.name).state is State.OPEN


async def test_a_backend_that_fails_is_left_out_until_a_probe_and_a_trial_went_well():
    house = House("a", "b")
    first = await house.belonging_to("a")
    a = house.engines[0]
    await failing(house, a, first)
    asked = len(a.asked)
    assert await house.say(first) == "b."
    assert len(a.asked) == asked

    await house.pool.probe("a")
    assert (a.probes, house.stats("a").state) == (0, State.OPEN)  # it is not time yet
    house.clock.advance_ms(FIRST_WAIT_NS // NS_PER_MS)
    await house.pool.probe("a")
    assert (a.probes, house.stats("a").state) == (1, State.HALF_OPEN)

    a.gate.clear()
    trial = asyncio.create_task(house.say(first))
    await settle()
    assert await house.say(first) == "b."  # one at a time
    a.gate.set()
    assert await trial == "a."
    assert house.stats("a").state is State.CLOSED
    assert await house.say(first) == "a."


async def test_a_trial_is_over_with_its_first_token_and_those_who_wait_come_in():
    house = House("a")
    a = house.engines[0]
    a.before = EngineError("died")
    for _ in range(TOLERATED):
        with pytest.raises(EngineError):
            await house.say()
    a.before = None
    house.clock.advance_ms(1000)
    await house.pool.probe("a")
    async with aclosing(house.pool.generate(GenerateSpec("m", "Once"), EngineCall("id"))) as trial:
        a.gate.clear()
        first = asyncio.create_task(anext(trial))
        await settle()
        waiting = asyncio.create_task(house.say())
        await settle()
        assert (house.pool.stats().waiting, house.stats("a").outstanding) == (1, 1)
        a.gate.set()
        await first
        assert await waiting == "a."
        assert house.stats("a").state is State.CLOSED
    assert house.idle()


async def test_a_trial_that_is_left_is_no_verdict_and_the_next_one_decides():
    house = House("a", "b")
    first = await house.belonging_to("a")
    a = house.engines[0]
    await failing(house, a, first)
    house.clock.advance_ms(1000)
    await house.pool.probe("a")
    a.gate.clear()
    trial = asyncio.create_task(house.say(first))
    await settle()
    trial.cancel()
    await settle()
    assert house.stats("a").state is State.HALF_OPEN
    a.gate.set()
    assert await house.say(first) == "a."
    assert house.stats("a").state is State.CLOSED


async def test_an_idle_backend_that_is_ill_is_found_by_its_probes():
    house = House("a", "b")
    house.engines[0].ill = OSError("no such host")
    for _ in range(TOLERATED):
        await house.pool.probe("a")
        house.clock.advance_ms(1000)
    assert house.stats("a").state is State.OPEN
    await house.pool.check()


async def test_where_no_backend_works_callers_are_told_at_once():
    house = House("a")
    a = house.engines[0]
    a.before = EngineError("died")
    for _ in range(TOLERATED):
        with pytest.raises(EngineError, match="died"):
            await house.say()
    with pytest.raises(EngineError, match="No backend") as told:
        await house.say()
    assert told.value.retry_after_s
    with pytest.raises(EngineError):
        await house.pool.check()
    assert len(a.asked) == TOLERATED


async def test_those_who_wait_are_told_when_the_last_backend_fails():
    house = House("a", most=TOLERATED)
    a = house.engines[0]
    a.gate.clear()
    a.before = EngineError("died")
    asking = [asyncio.create_task(house.say()) for _ in range(TOLERATED + 3)]
    await settle()
    assert house.pool.stats().waiting == 3
    a.gate.set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(outcome, EngineError) for outcome in outcomes)
    assert house.idle()


async def test_who_leaves_before_anything_came_says_nothing_of_the_backend_unless_it_was_too_late():
    house = House("a")
    a = house.engines[0]
    a.gate.clear()
    for late in (False, True):
        for _ in range(TOLERATED):
            saying = asyncio.create_task(house.say(deadline_ns=house.clock.now_ns() + 1000 * NS_PER_MS))
            await settle()
            house.clock.advance_ms(1000 * late)
            saying.cancel()
            await settle()
        assert house.stats("a").state is (State.OPEN if late else State.CLOSED)
    assert house.idle()


async def test_who_leaves_amid_has_seen_it_work():
    house = House("a")
    house.engines[0].before = EngineError("died")
    for _ in range(TOLERATED - 1):
        with pytest.raises(EngineError):
            await house.say()
    house.engines[0].before = None
    async with aclosing(house.pool.generate(GenerateSpec("m", "Once"), EngineCall("id"))) as produced:
        await anext(produced)
        assert house.stats("a").outstanding == 1
    assert house.idle()
    house.engines[0].before = EngineError("died")
    with pytest.raises(EngineError):
        await house.say()
    assert house.stats("a").state is State.CLOSED  # counted anew


async def test_a_backend_that_is_full_is_not_ill_and_rests():
    house = House("a", "b")
    first = await house.belonging_to("a")
    house.engines[0].before = CapacityError("full", retry_after_s=3)
    assert await house.say(first) == "b."
    house.engines[0].before = None
    house.clock.advance_ms(2999)
    assert await house.say(first) == "b."
    house.clock.advance_ms(1)
    assert await house.say(first) == "a."
    assert (house.stats("a").state, house.stats("a").failed) == (State.CLOSED, 0)


async def test_a_slow_probe_holds_up_no_other():
    house = House("a", "b")
    house.engines[0].probing.clear()
    watching = asyncio.create_task(house.pool.watch())
    await settle()
    assert [engine.probes for engine in house.engines] == [1, 1]
    assert await house.say()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("probe ")] == []


# -- the gate ----------------------------------------------------------------------------------------------------------


async def test_where_all_are_full_requests_wait_and_then_are_too_many():
    house = House("a", "b", most=1, waiting=2)
    for engine in house.engines:
        engine.gate.clear()
    asking = [asyncio.create_task(house.say(str(n))) for n in range(4)]
    await settle()
    assert (house.pool.stats().waiting, sum(len(engine.asked) for engine in house.engines)) == (2, 2)
    with pytest.raises(CapacityError) as refused:
        await house.say()
    assert refused.value.retry_after_s
    assert house.pool.stats().shed == 1
    for engine in house.engines:
        engine.gate.set()
    assert {await task for task in asking} <= {"a.", "b."}
    assert house.idle()


async def test_who_goes_away_gives_the_place_back_wherever_it_was():
    house = House("a", most=2)
    a = house.engines[0]
    a.gate.clear()
    asking = [asyncio.create_task(house.say()) for _ in range(6)]
    await settle()
    for task in (asking[0], asking[3]):  # one at the backend, one that waits
        task.cancel()
    await settle()
    assert (house.stats("a").outstanding, house.pool.stats().waiting, a.running) == (2, 2, 2)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    assert house.idle()


async def test_a_place_that_comes_as_its_waiter_goes_is_not_lost():
    house = House("a", most=1)
    a = house.engines[0]
    a.gate.clear()
    holding, waiting = [asyncio.create_task(house.say()) for _ in range(2)]
    await settle()
    holding.cancel()
    while house.pool.stats().waiting:  # noqa: ASYNC110
        await asyncio.sleep(0)
    waiting.cancel()  # it was given the place, and has not run since
    await settle()
    assert house.idle()


async def test_when_to_come_back_follows_how_long_places_are_held():
    house = House("a", most=1, waiting=1, wait_ms=60_000)
    a = house.engines[0]
    a.gate.clear()
    holding = asyncio.create_task(house.say())
    await settle()
    house.clock.advance_ms(20_000)
    a.gate.set()
    await holding
    a.gate.clear()
    asking = [asyncio.create_task(house.say()) for _ in range(2)]
    await settle()
    with pytest.raises(CapacityError) as refused:
        await house.say()
    assert refused.value.retry_after_s == 40
    a.gate.set()
    await asyncio.gather(*asking)


async def test_who_waits_past_the_deadline_is_told():
    house = House("a", most=1)
    house.engines[0].gate.clear()
    holding = asyncio.create_task(house.say())
    await settle()
    house.clock.advance_ms(1000)
    with pytest.raises(EngineTimeout):
        await house.say(deadline_ns=999 * NS_PER_MS)
    house.engines[0].gate.set()
    await holding
    assert house.idle()
    assert len(house.engines[0].asked) == 1


async def test_who_waits_gets_a_backend_that_is_trusted_again():
    house = House("a", "b", most=1)
    first = await house.belonging_to("a")
    await failing(house, house.engines[0], first)
    house.engines[1].gate.clear()
    holding = asyncio.create_task(house.say(first))
    await settle()
    waiting = asyncio.create_task(house.say(first))
    await settle()
    house.clock.advance_ms(1000)
    await house.pool.probe("a")
    assert await waiting == "a."
    house.engines[1].gate.set()
    assert await holding == "b."


# -- embeddings, and the end -------------------------------------------------------------------------------------------


async def test_embeddings_are_tried_elsewhere_too():
    engines = [EmbeddingEngine("a"), EmbeddingEngine("b")]
    pool = Pool([Backend(engine.name, engine) for engine in engines], FakeClock(), QueueLimits())
    engines[0].before = EngineError("died")
    for _ in range(2):
        assert await pool.embed(["one", (1, 2)], EngineCall("id", 9)) == Embedded(((1.0,), (1.0,)), 7)
    assert engines[1].asked == [EngineCall("id", 9)] * 2
    assert [backend.outstanding for backend in pool.stats().backends] == [0, 0]
    engines[1].before = CallerError("too long")
    with pytest.raises(CallerError):
        await pool.embed(["one"], EngineCall("id"))


async def test_closing_closes_all_although_one_fails():
    house = House("a", "b")

    async def broken():
        raise OSError("gone")

    house.engines[0].close = broken
    await house.pool.close()
    assert house.engines[1].closed


# -- whose fault it is -------------------------------------------------------------------------------------------------

OURS = [OverflowError("can't serialize"), RecursionError(), UnicodeEncodeError("utf-8", "x", 0, 1, ""), KeyError("x")]


@pytest.mark.parametrize("error", [*OURS, EngineMisconfigured("401")])
async def test_what_says_nothing_of_a_backend_is_held_against_none(error):
    house = House("a")
    house.engines[0].before = error
    for _ in range(2 * TOLERATED):
        with pytest.raises(type(error)):
            await house.say()
    assert (house.stats("a").state, house.stats("a").failed) == (State.CLOSED, 0)
    house.engines[0].before = None
    assert await house.say() == "a."


@pytest.mark.parametrize("error", OURS)
async def test_a_defect_of_ours_is_not_tried_elsewhere(error):
    house = House("a", "b")
    for engine in house.engines:
        engine.before = error
    with pytest.raises(type(error)):
        await house.say()
    assert sum(len(engine.asked) for engine in house.engines) == 1


async def test_one_that_does_not_take_what_we_are_is_left_for_another_for_a_while():
    house = House("a", "b")
    first = await house.belonging_to("a")
    house.engines[0].before = EngineMisconfigured("403")
    assert await house.say(first) == "b."
    asked = len(house.engines[0].asked)
    assert await house.say(first) == "b."
    assert len(house.engines[0].asked) == asked
    assert house.stats("a").state is State.CLOSED


@pytest.mark.parametrize("error", [EngineError("died"), TimeoutError(), ConnectionError("cut")])
async def test_what_comes_from_the_engine_counts(error):
    house = House("a")
    house.engines[0].before = error
    for _ in range(TOLERATED):
        with pytest.raises(type(error)):
            await house.say()
    assert house.stats("a").state is State.OPEN


# -- when it is back ---------------------------------------------------------------------------------------------------


class Announced(Engine):
    """Says when it is ready."""

    def when_ready(self, callback):
        self.ready = callback


async def test_one_that_says_that_it_is_ready_is_tried_at_once():
    house = House()
    engine, clock = Announced(), FakeClock()
    house.engines, house.clock, house.pool = [engine], clock, Pool([Backend("a", engine)], clock, QueueLimits())
    engine.before = engine.ill = EngineError("not loaded", retry_after_s=8)
    for _ in range(TOLERATED):
        with pytest.raises(EngineError):
            await house.say()
    for _ in range(6):
        clock.advance_ms(1000)
        await house.pool.probe("a")
    engine.before = engine.ill = None
    engine.ready()
    assert house.stats("a").state is State.HALF_OPEN
    assert await house.say() == "a."
    assert house.stats("a").state is State.CLOSED


async def test_a_refusal_says_when_the_backend_will_be_well_or_is_asked_next():
    house = House("a")
    engine = house.engines[0]
    engine.before = EngineError("not loaded", retry_after_s=8)
    for _ in range(TOLERATED):
        with pytest.raises(EngineError):
            await house.say()

    async def told():
        with pytest.raises(EngineError, match="No backend") as refused:
            await house.say()
        return refused.value.retry_after_s

    assert await told() == 8
    house.clock.advance_ms(5000)
    assert await told() == 3
    engine.ill = EngineError("it takes longer", retry_after_s=6)
    await house.pool.probe("a")
    assert await told() == 6
    engine.ill = EngineError("nobody knows")
    house.clock.advance_ms(7000)
    await house.pool.probe("a")
    assert await told() == 4  # the next probe
    engine.ill = EngineError("a day", retry_after_s=86_400)
    house.clock.advance_ms(5000)
    await house.pool.probe("a")
    assert await told() == 60


# -- shares ------------------------------------------------------------------------------------------------------------


async def test_a_flood_of_one_project_leaves_places_for_others():
    house = House("a", most=80)
    house.engines[0].gate.clear()
    house.pool._backends[0].starts = AdaptiveLimit(80)

    def ask(project, choices=1):
        spec = GenerateSpec("m", "Once", choices=choices)
        return asyncio.create_task(anext(house.pool.generate(spec, EngineCall("id", None, project))))

    flood = [ask("flood") for _ in range(100)]
    await settle()
    assert (house.stats("a").outstanding, house.pool.stats().waiting) == (70, 30)
    other = ask("other")
    await settle()
    assert (house.stats("a").outstanding, house.pool.stats().waiting) == (71, 30)
    for task in (*flood, other):
        task.cancel()
    await asyncio.gather(*flood, other, return_exceptions=True)
    await settle()
    assert house.idle()


async def test_several_outputs_of_one_request_hold_as_many_places():
    house = House("a", most=80)
    house.engines[0].gate.clear()
    spec = GenerateSpec("m", "Once", choices=60)
    asking = [asyncio.create_task(anext(house.pool.generate(spec, EngineCall("id", None, "p")))) for _ in range(3)]
    await settle()
    assert (house.stats("a").outstanding, house.pool.stats().waiting) == (120, 1)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    await settle()
    assert house.idle()


async def test_not_all_start_at_once_where_what_comes_comes_bit_by_bit():
    house = House("a", most=200)
    house.engines[0].gate.clear()
    asking = [asyncio.create_task(house.say(str(n), stream=True)) for n in range(150)]
    await settle()
    assert (house.engines[0].running, house.pool.stats().waiting) == (FIRST_STARTING, 150 - FIRST_STARTING)
    house.engines[0].gate.set()
    await asyncio.gather(*asking)
    house.engines[0].gate.clear()
    asking = [asyncio.create_task(house.say(str(n))) for n in range(50)]  # each of these comes whole
    await settle()
    assert (house.engines[0].running, house.pool.stats().waiting) == (50, 0)
    house.engines[0].gate.set()
    await asyncio.gather(*asking)
    assert house.idle()


async def test_what_has_no_pace_is_not_limited_by_one_where_projects_share():
    house = House("a", most=200)
    house.engines[0].gate.clear()
    spec = GenerateSpec("m", "Once")
    calls = [EngineCall("id", None, project) for project in ("a", "b") for _ in range(60)]
    asking = [asyncio.create_task(anext(house.pool.generate(spec, call))) for call in calls]
    await settle()
    assert (house.stats("a").outstanding, house.pool.stats().waiting) == (120, 0)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    await settle()
    assert house.idle()


@pytest.mark.parametrize(("slow_ms", "more"), [(5, True), (1000, False)])
async def test_callers_slower_than_the_engine_do_not_keep_the_pace_from_being_learnt(slow_ms, more):
    house = House("a", most=200)
    spec = GenerateSpec("m", "Once", stream=True)
    house.pool.pressure.note_arrival("other", house.clock.now_ns(), gradual=True)
    place = house.pool._backends[0]
    before = place.shared.now
    for _ in range(20):
        others = place.outstanding = before  # as many as may run, do
        async with aclosing(house.pool.generate(spec, EngineCall("id", None, "p"))) as produced:
            async for _batch in produced:
                house.clock.advance_ms(slow_ms)
        place.outstanding -= others
    assert (place.shared.now > before) is more
    assert place.shared.now >= before


async def test_free_places_of_one_backend_count_although_another_is_over_its_limit():
    house = House("a", "b", most=80)
    over, other = house.pool._backends
    over.depth = AdaptiveLimit(80, first=8)
    house.pool.pressure.on = True
    house.pool.quota.take("many", 1, 60)
    house.pool.quota.take("few", 1, 39)
    over.outstanding, other.outstanding = 79, 20
    assert house.pool.room().free == other.free == 60
    assert house.pool.may("many", 1)


async def test_what_ends_with_its_first_token_is_not_held_to_a_pace_that_nobody_has():
    house = House("a", most=200)
    spec = GenerateSpec("m", "Yes or no?", stream=True)

    async def generate(spec, call):
        yield (TextDelta(0, "Yes", 1),)
        yield (ChoiceEnded(0, FinishReason.STOP), TokenUsage(3, 1))

    house.engines[0].generate = generate
    house.pool.pressure.note_arrival("other", house.clock.now_ns(), gradual=True)
    place = house.pool._backends[0]

    async def ask(times):
        for _ in range(times):
            others = place.outstanding = place.shared.now - 1
            async with aclosing(house.pool.generate(spec, EngineCall("id", None, "p"))) as produced:
                async for _batch in produced:
                    pass
            place.outstanding -= others

    assert place.shared.now == FIRST_SHARED
    await ask(200)
    assert place.places == 200
    place.shared = AdaptiveLimit(200, first=FIRST_SHARED)
    place.learn_pace(1.0, house.pool.tpot_ms, house.clock.now_ns())
    await ask(20)
    assert place.places == FIRST_SHARED  # where there is a pace, it alone says how many there may be
    house.clock.advance_ms(SHARED_NS // NS_PER_MS)
    house.pool.pressure.note_arrival("other", house.clock.now_ns(), gradual=True)
    await ask(20)
    assert place.places > FIRST_SHARED


async def test_nobody_waits_for_items_and_their_refusal_is_no_pressure():
    clock, engine = FakeClock(), Engine()
    engine.gate.clear()
    pool = Pool([Backend("a", engine, outstanding=1)], clock, QueueLimits(waiting=1))
    await pool.probe("a")

    async def call(item):
        async for _ in pool.generate(GenerateSpec("m", "one"), EngineCall("c", project="p", item=item)):
            pass

    calls = [asyncio.create_task(call(item=True)) for _ in range(3)]
    await settle()
    assert pool.traffic() == Traffic(1, 1, waiting=0, pressed=False)
    assert sum(task.done() for task in calls) == 1  # which found the queue full
    calls.append(asyncio.create_task(call(item=False)))
    await settle()
    traffic = pool.traffic()
    assert traffic.waiting or traffic.pressed
    for task in calls:
        task.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert pool.traffic().waiting == 0
