"""Who takes the next free place."""

import asyncio
import contextlib

import pytest
from event_loop import settle

from antiphon.core.units import NS_PER_S
from antiphon.scheduler.steps import AHEAD_NS, CONTENDED, LEARNT, MOST_STEP_MS, TYPICAL, QueuedStep, StepQueue, Steps


async def _run(steps, name, deadline_ns, ran, go):
    async with steps.place(deadline_ns):
        ran.append(name)
        await go.wait()


async def test_no_more_run_at_once_than_there_are_places(clock):
    steps, ran, go = Steps(2, clock), [], asyncio.Event()
    tasks = [asyncio.create_task(_run(steps, n, n, ran, go)) for n in range(5)]
    await settle()
    assert ran == [0, 1]
    go.set()
    await asyncio.gather(*tasks)
    assert ran == [0, 1, 2, 3, 4]


async def test_the_earliest_deadline_goes_first_and_of_equals_who_came_first(clock):
    steps, ran, go = Steps(1, clock), [], asyncio.Event()
    order = [("running", 9), ("late", 9), ("soon", 1), ("soon too", 1), ("middle", 5)]
    tasks = [asyncio.create_task(_run(steps, name, deadline, ran, go)) for name, deadline in order]
    await settle()
    go.set()
    await asyncio.gather(*tasks)
    assert ran == ["running", "soon", "soon too", "middle", "late"]


async def _three(steps, ran, go):
    """One that runs until `go`, and two that wait for its place, in this order."""
    tasks = []
    for deadline_ns, name in enumerate(("running", "leaving", "staying")):
        tasks.append(asyncio.create_task(_run(steps, name, deadline_ns, ran, go)))
        await settle()
    return tasks


async def test_who_leaves_while_waiting_takes_no_place(clock):
    steps, ran, go = Steps(1, clock), [], asyncio.Event()
    running, leaving, staying = await _three(steps, ran, go)
    leaving.cancel()
    await settle()
    go.set()
    await asyncio.gather(running, staying)
    assert ran == ["running", "staying"]


async def test_a_place_that_comes_as_its_waiter_leaves_goes_to_the_next(clock):
    steps, ran, go = Steps(1, clock), [], asyncio.Event()
    running, leaving, staying = await _three(steps, ran, go)
    go.set()
    while not running.done():  # noqa: ASYNC110
        await asyncio.sleep(0)
    leaving.cancel()  # its turn has come, and it has not seen it yet
    await asyncio.gather(staying, leaving, return_exceptions=True)
    assert ran[-1] == "staying"
    async with asyncio.timeout(60), steps.place(0):
        pass


async def test_how_long_it_takes_to_a_first_sound(clock):
    steps = Steps(2, clock)
    assert steps.line.first_ms(QueuedStep(0), 0) == 0
    for _ in range(100):
        async with steps.place(0):
            clock.advance_ms(40)
    assert steps.line.first_ms(QueuedStep(0), 0) == pytest.approx(40, rel=0.01)  # there is a place
    ran, go = [], asyncio.Event()
    tasks = [asyncio.create_task(_run(steps, n, n, ran, go)) for n in range(12)]
    await settle()
    before = 10 * 40 / 2 + 40 / 2 / 2  # those that wait, and half a step that runs
    assert steps.line.first_ms(QueuedStep(100), 0) == pytest.approx(before + 40, rel=0.01)
    assert steps.line.first_ms(QueuedStep(0), 0) == pytest.approx(10 + 40, rel=0.01)  # not behind what is less urgent
    assert steps.line.urgent(QueuedStep(100))
    assert not steps.line.urgent(QueuedStep(1))  # none but those that run
    assert not steps.line.urgent(QueuedStep(100, "other"))
    go.set()
    await asyncio.gather(*tasks)


# -- several projects --------------------------------------------------------------------------------------------------


