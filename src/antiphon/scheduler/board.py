"""Where work waits, and how many workers there are to give it to. Told the time, it says what one of them runs now.

It joins the pure policy to streams and knows neither threads nor a clock, so that a simulation runs the very same code.
"""

from dataclasses import dataclass
from itertools import count

from antiphon.core.units import NS_PER_MS
from antiphon.scheduler.cost import CostModel, Row
from antiphon.scheduler.policy import Kind, Limits, schedule
from antiphon.scheduler.stream import Stream
from antiphon.scheduler.work import Work

MEMORY_MS = 3_600_000  # of live streams' time, after which what was measured weighs half
DOUBT_MS = 60_000  # of live streams' time, for which the typical stream stands in at first


@dataclass(frozen=True, slots=True)
class Batch:
    """What one worker runs in one engine call."""

    works: tuple[Work, ...]
    predicted_ms: float


class WaitingRoom:
    """Implements `scheduler.work.Board`, for `workers` workers."""

    def __init__(self, workers: int, limits: Limits, cost: CostModel) -> None:
        self.workers = workers
        self.free = workers
        self.live = 0  # live streams that are open
        self._limits = limits
        self._cost = cost
        self._waiting: dict[Work, None] = {}
        self._keys = count()
        self._measured_ns = 0  # up to when
        self._live_ms = 0.0  # live streams' time, summed
        self._urgent_ms = 0.0  # the engine's time for what was urgent in it

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, work: Work) -> None:
        work.key = next(self._keys)
        self._waiting[work] = None

    def drop(self, work: Work) -> None:
        self._waiting.pop(work, None)

    def forget(self, stream: Stream) -> None:
        self._waiting = {work: None for work in self._waiting if work.stream is not stream}

    def counts(self) -> dict[Kind, int]:
        counts = dict.fromkeys(Kind, 0)
        for work in self._waiting:
            counts[work.kind] += 1
        return counts

    def take(self, now_ns: int) -> Batch | None:
        """What a free worker runs now; it is busy until `done`. `None` if nothing may run."""
        self._measure(now_ns)
        if not (self.free and self._waiting):
            return None
        # One worker is kept for what is urgent, so that a first interim never finds all of them busy with refreshes.
        kept = 1 if self.live and self.workers > 1 else 0
        works = schedule(now_ns, list(self._waiting), self.free, kept, self._cost.predict_ms, self._limits)
        if not works:
            return None
        for work in works:
            self.drop(work)
            work.stream.started(work)
        self.free -= 1
        return Batch(tuple(works), self._cost.predict_ms(works))

    def done(self, batch: Batch, took_ms: float | None) -> None:
        """That batch's worker is free again. `None` where the time taken says nothing, because the engine failed."""
        self.free += 1
        if took_ms is not None:
            self._cost.learn(batch.works, took_ms)
            urgent = sum(work.kind in (Kind.FINAL, Kind.FIRST) for work in batch.works)
            self._urgent_ms += took_ms * urgent / len(batch.works)

    def stream_share(self) -> float:
        """The part of one worker that a live stream's urgent work takes: as measured, but no less than is typical.

        How often people pause decides it as much as the engine does. Where the engine is overloaded it comes out as an
        equal part of all there is, so that no more streams fit.
        """
        # 4 s of speech in 5 s, with a pause after half of it: a first interim, a decoding ahead that comes to nothing,
        # and a final; each in a batch of 4.
        rows = (Row(500, 500), Row(2000, 1500), Row(4000, 2000))
        typical = sum(self._cost.predict_ms([row] * 4) / 4 for row in rows) / 5000
        return max(typical, (self._urgent_ms + DOUBT_MS * typical) / (self._live_ms + DOUBT_MS))

    def _measure(self, now_ns: int) -> None:
        self._live_ms += self.live * (now_ns - self._measured_ns) / NS_PER_MS
        self._measured_ns = now_ns
        if self._live_ms > MEMORY_MS:
            self._live_ms /= 2
            self._urgent_ms /= 2
