"""The place of a project's files and jobs: on the disk if its policy keeps answers, else in memory.

What is in memory expires a day after its creation, or with the server. If a project's policy changes, it uses the other
tier; what it had on the first one is no longer shown, and expires there.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from antiphon.core.errors import InternalError
from antiphon.core.stores import Jobs, ServerStores
from antiphon.session.subjects import PASSING_S

PURGE_S = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tier:
    """One place for files and jobs. `keep_s` is how long a project's are kept there by its present policy, `keeps`
    whether they survive a restart.
    """

    jobs: Jobs
    keep_s: Callable[[str], int]
    keeps: bool


class Tiers:
    """Both tiers."""

    def __init__(
        self,
        stores: ServerStores,
        keep_s: Callable[[str], int],
        expired: Callable[[Mapping[str, int]], None] = lambda wiped: None,
    ) -> None:
        """Create both. `keep_s` is each project's policy, 0 for none; `expired` gets the number of files and jobs that
        expired, by project.
        """
        self._expired = expired
        self.kept = Tier(stores.jobs, keep_s, keeps=True)
        self.passing = Tier(stores.passing, lambda project: PASSING_S, keeps=False)

    def of(self, project: str) -> Tier:
        return self.kept if self.kept.keep_s(project) else self.passing

    @property
    def all(self) -> tuple[Tier, ...]:
        return self.kept, self.passing

    @property
    def trouble(self) -> str | None:
        return self.kept.jobs.trouble

    async def watch(self) -> None:
        """Erase what is expired, for ever."""
        while True:
            for tier in self.all:
                try:
                    self._expired(await tier.jobs.purge(tier.keep_s))
                except InternalError as error:
                    log.error("files and jobs cannot be deleted", exc_info=error)
            await asyncio.sleep(PURGE_S)
