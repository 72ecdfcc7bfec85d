"""How many places one project may hold of those that all share: pure.

A project may hold at most `SHARE` times its weight as many places as are free (dynamic thresholds, Choudhury and Hahne,
1998). So some are always free for whoever comes new: one project alone leaves an eighth of them, two leave a fifteenth,
and as many as want more than they get hold equal shares by weight. Where there are fewer than `SHARE` + 1 places
nothing is kept free, and a newcomer gets the next one.

While more are taken than are meant to be, a project that holds less than its share of those need not wait for the ones
that hold more.
"""

SHARE = 7


class Quota:
    """Counts the places that each project holds, by its weight."""

    __slots__ = ("_held", "_weights")

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._weights: dict[str, int] = {}  # of those that hold any

    def may(self, project: str, weight: int, free: int) -> bool:
        """Whether the project may have one more, where so many are free."""
        return self._held.get(project, 0) < SHARE * weight * free

    def lacks(self, project: str, weight: int, places: int) -> bool:
        """Whether it holds less than its share of so many, which all that hold any have in common. The first place is
        within anybody's share.
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
