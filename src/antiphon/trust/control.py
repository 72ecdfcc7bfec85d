"""Projects and their keys, in `control.db`.

Several processes write it: the server's management API and the command line, at the same time. So it keeps SQLite's
rollback journal: SQLite before 3.51.3 can corrupt a WAL database that several connections write. Writes are rare, and
each is one immediate transaction with a full sync. No secret is in it, only digests.
"""

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    create_engine,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, Pool

from antiphon.core.errors import CallerError, Conflict, InternalError, NotFound
from antiphon.core.identity import Scope
from antiphon.trust import keys as form

FILE_NAME = "control.db"  # in the data directory
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0
DEFAULT_PROJECT = "default"
ENVIRONMENT_KEY_ID = "environment"
MIN_ENVIRONMENT_KEY_LENGTH = 16
MAX_NAME = 200

_PROJECT_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

metadata = MetaData()
projects = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_unix_ms", Integer, nullable=False),
    sqlite_strict=True,
)
keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True, nullable=False),
    Column("project", Text, ForeignKey("projects.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),  # separated by spaces, as in OAuth
    Column("prefix", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("created_unix_ms", Integer, nullable=False),
    Column("expires_unix_ms", Integer),
    Column("revoked_unix_ms", Integer),
    sqlite_strict=True,
)


@dataclass(frozen=True, slots=True)
class Project:
    id: str
    name: str
    created_unix_ms: int


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
        self._engine = open_engine(path, timeout_s=BUSY_TIMEOUT_S, pool=NullPool)
        try:
            with self._writing() as transaction:
                version = transaction.exec_driver_sql("PRAGMA user_version").scalar_one()
                if version == 0:
                    metadata.create_all(transaction)
                    transaction.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")
        except DBAPIError as error:
            raise InternalError(f"{path} cannot be opened: {error.orig}") from error
        if version not in (0, SCHEMA_VERSION):
            raise InternalError(
                f"{path} has schema version {version}, and this version of antiphon knows {SCHEMA_VERSION}"
            )

    def prepare(self, environment_key: str | None, now_unix_ms: int) -> str | None:
        """What a server does at its start. Makes the key from the environment hold, and one from an earlier start no
        longer; on the very first start without one, makes a key and returns it. It cannot be had again.

        Raises `CallerError` for a key from the environment that will not do.
        """
        with self._writing() as transaction:
            minted = transaction.execute(select(keys.c.id).where(keys.c.id != ENVIRONMENT_KEY_ID).limit(1)).first()
            _ensure_default_project(transaction, now_unix_ms)
            if environment_key is not None:
                _put_environment_key(transaction, environment_key, now_unix_ms)
                return None
            _revoke(transaction, ENVIRONMENT_KEY_ID, now_unix_ms)
            if minted is not None:
                return None
            return _insert_key(transaction, DEFAULT_PROJECT, "first key", frozenset(Scope), now_unix_ms, None)[1]

    def create_project(self, project_id: str, name: str, now_unix_ms: int) -> Project:
        """Raises `CallerError` for an id that is not one, `Conflict` for one that is taken."""
        if not _PROJECT_ID.fullmatch(project_id):
            raise CallerError("a project's id is 1 to 63 of a-z, 0-9, '-' and '_', a letter or digit first", param="id")
        _check_name(name)
        project = Project(project_id, name or project_id, now_unix_ms)
        with self._writing() as transaction:
            if _find(transaction, projects, project_id) is not None:
                raise Conflict(f"there is a project {project_id} already", param="id")
            _insert_project(transaction, project)
        return project

    def list_projects(self) -> list[Project]:
        with self._engine.connect() as connection:
            return [Project(*row) for row in connection.execute(select(projects).order_by(projects.c.id))]

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
            elif _find(transaction, projects, project) is None:
                raise NotFound(f"there is no project {project}", param="project")
            return _insert_key(transaction, project, name, granted, now_unix_ms, expires_unix_ms)

    def list_keys(self, project: str | None = None) -> list[Key]:
        """All keys, or one project's, the revoked ones too, oldest first."""
        query = select(keys).order_by(keys.c.created_unix_ms, keys.c.id)
        if project is not None:
            query = query.where(keys.c.project == project)
        with self._engine.connect() as connection:
            return [_key(row) for row in connection.execute(query)]

    def revoke_key(self, key_id: str, now_unix_ms: int) -> Key:
        """The key as it stands then; revoking it again changes nothing. Raises `NotFound`."""
        with self._writing() as transaction:
            _revoke(transaction, key_id, now_unix_ms)
            row = _find(transaction, keys, key_id)
            if row is None:
                raise NotFound(f"there is no key {key_id}", param="id")
            return _key(row)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._engine.begin() as transaction:
            transaction.exec_driver_sql("BEGIN IMMEDIATE")
            yield transaction


def open_engine(path: Path, timeout_s: float, pool: type[Pool]) -> Engine:
    """Connections without transactions of their own, so that reads are short and writes say when they begin."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=pool)


def read_keys(connection: Connection) -> dict[str, tuple[Key, bytes]]:
    """Every key and its digest, by id."""
    return {row.id: (_key(row), row.sha256) for row in connection.execute(select(keys))}


def check_environment_key(key: str) -> None:
    """Raises `CallerError` for a key that could not be sent in a header, or could be guessed."""
    if len(key) < MIN_ENVIRONMENT_KEY_LENGTH or not all("!" <= character <= "~" for character in key):
        raise CallerError(
            f"ANTIPHON_API_KEY must have at least {MIN_ENVIRONMENT_KEY_LENGTH} printable ASCII characters, no spaces",
            param="ANTIPHON_API_KEY",
        )


def _check_name(name: str) -> None:
    if len(name) > MAX_NAME or not name.isprintable():
        raise CallerError(f"a name has at most {MAX_NAME} characters, printable ones", param="name")


def _find(connection: Connection, table: Table, row_id: str) -> Row[Any] | None:
    return connection.execute(select(table).where(table.c.id == row_id)).first()


def _insert_project(connection: Connection, project: Project) -> None:
    connection.execute(
        insert(projects).values(id=project.id, name=project.name, created_unix_ms=project.created_unix_ms)
    )


def _ensure_default_project(connection: Connection, now_unix_ms: int) -> None:
    if _find(connection, projects, DEFAULT_PROJECT) is None:
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
    connection.execute(
        insert(keys).values(
            id=key.id,
            project=key.project,
            name=key.name,
            scopes=" ".join(sorted(key.scopes)),
            prefix=key.prefix,
            sha256=form.digest(secret),
            created_unix_ms=key.created_unix_ms,
            expires_unix_ms=key.expires_unix_ms,
        )
    )
    return key, secret


def _put_environment_key(connection: Connection, secret: str, now_unix_ms: int) -> None:
    check_environment_key(secret)
    if _find(connection, keys, ENVIRONMENT_KEY_ID) is None:
        _insert_key(
            connection,
            DEFAULT_PROJECT,
            "ANTIPHON_API_KEY",
            frozenset(Scope),
            now_unix_ms,
            None,
            mint=lambda: (ENVIRONMENT_KEY_ID, secret),
        )
    connection.execute(
        update(keys)
        .where(keys.c.id == ENVIRONMENT_KEY_ID)
        .values(sha256=form.digest(secret), prefix="", revoked_unix_ms=None)
    )


def _revoke(connection: Connection, key_id: str, now_unix_ms: int) -> None:
    connection.execute(
        update(keys).where(keys.c.id == key_id, keys.c.revoked_unix_ms.is_(None)).values(revoked_unix_ms=now_unix_ms)
    )


def _key(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        project=row.project,
        name=row.name,
        scopes=frozenset(map(Scope, row.scopes.split())),
        prefix=row.prefix,
        created_unix_ms=row.created_unix_ms,
        expires_unix_ms=row.expires_unix_ms,
        revoked_unix_ms=row.revoked_unix_ms,
    )
