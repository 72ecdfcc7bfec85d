"""How many of the shared places one project may hold: pure.

A project may hold at most `SHARE` times its weight times the number of free places (dynamic thresholds, Choudhury and
Hahne, 1988). So some are always free for a new project: one project alone leaves an eighth of them, two leave a
fifteenth, and projects that want more hold equal shares by weight. With fewer than `SHARE` + 1 places none is kept
free, and a new project gets the next one.

While more are taken than should be, a project that holds less than its share need not wait for those that hold more.
"""

SHARE = 7


class Quota:
    """Counts the places that each project holds, by its weight."""

    __slots__ = ("_held", "_weights")

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._weights: dict[str, int] = {}  # of those that hold any

    def may(self, project: str, weight: int, free: int) -> bool:
        """Return whether the project may take one more, if so many are free."""
        return self._held.get(project, 0) < SHARE * weight * free

    def lacks(self, project: str, weight: int, places: int) -> bool:
        """Return whether the project holds less than its share of so many places. The first place is always within
        it.
        """
        others = sum(self._weights.values()) - self._weights.get(project, 0)
        return self._held.get(project, 0) < max(1.0, places * weight / (weight + others))

    def take(self, project: str, weight: int, places: int) -> None:
        self._held[project] = self._held.get(project, 0) + places
        self._weights[project] = weight

    def give(self, project: str, places: int) -> None:
        left = self._held[project] - places
        if left:
            self._held[project] = left
        else:
            del self._held[project], self._weights[project]
