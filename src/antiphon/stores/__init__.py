"""Implementations of the ports in `core.stores`, and the functions that open them.

There is one, in SQLite files in the data directory. Other rooms get stores here and use them by their ports.
"""

from pathlib import Path

from antiphon.core.audit import Author
from antiphon.core.ports import Clock
from antiphon.core.sealing import Sealer
from antiphon.core.stores import AnswerBounds, Exports, JobBounds, ServerStores, Stores
from antiphon.storage.master_key import MasterKeySource, find_source


def open_stores(data_dir: Path, master: MasterKeySource | None = None) -> Stores:
    """Return the stores for commands, not opened yet. Creates the directory if absent, but no ledger. The `master` key,
    by default one in the data directory, is read when a secret is needed, and may be made if there was none.
    """
    from antiphon.stores.sqlite import files

    return files.open_stores(data_dir, master or find_source(data_dir, {}))


def open_sealer(data_dir: Path, master: MasterKeySource) -> Sealer:
    """Open what seals the content of projects; blocking. Raises `CallerError` if the master key is missing or another
    one, `InternalError`.
    """
    from antiphon.stores.sqlite import files

    return files.open_sealer(data_dir, master)


def open_server_stores(
    data_dir: Path,
    server: str,
    clock: Clock,
    *,
    master: MasterKeySource | None = None,
    answers: AnswerBounds | None = None,
    jobs: JobBounds | None = None,
    accept_loss: bool = False,
) -> ServerStores:
    """Open the stores of the server with this id; blocking, on an event loop. Kept things expire by `clock`, and are
    sealed by keys that the `master` key opens: by default, one in the data directory. `accept_loss` lets it start
    without a file that is gone.

    Raises `LedgerUnavailable` if another server has the data directory, `CallerError` if the master key is missing or
    another one, `InternalError` for files that cannot be opened, are of a later version or do not belong together.
    """
    from antiphon.stores.sqlite import files

    master = master or find_source(data_dir, {})
    bounds = answers or AnswerBounds()
    return files.open_server_stores(data_dir, server, clock, master, bounds, jobs or JobBounds(), accept_loss)


def check_master_key(data_dir: Path, source: MasterKeySource) -> None:
    """Check that the master key is the one of the data directory. Raises `CallerError`, `InternalError`; `NotFound` if
    the directory has no keys yet.
    """
    from antiphon.stores.sqlite import files

    files.check_master_key(data_dir, source)


def change_master_key(data_dir: Path, source: MasterKeySource, new: bytes, by: Author) -> int:
    """Encrypt the keys of all projects and their webhooks by another master key than the one from `source`, and record
    it; return how many they are. Raises `LedgerUnavailable` if a server has the data directory, `CallerError`,
    `InternalError`.
    """
    from antiphon.stores.sqlite import files

    return files.change_master_key(data_dir, source, new, by)


def open_exports(data_dir: Path, *, make: bool) -> Exports:
    """Open the outbox of exports; create it if absent and `make` is true; blocking.

    Raises `NotFound`, or `InternalError` for a file that cannot be opened or is of a later version.
    """
    from antiphon.stores.sqlite import files

    return files.open_exports(data_dir, make)
