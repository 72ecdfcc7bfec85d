"""Statements as records, for JSON and CSV. Amounts are whole nano-units, and again as decimals."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from antiphon.core.errors import CallerError
from antiphon.metering.pricing.book import NANO
from antiphon.metering.rating import Line
from antiphon.metering.statements import MAX_LINES, Item, Statement

_EPOCH = datetime.fromtimestamp(0, UTC)


def decimal(nano: int) -> str:
    """Return nano-units as an exact decimal amount of the currency."""
    whole, rest = divmod(abs(nano), NANO)
    return f"{'-' if nano < 0 else ''}{whole}.{rest:09}"


def record(statement: Statement) -> dict[str, Any]:
    """Return the whole statement as named fields, in a fixed order."""
    fields: dict[str, Any] = {
        "project": statement.project,
        "period": statement.period.name,
        "since": _time(statement.period.since_unix_ms),
        "until": _time(statement.period.until_unix_ms),
        "issued": statement.issued,
        "currency": statement.currency,
        "books": [{"book": book.name, "version": book.version, "sha256": book.sha256} for book in statement.books],
        "lines": [_item(item, statement.with_costs) for item in statement.items],
        "total_nano": statement.total_nano,
        "total": decimal(statement.total_nano),
    }
    if statement.with_costs:
        fields |= _margin(statement.total_nano, statement.costs_nano) | {"uncosted_lines": statement.uncosted}
    return fields | {"unrated_lines": statement.unrated, "open_sessions": statement.open}


def to_json(statement: Statement) -> str:
    return json.dumps(record(statement), indent=2) + "\n"


def to_csv(statement: Statement) -> str:
    """Return the statement as CSV (RFC 4180): one row per line, each with the common fields, and the total as the last
    row.
    """
    head = {"project": statement.project, "period": statement.period.name, "currency": statement.currency}
    rows = [head | _item(item, statement.with_costs) for item in statement.items]
    total = head | {"kind": "total", "amount_nano": statement.total_nano, "amount": decimal(statement.total_nano)}
    if statement.with_costs:
        total |= _margin(statement.total_nano, statement.costs_nano)
    names = list(rows[0]) if rows else list(total)
    return "".join(_csv([*rows, total], names))


def lines_to_csv(lines: Iterable[Line]) -> Iterator[str]:
    """Yield the lines of sessions as CSV, without holding them all in memory."""
    return _csv(map(_line, lines), list(_LINE))


def lines_to_records(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """Return the lines of sessions as records. Raises `CallerError` for more than `MAX_LINES`."""
    records: list[dict[str, Any]] = []
    for line in lines:
        if len(records) == MAX_LINES:
            raise CallerError(f"more than {MAX_LINES} lines; `antiphon statement --detail --csv` writes them all")
        records.append(_line(line))
    return records


_ITEM = (
    *("kind", "price", "version", "dimension", "model", "feature", "surface", "sessions", "entries", "measured"),
    *("billed", "rule", "rounding", "reason", "amount_nano", "amount"),
)


def _item(item: Item, with_costs: bool) -> dict[str, Any]:
    place = item.place
    values = (
        *(place.kind.value, place.price, place.version, place.dimension, place.model, place.feature, place.surface),
        *(item.sessions, item.entries, item.measured, item.billed, item.rule, item.rounding, place.reason),
        *(item.nano, decimal(item.nano)),
    )
    named: dict[str, Any] = dict(zip(_ITEM, values, strict=True))
    return named | _margin(item.nano, item.cost_nano or 0) if with_costs else named


def _margin(nano: int, cost_nano: int) -> dict[str, Any]:
    return {"cost_nano": cost_nano, "cost": decimal(cost_nano), "margin": decimal(nano - cost_nano)}


_LINE = (
    *("kind", "session", "closed", "key", "dimension", "model", "feature", "surface", "channel", "first_sequence"),
    *("last_sequence", "entries", "measured", "billed", "price", "book", "version", "sha256", "rule", "rounding"),
    *("reason", "amount_nano", "amount"),
)


def _line(line: Line) -> dict[str, Any]:
    each = line.rate
    priced: tuple[str, ...] = ("0", "", "", "", "", "", "")
    if each is not None:
        book = each.book
        priced = (
            *(each.units(line.parts), each.price.id, book.name, book.version, book.sha256),
            *(each.price.rule, str(book.rounding)),
        )
    values = (
        *(line.kind.value, line.session, _time(line.closed_unix_ms), line.key_id, line.dimension, line.model),
        *(line.feature, line.surface, line.channel, line.first, line.last, line.entries, line.measured),
        *(*priced, line.reason, line.nano, decimal(line.nano)),
    )
    return dict(zip(_LINE, values, strict=True))


def _csv(rows: Iterable[dict[str, Any]], names: list[str]) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="")
    writer.writeheader()
    for row in rows:
        writer.writerow(row)
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


def _time(unix_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=unix_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
