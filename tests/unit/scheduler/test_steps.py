"""Who takes the next free place."""

import asyncio

import pytest

from antiphon.scheduler.steps import Steps
from antiphon.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


async def _run(steps, name, deadline_ns, ran, go):
    async with steps.place(deadline_ns):
        ran.append(name)
        await go.wait()


async def _settle():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_more_run_at_once_than_there_are_places(clock):
    steps, ran, go = Steps(2, clock), [], asyncio.Event()
    tasks = [asyncio.create_task(_run(steps, n, n, ran, go)) for n in range(5)]
    await _settle()
    assert ran == [0, 1]
    go.set()
    await asyncio.gather(*tasks)
    assert ran == [0, 1, 2, 3, 4]


async def test_the_earliest_deadline_goes_first_and_of_equals_who_came_first(clock):
    steps, ran, go = Steps(1, clock), [], asyncio.Event()
    order = [("running", 9), ("late", 9), ("soon", 1), ("soon too", 1), ("middle", 5)]
    tasks = [asyncio.create_task(_run(steps, name, deadline, ran, go)) for name, deadline in order]
    await _settle()
    go.set()
    await asyncio.gather(*tasks)
    assert ran == ["running", "soon", "soon too", "middle", "late"]


async def _three(steps, ran, go):
    """One that runs until `go`, and two that wait for its place, in this order."""
    tasks = []
    for deadline_ns, name in enumerate(("running", "leaving", "staying")):
        tasks.append(asyncio.create_task(_run(steps, name, deadline_ns, ran, go)))
        await _settle()
    return tasks


async def test_who_leaves_while_waiting_takes_no_place(clock):
    steps, ran, go = Steps(1, clock), [], asyncio.Event()
    running, leaving, staying = await _three(steps, ran, go)
    leaving.cancel()
    await _settle()
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
    async with asyncio.timeout(1), steps.place(0):
        pass


async def test_how_long_all_that_waits_will_take(clock):
    steps = Steps(2, clock)
    assert steps.wait_ms() == 0
    for _ in range(100):
        async with steps.place(0):
            clock.advance_ms(40)
    ran, go = [], asyncio.Event()
    tasks = [asyncio.create_task(_run(steps, n, n, ran, go)) for n in range(12)]
    await _settle()
    assert steps.wait_ms() == pytest.approx(10 * 40 / 2, rel=0.01)
    go.set()
    await asyncio.gather(*tasks)
