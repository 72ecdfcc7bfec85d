"""Frames of `application/vnd.amazon.eventstream`, the messages of an open stream.

    total length u32 | length of the headers u32 | CRC-32 of those 8 bytes | headers | payload | CRC-32 of all before

Everything is big-endian. A header is `length of the name u8 | name | type u8 | value`. A frame that is too large is
refused by its length, before it is read into memory.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from antiphon.core.errors import BadMedia, TooLarge

MAX_FRAME_BYTES = 1 << 20  # Amazon documents 32 KiB of audio per frame, but SDKs send more
MAX_HEADERS_BYTES = 8 * 1024
MAX_HEADERS = 32

_PRELUDE = struct.Struct(">II")
_CRC = struct.Struct(">I")
_OVERHEAD = _PRELUDE.size + 2 * _CRC.size
_TRUE, _FALSE, _BYTES, _STRING, _TIMESTAMP = 0, 1, 6, 7, 8
_INTEGERS = {2: 1, 3: 2, 4: 4, 5: 8, _TIMESTAMP: 8}  # bytes by type
_UUID, _UUID_BYTES = 9, 16

Value = bool | int | bytes | str


class BadFrame(BadMedia):
    """The bytes are not a valid frame."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A message. A timestamp among the headers is in milliseconds since 1970."""

    headers: Mapping[str, Value] = field(default_factory=dict)
    payload: bytes = b""


def encode(headers: Sequence[tuple[str, str]], payload: bytes) -> bytes:
    """Return a frame whose headers are all strings."""
    return framed(b"".join(map(_encoded, headers)), payload)


def framed(headers: bytes, payload: bytes) -> bytes:
    """Return a frame of headers that are already encoded."""
    prelude = _PRELUDE.pack(_OVERHEAD + len(headers) + len(payload), len(headers))
    start = prelude + _CRC.pack(zlib.crc32(prelude)) + headers + payload
    return start + _CRC.pack(zlib.crc32(start))


def timestamp(name: str, unix_ms: int) -> bytes:
    """Return a header whose value is a time in milliseconds since 1970, encoded."""
    return _name(name) + struct.pack(">Bq", _TIMESTAMP, unix_ms)


def octets(name: str, value: bytes) -> bytes:
    """Return a header whose value is bytes, encoded."""
    return _name(name) + struct.pack(">BH", _BYTES, len(value)) + value


def _encoded(header: tuple[str, str]) -> bytes:
    name, value = header
    encoded = value.encode()
    return _name(name) + struct.pack(">BH", _STRING, len(encoded)) + encoded


def _name(name: str) -> bytes:
    return bytes((len(name),)) + name.encode()


def decode(frame: bytes) -> Frame:
    """Return the only frame in these bytes. Raises `BadFrame`, `TooLarge`."""
    decoder = Decoder()
    found = list(decoder.feed(frame))
    if len(found) != 1 or decoder.waiting:
        raise BadFrame("A signed event must hold exactly one whole event.")
    return found[0]


class Decoder:
    """A decoder of frames from bytes that come in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def waiting(self) -> int:
        """The number of bytes received of an incomplete frame."""
        return len(self._buffer)

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """Yield the frames that are now complete. Raises `BadFrame`, `TooLarge`, after the frames before the invalid
        one.
        """
        self._buffer += piece
        while (total := self._total()) is not None and len(self._buffer) >= total:
            frame = bytes(self._buffer[:total])
            del self._buffer[:total]
            yield _read(frame)

    def _total(self) -> int | None:
        """Return the length of the next frame in bytes, `None` until it is known."""
        if len(self._buffer) < _PRELUDE.size + _CRC.size:
            return None
        total, headers = _PRELUDE.unpack_from(self._buffer)
        if _CRC.unpack_from(self._buffer, _PRELUDE.size)[0] != zlib.crc32(self._buffer[: _PRELUDE.size]):
            raise BadFrame("The checksum of an event's prelude is wrong.")
        if total > MAX_FRAME_BYTES or headers > MAX_HEADERS_BYTES:
            raise TooLarge(f"An event has at most {MAX_FRAME_BYTES} bytes, and {MAX_HEADERS_BYTES} of headers.")
        if total < _OVERHEAD + headers:
            raise BadFrame("The lengths in an event's prelude contradict each other.")
        return int(total)


def _read(frame: bytes) -> Frame:
    _, headers = _PRELUDE.unpack_from(frame)
    end = len(frame) - _CRC.size
    if _CRC.unpack_from(frame, end)[0] != zlib.crc32(memoryview(frame)[:end]):
        raise BadFrame("The checksum of an event is wrong.")
    start = _PRELUDE.size + _CRC.size
    return Frame(_headers(frame[start : start + headers]), frame[start + headers : end])


def _headers(encoded: bytes) -> Mapping[str, Value]:
    """Return the headers by name. Raises `BadFrame`."""
    found: dict[str, Value] = {}
    at = 0
    try:
        while at < len(encoded):
            name_end = at + 1 + encoded[at]
            name = encoded[at + 1 : name_end].decode()
            kind, at = encoded[name_end], name_end + 1
            value, at = _value(encoded, kind, at)
            if at > len(encoded) or not name or name in found or len(found) >= MAX_HEADERS:
                raise BadFrame(f"An event's headers are incomplete, twice there, or more than {MAX_HEADERS}.")
            found[name] = value
    except (IndexError, struct.error, UnicodeDecodeError):
        raise BadFrame("An event's headers cannot be read.") from None
    return found


def _value(encoded: bytes, kind: int, at: int) -> tuple[Value, int]:
    """Return a header's value, and the position after it, which is beyond the end if the value is cut off."""
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    if kind in _INTEGERS:
        end = at + _INTEGERS[kind]
        return int.from_bytes(encoded[at:end], signed=True), end
    if kind == _UUID:
        return encoded[at : at + _UUID_BYTES], at + _UUID_BYTES
    if kind not in (_BYTES, _STRING):
        raise BadFrame("An event's header has an unknown type.")
    (length,) = struct.unpack_from(">H", encoded, at)
    start, end = at + 2, at + 2 + length
    return (encoded[start:end].decode() if kind == _STRING else encoded[start:end]), end
