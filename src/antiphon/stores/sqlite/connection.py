"""Connections to databases that several processes may write: the directory's, and the kept answers'.

They keep SQLite's rollback journal: SQLite before 3.51.3 can corrupt a WAL database that several connections write.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import Connection, Row

BUSY_TIMEOUT_S = 5.0
MEMORY = Path(":memory:")  # SQLite's name for a database that lives as long as its connection


def connect(path: Path, timeout_s: float = BUSY_TIMEOUT_S) -> Connection:
    """Return a connection to an existing database (a removed one must not be created again), or to `MEMORY`. It begins
    no transactions by itself, so that reads are short and writes begin theirs explicitly. Rows have names.
    """
    uri = "file::memory:" if path == MEMORY else f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    connection.row_factory = Row
    connection.text_factory = lambda text: text.decode(errors="replace")  # else one invalid text would fail a query
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


@contextmanager
def transaction(path: Path, beside: Path | None = None) -> Iterator[Connection]:
    """Open a connection and yield it in a transaction. With `beside`, that database is attached under this name and is
    part of the transaction.
    """
    with closing(connect(path)) as connection, connection:
        if beside is not None:
            connection.execute("ATTACH ? AS beside", (f"{beside.absolute().as_uri()}?mode=rw",))
            connection.execute("PRAGMA beside.secure_delete=ON")
        connection.execute("BEGIN IMMEDIATE")
        yield connection
