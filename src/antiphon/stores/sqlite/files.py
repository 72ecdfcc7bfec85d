"""The files of a data directory, and how they are opened together."""

import os
from collections.abc import Callable
from pathlib import Path

from antiphon.core.audit import Action, Author
from antiphon.core.errors import NotFound
from antiphon.core.labels import labels_of
from antiphon.core.policy import TagPolicy
from antiphon.core.ports import Clock
from antiphon.core.sealing import Sealer
from antiphon.core.stores import AnswerBounds, Exports, JobBounds, ServerStores, Stores
from antiphon.storage.directory import lock_directory, open_directory
from antiphon.storage.master_key import MasterKeySource
from antiphon.stores.sqlite.answers import FILE_NAME as ANSWERS_NAME
from antiphon.stores.sqlite.answers import SqliteAnswers
from antiphon.stores.sqlite.audit import SqliteTrail
from antiphon.stores.sqlite.bills import FILE_NAME as BILLS_NAME
from antiphon.stores.sqlite.bills import SqliteBills
from antiphon.stores.sqlite.connection import MEMORY
from antiphon.stores.sqlite.directory import FILE_NAME as DIRECTORY_NAME
from antiphon.stores.sqlite.directory import SECRETS_NAME, SqliteDirectory
from antiphon.stores.sqlite.exports import FILE_NAME as EXPORTS_NAME
from antiphon.stores.sqlite.exports import SqliteExports
from antiphon.stores.sqlite.jobs import FILE_NAME as JOBS_NAME
from antiphon.stores.sqlite.jobs import SqliteJobs
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.stores.sqlite.ledger_files import FILE_NAME as LEDGER_NAME
from antiphon.stores.sqlite.ledger_files import Owner
from antiphon.stores.sqlite.usage import SqliteUsage
from antiphon.stores.sqlite.vault import change_master


def open_stores(data_dir: Path, master: MasterKeySource) -> Stores:
    def made() -> SqliteDirectory:
        return SqliteDirectory(open_directory(data_dir), master)

    def existing() -> SqliteDirectory:
        path = data_dir / DIRECTORY_NAME
        if not path.exists():
            raise NotFound(f"no projects and keys found at {path}")
        return made()

    ledger = data_dir / LEDGER_NAME
    return Stores(SqliteUsage(ledger), SqliteTrail(ledger), SqliteBills(data_dir / BILLS_NAME), made, existing)


def open_server_stores(
    data_dir: Path,
    server: str,
    clock: Clock,
    master: MasterKeySource,
    bounds: AnswerBounds,
    jobs: JobBounds,
    accept_loss: bool,
) -> ServerStores:
    """Open the stores; the directory and the ledger belong together: each knows the other."""
    directory = SqliteDirectory(data_dir, master)
    directory.master.open()
    number, had_ledger = directory.directory()
    owner = Owner(number, had_ledger, accept_loss)
    ledger = SqliteLedger(data_dir / LEDGER_NAME, server, owner, _labels(directory))
    try:
        directory.has_ledger()
        vault = directory.vault()
        answers = SqliteAnswers(data_dir / ANSWERS_NAME, clock, bounds, vault)
        kept = SqliteJobs(data_dir / JOBS_NAME, clock, jobs.project, jobs.all, vault)
        passing = SqliteJobs(MEMORY, clock, jobs.passing_project, jobs.passing_all)
    except BaseException:
        ledger.stop()
        raise
    bills, trail = SqliteBills(data_dir / BILLS_NAME), SqliteTrail(data_dir / LEDGER_NAME)
    return ServerStores(directory, bills, ledger, trail, answers, kept, passing, kept.resources, vault)


def check_master_key(data_dir: Path, source: MasterKeySource) -> None:
    path = data_dir / SECRETS_NAME
    if not path.exists():
        raise NotFound(f"there are no keys at {path} yet: a server makes them at its first start")
    SqliteDirectory(data_dir, source).master.open()


def open_sealer(data_dir: Path, source: MasterKeySource) -> Sealer:
    return SqliteDirectory(open_directory(data_dir), source).vault()


def change_master_key(data_dir: Path, source: MasterKeySource, new: bytes, by: Author) -> int:
    lock = lock_directory(data_dir)
    try:
        directory = SqliteDirectory(data_dir, source)
        changed = change_master(directory.secrets_path, source, new)
        directory.note(by.did(Action.MASTER_KEY_CHANGE, "", "keys.db"))
        return changed
    finally:
        os.close(lock)


def open_exports(data_dir: Path, make: bool) -> Exports:
    path = data_dir / EXPORTS_NAME
    if not make and not path.exists():
        raise NotFound(f"nothing was exported: there is no {path}")
    return SqliteExports(path)


def _labels(directory: SqliteDirectory) -> Callable[[str, tuple[str, ...]], tuple[str, ...]]:
    """Return the function that says what is kept of tags older than the policies for them."""
    keys = directory.view().tag_keys
    return lambda project, tags: labels_of(tags, TagPolicy.HASHED, keys.get(project))
