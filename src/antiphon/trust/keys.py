"""The form of an API key: `ant_<id>_<secret><checksum>`, all base 62.

Secret scanners find it by the prefix; the id finds its record, the 160 random bits are the secret, and the checksum
(CRC-32 of all before it) distinguishes a typing mistake from a revoked key without a database. No character needs
escaping in a header or a query. Only the SHA-256 of a key is stored; a plain hash is enough, because 160 random bits
cannot be guessed.
"""

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass

PREFIX = "ant"
ID_LENGTH = 8
SECRET_BITS = 160
SECRET_LENGTH = 27  # 62**27 > 2**160
CHECKSUM_LENGTH = 6  # 62**6 > 2**32
MAX_LENGTH = 512

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FORM = re.compile(
    rf"({PREFIX}_([0-9A-Za-z]{{{ID_LENGTH}}})_[0-9A-Za-z]{{{SECRET_LENGTH}}})([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
)
_SHOWN = re.compile(rf"{PREFIX}_([0-9A-Za-z]{{{ID_LENGTH}}})")


@dataclass(frozen=True, slots=True)
class Parsed:
    """The id in a key of our form, and whether its checksum is right."""

    id: str
    intact: bool


def mint() -> tuple[str, str]:
    """Return a new key: its id, and the whole key."""
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(ID_LENGTH))
    body = f"{shown(key_id)}_{_base62(secrets.randbits(SECRET_BITS), SECRET_LENGTH)}"
    return key_id, body + _checksum(body)


def parse(key: str) -> Parsed | None:
    """Return the parsed key, `None` if it does not have our form."""
    match = _FORM.fullmatch(key)
    return Parsed(match[2], _checksum(match[1]) == match[3]) if match else None


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def shown(key_id: str) -> str:
    """Return the key's beginning, by which its owner recognises it; it is not secret."""
    return f"{PREFIX}_{key_id}"


def id_of(shown: str) -> str | None:
    """Return the id in the beginning of a key; `None` if the text does not have that form."""
    match = _SHOWN.fullmatch(shown)
    return match[1] if match else None


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
