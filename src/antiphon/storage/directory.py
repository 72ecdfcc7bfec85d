"""The data directory: private to the user that runs the server, and used by one server at a time.

Everything in it needs protection (digests of keys, usage, kept answers, the signing key), so nobody else may read it.
The lock is on the directory itself: there is no lock file to delete, and a directory that is moved takes its lock
along.
"""

import fcntl
import logging
import os
import stat
from pathlib import Path

from antiphon.core.errors import CallerError, LedgerUnavailable

PRIVATE_MODE = 0o700
OTHERS = 0o077  # permissions of the group and of everybody
_WRITABLE_BY_OTHERS = 0o022
_OURS = ("control.db", "ledger.db", "models")  # a directory with one of these, or an empty one, is a data directory
_LOADED = ("models", "converted")  # read by engines; they may be links

log = logging.getLogger(__name__)


def open_directory(path: Path) -> Path:
    """Make the directory if it does not exist, restrict it if it is ours and readable by others, and return it.

    Raises `CallerError`, in one line, if it cannot be used: it is not a directory, not writable, or readable by others
    and not ours to restrict.
    """
    try:
        path.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
        found = path.stat()
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            read_only = os.statvfs(path).f_flag & os.ST_RDONLY
            raise _unusable(path, "its file system is read-only" if read_only else "it cannot be written")
        if found.st_mode & OTHERS:
            _tighten(path, found)
    except FileExistsError:
        raise _unusable(path, "it is not a directory") from None
    except OSError as error:
        raise _unusable(path, error.strerror or type(error).__name__) from None
    return path


def lock_directory(path: Path) -> int:
    """Take the right to serve from the directory at `path`, and return the descriptor that holds it.

    Raises `LedgerUnavailable` if another process holds it or locking fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise LedgerUnavailable(f"the data directory {path} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        taken = isinstance(error, BlockingIOError)
        reason = "is in use by another server" if taken else f"cannot be locked: {error.strerror}"
        raise LedgerUnavailable(f"the data directory {path} {reason}") from None
    return descriptor


def warn_of_writable_models(path: Path) -> None:
    """Log which folders that engines load from are writable by others."""
    for name in _LOADED:
        try:
            mode = (path / name).stat().st_mode
        except OSError:
            continue
        if mode & _WRITABLE_BY_OTHERS:
            log.warning(
                "files that engines load are writable by other users",
                extra={"reason": f"{name} is mode {mode & 0o777:o}"},
            )


def _tighten(path: Path, found: os.stat_result) -> None:
    """Restrict the directory. Raises `CallerError` if it may have another use too."""
    names = os.listdir(path)
    if found.st_uid != os.geteuid():
        raise _unusable(path, f"others can look inside, and it belongs to user {found.st_uid}: `chmod 700` it first")
    shared = found.st_mode & stat.S_ISVTX and not os.path.ismount(path)  # like /tmp; a fresh tmpfs looks the same
    if shared or (names and not set(names) & set(_OURS)):
        raise _unusable(path, "others can look inside, and it holds other things: `chmod 700` it, or choose another")
    path.chmod(PRIVATE_MODE)


def _unusable(path: Path, reason: str) -> CallerError:
    return CallerError(f"setting data_dir: {path} cannot be used: {reason}")
