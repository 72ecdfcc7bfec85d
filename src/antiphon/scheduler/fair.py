"""Fair queueing: the order of work when several projects wait for the same engine. Pure.

1. Earliest deadline first, while that keeps every deadline: then no project delays another.
2. Otherwise start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) between the projects, and earliest deadline
   first within each: a project that asks for more than its share delays only itself.

What each project received is counted in virtual time: the size of its work divided by its weight. A project that was
idle starts at the virtual time of the others, so that no project can save up a right to be first.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

MOST_PROJECTS = 256  # that are remembered, beside those that are ahead of the others


class ShareClaim(Protocol):
    """Something that waits. `size` is how much it takes, in the unit of its queue."""

    @property
    def project(self) -> str: ...

    @property
    def weight(self) -> int: ...

    @property
    def deadline_ns(self) -> int: ...

    @property
    def size(self) -> float: ...


Waiting = TypeVar("Waiting", bound=ShareClaim)


class FairShares:
    """What each project received, in virtual time."""

    def __init__(self) -> None:
        self._had: dict[str, float] = {}
        self._now = 0.0  # the virtual time at which the running work began

    def __getitem__(self, project: str) -> float:
        return max(self._had.get(project, 0.0), self._now)

    def took(self, claims: Sequence[ShareClaim]) -> None:
        """Count these as running together; the first is the one whose turn it was."""
        self._now = self[claims[0].project]
        for claim in claims:
            self._had[claim.project] = self[claim.project] + claim.size / claim.weight
        if len(self._had) > MOST_PROJECTS:
            self._had = {project: had for project, had in self._had.items() if had > self._now}


def in_turn(waiting: Sequence[Waiting], now_ns: int, each_ns: float, had: Mapping[str, float]) -> list[Waiting]:
    """Return `waiting`, sorted by deadline, in the order to run. One takes `each_ns` on average; `had` must contain
    every project that waits.
    """
    if all(now_ns + each_ns * n <= claim.deadline_ns for n, claim in enumerate(waiting, 1)):
        return list(waiting)
    return by_share(waiting, had)


def by_share(waiting: Sequence[Waiting], had: Mapping[str, float]) -> list[Waiting]:
    """Return `waiting` with the projects taking turns. Within a project, the order stays."""
    starts = dict(had)
    tagged: list[tuple[float, int]] = []
    for n, claim in enumerate(waiting):
        start = starts[claim.project]
        tagged.append((start, n))
        starts[claim.project] = start + claim.size / claim.weight
    return [waiting[n] for _, n in sorted(tagged)]
