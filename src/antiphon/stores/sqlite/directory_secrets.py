"""The secrets of the directory in `keys.db`: the keys that hash projects' tags, and webhooks. The master key encrypts
them, so that a copy of the file is of no use by itself.

They are decrypted when a view of the directory is asked for them: commands that need none need no master key.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from sqlite3 import Connection, Row
from typing import TypeVar

from antiphon.core.identity import Webhook, WebhookSettings
from antiphon.core.stores import DirectoryView
from antiphon.stores.sqlite.connection import connect
from antiphon.stores.sqlite.directory_schema import sound, to_key, to_organisation, to_project
from antiphon.stores.sqlite.master import Master
from antiphon.stores.sqlite.vault import ADD, ID_BYTES, KEY_BYTES, TABLE, TAGS

T = TypeVar("T")
KeyRow = tuple[bytes, str, str, bytes]

_TAG_KEYS = f"SELECT project AS id, id AS key_id, wrapped FROM project_keys WHERE purpose = '{TAGS}'"


class OnDemand(Mapping[str, T]):
    """A mapping that is made when it is first asked for anything."""

    def __init__(self, make: Callable[[], dict[str, T]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> dict[str, T]:
        return self._make()

    def __getitem__(self, id: str) -> T:
        return self._made[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def read_view(control: Connection, keys: Connection, master: Master) -> DirectoryView:
    """Return the directory. Its tag keys and webhooks raise as `Master.open` does, when they are asked for."""
    tag_keys = keys.execute(_TAG_KEYS).fetchall()
    webhooks = keys.execute("SELECT * FROM webhooks ORDER BY created_unix_ms, id").fetchall()
    return DirectoryView(
        sound(to_project, control.execute("SELECT * FROM projects ORDER BY id")),
        sound(
            lambda row: (to_key(row), bytes(row["sha256"])),
            control.execute("SELECT * FROM keys ORDER BY created_unix_ms, id"),
        ),
        OnDemand(lambda: _opened(_to_tag_key, tag_keys, master)),
        OnDemand(lambda: _opened(to_webhook, webhooks, master)),
        sound(to_organisation, control.execute("SELECT * FROM organisations ORDER BY id")),
    )


def with_tag_keys(keys: Connection) -> set[str]:
    """Return the projects that have a key for their tags."""
    return {row["id"] for row in keys.execute(_TAG_KEYS)}


def tag_key_row(project: str, master: Master, key: bytes | None = None) -> KeyRow:
    """Return a row for `ADD` with a new key of the project's tags, or this one. Raises as `Master.open` does."""
    id, key = secrets.token_bytes(ID_BYTES), key or secrets.token_bytes(KEY_BYTES)
    return id, project, TAGS, master.wrap(key, project, TABLE, id)


def to_webhook(row: Row, master: Master) -> Webhook:
    fields = json.loads(master.unwrap(row["wrapped"], row["project"], "webhooks", row["id"].encode()))
    settings = fields["settings"]
    headers = tuple((name, value) for name, value in settings.pop("headers", ()))
    more = WebhookSettings(**settings, headers=headers)
    return Webhook(
        row["id"], row["project"], fields["name"], fields["url"], row["created_unix_ms"], fields["secret"], more
    )


def wrap_webhook(webhook: Webhook, master: Master) -> bytes:
    """Return all of a webhook that may be secret: a URL can have a token in it, a header a password."""
    fields = {name: getattr(webhook, name) for name in ("name", "url", "secret")} | {
        "settings": asdict(webhook.settings)
    }
    return master.wrap(json.dumps(fields).encode(), webhook.project, "webhooks", webhook.id.encode())


def wrap_bare(path: Path, master: Master) -> None:
    """Encrypt what an earlier version stored as it was, and overwrite that. Raises as `Master.open` does."""
    with closing(connect(path)) as keys:
        tables = "bare_tag_keys", "bare_webhooks"
        if not any(keys.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in tables):
            return
        master.open()
        keys.execute("PRAGMA secure_delete=ON")
        with keys:
            keys.execute("BEGIN IMMEDIATE")
            for row in keys.execute("SELECT project, key FROM bare_tag_keys").fetchall():
                keys.execute(ADD, tag_key_row(row["project"], master, row["key"]))
            for row in keys.execute("SELECT * FROM bare_webhooks").fetchall():
                fields = {name: row[name] for name in ("name", "url", "secret")}
                fields["settings"] = json.loads(row["settings"])
                wrapped = master.wrap(json.dumps(fields).encode(), row["project"], "webhooks", row["id"].encode())
                values = (row["id"], row["project"], row["created_unix_ms"], wrapped)
                keys.execute("INSERT INTO webhooks VALUES (?, ?, ?, ?)", values)
            for table in tables:
                keys.execute(f"DELETE FROM {table}")


def _opened(read: Callable[[Row, Master], T], rows: list[Row], master: Master) -> dict[str, T]:
    if rows:
        master.open()  # a missing master key is an error, a damaged row is none
    return sound(lambda row: read(row, master), rows)


def _to_tag_key(row: Row, master: Master) -> bytes:
    return master.unwrap(row["wrapped"], row["id"], TABLE, row["key_id"])
