"""Totals: projections of the ledger's entries, computed when asked for and kept nowhere.

Amounts are sums of integers, in the unit that the dimension names; rounding is for rating. Days are UTC. Reading goes
through a read-only connection, so it works beside a running server and without one, and never disturbs either.
"""

import csv
import io
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from sqlalchemy import ColumnElement, case, distinct, func, select
from sqlalchemy.exc import DBAPIError

from antiphon.core.errors import CallerError, InternalError
from antiphon.core.usage import Dimension
from antiphon.metering import database
from antiphon.metering.entry import Kind
from antiphon.metering.tables import entries

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


_COLUMNS: dict[By, ColumnElement[int] | ColumnElement[str]] = {
    By.DAY: entries.c.at_unix_ms // DAY_MS,
    By.PROJECT: entries.c.project,
    By.KEY: entries.c.key_id,
    By.MODEL: entries.c.model,
    By.FEATURE: entries.c.feature,
    By.SURFACE: entries.c.surface,
    By.CHANNEL: entries.c.channel,
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
    groups = [_COLUMNS[each].label(each) for each in wanted]
    query = select(
        *groups,
        entries.c.dimension,
        func.sum(entries.c.amount),
        func.count(distinct(case((entries.c.kind == Kind.USAGE, entries.c.session)))),
        func.count(case((entries.c.kind == Kind.ABANDONED, 1))),
    )
    if since_unix_ms is not None:
        query = query.where(entries.c.at_unix_ms >= since_unix_ms)
    if until_unix_ms is not None:
        query = query.where(entries.c.at_unix_ms < until_unix_ms)
    if project is not None:
        query = query.where(entries.c.project == project)
    query = query.group_by(*groups, entries.c.dimension).order_by(*groups, entries.c.dimension).limit(MAX_ROWS + 1)
    try:
        with database.reader(path).connect() as connection:
            rows = connection.execute(query).all()
    except (sqlite3.Error, DBAPIError) as error:
        raise InternalError(f"the ledger {path} cannot be read") from error
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
    query = select(func.coalesce(func.sum(entries.c.amount), 0)).where(
        entries.c.project == project, entries.c.at_unix_ms >= since_unix_ms, entries.c.dimension == dimension
    )
    try:
        with database.reader(path).connect() as connection:
            return int(connection.execute(query).scalar_one())
    except (sqlite3.Error, DBAPIError) as error:
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
