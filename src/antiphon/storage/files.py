"""Files that are private, written as a whole, and watched.

An open file stays usable after it was removed or replaced at its path, so a process does not notice by itself that its
writes will be lost. Nothing here opens a database that is in use: closing any descriptor of a file drops all POSIX
locks of the process on it, including SQLite's.
"""

import os
import uuid
from contextlib import suppress
from pathlib import Path

from antiphon.storage.directory import OTHERS

PRIVATE_MODE = 0o600
_BESIDE = ("", "-wal", "-shm", "-journal")  # a database and SQLite's files beside it, with its mode


def private_file(path: Path) -> Path:
    """Create the file if needed, restrict it and SQLite's files beside it to the owner, and return the path. Raises
    `OSError`.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE))
    except FileExistsError:
        for suffix in _BESIDE:
            tighten(Path(f"{path}{suffix}"))
    return path


def tighten(path: Path) -> None:
    """Remove all permissions of others from a file, if it exists. Raises `OSError`."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if mode & OTHERS:
        path.chmod(mode & 0o777 & ~OTHERS)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is whole, durable and private to the owner, or not at all. Raises `OSError`."""
    written = path.with_suffix(".new")
    written.unlink(missing_ok=True)
    _write_new(written, data)
    written.replace(path)
    _sync_parent(path)


def write_once(path: Path, data: bytes) -> None:
    """Write as `write_whole`, unless the file exists: of several concurrent writers, one succeeds. Raises `OSError`."""
    written = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        _write_new(written, data)
        with suppress(FileExistsError):
            os.link(written, path)
    finally:
        written.unlink(missing_ok=True)
    _sync_parent(path)


def _write_new(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_parent(path: Path) -> None:
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(parent)  # otherwise a power failure may remove the file, and with it the server's id
    finally:
        os.close(parent)


class WatchedFile:
    """The file at `path` when this was made, and whether it is still there and as large."""

    def __init__(self, path: Path) -> None:
        """Open the file's record. Raises `OSError` if it does not exist."""
        self._path = path
        found = path.stat()
        self._identity = found.st_dev, found.st_ino
        self._least_bytes = min(found.st_size, 1)

    def trouble(self) -> str | None:
        """Return what happened to the file, in words that name it; `None` if nothing did. Costs one `stat`."""
        try:
            found = self._path.stat()
        except OSError as error:
            gone = isinstance(error, FileNotFoundError | NotADirectoryError)
            return f"{self._path.name} {'was removed' if gone else f'cannot be found: {error.strerror}'}"
        if (found.st_dev, found.st_ino) != self._identity:
            return f"{self._path.name} was replaced"
        if found.st_size < self._least_bytes:
            return f"{self._path.name} was {'cut short' if found.st_size else 'emptied'}"
        return None

    def settle(self) -> None:
        """Take the present size as the least one: for its only writer, who knows when it may shrink."""
        with suppress(OSError):  # the next check reports what happened
            self._least_bytes = self._path.stat().st_size
