"""The place where work waits, and the number of workers. Given the time, it chooses what a worker runs now.

It connects the pure policy to streams. It uses no threads and no clock, so that a simulation runs the same code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from antiphon.core.units import NS_PER_MS
from antiphon.scheduler.cost import CostModel, Row
from antiphon.scheduler.fair import FairShares
from antiphon.scheduler.policy import BatchLimits, WorkKind, schedule
from antiphon.scheduler.work import Work, WorkOwner

MEMORY_MS = 3_600_000  # of live streams' time, after which measurements count half
DOUBT_MS = 60_000  # of live streams' time, for which the typical stream counts as measured at first
SPEAKING_NS = 10_000 * NS_PER_MS  # how long somebody counts as speaking in a stream after it asked for work


Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class WorkBatch:
    """The work that one worker runs in one engine call."""

    works: tuple[Work, ...]
    predicted_ms: float


class WaitingRoom:
    """Implements `scheduler.work.Board`, for `workers` workers."""

    def __init__(self, workers: int, limits: BatchLimits, cost: CostModel) -> None:
        self.workers = workers
        self.free = workers
        self.live = 0  # live streams that are open
        self._limits = limits
        self._cost = cost
        self._waiting: dict[Work, None] = {}
        self._keys = count()
        self._recent: dict[WorkOwner, None] = {}  # that put work since the last look
        self._speaking: dict[WorkOwner, int] = {}  # when each live stream last put work, the latest last
        self._projects: dict[str, int] = {}  # when each project last put work
        self._had = FairShares()
        self._measured_ns: int | None = None  # end of the time measured so far
        self._live_ms = 0.0  # the time of live streams in which somebody speaks, summed
        self._urgent_ms = 0.0  # engine time for urgent work meanwhile

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, work: Work) -> None:
        work.key = next(self._keys)
        self._waiting[work] = None
        self._recent[work.stream] = None

    def speaking(self, stream: WorkOwner) -> bool:
        """Return whether somebody has spoken in the stream lately."""
        return stream in self._speaking or stream in self._recent

    def drop(self, work: Work) -> None:
        self._waiting.pop(work, None)

    def forget(self, stream: WorkOwner) -> None:
        self._waiting = {work: None for work in self._waiting if work.stream is not stream}
        self._speaking.pop(stream, None)
        self._recent.pop(stream, None)

    def counts(self) -> dict[WorkKind, int]:
        counts = dict.fromkeys(WorkKind, 0)
        for work in self._waiting:
            counts[work.kind] += 1
        return counts

    def take(self, now_ns: int) -> WorkBatch | None:
        """Return what a free worker runs now; it is busy until `done`. `None` if nothing may run."""
        self._measure(now_ns)
        if not (self.free and self._waiting):
            return None
        # One worker is kept for urgent work, so that a first interim never finds all of them busy with refreshes.
        kept = 1 if self.live and self.workers > 1 else 0
        had = {project: self._had[project] for project in self._projects}
        works = schedule(now_ns, list(self._waiting), self.free, kept, self._cost.predict_ms, self._limits, had)
        if not works:
            return None
        self._had.took(works)
        for work in works:
            self.drop(work)
            work.stream.started(work)
        self.free -= 1
        return WorkBatch(tuple(works), self._cost.predict_ms(works))

    def done(self, batch: WorkBatch, took_ms: float | None) -> None:
        """Free the batch's worker. `took_ms` is `None` if the time says nothing because the engine failed."""
        self.free += 1
        if took_ms is not None:
            own_ms = self._cost.believed_ms(batch.works, took_ms)
            self._cost.learn(batch.works, took_ms)
            urgent = sum(work.kind in (WorkKind.FINAL, WorkKind.FIRST) for work in batch.works)
            self._urgent_ms += own_ms * urgent / len(batch.works)

    def stream_share(self) -> float:
        """Return the share of one worker that the urgent work of a live stream with speech takes: as measured, but not
        less than is typical.

        It depends on how often people pause as much as on the engine. If the engine is overloaded, it is an equal share
        of all capacity, so that no more streams fit.
        """
        # 4 s of speech in 5 s, with a pause after half of it: a first interim, a speculative final that is not used,
        # and a final; each in a batch of 4.
        rows = (Row(500, 500), Row(2000, 1500), Row(4000, 2000))
        typical = sum(self._cost.predict_ms([row] * 4) / 4 for row in rows) / 5000
        return max(typical, (self._urgent_ms + DOUBT_MS * typical) / (self._live_ms + DOUBT_MS))

    def _measure(self, now_ns: int) -> None:
        if self._measured_ns is not None:
            # Nobody looks while no stream sends anything, and then nobody speaks for longer than that either.
            self._live_ms += len(self._speaking) * min(now_ns - self._measured_ns, SPEAKING_NS) / NS_PER_MS
        self._measured_ns = now_ns
        if self._live_ms > MEMORY_MS:
            self._live_ms /= 2
            self._urgent_ms /= 2
        for stream in self._recent:
            _put_last(self._projects, stream.call.project, now_ns)
            if stream.spec.live:
                _put_last(self._speaking, stream, now_ns)
        self._recent.clear()
        _forget_before(self._speaking, now_ns - SPEAKING_NS)
        _forget_before(self._projects, now_ns - SPEAKING_NS, keep=lambda: {work.project for work in self._waiting})


def _put_last(seen: dict[Key, int], key: Key, now_ns: int) -> None:
    seen.pop(key, None)
    seen[key] = now_ns


def _forget_before(seen: dict[Key, int], before_ns: int, keep: Callable[[], set[Key]] = set) -> None:
    """Remove what was last seen before `before_ns`; `seen` has the latest last. `keep` gives what counts as seen
    then.
    """
    kept: set[Key] | None = None
    while seen and seen[first := next(iter(seen))] < before_ns:
        kept = keep() if kept is None else kept
        del seen[first]
        if first in kept:
            seen[first] = before_ns
