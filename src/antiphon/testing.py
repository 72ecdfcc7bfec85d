"""Fakes for users' and our own tests: time that moves when told, a ledger in memory."""

from collections.abc import Sequence

from antiphon.core.errors import AntiphonError, Conflict
from antiphon.metering.entry import Entry
from antiphon.metering.ledger import Claim


class FakeClock:
    """A clock that stands still until `advance_ms`. Starts at 2026-01-01T00:00:00Z."""

    def __init__(self, unix_ms: int = 1_767_225_600_000) -> None:
        self._start_unix_ms = unix_ms
        self._elapsed_ns = 0

    def now_ns(self) -> int:
        return self._elapsed_ns

    def unix_ms(self) -> int:
        return self._start_unix_ms + self._elapsed_ns // 1_000_000

    def advance_ms(self, ms: int) -> None:
        self._elapsed_ns += ms * 1_000_000


class FakeLedger:
    """Keeps the rules of `metering.Ledger` in memory. While `error` is set, every call raises it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.error: AntiphonError | None = None
        self.closed = False
        self._claims: dict[tuple[str, str], Claim] = {}

    @property
    def healthy(self) -> bool:
        return self.error is None and not self.closed

    async def append(self, new: Sequence[Entry], claim: Claim | None = None) -> None:
        self._check()
        written = {entry.key: entry for entry in self.entries}
        if any(written.get(entry.key, entry) != entry for entry in new):
            raise Conflict("this entry has been written before, with other contents")
        if claim is not None and new:
            if self._owner(claim) != claim.session:
                return
            self._claims.setdefault((claim.project, claim.key), claim)
        self.entries += [entry for entry in new if entry.key not in written]

    async def claim(self, project: str, key: str, fingerprint: str, session: str, now_unix_ms: int) -> Claim:
        self._check()
        owner = self._owner(Claim(project, key, fingerprint, session, now_unix_ms))
        return Claim(project, key, fingerprint, session, now_unix_ms, None if owner == session else owner)

    async def flush(self) -> None:
        self._check()

    async def close(self) -> None:
        self.closed = True

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    def _owner(self, claim: Claim) -> str:
        known = self._claims.get((claim.project, claim.key), claim)
        if known.fingerprint != claim.fingerprint:
            raise Conflict("this idempotency key was used for another request")
        return known.session
