"""The tables of `control.db` and of `keys.db`, and the conversion of rows to projects and keys.

Rows may have been written by a later version, or by hand: an invalid row is left out, alone. `keys.db` has the keys
that must be destroyed to erase what they sealed or hashed, so that it can be backed up separately, and for a shorter
time; and webhooks, whose secrets sign. Both are encrypted by the master key (`directory_secrets.py`).
"""

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict
from sqlite3 import Row
from typing import TypeVar

from antiphon.core.budgets import canonical_together
from antiphon.core.identity import Key, KeyLimits, Organisation, Project, Scope
from antiphon.core.policy import STRICTEST, read_policy

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
    (
        # The keys of tags are among those of projects, and webhooks are encrypted by the master key, too. What was
        # stored before is converted when the directory is opened.
        "ALTER TABLE tag_keys RENAME TO bare_tag_keys",
        "ALTER TABLE webhooks RENAME TO bare_webhooks",
        """
CREATE TABLE webhooks (
    id TEXT NOT NULL PRIMARY KEY,
    project TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    wrapped BLOB NOT NULL
) STRICT""",
    ),
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


def sound(read: Callable[[Row], T], rows: Iterable[Row]) -> dict[str, T]:
    """Return each row's value by id, without invalid rows."""
    found: dict[str, T] = {}
    for row in rows:
        id = str(row["id"])
        try:
            found[id] = read(row)
        except Exception as error:
            log.error("a row of the directory is invalid", exc_info=error, extra={"key": id})
    return found
