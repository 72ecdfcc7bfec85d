"""The order of requests that wait for a place at a backend. Pure: no I/O, no clock, bounded.

1. Projects share places by weight (start-time fair queueing, Goyal et al., 1996): each has its own `Queue`, and
   `Queues` decides whose turn it is.
2. A request that can still meet its objective goes before one that cannot: those in time by deadline, the late by
   arrival. A request is in time if it would have its first token by the deadline given a place now; a new one, given a
   place when that is predicted.
3. Nobody starves: if both kinds wait, every `EVERY`th place goes to the late. So a late request is served after at most
   `EVERY` times as many places as there are late ones before it. While one of them has waited for longer than was ever
   predicted, no more late ones are admitted.
4. A new request that would be late is refused at once if its wait would be too long. An admitted one is served, unless
   too many wait in all: then the last one of the project with the most for its weight is refused, late ones first.

Durations are learnt (`Pace`). If predictions turn out too good, new requests are judged more strictly for a while.
"""

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Generic, Protocol, TypeVar

from antiphon.core.units import NS_PER_MS, NS_PER_S

EVERY = 8
LEARN = 0.1  # share of the latest in a moving mean
LEARN_TURNS = 0.3
DOUBT = 2.0  # mean deviations on top of the mean, as a margin
LONGEST_RETRY_S = 60
STRICTER, STRICTEST = 1.25, 8.0  # times the predicted wait, for each request that was predicted in time and is late
FORGIVEN_NS = 2 * NS_PER_S  # half-life of that


class WaitingRequest(Protocol):
    """A waiting request, as the order sees it. `number` counts arrivals; `deadline_ns` is that of its objective."""

    @property
    def number(self) -> int: ...

    @property
    def deadline_ns(self) -> int: ...

    @property
    def project(self) -> str: ...

    @property
    def weight(self) -> int: ...


Waiting = TypeVar("Waiting", bound=WaitingRequest)


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """`waiting` bounds how many wait, `wait_ms` the predicted wait. `ttft_ms` is the objective of a first token and
    makes deadlines; `tpot_ms`, of each further token.
    """

    waiting: int = 1000
    wait_ms: int = 5000
    ttft_ms: int = 500
    tpot_ms: int = 15


@dataclass(frozen=True, slots=True)
class Room:
    """All places, and how many are `free`. `paced` if not all may start at once. `share` is the part of the room that
    those who ask have.
    """

    places: int
    free: int = 0
    paced: bool = False
    share: float = 1.0


class Pace:
    """Moving means of how long a place is held and a first token takes; the latter with its mean deviation, after
    Jacobson's estimator of round trips (1988). Predicts 0 before anything is learnt.
    """

    __slots__ = ("_deviation_ms", "_first_ms", "_gap_ms", "_held_ms")

    def __init__(self) -> None:
        self._held_ms: float | None = None
        self._first_ms: float | None = None
        self._gap_ms: float | None = None  # between first outputs
        self._deviation_ms = 0.0

    def learn_first(self, first_ms: float) -> None:
        """Learn the time from a request's start to its first output."""
        if self._first_ms is None:
            self._first_ms, self._deviation_ms = first_ms, first_ms / 2
        error_ms = first_ms - self._first_ms
        self._first_ms += LEARN * error_ms
        self._deviation_ms += LEARN * (abs(error_ms) - self._deviation_ms)

    def learn_start(self, gap_ms: float) -> None:
        """Learn the time between first outputs, while many are before theirs."""
        if self._gap_ms is None:
            self._gap_ms = gap_ms
        self._gap_ms += LEARN * (gap_ms - self._gap_ms)

    def learn_held(self, held_ms: float) -> None:
        """Learn how long a place was held."""
        if self._held_ms is None:
            self._held_ms = held_ms
        self._held_ms += LEARN * (held_ms - self._held_ms)

    @property
    def first_ns(self) -> int:
        """From start to first token, with a margin."""
        return int(((self._first_ms or 0) + DOUBT * self._deviation_ms) * NS_PER_MS)

    def wait_ns(self, entries: float, room: Room) -> int:
        """Return the time until the last of so many has a place."""
        leave_ms = max(0.0, entries / room.share - room.free) * (self._held_ms or 0) / max(1, room.places)
        start_ms = entries * (self._gap_ms or 0) / room.share if room.paced else 0.0
        return int(max(leave_ms, start_ms) * NS_PER_MS)


