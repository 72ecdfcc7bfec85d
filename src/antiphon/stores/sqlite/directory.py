"""Projects and keys, in `control.db`, and the keys of projects' tags and content, and webhooks, in `keys.db`.

Several processes write them: the server's management API and the command line, at the same time. Writes are rare, and
each is one immediate transaction with a full sync. Of API keys there are only digests; all other secrets are encrypted
(`directory_secrets.py`).
"""

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from sqlite3 import Connection, Row

from antiphon.core.audit import (
    THE_SERVER,
    Action,
    AuditRecord,
    Author,
    ChangeRecord,
    canonical,
    limits_of,
    organisation_changes,
    parse,
    policy_changes,
    policy_version,
    scopes_of,
)
from antiphon.core.errors import Busy, CallerError, Conflict, InternalError, KeysUnavailable, NotFound
from antiphon.core.identity import (
    ENVIRONMENT_KEY_ID,
    MAX_WEBHOOKS,
    Key,
    KeyLimits,
    Organisation,
    Project,
    Webhook,
    WebhookSettings,
)
from antiphon.core.policy import Policy
from antiphon.core.stores import MAX_READ, DirectoryView, Follower
from antiphon.storage.files import WatchedFile, private_file
from antiphon.storage.master_key import MasterKeySource, find_source
from antiphon.stores.sqlite.connection import connect, transaction
from antiphon.stores.sqlite.directory_schema import (
    MIGRATIONS,
    SECRETS_MIGRATIONS,
    from_limits,
    merged_policy,
    to_key,
    to_organisation,
    to_project,
)
from antiphon.stores.sqlite.directory_secrets import (
    read_view,
    tag_key_row,
    to_webhook,
    with_tag_keys,
    wrap_bare,
    wrap_webhook,
)
from antiphon.stores.sqlite.master import Master
from antiphon.stores.sqlite.schema import migrate
from antiphon.stores.sqlite.vault import ADD, TAGS, Vault

FILE_NAME, SECRETS_NAME = "control.db", "keys.db"  # in the data directory
LOCKED_S = 0.02  # that the server waits for a writer: longer would be felt by all callers

_ADD_KEY = """
INSERT INTO keys (id, project, name, scopes, prefix, sha256, created_unix_ms, expires_unix_ms, limits)
SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?"""
_ADD_FIRST_KEY = f"{_ADD_KEY} WHERE NOT EXISTS (SELECT 1 FROM keys WHERE id != '{ENVIRONMENT_KEY_ID}')"
_PUT_KEY = f"""{_ADD_KEY} WHERE true
ON CONFLICT (id) DO UPDATE
SET sha256 = excluded.sha256, prefix = excluded.prefix, scopes = excluded.scopes, revoked_unix_ms = NULL"""
_REVOKE = "UPDATE keys SET revoked_unix_ms = ? WHERE id = ? AND revoked_unix_ms IS NULL"
_EXPIRE = "UPDATE keys SET expires_unix_ms = min(?1, ifnull(expires_unix_ms, ?1)) WHERE id = ?2"
_DROP_TAG_KEYS = f"DELETE FROM beside.project_keys WHERE project = ? AND purpose = '{TAGS}'"
_ADD_TAG_KEY = ADD.replace("INTO ", "INTO beside.")
_RETIRE_KEY = "UPDATE beside.project_keys SET retired = 1 WHERE project = ? AND purpose = 'content'"


