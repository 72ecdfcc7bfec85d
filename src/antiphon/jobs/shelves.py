"""Where a project's files and jobs are: on the disk if its policy keeps answers, in memory if not.

What is in memory ends a day after it was made, or with the server. A project whose policy changes begins on the other
shelf; what it had on the first one is not shown any more, and ends there.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from antiphon.core.errors import InternalError
from antiphon.core.stores import Jobs, ServerStores

PASSING_S = 86_400  # OpenAI's own window for a batch, the longest that anybody waits
PURGE_S = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shelf:
    """One place for files and jobs. `keep_s` says for how long a project's are kept there, as its policy is now;
    `keeps` whether they are there after a restart, too.
    """

    jobs: Jobs
    keep_s: Callable[[str], int]
    keeps: bool


class Shelves:
    """Both."""

    def __init__(self, stores: ServerStores, keep_s: Callable[[str], int]) -> None:
        """`keep_s` is each project's policy, 0 for none."""
        self.kept = Shelf(stores.jobs, keep_s, keeps=True)
        self.passing = Shelf(stores.passing, lambda project: PASSING_S, keeps=False)

    def of(self, project: str) -> Shelf:
        return self.kept if self.kept.keep_s(project) else self.passing

    @property
    def all(self) -> tuple[Shelf, ...]:
        return self.kept, self.passing

    @property
    def trouble(self) -> str | None:
        return self.kept.jobs.trouble

    async def watch(self) -> None:
        """Runs for ever: wipes what is past its end."""
        while True:
            for shelf in self.all:
                try:
                    await shelf.jobs.purge(shelf.keep_s)
                except InternalError as error:
                    log.error("files and jobs cannot be deleted", exc_info=error)
            await asyncio.sleep(PURGE_S)