class Queue(Generic[Waiting]):
    """The waiting requests of one project."""

    def __init__(self, limits: QueueLimits, pace: Pace) -> None:
        self._limits = limits
        self._pace = pace
        self._timely: list[tuple[int, int, Waiting]] = []  # by deadline and number
        self._late: list[tuple[int, Waiting]] = []  # by number
        self._passed = 0  # places in a row that others got while a late one waited
        self._turns = 1.0  # moving mean of the places until one goes to the late, itself included
        self._strictness, self._strict_ns = 1.0, 0  # times the predicted wait, and since when

    def __len__(self) -> int:
        return len(self._timely) + len(self._late)

    def push(self, item: Waiting, now_ns: int, room: Room) -> bool:
        """Add a request. Returns `False` if it would be late and wait too long."""
        self._sort_out(now_ns)
        entry = (item.deadline_ns, item.number, item)
        ahead = bisect_left(self._timely, entry)
        entries = (ahead + 1) * EVERY / (EVERY - 1) if self._late else ahead + 1
        start_ns = now_ns + int(self._forgiven(now_ns) * self._pace.wait_ns(entries, room))
        if start_ns + self._pace.first_ns <= item.deadline_ns:
            self._timely.insert(ahead, entry)
        elif self._overdue(now_ns) or self._too_long(room):
            return False
        else:
            insort(self._late, (item.number, item))
        return True

    def take(self, now_ns: int, keeps: bool = False) -> Waiting | None:
        """Return the request that gets a free place, or `None`. With `keeps`, a place out of the turn of the late stays
        free for one in time.
        """
        self._sort_out(now_ns)
        if not self._late:
            self._passed = 0
            return self._timely.pop(0)[-1] if self._timely else None
        if (self._timely or keeps) and self._passed < EVERY - 1:
            if not self._timely:
                return None
            self._passed += 1
            return self._timely.pop(0)[-1]
        self._turns += LEARN_TURNS * (self._passed + 1 - self._turns)
        self._passed = 0
        return self._late.pop(0)[-1]

    def passed(self) -> None:
        """Note that a request got a place without waiting."""
        self._passed += bool(self._late)

    def last(self) -> Waiting:
        """Remove and return the request to refuse first."""
        return self._late.pop()[-1] if self._late else self._timely.pop()[-1]

    def remove(self, item: Waiting) -> None:
        """Remove a request that has left, if it waits."""
        for entries, key in ((self._timely, (item.deadline_ns, item.number)), (self._late, (item.number,))):
            at = bisect_left(entries, key)  # a tuple's beginning sorts before the whole
            if entries[at : at + 1] and entries[at][:-1] == key:
                del entries[at]

    def clear(self) -> list[Waiting]:
        """Remove and return all."""
        gone = [entry[-1] for entry in self._timely] + [entry[-1] for entry in self._late]
        self._timely, self._late, self._passed = [], [], 0
        return gone

    def retry_after_s(self, room: Room) -> int:
        """Return the seconds until those who wait now have places."""
        return min(LONGEST_RETRY_S, max(1, ceil(self._pace.wait_ns(len(self) + 1, room) / 1e9)))

    def _before_the_late(self, late: int) -> float:
        """Return how many places go until `late` late requests have theirs: to those in time who wait now, and to as
        many new ones as before.
        """
        return max(late + min(len(self._timely), late * (EVERY - 1)), late * max(self._turns, self._passed + 1))

    def _too_long(self, room: Room) -> bool:
        """Return whether one more late request would wait too long."""
        wait_ns = self._pace.wait_ns(self._before_the_late(len(self._late) + 1), room)
        return wait_ns > self._limits.wait_ms * NS_PER_MS

    def _overdue(self, now_ns: int) -> bool:
        """Return whether a late request has waited for longer than was ever predicted."""
        return bool(self._late) and now_ns - self._late[0][-1].deadline_ns > self._limits.wait_ms * NS_PER_MS

    def _sort_out(self, now_ns: int) -> None:
        """Move requests that can no longer be in time to the late."""
        latest_ns = now_ns + self._pace.first_ns
        while self._timely and self._timely[0][0] < latest_ns:
            _, number, item = self._timely.pop(0)
            insort(self._late, (number, item))
            self._strictness = min(STRICTEST, self._forgiven(now_ns) * STRICTER)

    def _forgiven(self, now_ns: int) -> float:
        """Return how strict it is now."""
        self._strictness = 1 + (self._strictness - 1) * 0.5 ** ((now_ns - self._strict_ns) / FORGIVEN_NS)
        self._strict_ns = now_ns
        return self._strictness


