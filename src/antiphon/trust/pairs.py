"""Pairs of an id and a signing secret, for keys that must not be sent, as in a URL for a browser.

The id is the shown form of a key (`ant_ID`); the secret is an HMAC of the key's id under a master key, which is created
in the data directory with the first pair. Nothing of a pair is stored: it is valid as long as its key. The master key
can sign for every key, so its file is sealed by a key of the server's own; without it no pair is valid.
"""

import hmac
import secrets
from pathlib import Path

from antiphon.core.errors import InternalError, NotFound
from antiphon.core.sealing import THE_SERVER, Sealer, Unreadable
from antiphon.storage.files import tighten, write_once, write_whole
from antiphon.trust import keys as form

MASTER_NAME = "pairs.key"  # in the data directory
MASTER_BYTES = 32


class Pairs:
    """The pairs of all keys that were created here. A key from the environment has none."""

    def __init__(self, data_dir: Path, sealer: Sealer) -> None:
        """Find the master key; one that an earlier version stored as it was is sealed. Raises `OSError`,
        `InternalError`.
        """
        self._path = data_dir / MASTER_NAME
        self._sealer = sealer
        self._master: bytes | None = None
        if self._path.exists() and len(bare := self._path.read_bytes()) == MASTER_BYTES:
            write_whole(self._path, sealer.seal(THE_SERVER, MASTER_NAME, bare))

    def make(self, key_id: str) -> tuple[str, str]:
        """Return the id and the signing secret of the key with that id. Raises as `find`."""
        if not self._path.exists():
            write_once(self._path, self._sealer.seal(THE_SERVER, MASTER_NAME, secrets.token_bytes(MASTER_BYTES)))
        tighten(self._path)
        return form.shown(key_id), self._secret(key_id)

    def find(self, shown: str) -> tuple[str, str] | None:
        """Return the key's id and the secret of the pair with that id; `None` if it is not the id of one. Raises
        `OSError` or `InternalError` if the master key cannot be read.
        """
        key_id = form.id_of(shown)
        if key_id is None or not (self._master or self._path.exists()):
            return None
        return key_id, self._secret(key_id)

    def _secret(self, key_id: str) -> str:
        if self._master is None:
            try:
                master = self._sealer.unseal(THE_SERVER, MASTER_NAME, self._path.read_bytes())
            except (Unreadable, NotFound):
                master = b""
            if len(master) != MASTER_BYTES:  # anybody could sign with an empty one
                raise InternalError(
                    f"{MASTER_NAME} is damaged, or keys.db is of another time: restore it, or delete it, which ends all"
                    " pairs"
                ) from None
            self._master = master
        return hmac.digest(self._master, b"pair of " + key_id.encode(), "sha256").hex()
