"""Frames of `application/vnd.amazon.eventstream` as a client of Amazon Transcribe reads and writes them, signed by
Signature Version 4.
"""

import hashlib
import hmac
import struct
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from antiphon.core.signing import signing_key

SERVICE, REGION, TERMINATION = "transcribe", "us-east-1", "aws4_request"
PAYLOAD_HASH = "STREAMING-AWS4-HMAC-SHA256-EVENTS"
MAX_FRAME_BYTES = 1 << 20
_PRELUDE = 12  # bytes: two lengths, and their checksum
_STRING, _BYTES, _TIMESTAMP = 7, 6, 8


class Frame(NamedTuple):
    """A message of the server, with headers that are all strings."""

    headers: Mapping[str, str]
    payload: bytes


def text(name: str, value: str) -> bytes:
    """Return a header whose value is a string, encoded."""
    return struct.pack(f">B{len(name)}sBH", len(name), name.encode(), _STRING, len(value)) + value.encode()


def frame(headers: bytes, payload: bytes) -> bytes:
    """Return a message with these encoded headers."""
    lengths = struct.pack(">II", _PRELUDE + len(headers) + len(payload) + 4, len(headers))
    start = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers + payload
    return start + struct.pack(">I", zlib.crc32(start))


def audio_event(pcm: bytes) -> bytes:
    headers = text(":message-type", "event") + text(":event-type", "AudioEvent")
    return frame(headers + text(":content-type", "application/octet-stream"), pcm)


def whole_frames(buffer: bytearray) -> Iterator[Frame]:
    """Yield the complete messages at the beginning of the buffer, and remove them from it. Raises `ValueError`."""
    while len(buffer) >= _PRELUDE:
        total, size = struct.unpack_from(">II", buffer)
        if total > MAX_FRAME_BYTES:
            raise ValueError("a message that is too long")
        if len(buffer) < total:
            return
        data = bytes(buffer[:total])
        del buffer[:total]
        if total < _PRELUDE + size + 4 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:]):
            raise ValueError("a message whose checksum is wrong")
        yield Frame(dict(_texts(data[_PRELUDE : _PRELUDE + size])), data[_PRELUDE + size : -4])


def _texts(headers: bytes) -> Iterator[tuple[str, str]]:
    """Yield the headers that are strings, by name. Raises `ValueError`."""
    at = 0
    while at < len(headers):
        name_end = at + 1 + headers[at]
        name, kind = headers[at + 1 : name_end].decode(), headers[name_end : name_end + 1]
        size = int.from_bytes(headers[name_end + 1 : name_end + 3])
        if kind != bytes((_STRING,)):
            raise ValueError("a header that is no text")
        at = name_end + 3 + size
        yield name, headers[name_end + 3 : at].decode()


class Signer:
    """The signer of an opening, then of the events that follow it, each over the preceding signature."""

    def __init__(self, key: str) -> None:
        """Begin with the `key`: a secret, which is the session token too."""
        self._key = key
        self._before = ""

    def opening(self, path: str, headers: Mapping[str, str], now: datetime) -> dict[str, str]:
        """Return the headers of a `POST`, including those that sign it."""
        date = now.strftime("%Y%m%dT%H%M%SZ")
        signed = {
            **headers,
            "x-amz-content-sha256": PAYLOAD_HASH,
            "x-amz-date": date,
            "x-amz-security-token": self._key,
        }
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        canonical = "\n".join(("POST", path, "", lines, names, PAYLOAD_HASH))
        scope = f"{date[:8]}/{REGION}/{SERVICE}/{TERMINATION}"
        self._before = self._sign(("AWS4-HMAC-SHA256", date, scope, _hash(canonical.encode())), scope).hex()
        parameters = f"Credential=bench/{scope}, SignedHeaders={names}, Signature={self._before}"
        return {**signed, "authorization": f"AWS4-HMAC-SHA256 {parameters}"}

    def event(self, payload: bytes, now: datetime) -> bytes:
        """Return the event wrapped in one that signs it; an empty payload is the end."""
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        unix_ms = round(now.timestamp() * 1000)
        date = struct.pack(">B5sBq", len(":date"), b":date", _TIMESTAMP, unix_ms)
        at = now.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{at[:8]}/{REGION}/{SERVICE}/{TERMINATION}"
        hashes = self._before, _hash(date), _hash(payload)
        signature = self._sign(("AWS4-HMAC-SHA256-PAYLOAD", at, scope, *hashes), scope)
        self._before = signature.hex()
        name = b":chunk-signature"
        header = struct.pack(f">B{len(name)}sBH", len(name), name, _BYTES, len(signature)) + signature
        return frame(date + header, payload)

    def _sign(self, lines: tuple[str, ...], scope: str) -> bytes:
        key = signing_key(self._key, [part.encode() for part in scope.split("/")])
        return hmac.digest(key, "\n".join(lines).encode(), "sha256")


def utc_now() -> datetime:
    return datetime.now(UTC)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
