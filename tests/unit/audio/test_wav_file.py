"""WAV files with more samples than their header says: joined, written on, or in several chunks."""

import struct

import pytest

from antiphon.audio.wav_file import recordings

SAMPLES = bytes(range(1, 201))
LIST = b"LIST" + struct.pack("<I", 5) + b"odd.." + b"\0"


def _shape(bits: int = 16, rate: int = 16_000) -> bytes:
    frame = bits // 8
    return b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * frame, frame, bits)


def _chunk(samples: bytes, size: int | None = None) -> bytes:
    return b"data" + struct.pack("<I", len(samples) if size is None else size) + samples


def _file(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


PLAIN = _file(_shape(), _chunk(SAMPLES))


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        _file(_shape(), _chunk(SAMPLES), LIST, b"SAUR" + struct.pack("<I", 4) + b"abcd"),
        *(PLAIN + tag + bytes(range(100)) for tag in (b"ID3\x04", b"TAG", b"APETAGEX")),
        PLAIN + bytes(2_000),
        _file(_shape(), _chunk(SAMPLES, size=0)),
        _file(_shape(), _chunk(SAMPLES, size=900)),
        *(PLAIN[:20], _file(_chunk(SAMPLES)), b"RIFX" + PLAIN[4:], b"", b"fLaC" + SAMPLES),
    ],
)
def test_what_a_header_tells_of_wholly_is_left_as_it_is(data: bytes) -> None:
    assert recordings(data) == [data]


@pytest.mark.parametrize(
    "data",
    [
        _file(_shape(), _chunk(SAMPLES[:50])) + SAMPLES[50:],
        _file(_shape(), _chunk(SAMPLES[:50]), LIST) + SAMPLES[50:],
        _file(_shape(), _chunk(SAMPLES[:50]), _chunk(SAMPLES[50:])),
        b"".join(_file(_shape(), _chunk(SAMPLES[at : at + 40])) for at in range(0, 200, 40)),
        b"".join(_file(_shape(), _chunk(SAMPLES[at : at + 40], size=0)) for at in range(0, 200, 40)),
        _file(_shape(), _chunk(SAMPLES[:60])) + LIST + _file(_shape(), _chunk(SAMPLES[60:])),
    ],
)
def test_all_samples_are_found(data: bytes) -> None:
    assert recordings(data) == [PLAIN]


def test_another_format_is_another_file() -> None:
    first, second = _file(_shape(8), _chunk(SAMPLES[:51])), _file(_shape(8, 8_000), _chunk(SAMPLES[51:]))
    assert recordings(first + second) == [first, second]
    assert recordings(PLAIN + first + PLAIN + PLAIN)[2] == _file(_shape(), _chunk(SAMPLES + SAMPLES))
