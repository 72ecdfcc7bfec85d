"""The gate: where requests wait while every place is taken, in the order of `pools/queue.py`.

While a place is free, a request passes without waiting. A request that leaves lets the next one in, which has the place
from that moment, so that no later one takes it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from antiphon.core.errors import AntiphonError, CapacityError, EngineError, EngineTimeout
from antiphon.core.ports import Clock
from antiphon.core.units import NS_PER_MS, NS_PER_S
from antiphon.pools.limit import Pressure
from antiphon.pools.queue import Pace, QueueLimits, Queues, Room

KEPT_NS = NS_PER_S // 4  # after a refusal, places are kept for requests that are in time ...
FEWEST_KEPT = 8  # ... if there are so many that one may be empty for a moment

Place = TypeVar("Place")


@dataclass(frozen=True, slots=True)
class Ask:
    """What a place is wanted for: `key` to choose one by, the project, the number of outputs, whether they come token
    by token, and whether it is an item of a job.
    """

    key: bytes | None = None
    project: str = ""
    weight: int = 1
    outputs: int = 1
    gradual: bool = False
    item: bool = False


class PlaceSource(Protocol[Place]):
    """The places that requests wait for."""

    def room(self, project: str | None = None) -> Room:
        """Return the places that a project may use, or all."""

    def any_free(self) -> bool: ...

    def may(self, project: str, weight: int) -> bool:
        """Return whether the project may take one more free place; always true if none that it may use is trusted."""

    def ready(self, project: str, weight: int) -> bool:
        """Return whether `claim` gives the project a place that it may take, or raises an error."""

    def claim(self, ask: Ask) -> Place | None:
        """Take a place; `None` if all are taken. Raises `EngineError` if no backend is trusted, and `PolicyError` if
        none may serve the project.
        """

    def give_back(self, place: Place) -> None:
        """Give back a place that was not used."""


class _Waiter(Generic[Place]):
    """One waiting request."""

    __slots__ = ("ask", "deadline_ns", "number", "place", "project", "weight")

    def __init__(self, number: int, deadline_ns: int, ask: Ask, place: asyncio.Future[Place]) -> None:
        self.number = number
        self.deadline_ns = deadline_ns
        self.ask = ask
        self.project = ask.project
        self.weight = ask.weight
        self.place = place


class Gate(Generic[Place]):
    """The gate in front of `places`. `shed` counts refused requests; `pace` learns how long requests take."""

    def __init__(self, places: PlaceSource[Place], clock: Clock, limits: QueueLimits, pressure: Pressure) -> None:
        self._places = places
        self._clock = clock
        self._limits = limits
        self.pace = Pace()
        self._queues: Queues[_Waiter[Place]] = Queues(limits, self.pace)
        self._came = 0
        self._pressure = pressure
        self.shed = 0
        self._items = 0  # jobs' items that wait
        self._later: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._queues)

    @property
    def interactive(self) -> int:
        """How many interactive requests wait."""
        return len(self._queues) - self._items

    async def enter(self, ask: Ask, deadline_ns: int | None) -> Place:
        """Wait for a place, at most until `deadline_ns`.

        Raises `CapacityError` if the wait would be too long, `EngineTimeout` at the deadline, `EngineError`, and
        `PolicyError` if no backend may serve the project any more.
        """
        self._pressure.note_arrival(ask.project, self._clock.now_ns(), ask.gradual)
        place = self._places.claim(ask) if self._places.may(ask.project, ask.weight) else None
        if place is None:
            return await self._wait(ask, deadline_ns)
        if len(self._queues):
            self._queues.passed(ask.project)
        return place

    def let_in(self) -> None:
        """Give free places to those who wait. While many come, a place may stay empty for a moment, for a request in
        time, rather than go to a late one out of turn.
        """
        while len(self._queues) and self._places.any_free():
            keeps = (
                self._pressure.refused_within(self._clock.now_ns(), KEPT_NS)
                and self._places.room().places >= FEWEST_KEPT
            )
            waiter = self._queues.take(self._clock.now_ns(), self._places.ready, keeps)
            if waiter is None:  # none is for those who wait, they have their share, or it is not their turn
                if keeps and self._later is None:
                    self._later = asyncio.get_running_loop().call_later(KEPT_NS / NS_PER_S, self._look_again)
                return
            if not waiter.place.done():  # else it was cancelled and has not noticed yet
                try:
                    place = self._places.claim(waiter.ask)
                except AntiphonError as error:  # none that may serve its project is trusted
                    _refuse(waiter, error)
                    continue
                assert place is not None
                waiter.place.set_result(place)

    def _look_again(self) -> None:
        self._later = None
        self.let_in()

    def turn_away(self, why: Callable[[], EngineError]) -> None:
        """Refuse everybody who waits."""
        for waiter in self._queues.clear():
            _refuse(waiter, why())

    async def _wait(self, ask: Ask, deadline_ns: int | None) -> Place:
        now_ns = self._clock.now_ns()
        self._came += 1
        place: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(self._came, now_ns + self._limits.ttft_ms * NS_PER_MS, ask, place)
        room = self._room(ask)
        self._items += ask.item
        for refused in self._queues.push(waiter, now_ns, room):
            self.shed += 1
            if not refused.ask.item:
                self._pressure.note_refusal(now_ns)
            _refuse(refused, self._full(refused, room))
        try:
            async with asyncio.timeout(None if deadline_ns is None else (deadline_ns - now_ns) / 1e9):
                return await place
        except BaseException as error:
            self._queues.remove(waiter)
            if place.done() and not place.cancelled() and place.exception() is None:
                self._places.give_back(place.result())  # its place came at the moment of the cancellation
                self.let_in()
            if isinstance(error, TimeoutError):
                raise EngineTimeout("The model did not become available in time.") from None
            raise
        finally:
            self._items -= ask.item

    def _room(self, ask: Ask) -> Room:
        """Return the room for a project: none is free for one that has its share."""
        room = self._places.room(ask.project)
        return room if self._places.may(ask.project, ask.weight) else replace(room, free=0)

    def _full(self, waiter: _Waiter[Place], room: Room) -> CapacityError:
        retry_after_s = self._queues.retry_after_s(waiter, room)
        return CapacityError("The model is overloaded.", retry_after_s=retry_after_s)


def _refuse(waiter: _Waiter[Place], error: AntiphonError) -> None:
    if not waiter.place.done():
        waiter.place.set_exception(error)
