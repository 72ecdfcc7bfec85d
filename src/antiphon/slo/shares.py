"""Shares: whether a project may hold one more of the common places. Pure.

1. Any project may take what is free: one alone may hold all places.
2. Beyond those, a tenth more is reserved for projects that hold less than their share by weight. While its second half
   fills up, the share that still gets more of it shrinks, so that something is left for the next. The first place of a
   project is never refused for that.
3. A project or a key may also have a bound of its own.

So a project that holds everything keeps it, gets no more, and others get what it frees.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from antiphon.core.identity import Principal
from antiphon.core.units import NS_PER_S

RESERVE = 10  # the reserve is one of so many places
LONGEST_WAIT_S = 60  # the longest retry time


@dataclass(frozen=True, slots=True)
class Bound:
    """How many places there are, and how many of them one project and one key may hold; 0 means all."""

    most: int
    per_project: int = 0
    per_key: int = 0

    @property
    def reserve(self) -> int:
        return max(1, self.most // RESERVE)

    @property
    def all(self) -> int:
        """All places, with the reserve."""
        return self.most + self.reserve


@dataclass(frozen=True, slots=True)
class Holding:
    """What one project holds."""

    places: float
    weight: int


def reserved(
    own: Holding, rivals: Sequence[Holding], wanted: int, most: float, reserve: float, first: bool = False
) -> bool:
    """Return whether a project with less than its share may hold `wanted` more, given `most` places and a reserve.

    Much more than both is held only if silent streams have begun to speak. Then what a project holds beyond its share
    makes only itself late, and does not count against others. With `first`, the first stream of a project may be
    admitted in any case, however few places there are while others hold too much: `most` shrinks when everything
    becomes slow.
    """
    if not rivals:
        return False
    weights = own.weight + sum(rival.weight for rival in rivals)
    if first and own.places < 1 and wanted <= 1 and _any_beyond_its_share(rivals, most / weights):
        return True
    taken = own.places + sum(rival.places for rival in rivals)
    if taken > most + reserve + len(rivals) or (first and own.places < 1):
        shares = (max(1.0, most * rival.weight / weights) for rival in rivals)
        taken = own.places + sum(min(r.places, share) for r, share in zip(rivals, shares, strict=True))
    left = most + reserve - taken
    if wanted > left:
        return False
    share = most * own.weight / weights
    return own.places < 1 or own.places + wanted <= share * min(1.0, 2 * left / reserve)


def _any_beyond_its_share(holdings: Sequence[Holding], places: float) -> bool:
    """Return whether any holds more than its share; `places` are for each unit of weight."""
    return any(holding.places > max(1.0, places * holding.weight) for holding in holdings)


@dataclass(eq=False, slots=True)
class Place:
    """One or more places, held since `since_ns`. `silent` if nobody has spoken there for a while."""

    principal: Principal
    places: int
    since_ns: int
    silent: bool = False


class Shares:
    """The holders of the places of one kind."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self.held = 0
        self._projects: Counter[str] = Counter()
        self._silent: Counter[str] = Counter()
        self._keys: Counter[str] = Counter()
        self._weights: dict[str, int] = {}  # of projects that hold something
        self._since_ns = 0  # sum of the times at which the places were taken
        self._returns_ns: dict[str, int] = {}  # when the last refused caller of each project is to retry

    def fits(self, principal: Principal, places: int = 1) -> bool:
        """Return whether that many more may be held."""
        bound, project = self.bound, principal.project
        if bound.per_key and self._keys[principal.key_id] + places > bound.per_key:
            return False
        if bound.per_project and self._projects[project] + places > bound.per_project:
            return False
        if self.held + places <= bound.most:
            return True
        return reserved(self.own(principal), self.others(principal), places, bound.most, bound.reserve)

    def weighed(self, silent: float) -> float:
        """Return how many places are held; a silent one counts as `silent`."""
        return self.held - (1 - silent) * self._silent.total()

    def own(self, principal: Principal, silent: float = 1.0) -> Holding:
        """Return what the caller's project holds; a silent place counts as `silent`."""
        return self._holding(principal.project, principal.weight, silent)

    def others(self, principal: Principal, silent: float = 1.0) -> list[Holding]:
        """Return what each other project holds, in the same way."""
        return [
            self._holding(project, weight, silent)
            for project, weight in self._weights.items()
            if project != principal.project
        ]

    def _holding(self, project: str, weight: int, silent: float) -> Holding:
        return Holding(self._projects[project] - (1 - silent) * self._silent[project], weight)

    def hold(self, principal: Principal, places: int, now_ns: int) -> Place:
        self._count(principal, places)
        self._weights[principal.project] = principal.weight
        self._since_ns += places * now_ns
        return Place(principal, places, now_ns)

    def let_go(self, place: Place) -> None:
        self.mark(place, silent=False)
        self._since_ns -= place.places * place.since_ns
        self._count(place.principal, -place.places)

    def mark(self, place: Place, silent: bool) -> None:
        """Mark a place as silent or not."""
        if place.silent is not silent:
            place.silent = silent
            self._silent[place.principal.project] += place.places if silent else -place.places

    def retry_after_s(self, principal: Principal, now_ns: int) -> int:
        """Return when a refused caller may find a place (s): places are likely to be held for as long again as they
        were so far. Refused callers of one project get different times, one after the other.
        """
        age_ns = now_ns - self._since_ns / self.held if self.held else 0.0
        free_ns = int(age_ns / max(1, self.held))
        longest_ns = now_ns + LONGEST_WAIT_S * NS_PER_S
        due_ns = min(longest_ns, max(now_ns, self._returns_ns.get(principal.project, 0)) + free_ns)
        self._returns_ns[principal.project] = due_ns
        return max(1, ceil((due_ns - now_ns) / NS_PER_S))

    def _count(self, principal: Principal, places: int) -> None:
        self.held += places
        for counter, name in ((self._projects, principal.project), (self._keys, principal.key_id)):
            counter[name] += places
            if not counter[name]:
                del counter[name]
        if principal.project not in self._projects:
            del self._weights[principal.project]
            self._silent.pop(principal.project, None)
