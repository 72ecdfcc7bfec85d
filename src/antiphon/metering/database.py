"""Opening the ledger's database file: once to write, any number of times to read.

WAL with `synchronous=FULL`: a commit is one sync, and is on the disk when it returns. SQLite before 3.51.3 can corrupt
a WAL database when two connections write or checkpoint at once, so exactly one connection in one process does either
(a file lock sees to that), and readers are opened read-only, which makes them unable to.
"""

import fcntl
import os
import sqlite3
from pathlib import Path

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool, StaticPool

from antiphon.core.errors import InternalError, LedgerUnavailable
from antiphon.metering.tables import SCHEMA_VERSION, metadata

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
            _create(path, connection)
        _check_schema(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def reader(path: Path) -> Engine:
    """An engine for queries only, for any process, while a server writes or not.

    Raises `InternalError` if there is no ledger at `path` or it is of another version.
    """

    def connect() -> sqlite3.Connection:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA query_only=ON")
        _check_schema(path, connection)
        return connection

    if not path.exists():
        raise InternalError(f"there is no ledger at {path}")
    return create_engine("sqlite://", creator=connect, poolclass=NullPool)


def _schema_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_schema(path: Path, connection: sqlite3.Connection) -> None:
    version = _schema_version(connection)
    if version != SCHEMA_VERSION:
        raise InternalError(
            f"the ledger {path} has schema version {version}, and this version of antiphon knows {SCHEMA_VERSION}"
        )


def _create(path: Path, connection: sqlite3.Connection) -> None:
    """All tables and the version in one transaction, so that a crash leaves an empty database or a whole one."""
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    event.listen(engine, "begin", lambda started: started.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.begin() as transaction:
        metadata.create_all(transaction)
        transaction.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")
