"""Who passes, who waits and in what order, and that no place is ever lost."""

import asyncio

import pytest
from event_loop import settle

from antiphon.core.errors import CapacityError, EngineError, EngineTimeout
from antiphon.core.units import NS_PER_MS
from antiphon.pools.gate import Ask, Gate
from antiphon.pools.limit import Pressure
from antiphon.pools.queue import QueueLimits, Room
from antiphon.testing import FakeClock


class Places:
    """So many, all alike; `gone` says that there will be none."""

    def __init__(self, most):
        self.most = most
        self.taken = 0
        self.gone = False
        self.keys = []

    def room(self, project=None):
        return Room(self.most, self.most - self.taken)

    def may(self, project, weight):
        return True

    def any_free(self):
        return self.taken < self.most

    def ready(self, project, weight):
        return True

    def claim(self, ask):
        if self.gone:
            raise EngineError("none")
        if not self.any_free():
            return None
        self.taken += 1
        self.keys.append(ask.key)
        return self

    def give_back(self, place):
        self.taken -= 1


class Door:
    """A gate before some places, and tasks that want in."""

    def __init__(self, most=1, **limits):
        self.clock = FakeClock()
        self.places = Places(most)
        self.gate = Gate(self.places, self.clock, QueueLimits(**limits), Pressure())
        self.inside = []

    async def come(self, name, deadline_ns=None):
        async def enter():
            await self.gate.enter(Ask(name), deadline_ns)
            self.inside.append(name)

        task = asyncio.create_task(enter())
        await settle()
        return task

    async def leave(self):
        self.places.taken -= 1
        self.gate.let_in()
        await settle()


async def test_while_there_is_a_place_nobody_waits():
    door = Door(2)
    entering = door.gate.enter(Ask(b"a"), None)
    with pytest.raises(StopIteration):
        entering.send(None)  # it is done without ever giving way
    assert door.places.taken == 1


async def test_who_waits_gets_the_place_that_becomes_free_before_anybody_new():
    door = Door(1)
    for name in (b"a", b"b", b"c"):
        await door.come(name)
    assert (door.inside, len(door.gate)) == ([b"a"], 2)
    door.places.taken -= 1
    door.gate.let_in()
    newcomer = asyncio.create_task(door.gate.enter(Ask(b"d"), None))
    await settle()
    assert door.inside == [b"a", b"b"]
    await door.leave()
    assert door.inside == [b"a", b"b", b"c"]
    assert not newcomer.done()
    await door.leave()
    assert newcomer.done()
    assert (door.places.taken, len(door.gate)) == (1, 0)
    assert door.places.keys == [b"a", b"b", b"c", b"d"]


async def test_who_can_still_be_in_time_goes_first():
    door = Door(1, ttft_ms=500)
    await door.come(b"a")
    await door.come(b"early")
    door.clock.advance_ms(501)
    await door.come(b"in time")
    await door.leave()
    assert door.inside == [b"a", b"in time"]
    await door.leave()
    assert door.inside == [b"a", b"in time", b"early"]


async def test_whoever_is_too_many_is_told_when_to_come_back():
    door = Door(1, waiting=2)
    for _ in range(50):
        door.gate.pace.learn_first(10)
        door.gate.pace.learn_held(1500)
    await door.come(b"a")
    for name in (b"b", b"c"):
        await door.come(name)
    with pytest.raises(CapacityError) as refused:
        await door.gate.enter(Ask(b"d"), None)
    assert (refused.value.status, refused.value.retry_after_s) == (429, 5)  # three before it, at 1.5 s
    assert (door.gate.shed, len(door.gate)) == (1, 2)


async def test_a_late_one_is_refused_in_favour_of_one_in_time():
    door = Door(1, waiting=1, ttft_ms=100)
    await door.come(b"a")
    late = await door.come(b"late")
    door.clock.advance_ms(101)
    await door.come(b"in time")
    with pytest.raises(CapacityError):
        await late
    await door.leave()
    assert door.inside == [b"a", b"in time"]


async def test_who_goes_away_leaves_no_trace():
    door = Door(1)
    await door.come(b"a")
    gone = await door.come(b"gone")
    await door.come(b"b")
    gone.cancel()
    await settle()
    assert len(door.gate) == 1
    await door.leave()
    assert door.inside == [b"a", b"b"]


async def test_a_place_given_to_one_who_goes_at_that_moment_is_the_next_ones():
    door = Door(1)
    await door.come(b"a")
    gone = await door.come(b"gone")
    await door.come(b"b")
    door.places.taken -= 1
    door.gate.let_in()  # the place is that one's now
    gone.cancel()
    await settle()
    assert (door.inside, door.places.taken) == ([b"a", b"b"], 1)


async def test_a_place_is_not_given_to_one_who_went_a_moment_ago():
    door = Door(1)
    await door.come(b"a")
    gone = await door.come(b"gone")
    await door.come(b"b")
    gone.cancel()  # and has not noticed yet
    door.places.taken -= 1
    door.gate.let_in()
    await settle()
    assert (door.inside, door.places.taken) == ([b"a", b"b"], 1)


async def test_where_the_deadline_has_passed_nobody_waits():
    door = Door(1)
    await door.come(b"a")
    door.clock.advance_ms(1000)
    with pytest.raises(EngineTimeout):
        await door.gate.enter(Ask(b"b"), 999 * NS_PER_MS)
    assert len(door.gate) == 0


async def test_where_there_will_be_no_place_everybody_is_told():
    door = Door(1)
    await door.come(b"a")
    waiting = [await door.come(b"b"), await door.come(b"c")]
    door.gate.turn_away(lambda: EngineError("none"))
    for task in waiting:
        with pytest.raises(EngineError):
            await task
    door.places.gone = True
    with pytest.raises(EngineError):
        await door.gate.enter(Ask(b"d"), None)
    assert len(door.gate) == 0


async def test_several_places_let_several_in():
    door = Door(1)
    for name in (b"a", b"b", b"c"):
        await door.come(name)
    door.places.most = 3
    door.gate.let_in()
    await settle()
    assert sorted(door.inside) == [b"a", b"b", b"c"]
