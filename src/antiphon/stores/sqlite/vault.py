"""The keys of projects, in `keys.db`, and what they seal: AES-256-GCM, with a random key for each project.

Each key is stored encrypted by the master key (`master.py`). What is sealed begins with its version, the id of its key
and its nonce; the project and the place are authenticated with it. A key is never derived, so that what is destroyed
cannot be made again. Other processes may retire and destroy keys: every use first asks SQLite whether the file has
changed.
"""

import hmac
import secrets
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from antiphon.core.errors import InternalError, NotFound
from antiphon.core.sealing import Unreadable
from antiphon.storage.master_key import MasterKeySource
from antiphon.stores.sqlite.connection import connect
from antiphon.stores.sqlite.master import NONCE_BYTES, PROVEN, Master, bound, unwrapped, wrapped

VERSION = b"\x01"
ID_BYTES, KEY_BYTES = 8, 32
HEAD_BYTES = len(VERSION) + ID_BYTES + NONCE_BYTES
MOST_OPEN = 4096  # keys in memory
CONTENT, SUBJECTS, TAGS = "content", "subjects", "tags"  # what a key is for
TABLE = "project_keys"
WRAPPED = {TABLE: "position", "webhooks": "id"}  # the tables with secrets that the master key encrypts, and their keys
PSEUDONYM_DIGITS = 32

_FIND = "SELECT wrapped FROM project_keys WHERE project = ? AND id = ?"
_PRESENT = """
SELECT id, wrapped FROM project_keys WHERE project = ? AND purpose = ? AND NOT retired ORDER BY position DESC LIMIT 1"""
ADD = "INSERT INTO project_keys (id, project, purpose, wrapped) VALUES (?, ?, ?, ?)"


class Vault:
    """Implements `core.sealing.Sealer` with the keys in the file at `path`, which exists."""

    def __init__(self, path: Path, master: Master) -> None:
        """Open the file; blocking. Raises as `Master.open` does."""
        self._lock = threading.Lock()
        self._version: int | None = None
        self._opened: dict[tuple[str, bytes], bytes] = {}
        self._present: dict[tuple[str, str], tuple[bytes, bytes]] = {}
        self._master = master
        master.open()
        try:
            self._connection = connect(path)
            self._connection.execute("PRAGMA secure_delete=ON")
        except sqlite3.Error as error:
            raise InternalError(f"{path} cannot be opened: {error}") from error

    def seal(self, project: str, place: str, data: bytes) -> bytes:
        id, key = self._key(project, CONTENT)
        nonce = secrets.token_bytes(NONCE_BYTES)
        return VERSION + id + nonce + AESGCM(key).encrypt(nonce, data, bound(project, place, id))

    def unseal(self, project: str, place: str, sealed: bytes) -> bytes:
        id, nonce = sealed[1 : 1 + ID_BYTES], sealed[1 + ID_BYTES : HEAD_BYTES]
        if sealed[:1] != VERSION or len(sealed) < HEAD_BYTES:
            raise Unreadable("What is stored is damaged, or of a later version.")
        key = self._old_key(project, id)
        try:
            return AESGCM(key).decrypt(nonce, sealed[HEAD_BYTES:], bound(project, place, id))
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
                return row["id"], self._master.unwrap(row["wrapped"], project, TABLE, row["id"])
            id, key = secrets.token_bytes(ID_BYTES), secrets.token_bytes(KEY_BYTES)
            self._connection.execute(ADD, (id, project, purpose, self._master.wrap(key, project, TABLE, id)))
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
            key = self._opened[project, id] = self._master.unwrap(row["wrapped"], project, TABLE, id)
            return key

    def _follow(self) -> None:
        """Forget the keys in memory if the file was changed by anybody else."""
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._version = version
            self._opened.clear()
            self._present.clear()


def change_master(path: Path, source: MasterKeySource, new: bytes) -> int:
    """Encrypt all secrets in the file at `path` by another master key, in one transaction; return how many. No server
    may use the file. Raises as `Master.open` does.
    """
    old, cipher = Master(path, source).open(), AESGCM(new)
    try:
        with closing(connect(path)) as connection, connection:
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("BEGIN IMMEDIATE")
            changed = 0
            for table, key in WRAPPED.items():
                rows = connection.execute(f"SELECT project, id, wrapped, {key} FROM {table}").fetchall()
                for project, id, stored, where in rows:
                    what = bound(project, table, id if isinstance(id, bytes) else id.encode())
                    again = wrapped(cipher, unwrapped(old, stored, what), what)
                    connection.execute(f"UPDATE {table} SET wrapped = ? WHERE {key} = ?", (again, where))
                changed += len(rows)
            connection.execute("UPDATE master SET proof = ?", (wrapped(cipher, PROVEN, None),))
            return changed
    except (sqlite3.Error, InvalidTag, ValueError) as error:
        raise InternalError(f"the keys in {path} cannot be encrypted anew: {type(error).__name__}") from error
