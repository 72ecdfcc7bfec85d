"""The port of the audit log for readers; the ledger writes it."""

from collections.abc import Sequence
from typing import Protocol

from antiphon.core.audit import LoggedRecord
from antiphon.core.merkle import Place
from antiphon.core.stores.ledger import MAX_READ


class Trail(Protocol):
    """A reader of the audit log, with or without a running server. Every method raises `InternalError` if it cannot be
    read.
    """

    async def size(self) -> int:
        """Return the number of records; 0 without a log."""

    async def logged(
        self, start: int, limit: int = MAX_READ, *, project: str | None = None, since_unix_ms: int | None = None
    ) -> list[LoggedRecord]:
        """Return the next records from the number `start` on, at most `limit`, in order; if given, only those of one
        project, or from a time on.
        """

    async def hashes(self, places: Sequence[Place]) -> list[bytes]:
        """Return the hashes of complete subtrees, in order. Raises `InternalError` also if one is missing."""
