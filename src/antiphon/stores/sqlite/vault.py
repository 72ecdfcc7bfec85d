"""The keys of projects, in `keys.db`, and what they seal: AES-256-GCM, with a random key for each project.

Each key is stored encrypted by the master key. What is sealed begins with its version, the id of its key and its nonce;
the project and the place are authenticated with it. A key is never derived, so that what is destroyed cannot be made
again. Other processes may retire and destroy keys: every use first asks SQLite whether the file has changed.
"""

import hmac
import secrets
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path
from sqlite3 import Connection

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from antiphon.core.errors import CallerError, InternalError, NotFound
from antiphon.core.sealing import Unreadable
from antiphon.storage.master_key import MasterKeySource
from antiphon.stores.sqlite.connection import connect

VERSION = b"\x01"
ID_BYTES, NONCE_BYTES, KEY_BYTES = 8, 12, 32
HEAD_BYTES = len(VERSION) + ID_BYTES + NONCE_BYTES
MOST_OPEN = 4096  # keys in memory
CONTENT, SUBJECTS = "content", "subjects"  # what a key is for
PSEUDONYM_DIGITS = 32

_PROVEN = b"antiphon: the master key of this file"
_FIND = "SELECT wrapped FROM project_keys WHERE project = ? AND id = ?"
_PRESENT = """
SELECT id, wrapped FROM project_keys WHERE project = ? AND purpose = ? AND NOT retired ORDER BY position DESC LIMIT 1"""
_ADD = "INSERT INTO project_keys (id, project, purpose, wrapped) VALUES (?, ?, ?, ?)"


class Vault:
    """Implements `core.sealing.Sealer` with the keys in the file at `path`, which exists."""

    def __init__(self, path: Path, source: MasterKeySource) -> None:
        """Read the master key, and check that it is the one of this file; blocking. At the very first start it may be
        made. Raises `CallerError` if it is missing, invalid or another one, `InternalError`.
        """
        self._path = path
        self._lock = threading.Lock()
        self._version: int | None = None
        self._opened: dict[tuple[str, bytes], bytes] = {}
        self._present: dict[tuple[str, str], tuple[bytes, bytes]] = {}
        try:
            self._connection = connect(path)
            self._connection.execute("PRAGMA secure_delete=ON")
            self._master = AESGCM(_prove(self._connection, path, source))
        except sqlite3.Error as error:
            raise InternalError(f"{path} cannot be opened: {error}") from error

    def seal(self, project: str, place: str, data: bytes) -> bytes:
        id, key = self._key(project, CONTENT)
        nonce = secrets.token_bytes(NONCE_BYTES)
        return VERSION + id + nonce + AESGCM(key).encrypt(nonce, data, _bound(project, place, id))

    def unseal(self, project: str, place: str, sealed: bytes) -> bytes:
        id, nonce = sealed[1 : 1 + ID_BYTES], sealed[1 + ID_BYTES : HEAD_BYTES]
        if sealed[:1] != VERSION or len(sealed) < HEAD_BYTES:
            raise Unreadable("What is stored is damaged, or of a later version.")
        key = self._old_key(project, id)
        try:
            return AESGCM(key).decrypt(nonce, sealed[HEAD_BYTES:], _bound(project, place, id))
        except InvalidTag:
            raise Unreadable("What is stored was changed, or belongs elsewhere.") from None

    def pseudonym(self, project: str, subject: str) -> str:
        _, key = self._key(project, SUBJECTS)
        digest = hmac.digest(key, subject.encode("utf-8", "surrogatepass"), "sha256").hex()
        return digest[:PSEUDONYM_DIGITS]

    def _key(self, project: str, purpose: str) -> tuple[bytes, bytes]:
        """Return the id and the key that the project uses now."""
        with self._lock:
            try:
                self._follow()
                if (found := self._present.get((project, purpose))) is None:
                    found = self._find_or_add(project, purpose)
                    if len(self._present) >= MOST_OPEN:
                        self._present.clear()
                    self._present[project, purpose] = found
                return found
            except sqlite3.Error as error:
                raise InternalError("The keys of projects cannot be read or written.") from error

    def _find_or_add(self, project: str, purpose: str) -> tuple[bytes, bytes]:
        with self._connection:
            row = self._connection.execute(_PRESENT, (project, purpose)).fetchone()
            if row is None:
                self._connection.execute("BEGIN IMMEDIATE")
                row = self._connection.execute(_PRESENT, (project, purpose)).fetchone()
            if row is not None:
                return row["id"], self._unwrap(project, row["id"], row["wrapped"])
            id, key = secrets.token_bytes(ID_BYTES), secrets.token_bytes(KEY_BYTES)
            wrapped = _wrap(self._master, key, _bound(project, "project_keys", id))
            self._connection.execute(_ADD, (id, project, purpose, wrapped))
            return id, key

    def _old_key(self, project: str, id: bytes) -> bytes:
        """Return a key by its id. Raises `NotFound` if it was destroyed."""
        with self._lock:
            try:
                self._follow()
                if (known := self._opened.get((project, id))) is not None:
                    return known
                row = self._connection.execute(_FIND, (project, id)).fetchone()
            except sqlite3.Error as error:
                raise InternalError("The keys of projects cannot be read.") from error
            if row is None:
                raise NotFound("This was erased.")
            if len(self._opened) >= MOST_OPEN:
                self._opened.clear()
            key = self._opened[project, id] = self._unwrap(project, id, row["wrapped"])
            return key

    def _unwrap(self, project: str, id: bytes, wrapped: bytes) -> bytes:
        try:
            nonce, rest = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
            return self._master.decrypt(nonce, rest, _bound(project, "project_keys", id))
        except (InvalidTag, ValueError):
            raise Unreadable(f"A key in {self._path.name} is damaged.") from None

    def _follow(self) -> None:
        """Forget the keys in memory if the file was changed by anybody else."""
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._version = version
            self._opened.clear()
            self._present.clear()


