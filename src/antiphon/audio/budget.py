"""Memory that several share: who wants more than is left is told to come again."""

from antiphon.core.errors import CapacityError

RETRY_AFTER_S = 5


class Budget:
    """`total_bytes` for all holders together. One that is alone may hold more: what it may at most is bounded
    elsewhere.
    """

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.taken_bytes = 0

    def hold(self) -> "Hold":
        """Nothing yet."""
        return Hold(self)


class Hold:
    """One holder's part."""

    __slots__ = ("_budget", "taken_bytes")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.taken_bytes = 0

    def take(self, size_bytes: int) -> None:
        """More, until `give_back`. Raises `CapacityError` where others hold too much for it; then nothing is taken."""
        budget = self._budget
        others_bytes = budget.taken_bytes - self.taken_bytes
        if others_bytes and budget.taken_bytes + size_bytes > budget.total_bytes:
            raise CapacityError("Too much decoded audio is in memory at the moment.", retry_after_s=RETRY_AFTER_S)
        budget.taken_bytes += size_bytes
        self.taken_bytes += size_bytes

    def give_back(self) -> None:
        """All of it."""
        self._budget.taken_bytes -= self.taken_bytes
        self.taken_bytes = 0
