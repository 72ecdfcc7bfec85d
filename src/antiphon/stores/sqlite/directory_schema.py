"""The tables of `control.db` and of `keys.db`, and the conversion of rows to projects and keys.

Rows may have been written by a later version, or by hand: an invalid row is left out, alone. `keys.db` has the keys
that must be destroyed to erase what they hashed, so that it can be backed up separately, and for a shorter time; and
webhooks, whose secrets sign.
"""

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict
from sqlite3 import Connection, Row
from typing import TypeVar

from antiphon.core.budgets import canonical_together
from antiphon.core.identity import Key, KeyLimits, Organisation, Project, Scope, Webhook, WebhookSettings
from antiphon.core.policy import STRICTEST, read_policy
from antiphon.core.stores import DirectoryView

_SCOPES = frozenset(scope.value for scope in Scope)

T = TypeVar("T")

log = logging.getLogger(__name__)

MIGRATIONS = (
    (
        """
CREATE TABLE projects (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL
) STRICT""",
        """
CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    scopes TEXT NOT NULL, -- separated by spaces, as in OAuth
    prefix TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    expires_unix_ms INTEGER,
    revoked_unix_ms INTEGER
) STRICT""",
    ),
    ("ALTER TABLE projects ADD COLUMN keep_answers_s INTEGER NOT NULL DEFAULT 0",),
    ("ALTER TABLE projects ADD COLUMN marking TEXT NOT NULL DEFAULT 'marked'",),
    ("ALTER TABLE projects ADD COLUMN weight INTEGER NOT NULL DEFAULT 1",),
    (
        # The link of the ledger to this database. Only some databases of version 4 have it.
        "CREATE TABLE IF NOT EXISTS directory (number INTEGER NOT NULL, had_ledger INTEGER NOT NULL) STRICT",
        "ALTER TABLE projects ADD COLUMN policy TEXT NOT NULL DEFAULT '{}'",
        "UPDATE projects SET policy ="
        " json_object('keep_answers_s', keep_answers_s, 'marking', marking, 'weight', weight)",
        *(f"ALTER TABLE projects DROP COLUMN {name}" for name in ("keep_answers_s", "marking", "weight")),
    ),
    # Records of changes, until the ledger has them. A position never comes again.
    ("CREATE TABLE outbox (position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL) STRICT",),
    ("ALTER TABLE keys ADD COLUMN limits TEXT NOT NULL DEFAULT '{}'",),
    # Those that have budgets or limits; which projects are theirs, the policies say.
    (
        """
CREATE TABLE organisations (
    id TEXT NOT NULL PRIMARY KEY,
    budgets TEXT NOT NULL,
    limits TEXT NOT NULL
) STRICT""",
    ),
)
SECRETS_MIGRATIONS = (
    ("CREATE TABLE tag_keys (project TEXT NOT NULL PRIMARY KEY, key BLOB NOT NULL) STRICT",),
    (
        # Encrypted by the master key, which the proof recognises. What is retired only opens what it sealed.
        """
CREATE TABLE project_keys (
    position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL,
    project TEXT NOT NULL,
    purpose TEXT NOT NULL,
    retired INTEGER NOT NULL DEFAULT 0,
    wrapped BLOB NOT NULL,
    UNIQUE (project, id)
) STRICT""",
        "CREATE TABLE master (proof BLOB NOT NULL) STRICT",
    ),
    (
        """
CREATE TABLE webhooks (
    id TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    secret TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL
) STRICT""",
    ),
    ("ALTER TABLE webhooks ADD COLUMN settings TEXT NOT NULL DEFAULT '{}'",),
)


def read_view(control: Connection, keys: Connection) -> DirectoryView:
    return DirectoryView(
        _sound(to_project, control.execute("SELECT * FROM projects ORDER BY id")),
        _sound(
            lambda row: (to_key(row), bytes(row["sha256"])),
            control.execute("SELECT * FROM keys ORDER BY created_unix_ms, id"),
        ),
        {row["project"]: bytes(row["key"]) for row in keys.execute("SELECT project, key FROM tag_keys")},
        _sound(to_webhook, keys.execute("SELECT * FROM webhooks ORDER BY created_unix_ms, id")),
        _sound(to_organisation, control.execute("SELECT * FROM organisations ORDER BY id")),
    )


def to_project(row: Row) -> Project:
    policy, odd = read_policy(_loaded(row["policy"]))
    if odd:
        names = ", ".join(sorted(odd))
        log.warning("a project's policy has fields that are not known here", extra={"key": row["id"], "reason": names})
    return Project(row["id"], row["name"], row["created_unix_ms"], policy)


def to_organisation(row: Row) -> Organisation:
    try:
        return Organisation(row["id"], *canonical_together(row["budgets"], row["limits"]))
    except ValueError:
        log.warning("an organisation's budgets or limits are not known here", extra={"key": row["id"]})
        return Organisation(row["id"], STRICTEST.budgets, STRICTEST.limits)


def to_key(row: Row) -> Key:
    return Key(
        id=row["id"],
        project=row["project"],
        name=row["name"],
        scopes=frozenset(map(Scope, _SCOPES.intersection(row["scopes"].split()))),
        prefix=row["prefix"],
        created_unix_ms=row["created_unix_ms"],
        expires_unix_ms=row["expires_unix_ms"],
        revoked_unix_ms=row["revoked_unix_ms"],
        limits=_to_limits(row["limits"]),
    )


def to_webhook(row: Row) -> Webhook:
    stored = json.loads(row["settings"])
    headers = tuple((name, value) for name, value in stored.pop("headers", ()))
    settings = WebhookSettings(**stored, headers=headers)
    return Webhook(row["id"], row["project"], row["name"], row["url"], row["created_unix_ms"], row["secret"], settings)


def from_settings(settings: WebhookSettings) -> str:
    """Return settings as they are stored."""
    return json.dumps(asdict(settings))


def from_limits(limits: KeyLimits) -> str:
    """Return limits as they are stored: only those that there are."""
    return json.dumps({name: each for name, each in asdict(limits).items() if each})


def _to_limits(stored: str) -> KeyLimits:
    """Raises `ValueError` or `TypeError` for limits that are not known here: the key is then not valid."""
    return KeyLimits(**{name: tuple(map(str, each)) for name, each in json.loads(stored).items()})


def merged_policy(stored: str, values: dict[str, str | int]) -> str:
    """Return a stored policy with other values. Its other fields stay, known or not; an invalid one becomes the
    strictest, as it was read until now.
    """
    before = _loaded(stored)
    return json.dumps((before if isinstance(before, dict) else STRICTEST.values()) | values)


def _loaded(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _sound(read: Callable[[Row], T], rows: Iterable[Row]) -> dict[str, T]:
    """Return each row's value by id, without invalid rows."""
    found: dict[str, T] = {}
    for row in rows:
        id = str(row["id"])
        try:
            found[id] = read(row)
        except Exception as error:
            log.error("a row of control.db is invalid", exc_info=error, extra={"key": id})
    return found
