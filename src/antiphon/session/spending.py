"""The amounts charged to projects, for callers who ask.

Summing a month's entries takes time, so only one sum is computed at once, and it is valid for `HOLDS_S`.
"""

import asyncio
from dataclasses import dataclass

from antiphon.calls.services import Services
from antiphon.core.endpoints import ProjectSpending
from antiphon.core.units import NS_PER_S
from antiphon.core.usage import Dimension

HOLDS_S = 5
MAX_KEPT = 1000


@dataclass(frozen=True, slots=True)
class _Sum:
    spending: ProjectSpending
    at_ns: int


class SpendingCache:
    """Recent sums, by project, dimension and start."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._kept: dict[tuple[str, Dimension, int], _Sum] = {}
        self._reading = asyncio.Lock()

    async def since(self, project: str, dimension: Dimension, since_unix_ms: int) -> ProjectSpending:
        """Return the amount charged since then. Raises `InternalError` if the ledger cannot be read."""
        key = project, dimension, since_unix_ms
        async with self._reading:
            now_ns = self._services.clock.now_ns()
            kept = self._kept.pop(key, None)
            if kept is None or now_ns - kept.at_ns >= HOLDS_S * NS_PER_S:
                amount = await self._services.ledger.charged(project, dimension, since_unix_ms)
                kept = _Sum(ProjectSpending(project, amount), now_ns)
            self._kept[key] = kept
            if len(self._kept) > MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            return kept.spending
