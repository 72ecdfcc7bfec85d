"""Limits of rate: token buckets, as large as a minute's share. Pure; the time is an argument.

A bucket is one number: when it will be full again (the generic cell rate algorithm).
"""

from antiphon.core.budgets import RateLimit
from antiphon.core.units import NS_PER_MS, NS_PER_S

MINUTE_NS = 60 * NS_PER_S


class Bucket:
    """So many a minute, and as many at once."""

    __slots__ = ("_full_ns", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._full_ns = 0

    def wait_ns(self, wanted: int, now_ns: int) -> int:
        """Return how long until so many are available; at most what the bucket holds is waited for."""
        if not self.limit:
            return MINUTE_NS
        missing_ns = self._full_ns - now_ns
        if missing_ns <= 0:
            return 0
        return max(0, missing_ns + min(wanted, self.limit) * MINUTE_NS // self.limit - MINUTE_NS)

    def take(self, amount: int, now_ns: int) -> None:
        """Take so many, or give them back if negative, even beyond what is available."""
        if self.limit:
            full_ns = self._full_ns
            self._full_ns = (full_ns if full_ns > now_ns else now_ns) + amount * MINUTE_NS // self.limit

    def state(self, name: str, now_ns: int) -> RateLimit:
        missing_ns = self._full_ns - now_ns
        if missing_ns <= 0:
            return RateLimit(name, self.limit, self.limit, 0)
        remaining = max(0, MINUTE_NS - missing_ns) * self.limit // MINUTE_NS
        return RateLimit(name, self.limit, remaining, -(-missing_ns // NS_PER_MS))
