"""Totals as callers request them and as they are shown.

Amounts are sums of integers, in the unit that the dimension names; rounding is the task of billing. Days are UTC.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from antiphon.core.errors import CallerError
from antiphon.core.usage import By, Total, UsageQuery

_EPOCH = datetime.fromtimestamp(0, UTC)


def parse_query(by: str, since: str | None, until: str | None, project: str | None) -> UsageQuery:
    """Return the query of these texts. Raises `CallerError`."""
    return UsageQuery(
        by=parse_by(by),
        since_unix_ms=None if since is None else parse_time(since, "since"),
        until_unix_ms=None if until is None else parse_time(until, "until"),
        project=project,
    )


def tagged(query: UsageQuery, tag: str, labels: Callable[[str, str], tuple[str, ...]]) -> UsageQuery:
    """Return the query for one tag only. `labels` returns what the ledger may keep of a project's tag. Raises
    `CallerError` if no project is named: each hashes its tags in its own way.
    """
    if query.project is None:
        raise CallerError("a tag is looked for in one project", param="project")
    return replace(query, labels=labels(query.project, tag))


def parse_by(text: str) -> tuple[By, ...]:
    """Return the groups of names separated by commas, in order. Raises `CallerError`."""
    try:
        return tuple(dict.fromkeys(By(part.strip()) for part in text.split(",") if part.strip()))
    except ValueError:
        raise CallerError(f"usage can be grouped by {', '.join(By)}, separated by commas", param="by") from None


def parse_time(text: str, param: str) -> int:
    """Return Unix milliseconds of an ISO 8601 date or time, UTC by default. Raises `CallerError`."""
    try:
        moment = datetime.fromisoformat(text)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise CallerError("a time is written like 2026-01-31 or 2026-01-31T12:00:00Z", param=param) from None


def records(totals: Sequence[Total], by: Sequence[By]) -> list[dict[str, str | int]]:
    """Return each total as named fields, the groups first."""
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
    """Return the records as CSV with a header line (RFC 4180)."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*by, "dimension", "amount", "sessions", "abandoned"])
    writer.writerows([*total.group, total.dimension, total.amount, total.sessions, total.abandoned] for total in totals)
    return out.getvalue()
