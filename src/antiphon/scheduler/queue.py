"""Who is next among requests that wait for a place at a backend: the pure ordering. No I/O, no clock, bounded.

1. A request that can still meet its objective goes before one that cannot: those in time by their deadlines, the late
   by when they came. In time is who would have a first token by its deadline if it got a place now; one that comes, if
   it got one when that is predicted.
2. Nobody starves: where both wait, every `EVERY`th place goes to the late. So a late request is served after at most
   `EVERY` times as many places as there are late ones that came before it.
3. Both are bounded: by number, and the late by how long the last of them is predicted to wait. Whoever is over a bound
   is refused at once: the last of the late, so the one that is in time is kept as long as there are any.

How long things take is learnt from how long they took (`Pace`).
"""

from bisect import bisect_left, insort
from dataclasses import dataclass
from math import ceil
from typing import Generic, Protocol, TypeVar

from antiphon.core.units import NS_PER_MS

EVERY = 8
LEARN = 0.1  # the share of the latest in a moving mean
DOUBT = 2.0  # mean deviations on top of the mean, to be on the safe side
LONGEST_RETRY_S = 60


class Item(Protocol):
    """What the ordering looks at. `number` counts requests as they come; `deadline_ns` is its objective's."""

    @property
    def number(self) -> int: ...

    @property
    def deadline_ns(self) -> int: ...


Waiting = TypeVar("Waiting", bound=Item)


@dataclass(frozen=True, slots=True)
class Limits:
    """`waiting` bounds how many wait, `wait_ms` the predicted wait. `ttft_ms` is the objective that makes deadlines."""

    waiting: int = 1000
    wait_ms: int = 5000
    ttft_ms: int = 500


class Pace:
    """How long a place is held and how long a first token takes, as moving means; after Jacobson's estimator of round
    trips (1988), the latter with its mean deviation. Nothing is predicted before anything was learnt.
    """

    __slots__ = ("_deviation_ms", "_first_ms", "_held_ms", "_known")

    def __init__(self) -> None:
        self._known = False
        self._held_ms = self._first_ms = self._deviation_ms = 0.0

    def learn(self, first_ms: float, held_ms: float) -> None:
        """One request has left. `first_ms` is from its start to its first output."""
        if not self._known:
            self._known, self._held_ms, self._first_ms, self._deviation_ms = True, held_ms, first_ms, first_ms / 2
        error_ms = first_ms - self._first_ms
        self._held_ms += LEARN * (held_ms - self._held_ms)
        self._first_ms += LEARN * error_ms
        self._deviation_ms += LEARN * (abs(error_ms) - self._deviation_ms)

    @property
    def first_ns(self) -> int:
        """From start to first token, on the safe side."""
        return int((self._first_ms + DOUBT * self._deviation_ms) * NS_PER_MS)

    def wait_ns(self, leaves: float, places: int) -> int:
        """Until so many have left, where all `places` are taken."""
        return int(self._held_ms * leaves / max(1, places) * NS_PER_MS)


class Queue(Generic[Waiting]):
    """Those who wait for one of `places`, which may change."""

    def __init__(self, limits: Limits, pace: Pace) -> None:
        self._limits = limits
        self._pace = pace
        self._timely: list[tuple[int, int, Waiting]] = []  # by deadline and number
        self._late: list[tuple[int, Waiting]] = []  # by number
        self._passed = 0  # places that others got in a row while one of the late waited

    def __len__(self) -> int:
        return len(self._timely) + len(self._late)

    def push(self, item: Waiting, now_ns: int, places: int) -> list[Waiting]:
        """One more waits. Returns those who do not any more and are to be refused: the new one, perhaps, or others."""
        self._sort_out(now_ns)
        entry = (item.deadline_ns, item.number, item)
        ahead = bisect_left(self._timely, entry)
        leaves = (ahead + 1) * EVERY / (EVERY - 1) if self._late else ahead + 1
        start_ns = now_ns + self._pace.wait_ns(leaves, places)
        if start_ns + self._pace.first_ns <= item.deadline_ns:
            self._timely.insert(ahead, entry)
        else:
            insort(self._late, (item.number, item))
        refused = []
        while self._late and self._too_many(places):
            refused.append(self._late.pop()[-1])
        if len(self) > self._limits.waiting:
            refused.append(self._timely.pop()[-1])
        return refused

    def take(self, now_ns: int) -> Waiting | None:
        """Who gets the place that has become free."""
        self._sort_out(now_ns)
        if self._late and (not self._timely or self._passed >= EVERY - 1):
            self._passed = 0
            return self._late.pop(0)[-1]
        self._passed = self._passed + 1 if self._late else 0
        return self._timely.pop(0)[-1] if self._timely else None

    def remove(self, item: Waiting) -> None:
        """It has gone away. Nothing happens to one that does not wait."""
        for entries, key in ((self._timely, (item.deadline_ns, item.number)), (self._late, (item.number,))):
            at = bisect_left(entries, key)  # a tuple's beginning sorts before the whole
            if entries[at : at + 1] and entries[at][:-1] == key:
                del entries[at]

    def clear(self) -> list[Waiting]:
        """Nobody waits any more. Returns those who did."""
        gone = [entry[-1] for entry in self._timely] + [entry[-1] for entry in self._late]
        self._timely, self._late, self._passed = [], [], 0
        return gone

    def retry_after_s(self, places: int) -> int:
        """When there will be room for one who is refused now: when those who wait have got their places."""
        return min(LONGEST_RETRY_S, max(1, ceil(self._pace.wait_ns(len(self) + 1, places) / 1e9)))

    def _too_many(self, places: int) -> bool:
        leaves = len(self._late) * (EVERY if self._timely else 1)
        predicted_ns = self._pace.wait_ns(leaves, places)
        return len(self) > self._limits.waiting or predicted_ns > self._limits.wait_ms * NS_PER_MS

    def _sort_out(self, now_ns: int) -> None:
        """Who can no longer be in time is late."""
        latest_ns = now_ns + self._pace.first_ns
        while self._timely and self._timely[0][0] < latest_ns:
            _, number, item = self._timely.pop(0)
            insort(self._late, (number, item))
