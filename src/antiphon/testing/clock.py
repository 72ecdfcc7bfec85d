"""A clock that tests advance."""

from typing import TYPE_CHECKING

from antiphon.core import ports
from antiphon.core.units import NS_PER_MS


class FakeClock:
    """A clock that stands still until `advance_ms`. Starts at 2026-01-01T00:00:00Z."""

    def __init__(self, unix_ms: int = 1_767_225_600_000) -> None:
        self._start_unix_ms = unix_ms
        self._elapsed_ns = 0

    def now_ns(self) -> int:
        return self._elapsed_ns

    def unix_ms(self) -> int:
        return self._start_unix_ms + self._elapsed_ns // NS_PER_MS

    def advance_ms(self, ms: int) -> None:
        self._elapsed_ns += ms * NS_PER_MS


if TYPE_CHECKING:  # makes mypy check that the fake implements its port
    _CLOCK: type[ports.Clock] = FakeClock
