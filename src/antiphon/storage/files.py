"""Files that are private, written whole, and watched.

A file that is open stays usable after it was removed or replaced at its path, so a process does not notice by itself
that what it writes will be gone when it ends. Nothing here opens a database that is in use: closing any descriptor of a
file drops all POSIX locks that the process has on it, SQLite's among them.
"""

import os
import uuid
from contextlib import suppress
from pathlib import Path

from antiphon.storage.directory import OTHERS

PRIVATE_MODE = 0o600
_BESIDE = ("", "-wal", "-shm", "-journal")  # a database and what SQLite keeps beside it, with the database's mode


def private_file(path: Path) -> Path:
    """`path`, where there is a file then, its owner's only; and so is what SQLite puts beside it. Raises `OSError`."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE))
    except FileExistsError:
        for suffix in _BESIDE:
            tighten(Path(f"{path}{suffix}"))
    return path


def tighten(path: Path) -> None:
    """Takes from everybody but the owner what they may do with a file, if there is one. Raises `OSError`."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if mode & OTHERS:
        path.chmod(mode & 0o777 & ~OTHERS)


def write_whole(path: Path, data: bytes) -> None:
    """Whole or not at all, durable on return, and its owner's only. Raises `OSError`."""
    written = path.with_suffix(".new")
    written.unlink(missing_ok=True)
    _write_new(written, data)
    written.replace(path)
    _sync_parent(path)


def write_once(path: Path, data: bytes) -> None:
    """The same where there is no file yet, and nothing where there is: of several that write at once, one does. Raises
    `OSError`.
    """
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
        os.fsync(parent)  # or the file may be gone after a power failure, and with it the server's id
    finally:
        os.close(parent)


class WatchedFile:
    """The file that stood at `path` when this was made, and whether it still does, as large as it was."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError` if there is none."""
        self._path = path
        found = path.stat()
        self._identity = found.st_dev, found.st_ino
        self._least_bytes = min(found.st_size, 1)

    def trouble(self) -> str | None:
        """What happened to it, in words that name the file; `None` if nothing did. Costs one `stat`."""
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
        """From now on less than it has now is trouble: for its only writer, who knows when it may shrink."""
        with suppress(OSError):  # the next look says what happened
            self._least_bytes = self._path.stat().st_size
