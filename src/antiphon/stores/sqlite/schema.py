"""The version scheme of all SQLite files: `user_version` is the number of a file's migrations that were applied.

Each file has a list of them. The first creates the tables; each other upgrades a database by one version. All that a
file lacks run in one transaction.
"""

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from antiphon.core.errors import InternalError

Migrations = Sequence[Sequence[str]]

log = logging.getLogger(__name__)


def version_of(connection: sqlite3.Connection) -> int:
    """Return a database's version, 0 without tables."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_version(path: Path, connection: sqlite3.Connection, migrations: Migrations) -> int:
    """Return the version. Raises `InternalError` if it is later than any known one."""
    version = version_of(connection)
    if version > len(migrations):
        known = len(migrations)
        raise InternalError(f"{path} has schema version {version}, but this version of antiphon supports {known}")
    return version


def migrate(path: Path, transaction: sqlite3.Connection, migrations: Migrations) -> None:
    """Upgrade a database, within a transaction of the caller's. Raises `InternalError` if it is of a later version."""
    version = check_version(path, transaction, migrations)
    if version == len(migrations):
        return
    if version:
        reason = f"{path.name}, from version {version} to {len(migrations)}"
        log.info("a database is brought up to date", extra={"reason": reason})
    for number in range(version, len(migrations)):
        for statement in migrations[number]:
            transaction.execute(statement)
    transaction.execute(f"PRAGMA user_version={len(migrations)}")
