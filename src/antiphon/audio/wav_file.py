"""The samples of a WAV file that has more of them than its header says.

Recorders write the header for their first part only, and people join files. FFmpeg reads the declared samples, of
several chunks of them the last, and is silent about the rest.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from antiphon.audio.wav import LENGTH_UNKNOWN, begins_wav, chunk_bytes

_MOST = 0xFFFF_FFFF
# What taggers append without a chunk around it: ID3, versions 2 and 1, and APE.
_TAGS = (b"ID3", b"TAG", b"APETAGEX")


@dataclass(frozen=True, slots=True)
class _Run:
    """Samples from byte `start` to `end`. `shape` is the chunk with their format, `declared` whether a header says
    them.
    """

    shape: bytes
    start: int
    end: int
    declared: bool = True


def recordings(data: bytes) -> list[bytes]:
    """Return WAV files, one for each format, of all samples in `data`; `data` itself where its header tells of them, or
    where it is no WAV file.
    """
    runs = list(_runs(data)) if begins_wav(data) else []
    if all(run.declared for run in runs) and len(runs) < 2:
        return [data]
    found = []
    for shape, alike in groupby(runs, lambda run: run.shape):
        samples = b"".join(data[run.start : run.end] for run in alike)
        length = struct.pack("<I", min(4 + len(shape) + 8 + len(samples), _MOST))
        head = b"RIFF" + length + b"WAVE" + shape + b"data" + struct.pack("<I", min(len(samples), _MOST))
        found.append(head + samples)
    return found


def _runs(data: bytes) -> Iterator[_Run]:
    shape, position, has_data = b"", 0, False
    while position + 8 <= len(data):
        if begins_wav(data[position : position + 12]):
            position += 12
            continue
        name, size = struct.unpack_from("<4sI", data, position)
        start = position + 8
        end = start + size
        if name == b"data":
            if not shape:
                return
            end = min(end, len(data)) if 0 < size < LENGTH_UNKNOWN else _next_header(data, start)
            size, has_data = end - start, True
            yield _Run(shape, start, end)
        elif name == b"fmt ":
            shape = data[position : end + (size & 1)]
        elif has_data and not _is_chunk(data, position, end):
            rest = data[position:]
            if not rest.startswith(_TAGS) and any(rest):  # zeros are padding
                yield _Run(shape, position, len(data), declared=False)
            return
        unpadded = begins_wav(data[end : end + 12])
        position = end + (size & 1 and not unpadded)


def _next_header(data: bytes, start: int) -> int:
    """Return where samples without a known length end: where another file begins, or at the end."""
    while (start := data.find(b"RIFF", start)) >= 0:
        if begins_wav(data[start : start + 12]):
            return start
        start += 4
    return len(data)


def _is_chunk(data: bytes, position: int, end: int) -> bool:
    """Return whether a chunk without samples seems to be there: a known one, or any that has a name and ends in the
    file.
    """
    named = all(32 <= letter < 127 for letter in data[position : position + 4])
    return bool(chunk_bytes(data[position : position + 8])) or (named and end <= len(data))
