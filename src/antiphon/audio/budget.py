"""A memory budget that several share."""

from antiphon.core.errors import CapacityError

RETRY_AFTER_S = 5


class Budget:
    """At most `total_bytes` for all holders together. One that is alone may hold more: its own bound is elsewhere."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.taken_bytes = 0

    def hold(self) -> "Hold":
        """Return a new holder, with nothing taken."""
        return Hold(self)


class Hold:
    """The memory of one holder."""

    __slots__ = ("_budget", "taken_bytes")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.taken_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Take more, until `give_back`. Raises `CapacityError` if others hold too much; then everything is given back
        at once, or two that grow beside each other would both be refused.
        """
        budget = self._budget
        others_bytes = budget.taken_bytes - self.taken_bytes
        if others_bytes and budget.taken_bytes + size_bytes > budget.total_bytes:
            self.give_back()
            raise CapacityError("Too much decoded audio is in memory at the moment.", retry_after_s=RETRY_AFTER_S)
        budget.taken_bytes += size_bytes
        self.taken_bytes += size_bytes

    def give_back(self) -> None:
        """Give back everything."""
        self._budget.taken_bytes -= self.taken_bytes
        self.taken_bytes = 0
