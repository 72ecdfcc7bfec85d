"""The opening of the ledger's database file: once to write, any number of times to read.

WAL with `synchronous=FULL`: a commit is one sync, and is on the disk when it returns. SQLite before 3.51.3 can corrupt
a WAL database if two connections write or checkpoint at once, so only one connection of one process does either
(ensured by a lock on the data directory), and readers are opened read-only.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from antiphon.core.errors import InternalError
from antiphon.storage.files import WatchedFile, private_file
from antiphon.stores.sqlite.ledger_schema import MIGRATIONS, relabelled
from antiphon.stores.sqlite.schema import check_version, migrate

FILE_NAME = "ledger.db"  # in the data directory
BUSY_TIMEOUT_S = 5.0
Labels = Callable[[str, tuple[str, ...]], tuple[str, ...]]  # what is kept of a project's tags

_FIND_OWNER = "SELECT position FROM marks WHERE name = 'directory'"


@dataclass(frozen=True, slots=True)
class Owner:
    """The data directory that a ledger belongs to, as its other database knows it: a random number, and whether it had
    a ledger. `accept_loss`: the operator knows that one of the two was lost.
    """

    number: int
    had_ledger: bool
    accept_loss: bool = False


class Files:
    """The database and its log, while the one connection that writes is open."""

    def __init__(self, path: Path) -> None:
        """Open the files. Raises `OSError` if one is missing."""
        self._database, self._log = WatchedFile(path), WatchedFile(Path(f"{path}-wal"))

    def trouble(self) -> str | None:
        """Return what another process did to them; `None` if nothing."""
        return self._database.trouble() or self._log.trouble()

    def settle(self) -> None:
        """Record their sizes after a commit or a checkpoint: they must not become shorter."""
        self._database.settle()
        self._log.settle()


def check_owner(path: Path, owner: Owner) -> None:
    """Check a ledger before it is opened or created. Raises `InternalError` if one existed and is gone or empty."""
    if owner.had_ledger and not owner.accept_loss and not (path.exists() and path.stat().st_size):
        raise InternalError(
            f"{path} is missing or empty, so the usage recorded so far is lost: restore it,"
            " or start once with --accept-loss"
        )


def connect_writer(path: Path, labels: Labels, owner: Owner | None = None) -> sqlite3.Connection:
    """Return the only connection that writes, for the holder of the lock. Creates absent tables, and upgrades those of
    an earlier version; `labels` says what is kept of the tags in them.

    Raises `InternalError` for a ledger of a later version or another `owner`.
    """
    connection = sqlite3.connect(
        private_file(path), timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=0")  # it would hide its errors
        connection.create_function("labels", 2, relabelled(labels))
        connection.execute("PRAGMA secure_delete=ON")  # what a migration removes is overwritten
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            migrate(path, connection, MIGRATIONS)
            if owner is not None and not owner.accept_loss:
                _check_pair(path, connection, owner)
        connection.execute("PRAGMA secure_delete=OFF")
    except BaseException:
        connection.close()
        raise
    return connection


def own(owner: Owner) -> str:
    """Return the statement that makes a ledger that owner's."""
    return (
        f"INSERT INTO marks VALUES ('directory', {owner.number})"
        " ON CONFLICT (name) DO UPDATE SET position = excluded.position WHERE position != excluded.position"
    )


def reader(path: Path) -> sqlite3.Connection:
    """Return a connection for queries only, for any process, with or without a running server. The caller closes it.

    Raises `InternalError` if there is no ledger at `path` or it is of a later version. One of an earlier version is
    read unchanged.
    """
    if not path.exists():
        raise InternalError(f"no ledger found at {path}")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
    try:
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA query_only=ON")
        if not check_version(path, connection, MIGRATIONS):
            raise InternalError(f"no ledger found at {path}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a `reader` and yield it. Raises `InternalError`, also if a query in the block fails."""
    try:
        with closing(reader(path)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise InternalError(f"the ledger {path} cannot be read") from error


def _check_pair(path: Path, connection: sqlite3.Connection, owner: Owner) -> None:
    marked = connection.execute(_FIND_OWNER).fetchone()
    if (marked is None and owner.had_ledger) or (marked is not None and marked[0] != owner.number):
        raise InternalError(
            f"{path} and the control.db beside it do not belong together, so one of them was lost or replaced:"
            " put the right one back, or start once with --accept-loss"
        )
