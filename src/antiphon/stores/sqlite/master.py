"""The master key of a data directory, as it encrypts the secrets in `keys.db`, each bound to its project and row.

It is read when the first secret is needed, once, so that commands that need none do without it. A proof in the file
recognises it: with another key nothing is written.
"""

import secrets
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from antiphon.core.errors import CallerError, InternalError
from antiphon.core.sealing import Unreadable
from antiphon.storage.master_key import VARIABLE, MasterKeySource
from antiphon.stores.sqlite.connection import connect

NONCE_BYTES = 12
PROVEN = b"antiphon: the master key of this file"


class Master:
    """The master key from a source, for the file at `path`, which exists. For any thread."""

    def __init__(self, path: Path, source: MasterKeySource) -> None:
        self._path = path
        self._source = source
        self._lock = threading.Lock()
        self._cipher: AESGCM | None = None

    def open(self) -> AESGCM:
        """Read the key, unless it was, and check that it is the one of this file; blocking. At the very first use it
        may be made. Not to be called within a transaction of this file. Raises `CallerError` if the key is missing,
        invalid or another one, `InternalError`.
        """
        with self._lock:
            if self._cipher is None:
                try:
                    self._cipher = AESGCM(self._prove())
                except sqlite3.Error as error:
                    raise InternalError(f"{self._path} cannot be opened: {error}") from error
            return self._cipher

    def wrap(self, data: bytes, project: str, place: str, id: bytes) -> bytes:
        return wrapped(self.open(), data, bound(project, place, id))

    def unwrap(self, stored: bytes, project: str, place: str, id: bytes) -> bytes:
        """Return what was wrapped for this place. Raises `Unreadable`, and as `open` does."""
        try:
            return unwrapped(self.open(), stored, bound(project, place, id))
        except (InvalidTag, ValueError):
            raise Unreadable(f"A secret in {self._path.name} is damaged.") from None

    def _prove(self) -> bytes:
        """Return the key, which opens the file's proof; without one, record it."""
        with closing(connect(self._path)) as connection:
            known = connection.execute("SELECT proof FROM master").fetchone()
            key = self._source.read()
            if key is None and known is not None:
                raise CallerError(
                    f"the master key is missing: {self._source.name} does not exist, and {self._path} was made with"
                    f" one: set the server's [encryption] (--config) or {VARIABLE}"
                )
            if key is None:
                key = self._source.make()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                known = connection.execute("SELECT proof FROM master").fetchone()
                if known is None:
                    connection.execute("INSERT INTO master VALUES (?)", (wrapped(AESGCM(key), PROVEN, None),))
                    return key
        with suppress(InvalidTag, ValueError):
            if unwrapped(AESGCM(key), known["proof"], None) == PROVEN:
                return key
        raise CallerError(f"the master key from {self._source.name} is not the one that {self._path} was made with")


def wrapped(cipher: AESGCM, data: bytes, what: bytes | None) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, what)


def unwrapped(cipher: AESGCM, stored: bytes, what: bytes | None) -> bytes:
    """Raises `InvalidTag` or `ValueError`."""
    return cipher.decrypt(stored[:NONCE_BYTES], stored[NONCE_BYTES:], what)


def bound(project: str, place: str, id: bytes) -> bytes:
    """Return what is authenticated with a secret text; no two places share it."""
    return b"".join(b"%d:%b" % (len(part), part) for part in (project.encode(), place.encode(), id))
