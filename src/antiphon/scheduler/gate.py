"""Requests wait here where every place is taken, in the order of `scheduler/queue.py`.

While there is a place a request passes without waiting for anything. One that leaves lets the next one in, and the
place is that one's from then on, so nobody who comes later gets in between.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from antiphon.core.errors import AntiphonError, CapacityError, EngineError, EngineTimeout
from antiphon.core.ports import Clock
from antiphon.core.units import NS_PER_MS
from antiphon.scheduler.queue import Limits, Pace, Queue

Place = TypeVar("Place")


class Places(Protocol[Place]):
    """What is waited for. `key` is what the choice of a place looks at in a request."""

    def count(self) -> int:
        """How many there are in all, taken or not."""

    def any_free(self) -> bool: ...

    def claim(self, key: bytes | None) -> Place | None:
        """One, taken from now on; `None` while all are. Raises `EngineError` where there will be none."""

    def give_back(self, place: Place) -> None:
        """It was not used."""


class _Waiter(Generic[Place]):
    """One request that waits."""

    __slots__ = ("deadline_ns", "key", "number", "place")

    def __init__(self, number: int, deadline_ns: int, key: bytes | None, place: asyncio.Future[Place]) -> None:
        self.number = number
        self.deadline_ns = deadline_ns
        self.key = key
        self.place = place


class Gate(Generic[Place]):
    """In front of `places`. `shed` counts who was refused for want of one."""

    def __init__(self, places: Places[Place], clock: Clock, limits: Limits) -> None:
        self._places = places
        self._clock = clock
        self._limits = limits
        self._pace = Pace()
        self._queue: Queue[_Waiter[Place]] = Queue(limits, self._pace)
        self._came = 0
        self.shed = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue)

    async def enter(self, key: bytes | None, deadline_ns: int | None) -> Place:
        """A place. `deadline_ns` is when nobody waits any more.

        Raises `CapacityError` for who would wait too long, `EngineTimeout` where the deadline passes, `EngineError`.
        """
        place = self._places.claim(key)
        return await self._wait(key, deadline_ns) if place is None else place

    def learn(self, first_ms: float, held_ms: float) -> None:
        """How long a place was held, and how long it took until something came."""
        self._pace.learn(first_ms, held_ms)

    def let_in(self) -> None:
        """Whoever there is a place for now."""
        while len(self._queue) and self._places.any_free():
            waiter = self._queue.take(self._clock.now_ns())
            if waiter and not waiter.place.done():  # else it was cancelled and has not noticed yet
                place = self._places.claim(waiter.key)
                assert place is not None
                waiter.place.set_result(place)

    def turn_away(self, why: Callable[[], EngineError]) -> None:
        """Everybody who waits."""
        for waiter in self._queue.clear():
            _refuse(waiter, why())

    async def _wait(self, key: bytes | None, deadline_ns: int | None) -> Place:
        now_ns = self._clock.now_ns()
        self._came += 1
        place: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(self._came, now_ns + self._limits.ttft_ms * NS_PER_MS, key, place)
        for refused in self._queue.push(waiter, now_ns, self._places.count()):
            self.shed += 1
            _refuse(refused, self._full())
        try:
            async with asyncio.timeout(None if deadline_ns is None else (deadline_ns - now_ns) / 1e9):
                return await place
        except BaseException as error:
            self._queue.remove(waiter)
            if place.done() and not place.cancelled() and place.exception() is None:
                self._places.give_back(place.result())  # it came at the very moment its waiter went
                self.let_in()
            if isinstance(error, TimeoutError):
                raise EngineTimeout("The model had no room in time.") from None
            raise

    def _full(self) -> CapacityError:
        retry_after_s = self._queue.retry_after_s(self._places.count())
        return CapacityError("The model has too much to do.", retry_after_s=retry_after_s)


def _refuse(waiter: _Waiter[Place], error: AntiphonError) -> None:
    if not waiter.place.done():
        waiter.place.set_exception(error)
