"""Rows of many callers in shared batches, for a model that computes many as fast as one.

Rules:

- Every waiting caller gets a row into a batch before one gets a second, so that one with thousands does not delay one
  with a few. A caller's longest rows go first, so that rows of a batch are similar.
- A batch is bounded in cells: its rows times its longest row.
- Each of `threads` runs one batch at a time; all else happens on the event loop, so there are no locks.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from antiphon.core.errors import CapacityError, EngineError

RETRY_AFTER_S = 5

Row = tuple[int, ...]
Vector = tuple[float, ...]
Run = Callable[[list[Row]], list[Vector]]


@dataclass(slots=True, eq=False)
class _Job:
    """One call. `order` is the order in which its rows are taken, from the end; `left` have no vector yet."""

    rows: Sequence[Row]
    order: list[int]
    done: asyncio.Future[None]
    left: int
    vectors: dict[int, Vector] = field(default_factory=dict)

    def fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(EngineError(why))


class Batches:
    """`run` returns a vector for each row, in order; it blocks and is called in `threads` threads. At most
    `most_tokens` may wait, and an eighth more for projects that have at most a sixteenth.
    """

    def __init__(self, run: Run, *, threads: int, most_cells: int, most_tokens: int) -> None:
        self._run = run
        self._most_cells = most_cells
        self._most_tokens = most_tokens
        self._tokens = 0
        self._by_project: Counter[str] = Counter()
        self._jobs: deque[_Job] = deque()
        self._threads = threads
        self._working: set[asyncio.Task[None]] = set()
        self._pool = ThreadPoolExecutor(threads, "batches")
        self._closed = False

    def check(self) -> None:
        """Check that it is open. Raises `EngineError` if it has been closed."""
        if self._closed:
            raise EngineError("the model has been closed")

    async def compute(self, rows: Sequence[Row], project: str = "") -> tuple[Vector, ...]:
        """Return a vector for each row. Raises `CapacityError` if too much waits, `EngineError`. When a call is
        cancelled, its waiting rows are dropped.
        """
        self.check()
        tokens = sum(map(len, rows))
        own = self._by_project[project] + tokens
        reserve = self._most_tokens // 8 if own <= self._most_tokens // 16 else 0
        if self._tokens + tokens > self._most_tokens + reserve:
            raise CapacityError("Too many texts are waiting for this model.", retry_after_s=RETRY_AFTER_S)
        order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
        job = _Job(rows, order, asyncio.get_running_loop().create_future(), len(rows))
        self._tokens += tokens
        self._by_project[project] = own
        try:
            self._jobs.append(job)
            while len(self._working) < self._threads:  # surplus tasks find no work and end at once
                working = asyncio.create_task(self._work(), name="batches")
                self._working.add(working)
                working.add_done_callback(self._working.discard)
            if rows:
                await job.done
        finally:
            self._tokens -= tokens
            self._by_project[project] -= tokens
            if not self._by_project[project]:
                del self._by_project[project]
        return tuple(job.vectors[number] for number in range(len(rows)))

    async def close(self) -> None:
        """Fail what waits, and finish what runs."""
        self._closed = True
        for job in self._jobs:
            job.fail("the model has been closed")
        await asyncio.gather(*self._working)
        self._pool.shutdown()

    async def _work(self) -> None:
        """Run batches while anything waits."""
        loop = asyncio.get_running_loop()
        while batch := self._next():
            rows = [job.rows[number] for job, number in batch]
            try:
                vectors = await loop.run_in_executor(self._pool, self._run, rows)
            except Exception:  # a model's runtime may raise any class, and quote its input
                for job, _ in batch:
                    job.fail("the model failed on these texts")
                continue
            for (job, number), vector in zip(batch, vectors, strict=True):
                job.vectors[number] = vector
                job.left -= 1
                if not job.left and not job.done.done():
                    job.done.set_result(None)

    def _next(self) -> list[tuple[_Job, int]]:
        """Return the next batch: a row of each job in turn, up to the bound; at least one, if any waits."""
        batch: list[tuple[_Job, int]] = []
        widest = 0
        while self._jobs:
            job = self._jobs[0]
            if job.done.done() or not job.order:  # its caller left, it failed, or all of it was taken
                self._jobs.popleft()
                continue
            number = job.order[-1]
            widest = max(widest, len(job.rows[number]))
            if batch and widest * (len(batch) + 1) > self._most_cells:
                break
            job.order.pop()
            batch.append((job, number))
            self._jobs.rotate(-1)
        return batch