class _Line(Generic[Waiting]):
    """The queue of one project. `due` is its turn in virtual time: places divided by weight."""

    __slots__ = ("due", "queue", "weight")

    def __init__(self, queue: Queue[Waiting], weight: int, due: float) -> None:
        self.queue = queue
        self.weight = weight
        self.due = due


class Queues(Generic[Waiting]):
    """The waiting requests of all projects."""

    def __init__(self, limits: QueueLimits, pace: Pace) -> None:
        self._limits = limits
        self._pace = pace
        self._lines: dict[str, _Line[Waiting]] = {}
        self._now = 0.0  # virtual: the turn of the project served last
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, item: Waiting, now_ns: int, room: Room) -> list[Waiting]:
        """Add a request. Returns those to refuse now: none, this one or another."""
        line = self._lines.get(item.project)
        if line is None:
            queue: Queue[Waiting] = Queue(self._limits, self._pace)
            line = self._lines[item.project] = _Line(queue, item.weight, self._now)
        line.weight = item.weight
        line.due = line.due if line.queue else max(line.due, self._now)
        if not line.queue.push(item, now_ns, self._share(item, room)):
            return [item]
        self._length += 1
        if self._length <= self._limits.waiting:
            return []
        most = max(self._lines.values(), key=lambda line: len(line.queue) / line.weight)
        self._length -= 1
        return [most.queue.last()]

    def take(self, now_ns: int, may: Callable[[str, int], bool], keeps: bool = False) -> Waiting | None:
        """Return the request that gets a free place, of the projects that `may` have one (name, weight)."""
        turns = sorted((line.due, name) for name, line in self._lines.items() if line.queue and may(name, line.weight))
        for due, name in turns:
            line = self._lines[name]
            taken = line.queue.take(now_ns, keeps)
            if taken is not None:
                self._now = due
                line.due += 1 / line.weight
                self._length -= 1
                self._forget()
                return taken
        return None

    def passed(self, project: str) -> None:
        """Note that a request of the project got a place without waiting."""
        if project in self._lines:
            self._lines[project].queue.passed()

    def _forget(self) -> None:
        """Drop projects without waiting requests whose turn equals a new project's; all, if nobody waits."""
        if not self._length:
            self._lines.clear()
        for idle in [name for name, line in self._lines.items() if not line.queue and line.due <= self._now]:
            del self._lines[idle]

    def remove(self, item: Waiting) -> None:
        """Remove a request that has left, if it waits."""
        line = self._lines.get(item.project)
        if line is not None:
            self._length -= len(line.queue)
            line.queue.remove(item)
            self._length += len(line.queue)

    def clear(self) -> list[Waiting]:
        """Remove and return all."""
        gone = [item for line in self._lines.values() for item in line.queue.clear()]
        self._lines, self._length = {}, 0
        return gone

    def retry_after_s(self, item: Waiting, room: Room) -> int:
        """Return the seconds until those of its project who wait now have places."""
        line = self._lines.get(item.project)
        return line.queue.retry_after_s(self._share(item, room)) if line else 1

    def _share(self, item: Waiting, room: Room) -> Room:
        """Return the room with the share of that project, among those that wait."""
        weights = sum(line.weight for line in self._lines.values() if line.queue)
        line = self._lines[item.project]
        share = item.weight / (weights + (0 if line.queue else item.weight))
        return replace(room, share=share)
