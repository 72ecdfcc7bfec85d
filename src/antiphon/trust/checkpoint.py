"""Checkpoints of the audit log: its signed size and root, in the formats of C2SP (signed-note, tlog-checkpoint,
tlog-cosignature).

A note is a text that ends in a newline, a blank line, and lines of signatures. A checkpoint's text is the log's origin,
its size and its root; there may be more lines. A signature has the signer's name and a key id, which is a hash of name
and key. A log signs the text; a witness signs it together with the time at which it saw it.
"""

import binascii
import hashlib
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.core.errors import CallerError
from antiphon.core.merkle import HASH_BYTES
from antiphon.storage.files import tighten, write_whole

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_NAME = "audit-key.pem"  # in the data directory: the key that signs checkpoints
MAX_BYTES = 64 * 1024  # of a note
MAX_SIGNATURES = 64
ED25519, COSIGNATURE = 0x01, 0x04  # types of signatures
_DASH = "\u2014 "  # before each signature
_KEY_ID_BYTES = 4


@dataclass(frozen=True, slots=True)
class Signature:
    """A line of a signature. `data` are the bytes after the key id."""

    name: str
    key_id: bytes
    data: bytes

    def line(self) -> str:
        return f"{_DASH}{self.name} {b64encode(self.key_id + self.data).decode()}\n"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head with its signatures, which are not verified: that is done by a `Verifier`."""

    origin: str
    size: int
    root: bytes
    more: str = ""  # lines after the root
    signatures: tuple[Signature, ...] = ()

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n{self.more}"

    def note(self) -> str:
        return f"{self.text}\n{''.join(each.line() for each in self.signatures)}"

    def with_signatures(self, more: Iterable[Signature]) -> "Checkpoint":
        return replace(self, signatures=tuple(dict.fromkeys((*self.signatures, *more))))


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key that verifies notes. Its text form is `name+key id+key`."""

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        hashed = hashlib.sha256(self.name.encode() + b"\n" + bytes((self.kind,)) + self.public)
        return hashed.digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(bytes((self.kind,)) + self.public).decode()}"

    def holds(self, checkpoint: Checkpoint) -> bool:
        """Return whether a valid signature by this key is among the checkpoint's."""
        return any(self.made(each, checkpoint) for each in checkpoint.signatures)

    def made(self, signature: Signature, checkpoint: Checkpoint) -> bool:
        if (signature.name, signature.key_id) != (self.name, self.key_id):
            return False
        signed, data = checkpoint.text.encode(), signature.data
        if self.kind == COSIGNATURE:
            if len(data) < 8:
                return False
            (at_unix_s,) = struct.unpack(">Q", data[:8])
            signed, data = f"cosignature/v1\ntime {at_unix_s}\n{checkpoint.text}".encode(), data[8:]
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(data, signed)
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer:
    """The key by which a log signs its checkpoints, under a name."""

    def __init__(self, name: str, private: "Ed25519PrivateKey") -> None:
        """Create a signer. Raises `ValueError` if the name must not stand in a note."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        if not _is_name(name):
            raise ValueError("a name of a key has no blanks and no plus sign")
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.verifier = Verifier(name, ED25519, public)
        self._private = private

    def sign(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint with the log's own signature added."""
        signature = self._private.sign(checkpoint.text.encode())
        return checkpoint.with_signatures([Signature(self.verifier.name, self.verifier.key_id, signature)])


def parse(note: str) -> Checkpoint:
    """Parse a signed note. Raises `ValueError` if it is not a checkpoint."""
    text, blank, lines = note.partition("\n\n")
    if not blank or len(note) > MAX_BYTES or not text.replace("\n", "").isprintable():
        raise ValueError("this is no signed note")
    origin, _, rest = text.partition("\n")
    size, _, rest = rest.partition("\n")
    root, newline, more = rest.partition("\n")
    decoded = _decoded(root)
    if not origin or not size.isascii() or not size.isdigit() or str(int(size[:20])) != size:
        raise ValueError("this is no checkpoint")
    if len(decoded) != HASH_BYTES or (newline and not more):
        raise ValueError("the checkpoint's root is no hash")
    return Checkpoint(origin, int(size), decoded, f"{more}\n" if more else "", parse_signatures(lines))


def parse_signatures(lines: str) -> tuple[Signature, ...]:
    """Parse signature lines, as in a note or in a witness's answer. Raises `ValueError`."""
    if not lines.endswith("\n") or lines.count("\n") > MAX_SIGNATURES:
        raise ValueError("these are no lines of signatures")
    signatures = []
    for line in lines[:-1].split("\n"):
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        data = _decoded(encoded)
        if not line.startswith(_DASH) or not _is_name(name) or len(data) <= _KEY_ID_BYTES:
            raise ValueError("this is no line of a signature")
        signatures.append(Signature(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:]))
    return tuple(signatures)


def parse_verifier(text: str) -> Verifier:
    """Parse a verifier's text form. Raises `ValueError` if it is not a key of a known kind."""
    name, _, rest = text.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    data = _decoded(encoded)
    if len(data) != 33 or data[0] not in (ED25519, COSIGNATURE):
        raise ValueError("this is no Ed25519 key")
    verifier = Verifier(name, data[0], data[1:])
    if not _is_name(name) or verifier.key_id.hex() != key_id:
        raise ValueError("the key's id does not match the key")
    return verifier


def open_signer(data_dir: Path, name: str) -> Signer:
    """Return a signer with the data directory's key, which is created if absent. Blocking. Raises `CallerError`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    path = data_dir / KEY_NAME
    try:
        if not path.exists():
            made = Ed25519PrivateKey.generate()
            write_whole(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        tighten(path)
        private = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise CallerError(f"{error.filename} cannot be read or written: {error.strerror}") from None
    except (ValueError, TypeError):
        raise CallerError(f"{KEY_NAME} in the data directory is damaged") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise CallerError(f"{KEY_NAME} in the data directory is no Ed25519 key")
    return Signer(name, private)


def origin_of(server: str) -> str:
    """Return the default origin of the log of the server with that id."""
    return f"antiphon/{server}"


def _is_name(name: str) -> bool:
    return bool(name) and name.isprintable() and not any(char == "+" or char.isspace() for char in name)


def _decoded(encoded: str) -> bytes:
    try:
        return b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("this is no base64") from None
