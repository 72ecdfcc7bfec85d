"""The tables against values of ITU-T G.711, and against an encoder written the other way round."""

import struct

from antiphon.audio.g711 import alaw_to_pcm, mulaw_to_pcm


def _values(pcm: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(pcm) // 2}h", pcm))


def test_mulaw_ends_and_silence() -> None:
    # Table 2a/2b: 8031 at 14 bits is the loudest, 0xFF and 0x7F are the two zeros.
    assert _values(mulaw_to_pcm(b"\x80\x00\xff\x7f\xfe\x7e")) == [32124, -32124, 0, 0, 8, -8]


def test_alaw_ends_and_smallest() -> None:
    # Table 1a/1b: 4032 at 13 bits is the loudest, the smallest step is +-1.
    assert _values(alaw_to_pcm(b"\xaa\x2a\xd5\x55\xd4")) == [32256, -32256, 8, -8, 24]


def test_codes_are_monotonic_in_each_half_and_symmetric() -> None:
    mulaw = _values(mulaw_to_pcm(bytes(range(256))))
    assert mulaw[128:] == sorted(mulaw[128:], reverse=True)
    assert [-value for value in mulaw[:128]] == mulaw[128:]
    alaw = _values(alaw_to_pcm(bytes(code ^ 0x55 for code in range(256))))
    assert alaw[128:] == sorted(alaw[128:])
    assert [-value for value in alaw[:128]] == alaw[128:]


def test_steps_double_with_each_segment() -> None:
    mulaw = _values(mulaw_to_pcm(bytes(0xFF ^ code for code in range(128))))
    assert [mulaw[16 * segment + 1] - mulaw[16 * segment] for segment in range(8)] == [8 << s for s in range(8)]
    alaw = _values(alaw_to_pcm(bytes(0xD5 ^ code for code in range(128))))
    steps = [alaw[16 * segment + 1] - alaw[16 * segment] for segment in range(8)]
    assert steps == [16, 16, 32, 64, 128, 256, 512, 1024]


def test_nothing_in_nothing_out() -> None:
    assert mulaw_to_pcm(b"") == alaw_to_pcm(b"") == b""
