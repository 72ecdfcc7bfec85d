"""The issued statements and their price books, in `bills.db`: small, seldom written, by any process."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from antiphon.core.errors import Conflict, InternalError
from antiphon.core.stores import IssuedStatement
from antiphon.storage.files import private_file
from antiphon.stores.sqlite.connection import transaction
from antiphon.stores.sqlite.schema import migrate

FILE_NAME = "bills.db"  # in the data directory

MIGRATIONS = (
    (
        """
CREATE TABLE books (
    book TEXT NOT NULL,
    version TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    first_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (book, version)
) STRICT""",
        # A total is text, as it may exceed an integer of SQLite.
        """
CREATE TABLE statements (
    project TEXT NOT NULL,
    since_unix_ms INTEGER NOT NULL,
    until_unix_ms INTEGER NOT NULL,
    cursor TEXT NOT NULL,
    currency TEXT NOT NULL,
    total_nano TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    at_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (project, since_unix_ms)
) STRICT""",
    ),
)
_PIN = "INSERT OR IGNORE INTO books VALUES (?, ?, ?, ?)"
_PINNED = "SELECT sha256 FROM books WHERE book = ? AND version = ?"
_STATEMENTS = "SELECT * FROM statements WHERE project = ? ORDER BY since_unix_ms"
_LATER = "SELECT 1 FROM statements WHERE project = ? AND until_unix_ms > ?"
_ISSUE = "INSERT INTO statements VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class SqliteBills:
    """Implements `core.stores.Bills`. The file is created at the first write."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pin(self, book: str, version: str, sha256: str, now_unix_ms: int) -> None:
        with self._transaction() as connection:
            connection.execute(_PIN, (book, version, sha256, now_unix_ms))
            pinned = connection.execute(_PINNED, (book, version)).fetchone()[0]
        if pinned != sha256:
            raise Conflict(
                f"version {version} of the price book {book} has rated usage with other contents (SHA-256 {pinned});"
                " put them back, and make a new version of what is to change"
            )

    def issued(self, project: str) -> list[IssuedStatement]:
        if not self._path.exists():
            return []
        with self._transaction() as connection:
            rows = connection.execute(_STATEMENTS, (project,)).fetchall()
        return [IssuedStatement(**{**row, "total_nano": int(row["total_nano"])}) for row in rows]

    def issue(self, statement: IssuedStatement) -> None:
        with self._transaction() as connection:
            if connection.execute(_LATER, (statement.project, statement.since_unix_ms)).fetchone():
                raise Conflict("the statement of this period, or of a later one, has been issued")
            connection.execute(
                _ISSUE,
                (
                    statement.project,
                    statement.since_unix_ms,
                    statement.until_unix_ms,
                    statement.cursor,
                    statement.currency,
                    str(statement.total_nano),
                    statement.sha256,
                    statement.at_unix_ms,
                ),
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            private_file(self._path)
            with transaction(self._path) as connection:
                migrate(self._path, connection, MIGRATIONS)
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise InternalError(f"{self._path} cannot be read or written") from error
