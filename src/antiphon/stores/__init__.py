"""Implementations of the ports in `core.stores`, and what opens them.

There is one, in SQLite files in the data directory. Whoever needs a store gets it from here and knows it by its port.
"""

from pathlib import Path

from antiphon.core.ports import Clock
from antiphon.core.stores import Exports, JobBounds, ServerStores, Stores

ANSWERS_BYTES = 16 << 30  # that kept answers take at most, unless it is set


def open_stores(data_dir: Path) -> Stores:
    """What commands work on. Nothing is opened yet; the directory is made if it is not there, the ledger is not."""
    from antiphon.stores.sqlite import files

    return files.open_stores(data_dir)


def open_server_stores(
    data_dir: Path,
    server: str,
    clock: Clock,
    *,
    answers_bytes: int = ANSWERS_BYTES,
    jobs: JobBounds | None = None,
    accept_loss: bool = False,
) -> ServerStores:
    """What the server with this id works on; blocking, on an event loop. `clock` is that by which what is kept ends.
    `accept_loss` lets it begin anew where a file is gone.

    Raises `LedgerUnavailable` where another server has the data directory, `InternalError` for files that cannot be
    opened, are of a later version or do not belong together.
    """
    from antiphon.stores.sqlite import files

    return files.open_server_stores(data_dir, server, clock, answers_bytes, jobs or JobBounds(), accept_loss)


def open_exports(data_dir: Path, *, make: bool) -> Exports:
    """The outbox of exports, made if it is not there and `make` says so; blocking.

    Raises `NotFound`, or `InternalError` for a file that cannot be opened or is of a later version.
    """
    from antiphon.stores.sqlite import files

    return files.open_exports(data_dir, make)
