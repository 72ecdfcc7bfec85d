"""G.711: eight-bit companded speech to linear int16 (ITU-T G.711, 11/1988; the decoding tables 1b and 2b).

Pure functions from bytes to bytes. The 14-bit (mu-law) and 13-bit (A-law) values are scaled to 16 bits.
"""


def _mulaw(code: int) -> int:
    """Decode mu-law: all bits are sent inverted; sign, three bits of segment, four of step; a bias of 33 (132 at 16
    bits).
    """
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 0x07)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _alaw(code: int) -> int:
    """Decode A-law: even bits are sent inverted; the lowest segment is linear; a value is in the middle of its step."""
    code ^= 0x55
    segment = code >> 4 & 0x07
    magnitude = (code & 0x0F) << 4 | 0x08
    if segment:
        magnitude = magnitude + 0x100 << segment - 1
    return magnitude if code & 0x80 else -magnitude


def _tables(values: list[int]) -> tuple[bytes, bytes]:
    """Return the low and high bytes of each code's value, for `bytes.translate`."""
    return bytes(value & 0xFF for value in values), bytes(value >> 8 & 0xFF for value in values)


_MULAW = _tables([_mulaw(code) for code in range(256)])
_ALAW = _tables([_alaw(code) for code in range(256)])


def _expand(data: bytes, tables: tuple[bytes, bytes]) -> bytes:
    pcm = bytearray(2 * len(data))
    pcm[0::2] = data.translate(tables[0])
    pcm[1::2] = data.translate(tables[1])
    return bytes(pcm)


def mulaw_to_pcm(data: bytes) -> bytes:
    """Convert one byte per sample to two, int16 little-endian."""
    return _expand(data, _MULAW)


def alaw_to_pcm(data: bytes) -> bytes:
    """Convert one byte per sample to two, int16 little-endian."""
    return _expand(data, _ALAW)
