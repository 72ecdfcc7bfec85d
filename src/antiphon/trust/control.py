"""Projects and their keys, in `control.db`.

Several processes write it: the server's management API and the command line, at the same time. So it keeps SQLite's
rollback journal: SQLite before 3.51.3 can corrupt a WAL database that several connections write. Writes are rare, and
each is one immediate transaction with a full sync. No secret is in it, only digests.
"""

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from sqlite3 import Connection, Row

from antiphon.core.errors import CallerError, Conflict, InternalError, NotFound
from antiphon.core.identity import Scope
from antiphon.trust import keys as form

FILE_NAME = "control.db"  # in the data directory
SCHEMA_VERSION = 3
BUSY_TIMEOUT_S = 5.0
DEFAULT_PROJECT = "default"
ENVIRONMENT_KEY_ID = "environment"
MIN_ENVIRONMENT_KEY_LENGTH = 16
MAX_NAME = 200
MAX_KEEP_S = 10 * 366 * 86_400

_PROJECT_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Marking(StrEnum):
    """What a project requires of synthetic speech. There is no less than the first."""

    MARKED = "marked"  # in the answer's head and its container's tags, and signed where it can be
    SIGNED = "signed"  # a signed manifest in every answer, so whole ones only, in containers that carry it


_SCHEMA = (
    f"""
CREATE TABLE projects (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    keep_answers_s INTEGER NOT NULL DEFAULT 0,
    marking TEXT NOT NULL DEFAULT '{Marking.MARKED}'
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
)
# What makes a database of each version one of the next.
_MIGRATIONS = {
    1: "ALTER TABLE projects ADD COLUMN keep_answers_s INTEGER NOT NULL DEFAULT 0",
    2: "ALTER TABLE projects ADD COLUMN marking TEXT NOT NULL DEFAULT 'marked'",
}


@dataclass(frozen=True, slots=True)
class Project:
    """A tenant. `keep_answers_s` is how long its models' answers are kept for it, at most; 0 keeps none."""

    id: str
    name: str
    created_unix_ms: int
    keep_answers_s: int = 0
    marking: Marking = Marking.MARKED


@dataclass(frozen=True, slots=True)
class Key:
    """What is known about a key. `prefix` is the part that may be shown."""

    id: str
    project: str
    name: str
    scopes: frozenset[Scope]
    prefix: str
    created_unix_ms: int
    expires_unix_ms: int | None
    revoked_unix_ms: int | None

    def holds(self, now_unix_ms: int) -> bool:
        return self.revoked_unix_ms is None and (self.expires_unix_ms is None or now_unix_ms < self.expires_unix_ms)


class Control:
    """The projects and keys at `path`, which is created if it is not there. Blocking; safe in several threads."""

    def __init__(self, path: Path) -> None:
        """Raises `InternalError` if the database cannot be opened or is of another version."""
        self.path = path
        try:
            with self._writing() as transaction:
                _bring_up_to_date(path, transaction)
        except sqlite3.Error as error:
            raise InternalError(f"{path} cannot be opened: {error}") from error

    def prepare(self, environment_key: str | None, now_unix_ms: int) -> str | None:
        """What a server does at its start. Makes the key from the environment hold, and one from an earlier start no
        longer; on the very first start without one, makes a key and returns it. It cannot be had again.

        Raises `CallerError` for a key from the environment that will not do.
        """
        with self._writing() as transaction:
            minted = transaction.execute("SELECT id FROM keys WHERE id != ? LIMIT 1", (ENVIRONMENT_KEY_ID,)).fetchone()
            _ensure_default_project(transaction, now_unix_ms)
            if environment_key is not None:
                _put_environment_key(transaction, environment_key, now_unix_ms)
                return None
            _revoke(transaction, ENVIRONMENT_KEY_ID, now_unix_ms)
            if minted is not None:
                return None
            return _insert_key(transaction, DEFAULT_PROJECT, "first key", frozenset(Scope), now_unix_ms, None)[1]

    def create_project(
        self,
        project_id: str,
        name: str,
        now_unix_ms: int,
        keep_answers_s: int = 0,
        marking: Marking = Marking.MARKED,
    ) -> Project:
        """Raises `CallerError` for an id that is not one or a retention out of bounds, `Conflict` for an id taken."""
        if not _PROJECT_ID.fullmatch(project_id):
            raise CallerError("a project's id is 1 to 63 of a-z, 0-9, '-' and '_', a letter or digit first", param="id")
        _check_name(name)
        _check_keep(keep_answers_s)
        project = Project(project_id, name or project_id, now_unix_ms, keep_answers_s, marking)
        with self._writing() as transaction:
            if _find_project(transaction, project_id) is not None:
                raise Conflict(f"there is a project {project_id} already", param="id")
            _insert_project(transaction, project)
        return project

    def list_projects(self) -> list[Project]:
        with closing(connect(self.path, BUSY_TIMEOUT_S)) as connection:
            return list(read_projects(connection).values())

    def change_project(
        self,
        project_id: str,
        now_unix_ms: int,
        *,
        keep_answers_s: int | None = None,
        marking: Marking | None = None,
    ) -> Project:
        """Sets what is given. What was kept for longer than `keep_answers_s` is gone. A running server follows within
        a second. Raises `NotFound`, `CallerError` for a time out of bounds.
        """
        with self._writing() as transaction:
            if project_id == DEFAULT_PROJECT:
                _ensure_default_project(transaction, now_unix_ms)
            project = _find_project(transaction, project_id)
            if project is None:
                raise NotFound(f"there is no project {project_id}", param="id")
            keep_s = project.keep_answers_s if keep_answers_s is None else keep_answers_s
            _check_keep(keep_s)
            changed = replace(project, keep_answers_s=keep_s, marking=marking or project.marking)
            query = "UPDATE projects SET keep_answers_s = ?, marking = ? WHERE id = ?"
            transaction.execute(query, (changed.keep_answers_s, changed.marking, project_id))
            return changed

    def create_key(
        self,
        project: str,
        name: str,
        scopes: Iterable[Scope],
        now_unix_ms: int,
        expires_unix_ms: int | None = None,
    ) -> tuple[Key, str]:
        """The new key's record and the key itself, which cannot be had again.

        Raises `NotFound` without that project, `CallerError` without a scope or for an expiry that has passed.
        """
        granted = frozenset(scopes)
        _check_name(name)
        if not granted:
            raise CallerError("a key needs a scope", param="scopes")
        if expires_unix_ms is not None and expires_unix_ms <= now_unix_ms:
            raise CallerError("the expiry has passed", param="expires")
        with self._writing() as transaction:
            if project == DEFAULT_PROJECT:
                _ensure_default_project(transaction, now_unix_ms)
            elif _find_project(transaction, project) is None:
                raise NotFound(f"there is no project {project}", param="project")
            return _insert_key(transaction, project, name, granted, now_unix_ms, expires_unix_ms)

    def list_keys(self, project: str | None = None) -> list[Key]:
        """All keys, or one project's, the revoked ones too, oldest first."""
        query = "SELECT * FROM keys WHERE ?1 IS NULL OR project = ?1 ORDER BY created_unix_ms, id"
        with closing(connect(self.path, BUSY_TIMEOUT_S)) as connection:
            return [_key(row) for row in connection.execute(query, (project,))]

    def revoke_key(self, key_id: str, now_unix_ms: int) -> Key:
        """The key as it stands then; revoking it again changes nothing. Raises `NotFound`."""
        with self._writing() as transaction:
            _revoke(transaction, key_id, now_unix_ms)
            row = transaction.execute("SELECT * FROM keys WHERE id = ?", (key_id,)).fetchone()
            if row is None:
                raise NotFound(f"there is no key {key_id}", param="id")
            return _key(row)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with closing(connect(self.path, BUSY_TIMEOUT_S)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection


def connect(path: Path, timeout_s: float) -> Connection:
    """Without transactions of its own, so that reads are short and writes say when they begin. Rows have names."""
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    connection.row_factory = Row
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def read_projects(connection: Connection) -> dict[str, Project]:
    """Every project, by id, in its order."""
    return {row["id"]: _project(row) for row in connection.execute("SELECT * FROM projects ORDER BY id")}


def read_keys(connection: Connection) -> dict[str, tuple[Key, bytes]]:
    """Every key and its digest, by id."""
    return {row["id"]: (_key(row), row["sha256"]) for row in connection.execute("SELECT * FROM keys")}


def check_environment_key(key: str) -> None:
    """Raises `CallerError` for a key that could not be sent in a header, or could be guessed."""
    if len(key) < MIN_ENVIRONMENT_KEY_LENGTH or not all("!" <= character <= "~" for character in key):
        raise CallerError(
            f"ANTIPHON_API_KEY must have at least {MIN_ENVIRONMENT_KEY_LENGTH} printable ASCII characters, no spaces",
            param="ANTIPHON_API_KEY",
        )


def _bring_up_to_date(path: Path, transaction: Connection) -> None:
    """Creates the schema, or makes an older one today's. Raises `InternalError` for one of a later version."""
    version = transaction.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise InternalError(f"{path} has schema version {version}, and this version of antiphon knows {SCHEMA_VERSION}")
    for statement in _SCHEMA if version == 0 else (_MIGRATIONS[old] for old in range(version, SCHEMA_VERSION)):
        transaction.execute(statement)
    if version != SCHEMA_VERSION:
        transaction.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _check_keep(seconds: int) -> None:
    if not 0 <= seconds <= MAX_KEEP_S:
        raise CallerError(f"answers are kept for 0 to {MAX_KEEP_S} seconds", param="keep_answers_s")


def _check_name(name: str) -> None:
    if len(name) > MAX_NAME or not name.isprintable():
        raise CallerError(f"a name has at most {MAX_NAME} characters, printable ones", param="name")


def _find_project(connection: Connection, project_id: str) -> Project | None:
    row = connection.execute("SELECT * FROM projects WHERE id = ?", (project_id,)).fetchone()
    return None if row is None else _project(row)


def _insert_project(connection: Connection, project: Project) -> None:
    query = "INSERT INTO projects (id, name, created_unix_ms, keep_answers_s, marking) VALUES (?, ?, ?, ?, ?)"
    values = (project.id, project.name, project.created_unix_ms, project.keep_answers_s, project.marking)
    connection.execute(query, values)


def _ensure_default_project(connection: Connection, now_unix_ms: int) -> None:
    if _find_project(connection, DEFAULT_PROJECT) is None:
        _insert_project(connection, Project(DEFAULT_PROJECT, "Default", now_unix_ms))


def _insert_key(
    connection: Connection,
    project: str,
    name: str,
    scopes: frozenset[Scope],
    now_unix_ms: int,
    expires_unix_ms: int | None,
    mint: Callable[[], tuple[str, str]] = form.mint,
) -> tuple[Key, str]:
    key_id, secret = mint()
    key = Key(key_id, project, name, scopes, form.shown(key_id), now_unix_ms, expires_unix_ms, None)
    query = """
INSERT INTO keys (id, project, name, scopes, prefix, sha256, created_unix_ms, expires_unix_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
    scoped, hashed = _stored(key.scopes), form.digest(secret)
    times = (key.created_unix_ms, key.expires_unix_ms)
    connection.execute(query, (key.id, key.project, key.name, scoped, key.prefix, hashed, *times))
    return key, secret


def _put_environment_key(connection: Connection, secret: str, now_unix_ms: int) -> None:
    check_environment_key(secret)
    scopes = frozenset(Scope)
    if connection.execute("SELECT 1 FROM keys WHERE id = ?", (ENVIRONMENT_KEY_ID,)).fetchone() is None:
        mine = (DEFAULT_PROJECT, "ANTIPHON_API_KEY", scopes, now_unix_ms, None)
        _insert_key(connection, *mine, mint=lambda: (ENVIRONMENT_KEY_ID, secret))
    query = "UPDATE keys SET sha256 = ?, prefix = '', scopes = ?, revoked_unix_ms = NULL WHERE id = ?"
    connection.execute(query, (form.digest(secret), _stored(scopes), ENVIRONMENT_KEY_ID))


def _stored(scopes: frozenset[Scope]) -> str:
    return " ".join(sorted(scopes))


def _revoke(connection: Connection, key_id: str, now_unix_ms: int) -> None:
    query = "UPDATE keys SET revoked_unix_ms = ? WHERE id = ? AND revoked_unix_ms IS NULL"
    connection.execute(query, (now_unix_ms, key_id))


def _project(row: Row) -> Project:
    marking = Marking(row["marking"])
    return Project(row["id"], row["name"], row["created_unix_ms"], row["keep_answers_s"], marking)


def _key(row: Row) -> Key:
    return Key(
        id=row["id"],
        project=row["project"],
        name=row["name"],
        scopes=frozenset(map(Scope, row["scopes"].split())),
        prefix=row["prefix"],
        created_unix_ms=row["created_unix_ms"],
        expires_unix_ms=row["expires_unix_ms"],
        revoked_unix_ms=row["revoked_unix_ms"],
    )
