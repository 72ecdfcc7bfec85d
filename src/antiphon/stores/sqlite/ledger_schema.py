"""The tables of the usage ledger, and the conversion between rows and entries.

`entries` is append-only, which triggers enforce against every writer. `position` is the order of writing, without
meaning outside this database. `marks` has the positions up to which others have read, and under `directory` the number
of the data directory that the ledger belongs to. `running` has what sessions owe beyond their entries: it changes in
place, and becomes entries at the latest when the server that noted it starts again. `server` is the id of the server
that wrote a row, empty in rows of earlier versions.

`audit` is the audit log, with the hashes of its tree as `core.merkle` stores them. It only grows, by the next number; a
record whose contents were dropped keeps its number, its time and its hashes.
"""

import json
from collections.abc import Callable
from typing import Any

from antiphon.core.entry import Entry, EntryKind, Reference
from antiphon.core.usage import Dimension, Quantity

# The one on INSERT prevents INSERT OR REPLACE, which removes the old row without the trigger on DELETE.
_OCCASIONS = {
    "entries_no_update": "BEFORE UPDATE ON entries",
    "entries_no_delete": "BEFORE DELETE ON entries",
    "entries_no_replace": "BEFORE INSERT ON entries WHEN EXISTS (SELECT 1 FROM entries WHERE position = NEW.position"
    " OR (project = NEW.project AND session = NEW.session AND sequence = NEW.sequence))",
}
_TRIGGERS = tuple(
    f"CREATE TRIGGER {name} {occasion} BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END"
    for name, occasion in _OCCASIONS.items()
)
_FIRST = (
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
    *_TRIGGERS,
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
)
_SERVERS = (
    # Only some databases of version 1 have this table.
    """
CREATE TABLE IF NOT EXISTS running (
    project TEXT NOT NULL,
    session TEXT NOT NULL,
    dimension TEXT NOT NULL,
    channel INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    at_unix_ms INTEGER NOT NULL,
    surface TEXT NOT NULL,
    model TEXT NOT NULL,
    feature TEXT NOT NULL,
    tags TEXT NOT NULL,
    PRIMARY KEY (project, session, dimension, channel)
) STRICT, WITHOUT ROWID""",
    "ALTER TABLE entries ADD COLUMN server TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE running ADD COLUMN server TEXT NOT NULL DEFAULT ''",
)
# Callers' tags become what the policy allows by default; `labels` is a function of ours. Entries change only this once,
# so that nothing is kept that may not be kept for ever.
_LABELS = (
    *(f"DROP TRIGGER {name}" for name in _OCCASIONS),
    *(f"UPDATE {table} SET tags = labels(project, tags) WHERE tags != '[]'" for table in ("entries", "running")),
    *_TRIGGERS,
)
_AUDIT = (
    """
CREATE TABLE audit (
    number INTEGER NOT NULL PRIMARY KEY,
    at_unix_ms INTEGER NOT NULL,
    project TEXT NOT NULL,
    action TEXT NOT NULL,
    hashes BLOB NOT NULL,
    body BLOB
) STRICT""",
    *(
        f"CREATE TRIGGER {name} {occasion} BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        for name, occasion in {
            "audit_in_order": "BEFORE INSERT ON audit"
            " WHEN NEW.number != (SELECT coalesce(max(number), -1) + 1 FROM audit)",
            "audit_only_forgets": "BEFORE UPDATE ON audit WHEN NEW.number != OLD.number"
            " OR NEW.at_unix_ms != OLD.at_unix_ms OR NEW.hashes != OLD.hashes"
            " OR NEW.project != '' OR NEW.action != '' OR NEW.body IS NOT NULL",
            "audit_no_delete": "BEFORE DELETE ON audit",
        }.items()
    ),
)
MIGRATIONS = (_FIRST, _SERVERS, _LABELS, _AUDIT)
SCHEMA_VERSION = len(MIGRATIONS)
# The columns of an entry in the order of `to_row`.
COLUMNS = (
    *("project", "session", "sequence", "key_id", "at_unix_ms", "surface", "model", "dimension", "amount", "channel"),
    *("feature", "kind", "corrects_session", "corrects_sequence", "tags"),
)
WRITTEN = (*COLUMNS, "server")
RUNNING_COLUMNS = (
    *("project", "session", "dimension", "channel", "amount", "key_id", "at_unix_ms", "surface", "model"),
    *("feature", "tags", "server"),
)


def server_column(version: int) -> str:
    """Return the SQL for the server that wrote an entry, in a ledger of that version, which need not be the latest."""
    return "server" if version > MIGRATIONS.index(_SERVERS) else "''"


def has_audit(version: int) -> bool:
    """Return whether a ledger of that version has an audit log."""
    return version > MIGRATIONS.index(_AUDIT)


def to_running_row(entry: Entry, amount: int, server: str) -> tuple[Any, ...]:
    """Return the row of a note that becomes such an entry of `amount`, in the order of `RUNNING_COLUMNS`."""
    return (
        entry.project,
        entry.session,
        entry.quantity.dimension.value,
        entry.channel,
        amount,
        entry.key_id,
        entry.at_unix_ms,
        entry.surface,
        entry.model,
        entry.feature,
        _tags(entry.tags),
        server,
    )


def to_row(entry: Entry, server: str) -> tuple[Any, ...]:
    """Return the row that `server` writes, in the order of `WRITTEN`."""
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
        _tags(entry.tags),
        server,
    )


def from_row(row: tuple[Any, ...]) -> Entry:
    """Return the entry of a row in the order of `COLUMNS`."""
    fields = dict(zip(COLUMNS, row, strict=True))
    corrects_session, corrects_sequence = fields.pop("corrects_session"), fields.pop("corrects_sequence")
    quantity = Quantity(Dimension(fields.pop("dimension")), fields.pop("amount"))
    return Entry(
        **fields
        | {
            "quantity": quantity,
            "kind": EntryKind(fields["kind"]),
            "corrects": None if corrects_session is None else Reference(corrects_session, corrects_sequence),
            "tags": tuple(json.loads(fields["tags"])),
        }
    )


def relabelled(labels: Callable[[str, tuple[str, ...]], tuple[str, ...]]) -> Callable[[str, str], str]:
    """Return the function for SQL: of a project, and its tags as stored."""
    return lambda project, tags: _tags(labels(project, tuple(json.loads(tags))))


def _tags(tags: tuple[str, ...]) -> str:
    return json.dumps(tags, ensure_ascii=False) if tags else "[]"
