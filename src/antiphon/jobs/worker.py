"""The worker: it runs several jobs at once and fewer of each project, so that no project's jobs delay another's. Jobs
of lines, which take hours, and those of one call do not delay each other.

What ran here when the server died is started again at the next start: items with a recorded outcome are not called
again, and the others are charged once (`jobs/items.py`). Jobs in memory are lost with the server.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from antiphon.core.errors import AntiphonError
from antiphon.core.jobs import Job, JobKind, LineKind
from antiphon.core.stores import LeaseLost
from antiphon.jobs.items import Services
from antiphon.jobs.run import Run
from antiphon.jobs.tiers import Tier, Tiers

# Of all projects, and of one.
MAX_RUNNING, MOST_OF_A_PROJECT = 8, 1  # jobs of lines
MAX_CALLS, MOST_CALLS_OF_A_PROJECT = 8, 2  # jobs of one call
LOOK_S = 1.0  # between searches for jobs of dead servers

log = logging.getLogger(__name__)


class Worker:
    """The worker of the server with the id `owner`. `kinds` are the kinds of jobs by name; `at_once` items run at most.

    `ended` counts jobs by kind and state, `outcomes` items by kind and success.
    """

    def __init__(
        self, services: Services, tiers: Tiers, kinds: Mapping[str, JobKind], owner: str, at_once: int
    ) -> None:
        self.ended: Counter[tuple[str, str]] = Counter()
        self.outcomes: Counter[tuple[str, bool]] = Counter()
        self._services = services
        self._tiers = tiers
        self._kinds = kinds
        lines = frozenset(name for name, kind in kinds.items() if isinstance(kind, LineKind))
        self._lanes = (
            (lines, MAX_RUNNING, MOST_OF_A_PROJECT),
            (frozenset(kinds) - lines, MAX_CALLS, MOST_CALLS_OF_A_PROJECT),
        )
        self._owner = owner
        self._at_once = at_once
        self._runs: dict[asyncio.Task[None], Run] = {}
        self._awake = asyncio.Event()
        self._begun = False

    @property
    def running(self) -> int:
        return len(self._runs)

    @property
    def items(self) -> int:
        return self._services.filler.running

    @property
    def gave_way(self) -> int:
        return self._services.filler.gave_way

    def wake(self) -> None:
        """Look for new or cancelled work."""
        self._awake.set()
        for run in self._runs.values():
            run.look()

    def drop(self, project: str, subject: str) -> int:
        """Stop the jobs about a person, by pseudonym, or all of a project, whose records were erased, and send no
        notice of them any more. Return how many notices were not delivered yet.
        """
        for run in self._runs.values():
            if run.job.project == project and subject in ("", run.job.subject):
                run.drop()
        return self._services.webhooks.drop(project, subject)

    def drop_lines(self, job: Job, numbers: frozenset[int]) -> None:
        """Stop lines of a job that were erased."""
        for run in self._runs.values():
            if (run.job.project, run.job.id) == (job.project, job.id):
                run.drop_lines(numbers)

    async def run(self) -> None:
        """Run jobs, for ever. Raises `InternalError` if the stores fail."""
        if not self._begun:  # a dead server left its jobs
            for tier in self._tiers.all:
                await tier.jobs.let_go(self._owner)
            self._begun = True
        while True:
            self._awake.clear()
            for tier in self._tiers.all:
                for lane in self._lanes:
                    await self._take(tier, *lane)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._awake.wait()

    async def watch_items(self) -> None:
        """Apply the rule for items that must be stopped for interactive calls, for ever."""
        await self._services.filler.watch()

    async def _take(self, tier: Tier, kinds: frozenset[str], most: int, of_a_project: int) -> None:
        while True:
            running = Counter(run.job.project for run in self._runs.values() if run.job.kind in kinds)
            if running.total() >= most:
                return
            besides = {project for project, count in running.items() if count >= of_a_project}
            job = await tier.jobs.claim(self._owner, besides, kinds)
            if job is None:
                return
            if any((run.job.project, run.job.id) == (job.project, job.id) for run in self._runs.values()):
                continue  # its lease had ended while this process was stopped, and is renewed
            run = Run(self._services, tier, job, self._kinds[job.kind], self._owner, self._at_once)
            task = asyncio.create_task(self._do(run), name=f"job {job.id}")
            self._runs[task] = run
            task.add_done_callback(self._left)

    async def _do(self, run: Run) -> None:
        try:
            await run.go()
        except LeaseLost:
            _log(run.job, "a job was lost to another server", None)
        except AntiphonError as error:
            _log(run.job, "a job will be begun again", error)
        except Exception as error:
            _log(run.job, "a job failed by a defect and will be begun again", error)
        for good in run.outcomes:
            self.outcomes[run.job.kind, good] += 1
        if run.job.over:
            self.ended[run.job.kind, run.job.state] += 1

    def _left(self, task: asyncio.Task[None]) -> None:
        del self._runs[task]
        self._awake.set()

    async def close(self) -> None:
        """Stop what runs, uncharged; the next start runs it again."""
        tasks = tuple(self._runs)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for tier in self._tiers.all:
            with suppress(AntiphonError):
                await tier.jobs.let_go(self._owner)


def _log(job: Job, message: str, error: Exception | None) -> None:
    log.log(logging.ERROR if error else logging.WARNING, message, exc_info=error, extra={"project": job.project})
