"""Totals and entries read from the ledger: projections, computed on request and never stored.

Reading uses a read-only connection, so it works with and without a running server, and never disturbs one.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from antiphon.core.entry import EntryKind
from antiphon.core.errors import CallerError
from antiphon.core.stores import FROM_THE_START, MAX_READ, MAX_TOTALS, StoredEntry
from antiphon.core.usage import By, ClosedSession, Dimension, LooseEnds, SessionQuery, Total, UsageQuery
from antiphon.stores.sqlite import sessions as closed
from antiphon.stores.sqlite.ledger_files import reading
from antiphon.stores.sqlite.ledger_schema import COLUMNS, from_row, server_column
from antiphon.stores.sqlite.schema import version_of

_DAY_MS = 86_400_000
_EPOCH = datetime.fromtimestamp(0, UTC)
_COLUMNS = {
    By.DAY: f"at_unix_ms / {_DAY_MS}",
    By.PROJECT: "project",
    By.KEY: "key_id",
    By.MODEL: "model",
    By.FEATURE: "feature",
    By.SURFACE: "surface",
    By.CHANNEL: "channel",
}
_CHARGED = "SELECT coalesce(sum(amount), 0) FROM entries WHERE project = ? AND at_unix_ms >= ? AND dimension = ?"
# Only one connection writes, so positions appear in order.
_ENTRIES = "SELECT {columns}, position FROM entries WHERE position > ? ORDER BY position LIMIT ?"

_HEAD = "SELECT coalesce(max(position), 0) FROM entries"


class SqliteUsage:
    """Implements `core.stores.Usage`: reads the ledger at `path`, which may not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def totals(self, query: UsageQuery) -> list[Total]:
        wanted = tuple(dict.fromkeys(query.by))
        groups = ", ".join([*(_COLUMNS[each] for each in wanted), "dimension"])
        conditions, values = _conditions(query)
        statement = f"""
SELECT {groups}, sum(amount), count(DISTINCT CASE WHEN kind = '{EntryKind.USAGE}' THEN session END),
       count(CASE WHEN kind = '{EntryKind.ABANDONED}' THEN 1 END)
FROM entries WHERE {" AND ".join(["true", *conditions])}
GROUP BY {groups} ORDER BY {groups} LIMIT {MAX_TOTALS + 1}"""
        rows = await self._rows(statement, values)
        if len(rows) > MAX_TOTALS:
            raise CallerError(f"more than {MAX_TOTALS} rows; ask for a shorter time or fewer groups", param="by")
        return [_total(wanted, row) for row in rows]

    async def charged(self, project: str, dimension: Dimension, since_unix_ms: int) -> int:
        return int((await self._rows(_CHARGED, (project, since_unix_ms, dimension)))[0][0])

    async def read(self, after: str = FROM_THE_START, limit: int = MAX_READ) -> list[StoredEntry]:
        rows = await asyncio.to_thread(self._entries, _position(after), limit)
        return [StoredEntry(str(row[-1]), row[-2], from_row(row[:-2])) for row in rows]

    def head(self) -> str:
        return str(self._read(_HEAD, ())[0][0])

    def sessions(self, query: SessionQuery) -> Iterator[ClosedSession]:
        with reading(self._path) as connection:
            yield from closed.sessions(connection, query, _position)

    def loose_ends(self, query: SessionQuery) -> LooseEnds:
        with reading(self._path) as connection:
            return closed.loose_ends(connection, query, _position)

    async def _rows(self, query: str, values: Sequence[str | int]) -> list[tuple[Any, ...]]:
        return await asyncio.to_thread(self._read, query, values)

    def _read(self, query: str, values: Sequence[str | int]) -> list[tuple[Any, ...]]:
        with reading(self._path) as connection:
            return connection.execute(query, values).fetchall()

    def _entries(self, after: int, limit: int) -> list[tuple[Any, ...]]:
        with reading(self._path) as connection:
            columns = ", ".join((*COLUMNS, server_column(version_of(connection))))
            return connection.execute(_ENTRIES.format(columns=columns), (after, limit)).fetchall()


def _position(cursor: str) -> int:
    """Return the position of a cursor. Raises `CallerError`."""
    if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise CallerError("this is no cursor of the ledger", param="after")
    return int(cursor or 0)


def _conditions(query: UsageQuery) -> tuple[list[str], list[str | int]]:
    limits = {
        "at_unix_ms >= ?": query.since_unix_ms,
        "at_unix_ms < ?": query.until_unix_ms,
        "project = ?": query.project,
    }
    filters = {condition: value for condition, value in limits.items() if value is not None}
    conditions, values = list(filters), list(filters.values())
    if query.labels is not None:
        marks = ", ".join("?" * len(query.labels))
        conditions.append(f"EXISTS (SELECT 1 FROM json_each(entries.tags) WHERE value IN ({marks}))")
        values += query.labels
    return conditions, values


def _total(by: Sequence[By], row: tuple[Any, ...]) -> Total:
    *values, dimension, amount, sessions, abandoned = row
    group = (_day(value) if each is By.DAY else str(value) for each, value in zip(by, values, strict=True))
    return Total(tuple(group), dimension, amount, sessions, abandoned)


def _day(index: int) -> str:
    return (_EPOCH + timedelta(days=index)).date().isoformat()