def change_master(path: Path, source: MasterKeySource, new: bytes) -> int:
    """Encrypt all keys in the file at `path` by another master key, in one transaction; return how many. No server may
    use the file. Raises as `Vault` does.
    """
    try:
        with closing(connect(path)) as connection:
            connection.execute("PRAGMA secure_delete=ON")
            old, master = AESGCM(_prove(connection, path, source)), AESGCM(new)
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                rows = connection.execute("SELECT position, project, id, wrapped FROM project_keys").fetchall()
                for position, project, id, wrapped in rows:
                    bound = _bound(project, "project_keys", id)
                    key = old.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], bound)
                    again = _wrap(master, key, bound)
                    connection.execute("UPDATE project_keys SET wrapped = ? WHERE position = ?", (again, position))
                connection.execute("UPDATE master SET proof = ?", (_wrap(master, _PROVEN, None),))
            return len(rows)
    except (sqlite3.Error, InvalidTag, ValueError) as error:
        raise InternalError(f"the keys in {path} cannot be encrypted anew: {type(error).__name__}") from error


def _wrap(master: AESGCM, data: bytes, bound: bytes | None) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + master.encrypt(nonce, data, bound)


def _bound(project: str, place: str, id: bytes) -> bytes:
    """Return what is authenticated with a sealed text; no two places share it."""
    return b"".join(b"%d:%b" % (len(part), part) for part in (project.encode(), place.encode(), id))


def _prove(connection: Connection, path: Path, source: MasterKeySource) -> bytes:
    """Return the master key, which opens the file's proof; without one, record it. Raises `CallerError`."""
    known = connection.execute("SELECT proof FROM master").fetchone()
    master = source.read()
    if master is None and known is not None:
        raise CallerError(f"the master key is missing: {source.name} does not exist, and {path} was made with it")
    if master is None:
        master = source.make()
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        known = connection.execute("SELECT proof FROM master").fetchone()
        if known is None:
            connection.execute("INSERT INTO master VALUES (?)", (_wrap(AESGCM(master), _PROVEN, None),))
            return master
    proof = known["proof"]
    with suppress(InvalidTag, ValueError):
        if AESGCM(master).decrypt(proof[:NONCE_BYTES], proof[NONCE_BYTES:], None) == _PROVEN:
            return master
    raise CallerError(f"the master key from {source.name} is not the one that {path} was made with")