class SqliteDirectory:
    """Implements `core.stores.Directory` in a data directory, whose files are created if absent."""

    def __init__(self, directory: Path, source: MasterKeySource | None = None) -> None:
        """Open the databases. The master key, by default one in the directory, is read from its `source` with the first
        secret that is needed, or if an earlier version has stored any. Raises `InternalError` if a file cannot be
        opened or is of a later version, `CallerError` if the master key is needed and cannot be had.
        """
        self.path, self.secrets_path = directory / FILE_NAME, directory / SECRETS_NAME
        for path, migrations in ((self.path, MIGRATIONS), (self.secrets_path, SECRETS_MIGRATIONS)):
            try:
                private_file(path)
                with transaction(path) as opened:
                    migrate(path, opened, migrations)
            except (sqlite3.Error, OSError) as error:
                raise InternalError(f"{path} cannot be opened: {error}") from error
        self.master = Master(self.secrets_path, source or find_source(directory, {}))
        try:
            wrap_bare(self.secrets_path, self.master)
            with closing(connect(self.path)) as control, closing(connect(self.secrets_path)) as keys:
                projects = [row["id"] for row in control.execute("SELECT id FROM projects")]
                lacking = set(projects).difference(with_tag_keys(keys))
        except sqlite3.Error as error:
            raise InternalError(f"{self.secrets_path} cannot be converted: {error}") from error
        for project in sorted(lacking):  # from before these keys existed
            self._add_tag_key(project)

    def vault(self) -> Vault:
        """Return the keys of projects, with the same master key. Raises as `Master.open` does."""
        return Vault(self.secrets_path, self.master)

    def directory(self) -> tuple[int, bool]:
        """Return the data directory's random number, created at the first call, and whether it had a ledger."""
        with self._writing() as opened:
            made = (secrets.randbits(62),)
            opened.execute("INSERT INTO directory SELECT ?, 0 WHERE NOT EXISTS (SELECT 1 FROM directory)", made)
            number, had_ledger = opened.execute("SELECT number, had_ledger FROM directory").fetchone()
            return number, bool(had_ledger)

    def has_ledger(self) -> None:
        """Record that there is a ledger: from now on its absence is a loss. To be called once the ledger knows its
        directory.
        """
        with self._writing() as opened:
            opened.execute("UPDATE directory SET had_ledger = 1")

    def view(self) -> DirectoryView:
        try:
            control, keys = connect(self.path), connect(self.secrets_path)
            try:
                return read_view(control, keys, self.master)
            finally:
                control.close()
                keys.close()
        except sqlite3.Error as error:
            raise KeysUnavailable(f"{self.path.name} cannot be read: {error}") from error

    def add_project(self, project: Project, by: Author = THE_SERVER) -> None:
        self._add_tag_key(project.id)  # first, so that none is ever without
        with self._writing() as opened:
            if _find(opened, "projects", project.id) is not None:
                raise Conflict(f"project {project.id} already exists", param="id")
            query = "INSERT INTO projects (id, name, created_unix_ms, policy) VALUES (?, ?, ?, ?)"
            policy = json.dumps(project.policy.values())
            opened.execute(query, (project.id, project.name, project.created_unix_ms, policy))
            version = policy_version(project.policy)
            _note(opened, by.did(Action.PROJECT_CREATE, project.id, project.id, policy=version))

    def set_policy(
        self,
        project: str,
        values: Mapping[str, str | int],
        by: Author = THE_SERVER,
        check: Callable[[Policy], object] | None = None,
    ) -> Project:
        with self._writing() as opened:
            row = _find(opened, "projects", project)
            if row is None:
                raise _no_project(project, "id")
            before, policy = to_project(row).policy, merged_policy(row["policy"], dict(values))
            opened.execute("UPDATE projects SET policy = ? WHERE id = ?", (policy, project))
            changed = to_project(_found(opened, "projects", project))
            if check is not None:
                check(changed.policy)
            for record in policy_changes(by, project, before, changed.policy):
                _note(opened, record)
            return changed

    def change_organisation(
        self, organisation: str, change: Callable[[Organisation], Organisation], by: Author = THE_SERVER
    ) -> Organisation:
        with self._writing() as opened:
            row = _find(opened, "organisations", organisation)
            before = to_organisation(row) if row is not None else Organisation(organisation)
            changed = change(before)
            values = organisation, changed.budgets, changed.limits
            opened.execute("INSERT OR REPLACE INTO organisations VALUES (?, ?, ?)", values)
            for record in organisation_changes(by, before, changed):
                _note(opened, record)
            return changed

    def add_key(self, key: Key, digest: bytes, by: Author = THE_SERVER) -> None:
        with self._writing() as opened:
            if _find(opened, "projects", key.project) is None:
                raise _no_project(key.project, "project")
            if _find(opened, "keys", key.id) is not None:
                raise Conflict(f"there is a key {key.id} already", param="id")
            opened.execute(_ADD_KEY, _key_row(key, digest))
            _note(opened, by.did(Action.KEY_CREATE, key.project, key.id, scopes_of(key)))

    def add_first_key(self, key: Key, digest: bytes, by: Author = THE_SERVER) -> bool:
        with self._writing() as opened:
            added = opened.execute(_ADD_FIRST_KEY, _key_row(key, digest)).rowcount > 0
            if added:
                _note(opened, by.did(Action.KEY_CREATE, key.project, key.id, scopes_of(key)))
            return added

    def put_key(self, key: Key, digest: bytes, by: Author = THE_SERVER) -> None:
        with self._writing() as opened:
            before = _find(opened, "keys", key.id)
            opened.execute(_PUT_KEY, _key_row(key, digest))
            if before is None or tuple(before) != tuple(_found(opened, "keys", key.id)):
                action = Action.KEY_CREATE if before is None else Action.KEY_CHANGE
                _note(opened, by.did(action, key.project, key.id, scopes_of(key)))

    def rotate_key(self, key_id: str, ends_unix_ms: int, key: Key, digest: bytes, by: Author = THE_SERVER) -> Key:
        with self._writing() as opened:
            old = _find(opened, "keys", key_id)
            if old is None:
                raise _no_key(key_id)
            if old["revoked_unix_ms"] is not None:
                raise Conflict(f"key {key_id} is revoked", param="id")
            if _find(opened, "keys", key.id) is not None:
                raise Conflict(f"there is a key {key.id} already", param="id")
            key = replace(key, limits=to_key(old).limits)
            opened.execute(_EXPIRE, (ends_unix_ms, key_id))
            opened.execute(_ADD_KEY, _key_row(key, digest))
            ends = to_key(_found(opened, "keys", key_id)).expires_unix_ms
            _note(opened, by.did(Action.KEY_ROTATE, key.project, key_id, f"by {key.id}, ends at {ends}"))
            _note(opened, by.did(Action.KEY_CREATE, key.project, key.id, scopes_of(key)))
            return key

    def limit_key(self, key_id: str, change: Callable[[KeyLimits], KeyLimits], by: Author = THE_SERVER) -> Key:
        with self._writing() as opened:
            row = _find(opened, "keys", key_id)
            if row is None:
                raise _no_key(key_id)
            limits = change(to_key(row).limits)
            opened.execute("UPDATE keys SET limits = ? WHERE id = ?", (from_limits(limits), key_id))
            key = to_key(_found(opened, "keys", key_id))
            if row["limits"] != from_limits(limits):
                _note(opened, by.did(Action.KEY_CHANGE, key.project, key_id, limits_of(limits)))
            return key

    def revoke_key(self, key_id: str, now_unix_ms: int, by: Author = THE_SERVER) -> Key:
        with self._writing() as opened:
            if _find(opened, "keys", key_id) is None:
                raise _no_key(key_id)
            revoked = opened.execute(_REVOKE, (now_unix_ms, key_id)).rowcount > 0
            key = to_key(_found(opened, "keys", key_id))
            if revoked:
                _note(opened, by.did(Action.KEY_REVOKE, key.project, key_id))
            return key

    def replace_tag_key(self, project: str, by: Author = THE_SERVER) -> None:
        row = tag_key_row(project, self.master)
        with self._writing(self.secrets_path) as opened:
            if _find(opened, "projects", project) is None:
                raise _no_project(project, "id")
            opened.execute(_DROP_TAG_KEYS, (project,))
            opened.execute(_ADD_TAG_KEY, row)
            _note(opened, by.did(Action.TAGS_FORGET, project, project))

    def add_webhook(self, webhook: Webhook, by: Author = THE_SERVER) -> None:
        row = (webhook.id, webhook.project, webhook.created_unix_ms, wrap_webhook(webhook, self.master))
        with self._writing(self.secrets_path) as opened:
            if _find(opened, "projects", webhook.project) is None:
                raise _no_project(webhook.project, "project")
            query = "SELECT count(*) FROM beside.webhooks WHERE project = ?"
            if opened.execute(query, (webhook.project,)).fetchone()[0] >= MAX_WEBHOOKS:
                raise CallerError(f"a project can have at most {MAX_WEBHOOKS} webhooks", param="project")
            opened.execute("INSERT INTO beside.webhooks VALUES (?, ?, ?, ?)", row)
            _note(opened, by.did(Action.WEBHOOK_CREATE, webhook.project, webhook.id))

    def change_webhook(
        self,
        webhook_id: str,
        name: str,
        change: Callable[[WebhookSettings], WebhookSettings],
        by: Author = THE_SERVER,
    ) -> Webhook:
        self.master.open()  # not within the transaction
        with self._writing(self.secrets_path) as opened:
            row = _find(opened, "beside.webhooks", webhook_id)
            if row is None:
                raise _no_webhook(webhook_id)
            before = to_webhook(row, self.master)
            webhook = replace(before, name=name, settings=change(before.settings))
            if webhook != before:
                values = (wrap_webhook(webhook, self.master), webhook_id)
                opened.execute("UPDATE beside.webhooks SET wrapped = ? WHERE id = ?", values)
                _note(opened, by.did(Action.WEBHOOK_CHANGE, webhook.project, webhook_id))
            return webhook

    def delete_webhook(self, webhook_id: str, by: Author = THE_SERVER) -> Webhook:
        self.master.open()
        with self._writing(self.secrets_path) as opened:
            row = _find(opened, "beside.webhooks", webhook_id)
            if row is None:
                raise _no_webhook(webhook_id)
            webhook = to_webhook(row, self.master)
            opened.execute("DELETE FROM beside.webhooks WHERE id = ?", (webhook_id,))
            _note(opened, by.did(Action.WEBHOOK_DELETE, webhook.project, webhook_id))
            return webhook

    def retire_key(self, project: str, by: Author = THE_SERVER) -> None:
        with self._writing(self.secrets_path) as opened:
            if _find(opened, "projects", project) is None:
                raise _no_project(project, "id")
            opened.execute(_RETIRE_KEY, (project,))
            _note(opened, by.did(Action.CONTENT_KEY_RETIRE, project, project))

    def destroy_keys(self, project: str, by: Author = THE_SERVER) -> None:
        row = tag_key_row(project, self.master)
        with self._writing(self.secrets_path) as opened:
            if _find(opened, "projects", project) is None:
                raise _no_project(project, "id")
            opened.execute("DELETE FROM beside.project_keys WHERE project = ?", (project,))
            opened.execute(_ADD_TAG_KEY, row)
            _note(opened, by.did(Action.CONTENT_KEYS_DESTROY, project, project))

    def note(self, record: AuditRecord) -> None:
        with self._writing() as opened:
            _note(opened, record)

    def changes(self, limit: int = MAX_READ) -> tuple[str, list[ChangeRecord]]:
        number, _ = self.directory()
        query = "SELECT position, body FROM outbox ORDER BY position LIMIT ?"
        try:
            with closing(connect(self.path)) as opened:
                rows = opened.execute(query, (limit,)).fetchall()
        except sqlite3.Error as error:
            raise KeysUnavailable(f"{self.path.name} cannot be read: {error}") from error
        return str(number), [ChangeRecord(row["position"], parse(row["body"])) for row in rows]

    def drained(self, position: int) -> None:
        with self._writing() as opened:
            opened.execute("DELETE FROM outbox WHERE position <= ?", (position,))

    def follow(self) -> Follower:
        """Return a follower. Raises `KeysUnavailable`."""
        return SqliteFollower(self.path, self.secrets_path, self.master)

    def _add_tag_key(self, project: str) -> None:
        row = tag_key_row(project, self.master)
        try:
            with transaction(self.secrets_path) as opened:
                if project not in with_tag_keys(opened):
                    opened.execute(ADD, row)
        except sqlite3.Error as error:
            raise KeysUnavailable(f"{self.secrets_path.name} cannot be written: {error}") from error

    @contextmanager
    def _writing(self, beside: Path | None = None) -> Iterator[Connection]:
        try:
            with transaction(self.path, beside) as opened:
                yield opened
        except sqlite3.Error as error:
            raise KeysUnavailable(f"{self.path.name} cannot be written: {error}") from error


