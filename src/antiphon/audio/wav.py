"""The header of a plain WAV stream: RIFF, 16-bit PCM (Microsoft, Multimedia Programming Interface 1.0, chapter 3).

FFmpeg needs 64 KiB of such a stream, two seconds at 16 kHz, before it returns the first sample, because it looks for
S/PDIF. A live stream cannot wait for that, and its samples need no decoder once the header is read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

HEADER_BYTES = 4096  # a longer header is not a plain one
MOST_CHUNKS = 64  # up to the samples: a message may consist of nothing but empty ones
Bytes = bytes | memoryview
_PCM = 1
_ENDLESS = 0xFFFF_FFFF
# Chunks that writers put after the samples.
_NO_SOUND = (
    *(b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"axml", b"_PMX", b"fact", b"cue ", b"smpl", b"inst", b"PEAK"),
    *(b"afsp", b"JUNK", b"junk", b"PAD ", b"FLLR"),
)
# Writers that cannot fill in the length later leave 0 or nearly the largest number.
LENGTH_UNKNOWN = 0x7FFF_F000


@dataclass(frozen=True, slots=True)
class PlainWav:
    """A plain WAV header. Samples start at byte `offset`; they take `data_bytes`, or `None` if the writer did not
    know.
    """

    sample_rate: int
    channels: int
    offset: int
    data_bytes: int | None


def plain_header(data: Bytes) -> PlainWav | None:
    """Return the header if `data` contains all of it; `None` for anything else, which needs a real decoder."""
    if not begins_wav(data):
        return None
    shape: tuple[int, int] | None = None
    for name, size, position in _chunks(data):
        if name == b"data":
            known = size if 0 < size < LENGTH_UNKNOWN else None
            return PlainWav(*shape, position, known) if shape else None
        if name == b"fmt ":
            if size < 16 or position + 16 > len(data):
                return None
            tag, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", data, position)
            if (tag, bits, frame_bytes) != (_PCM, 16, 2 * channels):
                return None
            shape = (rate, channels)
    return None


def _chunks(data: Bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, the size and the position of the content of each chunk."""
    position = 12
    for _ in range(MOST_CHUNKS):
        if position + 8 > len(data):
            return
        name, size = struct.unpack_from("<4sI", data, position)
        yield name, size, position + 8
        position += 8 + size + (size & 1)


def begins_wav(data: Bytes) -> bool:
    """Return whether `data` begins like a WAV file."""
    return data[:4] == b"RIFF" and data[8:12] == b"WAVE"


def chunk_bytes(data: Bytes) -> int:
    """Return how many bytes at the beginning of `data` are not samples: a chunk that may follow them; 0 for none."""
    if len(data) < 8 or data[:4] not in _NO_SOUND:
        return 0
    size = int.from_bytes(data[4:8], "little")
    return 8 + size + (size & 1)


def endless(data: bytes) -> bytes:
    """Return the beginning of a streamed WAV with an unknown length in its header."""
    for name, _, position in _chunks(data):
        if name == b"data":
            return data[: position - 4] + _ENDLESS.to_bytes(4, "little") + data[position:]
    return data
