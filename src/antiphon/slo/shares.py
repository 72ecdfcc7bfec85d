"""Shares: whether a project may hold one more of the places that all have in common. Pure.

1. Whoever comes may have what is free: one project alone may hold all places.
2. Beyond those, a tenth more is kept for projects that hold less than their share, by weight, of what is there. As
   its second half fills up, so shrinks what one may hold to get more of it, and something is left for the next.
   The first place is never refused for that.
3. Apart from that a project or a key may have a bound of its own.

So a project that holds everything keeps it, gets no more, and gives up to others what it lets go of.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from antiphon.core.identity import Principal
from antiphon.core.units import NS_PER_S

RESERVE = 10  # the reserve is such a part of the places
LONGEST_WAIT_S = 60  # that anybody is told to stay away


@dataclass(frozen=True, slots=True)
class Bound:
    """How many places there are, and how many of them one project and one key may hold; 0 is as many as there are."""

    most: int
    per_project: int = 0
    per_key: int = 0

    @property
    def reserve(self) -> int:
        return max(1, self.most // RESERVE)

    @property
    def all(self) -> int:
        """With the reserve."""
        return self.most + self.reserve


@dataclass(frozen=True, slots=True)
class Holding:
    """What one project holds."""

    places: float
    weight: int


def reserved(
    own: Holding, rivals: Sequence[Holding], wanted: int, most: float, reserve: float, first: bool = False
) -> bool:
    """Whether a project that holds less than its share may have `wanted` more, where `most` and a reserve are there.

    There is much more than both only where silent ones have begun to speak. Then what somebody holds beyond their share
    is theirs to be late with, and counts against nobody. The `first` of a project may be let in so in any case, and
    however little there is while others hold too much: `most` shrinks where everything has become slow.
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
    """`places` are those for each weight of one."""
    return any(holding.places > max(1.0, places * holding.weight) for holding in holdings)


@dataclass(eq=False, slots=True)
class Place:
    """One or more, held from `since_ns` on. `silent`: nobody has spoken there for a while."""

    principal: Principal
    places: int
    since_ns: int
    silent: bool = False


class Shares:
    """Who holds the places of one kind."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self.held = 0
        self._projects: Counter[str] = Counter()
        self._silent: Counter[str] = Counter()
        self._keys: Counter[str] = Counter()
        self._weights: dict[str, int] = {}  # of projects that hold something
        self._since_ns = 0  # the sum of when what is held was taken
        self._returns_ns: dict[str, int] = {}  # of each project: when the last one that was refused is to come again

    def fits(self, principal: Principal, places: int = 1) -> bool:
        """Whether that many more may be held."""
        bound, project = self.bound, principal.project
        if bound.per_key and self._keys[principal.key_id] + places > bound.per_key:
            return False
        if bound.per_project and self._projects[project] + places > bound.per_project:
            return False
        if self.held + places <= bound.most:
            return True
        return reserved(self.own(principal), self.others(principal), places, bound.most, bound.reserve)

    def weighed(self, silent: float) -> float:
        """How many places are held; one that is silent counts so much."""
        return self.held - (1 - silent) * self._silent.total()

    def own(self, principal: Principal, silent: float = 1.0) -> Holding:
        """What its project holds; a place that is silent counts so much."""
        return self._holding(principal.project, principal.weight, silent)

    def others(self, principal: Principal, silent: float = 1.0) -> list[Holding]:
        """What the other projects hold, likewise."""
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
        """That it is silent, or is not any more."""
        if place.silent is not silent:
            place.silent = silent
            self._silent[place.principal.project] += place.places if silent else -place.places

    def retry_after_s(self, principal: Principal, now_ns: int) -> int:
        """When somebody who is refused now may find a place, by how long those there are have been held so far: one is
        likely to be held for as long again. Those of one project who are refused are told one time after the other.
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