class SqliteFollower:
    """Implements `core.stores.Follower`. No method waits for a lock for longer than `LOCKED_S`."""

    def __init__(self, control: Path, keys: Path, master: Master) -> None:
        """Open the databases. Raises `KeysUnavailable` if they cannot be read."""
        self._versions: list[int] | None = None
        self._master, paths = master, (control, keys)
        try:
            self._files = [WatchedFile(path) for path in paths]
            self._connections = [connect(path, timeout_s=LOCKED_S) for path in paths]
        except (sqlite3.Error, OSError) as error:
            raise KeysUnavailable("the keys cannot be read") from error

    def poll(self) -> DirectoryView | None:
        for file in self._files:
            if trouble := file.trouble():
                raise KeysUnavailable(trouble)
        try:
            # Read before the keys: a change between the two is then seen by the next poll.
            versions = [each.execute("PRAGMA data_version").fetchone()[0] for each in self._connections]
            if versions == self._versions:
                return None
            control, keys = self._connections
            view = read_view(control, keys, self._master)
        except sqlite3.Error as error:
            busy = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            raise (Busy if busy else KeysUnavailable)(f"the keys cannot be read: {error}") from error
        self._versions = versions
        return view

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


def _find(opened: Connection, table: str, id: str) -> Row | None:
    row: Row | None = opened.execute(f"SELECT * FROM {table} WHERE id = ?", (id,)).fetchone()
    return row


def _found(opened: Connection, table: str, id: str) -> Row:
    row: Row = opened.execute(f"SELECT * FROM {table} WHERE id = ?", (id,)).fetchone()
    return row


def _note(opened: Connection, record: AuditRecord) -> None:
    opened.execute("INSERT INTO outbox (body) VALUES (?)", (canonical(record),))


def _key_row(key: Key, digest: bytes) -> tuple[str | bytes | int | None, ...]:
    scopes = " ".join(sorted(key.scopes))
    times = (key.created_unix_ms, key.expires_unix_ms)
    return (key.id, key.project, key.name, scopes, key.prefix, digest, *times, from_limits(key.limits))


def _no_webhook(webhook_id: str) -> NotFound:
    return NotFound(f"webhook {webhook_id} not found", param="id")


def _no_key(key_id: str) -> NotFound:
    return NotFound(f"key {key_id} not found", param="id")


def _no_project(project: str, param: str) -> NotFound:
    return NotFound(f"project {project} not found", param=param)
