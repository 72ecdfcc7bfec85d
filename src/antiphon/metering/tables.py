"""The tables of the usage ledger, and how rows and entries become each other.

`entries` is append-only, which triggers enforce against every writer. `position` is the order of writing, without
meaning outside this database. `marks` remembers how far something has come along it.
"""

import json
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    event,
)

from antiphon.core.usage import Dimension, Quantity
from antiphon.metering.entry import Entry, Kind, Reference

SCHEMA_VERSION = 1

metadata = MetaData()
_Big = BigInteger().with_variant(Integer, "sqlite")  # in SQLite, INTEGER is 64 bits wide, and names the row id


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _big(name: str) -> Column[int]:
    return Column(name, _Big, nullable=False)


entries = Table(
    "entries",
    metadata,
    Column("position", _Big, primary_key=True),
    _text("project"),
    _text("session"),
    _big("sequence"),
    _text("key_id"),
    _big("at_unix_ms"),
    _text("surface"),
    _text("model"),
    _text("dimension"),
    _big("amount"),
    _big("channel"),
    _text("feature"),
    _text("kind"),
    Column("corrects_session", Text),
    Column("corrects_sequence", _Big),
    _text("tags"),
    UniqueConstraint("project", "session", "sequence"),
    sqlite_strict=True,
)
Index("entries_by_time", entries.c.project, entries.c.at_unix_ms)

idempotency = Table(
    "idempotency",
    metadata,
    _text("project"),
    _text("key"),
    _text("fingerprint"),
    _text("session"),
    _big("at_unix_ms"),
    PrimaryKeyConstraint("project", "key"),
    sqlite_strict=True,
)
Index("idempotency_by_time", idempotency.c.at_unix_ms)

marks = Table(
    "marks",
    metadata,
    Column("name", Text, primary_key=True, nullable=False),
    _big("position"),
    sqlite_strict=True,
)

# The one on INSERT stops INSERT OR REPLACE, which removes the old row without asking the trigger on DELETE.
_TRIGGERS = {
    "entries_no_update": "BEFORE UPDATE ON entries",
    "entries_no_delete": "BEFORE DELETE ON entries",
    "entries_no_replace": "BEFORE INSERT ON entries WHEN EXISTS (SELECT 1 FROM entries WHERE position = NEW.position"
    " OR (project = NEW.project AND session = NEW.session AND sequence = NEW.sequence))",
}


@event.listens_for(entries, "after_create")
def _enforce_append_only(_: Table, connection: Connection, **__: object) -> None:
    for name, occasion in _TRIGGERS.items():
        connection.exec_driver_sql(
            f"CREATE TRIGGER {name} {occasion} BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END"
        )


# The columns of an entry in the order of `to_row`.
COLUMNS = tuple(column.name for column in entries.columns if column.name != "position")


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
