"""Opening the ledger's database file: once to write, any number of times to read.

WAL with `synchronous=FULL`: a commit is one sync, and is on the disk when it returns. SQLite before 3.51.3 can corrupt
a WAL database when two connections write or checkpoint at once, so exactly one connection in one process does either
(a file lock sees to that), and readers are opened read-only, which makes them unable to.
"""

import fcntl
import os
import sqlite3
from pathlib import Path

from antiphon.core.errors import InternalError, LedgerUnavailable
from antiphon.metering.tables import SCHEMA, SCHEMA_VERSION

FILE_NAME = "ledger.db"  # in the data directory
BUSY_TIMEOUT_S = 5.0


def lock(path: Path) -> int:
    """Takes the right to write the ledger at `path`, and returns the descriptor that holds it until it is closed.

    Raises `LedgerUnavailable` if another process holds it. The lock file stays: removing it would let two in.
    """
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LedgerUnavailable(f"the ledger {path} is in use by another server") from None
    return descriptor


def connect_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes, for the holder of the lock only. Creates the schema if there is none."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=0")  # it would keep its errors to itself
        if _schema_version(connection) == 0:
            _create(connection)
        _check_schema(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def reader(path: Path) -> sqlite3.Connection:
    """A connection for queries only, for any process, while a server writes or not. The caller closes it.

    Raises `InternalError` if there is no ledger at `path` or it is of another version.
    """
    if not path.exists():
        raise InternalError(f"there is no ledger at {path}")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
    try:
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA query_only=ON")
        _check_schema(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _schema_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_schema(path: Path, connection: sqlite3.Connection) -> None:
    version = _schema_version(connection)
    if version != SCHEMA_VERSION:
        raise InternalError(
            f"the ledger {path} has schema version {version}, and this version of antiphon knows {SCHEMA_VERSION}"
        )


def _create(connection: sqlite3.Connection) -> None:
    """All tables and the version in one transaction, so that a crash leaves an empty database or a whole one."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA:
            connection.execute(statement)
