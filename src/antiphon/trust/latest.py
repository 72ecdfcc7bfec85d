"""The clock for expiry: it never goes back, so that nothing expired becomes valid again.

A wall clock can be set back while a server runs or between two runs. Keys, idempotency keys and kept answers expire by
this clock: the latest time that was ever seen in the data directory, plus the time that has passed since. Entries of
the ledger and all times for callers are the wall clock's.
"""

import asyncio
import logging
from pathlib import Path

from antiphon.core.ports import Clock
from antiphon.core.units import NS_PER_MS
from antiphon.storage.files import write_whole

FILE_NAME = "latest-time"  # in the data directory: Unix milliseconds. Without it, only the wall counts
SAVE_S = 60.0
REMARKABLE_MS = 60_000  # behind the latest time, which is logged

log = logging.getLogger(__name__)


class LatestClock:
    """Implements `core.ports.Clock`, on another clock."""

    def __init__(self, clock: Clock, path: Path) -> None:
        """Continue from the time at `path`, if there is one. Raises `OSError`."""
        self._clock = clock
        self._path = path
        self._seen = _kept(path), clock.now_ns()  # the latest time, and the monotonic time of its reading
        behind_ms = self._seen[0] - clock.unix_ms()
        if behind_ms > REMARKABLE_MS:
            reason = f"{behind_ms // 1000} s behind {path.name}; what had ended by then stays so"
            log.warning("the clock was set back", extra={"reason": reason})

    def now_ns(self) -> int:
        return self._clock.now_ns()

    def unix_ms(self) -> int:
        seen_ms, at_ns = self._seen
        now_ns, wall_ms = self._clock.now_ns(), self._clock.unix_ms()
        latest_ms = seen_ms + (now_ns - at_ns) // NS_PER_MS
        if wall_ms <= latest_ms:
            return latest_ms
        self._seen = wall_ms, now_ns
        return wall_ms

    @property
    def behind_ms(self) -> int:
        """How far the wall clock is behind the latest time, in milliseconds."""
        return max(0, self.unix_ms() - self._clock.unix_ms())

    async def keep(self) -> None:
        """Save the time at intervals, for ever."""
        while True:
            await self.save()
            await asyncio.sleep(SAVE_S)

    async def save(self) -> None:
        """Save the time, durably. A failure of the disk is logged, and an earlier time stays."""
        try:
            await asyncio.to_thread(write_whole, self._path, f"{self.unix_ms()}\n".encode())
        except OSError as error:
            log.error("the latest time cannot be saved", exc_info=error)


def _kept(path: Path) -> int:
    try:
        text = path.read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return 0
    return int(text) if text.isdigit() and len(text) < 16 else 0
