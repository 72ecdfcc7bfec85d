"""Totals: projections of the ledger's entries, computed when asked for and kept nowhere.

Amounts are sums of integers, in the unit that the dimension names; rounding is for rating. Days are UTC. Reading goes
through a read-only connection, so it works beside a running server and without one, and never disturbs either.
"""

import csv
import io
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from antiphon.core.errors import CallerError, InternalError
from antiphon.core.usage import Dimension
from antiphon.metering import database
from antiphon.metering.entry import Kind

DAY_MS = 86_400_000
MAX_ROWS = 50_000
_EPOCH = datetime.fromtimestamp(0, UTC)


class By(StrEnum):
    """What totals can be grouped by."""

    DAY = "day"
    PROJECT = "project"
    KEY = "key"
    MODEL = "model"
    FEATURE = "feature"
    SURFACE = "surface"
    CHANNEL = "channel"


_COLUMNS = {
    By.DAY: f"at_unix_ms / {DAY_MS}",
    By.PROJECT: "project",
    By.KEY: "key_id",
    By.MODEL: "model",
    By.FEATURE: "feature",
    By.SURFACE: "surface",
    By.CHANNEL: "channel",
}


@dataclass(frozen=True, slots=True)
class Total:
    """One line. `group` holds a value for each `By` that was asked for, in that order; `amount` includes corrections.

    `abandoned` counts the sessions whose last result may not have been delivered.
    """

    group: tuple[str, ...]
    dimension: str
    amount: int
    sessions: int
    abandoned: int


def summary(
    path: Path,
    *,
    by: Sequence[By] = (By.DAY, By.PROJECT),
    since_unix_ms: int | None = None,
    until_unix_ms: int | None = None,
    project: str | None = None,
) -> list[Total]:
    """Totals of the ledger at `path` from `since` (included) to `until` (excluded), sorted by group. Blocking.

    Raises `CallerError` if there are more than `MAX_ROWS`, `InternalError` if there is no ledger or it cannot be read.
    """
    wanted = tuple(dict.fromkeys(by))
    groups = ", ".join([*(_COLUMNS[each] for each in wanted), "dimension"])
    limits = {"at_unix_ms >= ?": since_unix_ms, "at_unix_ms < ?": until_unix_ms, "project = ?": project}
    asked = {condition: value for condition, value in limits.items() if value is not None}
    query = f"""
SELECT {groups}, sum(amount), count(DISTINCT CASE WHEN kind = '{Kind.USAGE}' THEN session END),
       count(CASE WHEN kind = '{Kind.ABANDONED}' THEN 1 END)
FROM entries WHERE {" AND ".join(["true", *asked])}
GROUP BY {groups} ORDER BY {groups} LIMIT {MAX_ROWS + 1}"""
    rows = _rows(path, query, tuple(asked.values()))
    if len(rows) > MAX_ROWS:
        raise CallerError(f"more than {MAX_ROWS} rows; ask for a shorter time or fewer groups", param="by")
    totals = []
    for *values, dimension, amount, sessions, abandoned in rows:
        group = (_day(value) if each is By.DAY else str(value) for each, value in zip(wanted, values, strict=True))
        totals.append(Total(tuple(group), dimension, amount, sessions, abandoned))
    return totals


def charged(path: Path, project: str, dimension: Dimension, since_unix_ms: int) -> int:
    """What a project was charged for of one dimension since then, corrections included. Blocking.

    Raises `InternalError` if there is no ledger at `path` or it cannot be read.
    """
    query = "SELECT coalesce(sum(amount), 0) FROM entries WHERE project = ? AND at_unix_ms >= ? AND dimension = ?"
    return int(_rows(path, query, (project, since_unix_ms, dimension))[0][0])


def _rows(path: Path, query: str, values: Sequence[str | int]) -> list[tuple[Any, ...]]:
    try:
        with closing(database.reader(path)) as connection:
            return connection.execute(query, values).fetchall()
    except sqlite3.Error as error:
        raise InternalError(f"the ledger {path} cannot be read") from error


def parse_by(text: str) -> tuple[By, ...]:
    """Groups as written: names separated by commas, in order. Raises `CallerError`."""
    try:
        return tuple(dict.fromkeys(By(part.strip()) for part in text.split(",") if part.strip()))
    except ValueError:
        raise CallerError(f"usage can be grouped by {', '.join(By)}, separated by commas", param="by") from None


def parse_time(text: str, param: str) -> int:
    """Unix milliseconds of an ISO 8601 date or time, UTC unless it says otherwise. Raises `CallerError`."""
    try:
        moment = datetime.fromisoformat(text)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise CallerError("a time is written like 2026-01-31 or 2026-01-31T12:00:00Z", param=param) from None


def records(totals: Sequence[Total], by: Sequence[By]) -> list[dict[str, str | int]]:
    """Each total as named fields, the groups first."""
    return [
        {
            **dict(zip(map(str, by), total.group, strict=True)),
            "dimension": total.dimension,
            "amount": total.amount,
            "sessions": total.sessions,
            "abandoned": total.abandoned,
        }
        for total in totals
    ]


def to_csv(totals: Sequence[Total], by: Sequence[By]) -> str:
    """The same with a header line (RFC 4180)."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*by, "dimension", "amount", "sessions", "abandoned"])
    writer.writerows([*total.group, total.dimension, total.amount, total.sessions, total.abandoned] for total in totals)
    return out.getvalue()


def _day(index: int) -> str:
    return (_EPOCH + timedelta(days=index)).date().isoformat()
