"""Where work waits, and how many workers there are to give it to. Told the time, it says what one of them runs now.

It joins the pure policy to streams and knows neither threads nor a clock, so that a simulation runs the very same code.
"""

from dataclasses import dataclass

from antiphon.scheduler.cost import CostModel
from antiphon.scheduler.policy import Item, Kind, Limits, schedule
from antiphon.scheduler.stream import Stream
from antiphon.scheduler.work import Work


@dataclass(frozen=True, slots=True)
class Batch:
    """What one worker runs in one engine call. `items` are what the policy saw of `works`."""

    works: tuple[Work, ...]
    items: tuple[Item, ...]
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

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, work: Work) -> None:
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
        """What a free worker runs now; it is busy until `give_back`. `None` if nothing may run."""
        if not (self.free and self._waiting):
            return None
        # One worker is kept for what is urgent, so that a first interim never finds all of them busy with refreshes.
        kept = 1 if self.live and self.workers > 1 else 0
        works = list(self._waiting)
        items = [work.item(key) for key, work in enumerate(works)]
        chosen = schedule(now_ns, items, self.free, kept, self._cost.predict_ms, self._limits)
        if not chosen:
            return None
        batch = Batch(tuple(works[i.key] for i in chosen), tuple(chosen), self._cost.predict_ms(chosen))
        for work in batch.works:
            self.drop(work)
        for work in batch.works:
            work.stream.started(work)
        self.free -= 1
        return batch

    def give_back(self) -> None:
        """A worker is free again."""
        self.free += 1