async def test_where_not_all_can_be_in_time_projects_take_turns(clock):
    steps, ran, go = Steps(1, clock), [], asyncio.Event()
    for _ in range(100):
        async with steps.place(0):
            clock.advance_ms(40)
    now_ns = clock.now_ns()

    async def step(project, n):
        async with steps.place(now_ns + n, project):
            ran.append(f"{project}{n}")
            await go.wait()

    many = [asyncio.create_task(step("many", n)) for n in range(6)]
    few = [asyncio.create_task(step("few", n)) for n in range(90, 92)]
    await settle()
    go.set()
    await asyncio.gather(*many, *few)
    assert ran.index("few90") <= 2
    assert ran.index("few91") <= 4
    assert [name for name in ran if name.startswith("many")] == [f"many{n}" for n in range(6)]


def test_where_all_can_be_in_time_the_earliest_deadline_is_first():
    line = StepQueue(1)
    line.took(QueuedStep(0), 40)
    assert line.enter(QueuedStep(0))
    second = 1_000_000_000
    waiting = [QueuedStep(second + n, project) for n, project in enumerate(("many", "many", "few"))]
    assert not any(list(map(line.enter, waiting)))
    assert [line.following(0) for _ in range(4)] == [*waiting, None]
    assert line.free == 1


def test_who_leaves_the_line_is_not_called():
    line = StepQueue(1)
    first, second = QueuedStep(1), QueuedStep(2)
    assert [line.enter(step) for step in (QueuedStep(0), first, second)] == [True, False, False]
    line.leave(first)
    line.leave(first)
    assert line.following(0) is second


def test_the_share_is_what_a_second_of_sound_takes():
    line = StepQueue(2)
    assert line.share == TYPICAL
    line.took(QueuedStep(0, made_ms=143), 300)  # of a voice that was just loaded
    assert line.share < 2 * TYPICAL
    for _ in range(1000):
        line.took(QueuedStep(0, made_ms=500), 20)
    assert line.share == pytest.approx(0.04, rel=0.01)
    for _ in range(1000):
        line.took(QueuedStep(0, made_ms=500), 50)
    assert line.share == pytest.approx(0.1, rel=0.01)


def test_how_long_it_takes_is_by_the_turns_of_the_project():
    line = StepQueue(1)
    for _ in range(100):
        line.took(QueuedStep(0, "many"), 40)
    line.enter(QueuedStep(0, "many"))
    for n in range(50):
        line.enter(QueuedStep(n, "many"))
    assert line.first_ms(QueuedStep(1000, "many"), 0) > 1000
    assert line.first_ms(QueuedStep(1000, "few"), 0) < 150
    assert line.urgent(QueuedStep(1000, "many"))
    assert not line.urgent(QueuedStep(1000, "few"))


async def test_a_step_that_fails_or_waits_for_its_engine_to_come_back_says_little(clock):
    steps = Steps(1, clock)
    with contextlib.suppress(TimeoutError):
        async with steps.place(0):
            clock.advance_ms(60_000)
            raise TimeoutError
    assert steps.line.first_ms(QueuedStep(0), 0) == 0
    assert steps.line.share == pytest.approx(TYPICAL)
    async with steps.place(0) as step:
        clock.advance_ms(60_000)
        step.made_ms = 500
    assert steps.line.step_ms <= MOST_STEP_MS / 10
    assert steps.line.share < 4 * TYPICAL


def test_the_processors_have_other_work_where_steps_take_much_longer_than_they_did():
    line = StepQueue(1)

    def took(steps, ms):
        for _ in range(steps):
            line.took(QueuedStep(0, made_ms=1000), ms)

    took(LEARNT + 100, 40.0)
    assert not line.contended
    took(30, 200.0)
    assert line.contended
    took(300, 40.0)
    assert not line.contended


async def test_what_is_not_urgent_waits_while_the_processors_have_other_work(clock, monkeypatch):
    monkeypatch.setattr("antiphon.scheduler.steps.LOOK_S", 0.0)
    steps, ran, go = Steps(1, clock), [], asyncio.Event()
    steps.line._taken, steps.line._least_share = LEARNT, steps.line.share / (CONTENDED + 1)
    deadlines_ns = {"early": AHEAD_NS + NS_PER_S, "urgent": AHEAD_NS}
    tasks = [asyncio.create_task(_run(steps, name, due_ns, ran, go)) for name, due_ns in deadlines_ns.items()]
    await settle()
    go.set()
    await settle()
    assert ran == ["urgent"]
    steps.line._least_share = steps.line.share
    await asyncio.gather(*tasks)
    assert ran == ["urgent", "early"]
