"""The audit log in the ledger's database: its writer and its reader.

Records go into the transactions of the ledger, so they cost no sync of their own; each with the hashes of its leaf and
of the subtrees that it completes.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from antiphon.core.audit import AuditRecord, ChangeRecord, LoggedRecord, canonical
from antiphon.core.errors import InternalError
from antiphon.core.merkle import HASH_BYTES, Edge, Place, leaf_hash, subtrees
from antiphon.core.stores import MAX_READ
from antiphon.stores.sqlite.ledger_files import reading
from antiphon.stores.sqlite.ledger_schema import has_audit
from antiphon.stores.sqlite.schema import version_of

FORGOTTEN_AT_ONCE = 1000

_SIZE = "SELECT coalesce(max(number) + 1, 0) FROM audit"
_ADD = "INSERT INTO audit (number, at_unix_ms, project, action, hashes, body) VALUES (?, ?, ?, ?, ?, ?)"
_HASH = f"SELECT substr(hashes, 1 + {HASH_BYTES} * ?2, {HASH_BYTES}) FROM audit WHERE number = ?1"
_DRAINED = "SELECT position FROM marks WHERE name = 'outbox ' || ?"
_DRAIN = """
INSERT INTO marks VALUES ('outbox ' || ?, ?) ON CONFLICT (name) DO UPDATE SET position = excluded.position"""
# Contents are dropped from the oldest on, without gaps. A mark says how far; an index would grow with each record.
_FORGOTTEN = "SELECT coalesce(max(position), 0) FROM marks WHERE name = 'audit forgotten'"
_FIRST_SINCE = "SELECT min(number) FROM audit WHERE number >= ? AND number < ? AND at_unix_ms >= ?"
_FORGET = "UPDATE audit SET body = NULL, project = '', action = '' WHERE number >= ? AND number < ?"
_MARK_FORGOTTEN = """
INSERT INTO marks VALUES ('audit forgotten', ?) ON CONFLICT (name) DO UPDATE SET position = excluded.position"""


class AuditWriter:
    """The writer of the log, within transactions of the ledger's writer and in its thread. Additions are kept by
    `commit`; without it, the next `begin` drops them.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._edge = self._grown = Edge()
        self.load()

    def load(self) -> None:
        """Read the end of the log. Raises `InternalError` if hashes are missing, `sqlite3.Error`."""
        (size,) = self._connection.execute(_SIZE).fetchone()
        self._edge = self._grown = Edge(size, _read(self._connection, subtrees((0, size))))

    def begin(self) -> None:
        self._grown = self._edge

    def add(self, records: Sequence[AuditRecord]) -> None:
        """Add records. Raises `sqlite3.Error`."""
        if not records:
            return
        edge = self._edge.copy() if self._grown is self._edge else self._grown
        rows = []
        for record in records:
            number, body = edge.size, canonical(record)
            hashes = b"".join(edge.add(leaf_hash(body)))
            rows.append((number, record.at_unix_ms, record.project, record.action, hashes, body))
        self._connection.executemany(_ADD, rows)
        self._grown = edge

    def drain(self, source: str, changes: Sequence[ChangeRecord]) -> None:
        """Add records of changes that were not added before. Raises `sqlite3.Error`."""
        known = self._connection.execute(_DRAINED, (source,)).fetchone()
        new = [change for change in changes if known is None or change.position > known[0]]
        if new:
            self.add([change.record for change in new])
            self._connection.execute(_DRAIN, (source, new[-1].position))

    def forget(self, before_unix_ms: int) -> int:
        """Drop the contents of at most `FORGOTTEN_AT_ONCE` records before that time; return how many. Raises
        `sqlite3.Error`.
        """
        (start,) = self._connection.execute(_FORGOTTEN).fetchone()
        most = min(start + FORGOTTEN_AT_ONCE, self._grown.size)
        (first,) = self._connection.execute(_FIRST_SINCE, (start, most, before_unix_ms)).fetchone()
        end = most if first is None else first
        if end == start:
            return 0
        self._connection.execute("PRAGMA secure_delete=ON")
        try:
            self._connection.execute(_FORGET, (start, end))
        finally:
            self._connection.execute("PRAGMA secure_delete=OFF")
        self._connection.execute(_MARK_FORGOTTEN, (end,))
        return int(end - start)

    def commit(self) -> None:
        self._edge = self._grown


class SqliteTrail:
    """Implements `core.stores.Trail`: reads the audit log in the ledger at `path`, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def size(self) -> int:
        return await asyncio.to_thread(self._size)

    async def logged(
        self, start: int, limit: int = MAX_READ, *, project: str | None = None, since_unix_ms: int | None = None
    ) -> list[LoggedRecord]:
        return await asyncio.to_thread(self._logged, start, limit, project, since_unix_ms)

    async def hashes(self, places: Sequence[Place]) -> list[bytes]:
        return await asyncio.to_thread(self._hashes, places)

    def _size(self) -> int:
        if not self._path.exists():
            return 0
        with reading(self._path) as connection:
            return int(connection.execute(_SIZE).fetchone()[0]) if has_audit(version_of(connection)) else 0

    def _logged(self, start: int, limit: int, project: str | None, since_unix_ms: int | None) -> list[LoggedRecord]:
        limits = {"number >= ?": start, "project = ?": project, "at_unix_ms >= ?": since_unix_ms}
        filters = {condition: value for condition, value in limits.items() if value is not None}
        query = f"SELECT number, hashes, body FROM audit WHERE {' AND '.join(filters)} ORDER BY number LIMIT ?"
        with reading(self._path) as connection:
            if not has_audit(version_of(connection)):
                return []
            return [LoggedRecord(*row) for row in connection.execute(query, (*filters.values(), limit))]

    def _hashes(self, places: Sequence[Place]) -> list[bytes]:
        if not places:
            return []
        with reading(self._path) as connection:
            return _read(connection, places)


def _read(connection: sqlite3.Connection, places: Sequence[Place]) -> list[bytes]:
    found = [connection.execute(_HASH, at).fetchone() for at in places]
    if any(row is None or len(row[0]) != HASH_BYTES for row in found):
        raise InternalError("hashes of the audit log are missing: ledger.db was tampered with")
    return [row[0] for row in found]
