"""The tables of `exports.db`, and the conversion between rows and batches."""

import json
from sqlite3 import Row
from typing import Any

from antiphon.core.exports import Batch, BatchState, UsageEvent

MIGRATIONS = (
    (
        # `number` follows the order of the ledger, within a target.
        """
CREATE TABLE batches (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    target TEXT NOT NULL,
    identifier TEXT NOT NULL,
    lane TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    last INTEGER NOT NULL, -- position of the last entry
    oldest_unix_ms INTEGER NOT NULL,
    events TEXT NOT NULL,
    body BLOB NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_unix_ms INTEGER NOT NULL DEFAULT 0,
    doubtful_unix_ms INTEGER,
    sent_unix_ms INTEGER, -- for the first time
    changed_unix_ms INTEGER NOT NULL,
    note TEXT NOT NULL DEFAULT '',
    UNIQUE (target, identifier)
) STRICT""",
        "CREATE INDEX batches_by_state ON batches (target, state, lane, number)",
        """
CREATE TABLE cuts (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    target TEXT NOT NULL,
    position INTEGER NOT NULL,
    anchor TEXT NOT NULL,
    origin TEXT NOT NULL,
    at_unix_ms INTEGER NOT NULL
) STRICT""",
        "CREATE INDEX cuts_by_target ON cuts (target, number)",
    ),
)
_EVENT = ("identifier", "project", "meter", "at_unix_ms", "quantity", "first", "last", "labels")
# The columns of a new batch, in the order of `to_row`.
ADDED = ("identifier", "lane", "state", "reason", "last", "oldest_unix_ms", "events", "body")


def to_row(batch: Batch) -> tuple[Any, ...]:
    last = max((event.last for event in batch.events), default=0)
    return (
        batch.identifier,
        batch.lane,
        batch.state.value,
        batch.reason,
        last,
        batch.oldest_unix_ms,
        events_text(batch.events),
        batch.body,
    )


def from_row(row: Row) -> Batch:
    return Batch(
        identifier=row["identifier"],
        lane=row["lane"],
        body=bytes(row["body"]),
        events=tuple(_event(values) for values in json.loads(row["events"])),
        state=BatchState(row["state"]),
        reason=row["reason"],
        number=row["number"],
        attempts=row["attempts"],
        next_unix_ms=row["next_unix_ms"],
        doubtful_unix_ms=row["doubtful_unix_ms"],
        note=row["note"],
    )


def events_text(events: tuple[UsageEvent, ...]) -> str:
    return json.dumps([[getattr(event, name) for name in _EVENT] for event in events], separators=(",", ":"))


def _event(values: list[Any]) -> UsageEvent:
    fields = dict(zip(_EVENT, values, strict=True))
    return UsageEvent(**fields | {"labels": tuple((name, value) for name, value in fields["labels"])})
