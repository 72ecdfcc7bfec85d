"""The tables of the usage ledger, and how rows and entries become each other.

`entries` is append-only, which triggers enforce against every writer. `position` is the order of writing, without
meaning outside this database. `marks` remembers how far something has come along it.
"""

import json
from typing import Any

from antiphon.core.usage import Dimension, Quantity
from antiphon.metering.entry import Entry, Kind, Reference

SCHEMA_VERSION = 1

# The one on INSERT stops INSERT OR REPLACE, which removes the old row without asking the trigger on DELETE.
_TRIGGERS = {
    "entries_no_update": "BEFORE UPDATE ON entries",
    "entries_no_delete": "BEFORE DELETE ON entries",
    "entries_no_replace": "BEFORE INSERT ON entries WHEN EXISTS (SELECT 1 FROM entries WHERE position = NEW.position"
    " OR (project = NEW.project AND session = NEW.session AND sequence = NEW.sequence))",
}
SCHEMA = (
    """
CREATE TABLE entries (
    position INTEGER NOT NULL PRIMARY KEY,
    project TEXT NOT NULL,
    session TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    at_unix_ms INTEGER NOT NULL,
    surface TEXT NOT NULL,
    model TEXT NOT NULL,
    dimension TEXT NOT NULL,
    amount INTEGER NOT NULL,
    channel INTEGER NOT NULL,
    feature TEXT NOT NULL,
    kind TEXT NOT NULL,
    corrects_session TEXT,
    corrects_sequence INTEGER,
    tags TEXT NOT NULL,
    UNIQUE (project, session, sequence)
) STRICT""",
    "CREATE INDEX entries_by_time ON entries (project, at_unix_ms)",
    *(
        f"CREATE TRIGGER {name} {occasion} BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END"
        for name, occasion in _TRIGGERS.items()
    ),
    """
CREATE TABLE idempotency (
    project TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    session TEXT NOT NULL,
    at_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (project, key)
) STRICT""",
    "CREATE INDEX idempotency_by_time ON idempotency (at_unix_ms)",
    "CREATE TABLE marks (name TEXT NOT NULL PRIMARY KEY, position INTEGER NOT NULL) STRICT",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
# The columns of an entry in the order of `to_row`.
COLUMNS = (
    *("project", "session", "sequence", "key_id", "at_unix_ms", "surface", "model", "dimension", "amount", "channel"),
    *("feature", "kind", "corrects_session", "corrects_sequence", "tags"),
)


def to_row(entry: Entry) -> tuple[Any, ...]:
    return (
        entry.project,
        entry.session,
        entry.sequence,
        entry.key_id,
        entry.at_unix_ms,
        entry.surface,
        entry.model,
        entry.quantity.dimension.value,
        entry.quantity.amount,
        entry.channel,
        entry.feature,
        entry.kind.value,
        entry.corrects.session if entry.corrects else None,
        entry.corrects.sequence if entry.corrects else None,
        json.dumps(entry.tags, ensure_ascii=False) if entry.tags else "[]",
    )


def from_row(row: tuple[Any, ...]) -> Entry:
    """The entry of a row in the order of `COLUMNS`."""
    fields = dict(zip(COLUMNS, row, strict=True))
    corrects_session, corrects_sequence = fields.pop("corrects_session"), fields.pop("corrects_sequence")
    quantity = Quantity(Dimension(fields.pop("dimension")), fields.pop("amount"))
    return Entry(
        **fields
        | {
            "quantity": quantity,
            "kind": Kind(fields["kind"]),
            "corrects": None if corrects_session is None else Reference(corrects_session, corrects_sequence),
            "tags": tuple(json.loads(fields["tags"])),
        }
    )
