"""Headerless samples, live: nothing dropped, nothing copied that need not be."""

import asyncio
import itertools
import random
import struct
from array import array

import pytest

from antiphon.audio.decode import DecodeLimits, Decoder
from antiphon.audio.live import LiveDecoder
from antiphon.core.audio import AudioFormat, Encoding
from antiphon.core.errors import BadMedia, TooLarge


def _live(encoding: Encoding, rate: int = 16_000, channels: int = 1, *, multichannel: bool = False) -> LiveDecoder:
    return LiveDecoder(Decoder(), AudioFormat(encoding, rate, channels), multichannel=multichannel)


async def _all(live: LiveDecoder, data: bytes, cuts: list[int]) -> list[bytes]:
    parts = [bytearray() for _ in range(live.channels or 0)]
    edges = [0, *cuts, len(data)]
    for start, end in itertools.pairwise(edges):
        for part, new in zip(parts, await live.feed(data[start:end]), strict=True):
            part += new
    for part, new in zip(parts, await live.finish(), strict=True):
        part += new
    return [bytes(part) for part in parts]


async def test_our_own_form_passes_through_uncopied() -> None:
    live = _live(Encoding.LINEAR16)
    data = bytes(range(200))
    (same,) = await live.feed(data)
    assert same is data
    assert live.channels == 1
    assert await live.finish() == [b""]


@pytest.mark.parametrize(
    ("encoding", "rate", "channels", "multichannel"),
    [
        (Encoding.LINEAR16, 16_000, 1, False),
        (Encoding.LINEAR16, 8_000, 2, True),
        (Encoding.LINEAR16, 44_100, 2, False),
        (Encoding.LINEAR32, 24_000, 1, False),
        (Encoding.MULAW, 8_000, 1, False),
        (Encoding.ALAW, 8_000, 2, True),
    ],
)
async def test_where_messages_are_cut_does_not_matter(
    encoding: Encoding, rate: int, channels: int, multichannel: bool
) -> None:
    rng = random.Random(7)
    if encoding is Encoding.LINEAR32:
        data = array("f", (rng.uniform(-1, 1) for _ in range(4_000))).tobytes()
    else:
        data = rng.randbytes(8_000)
    whole = await _all(_live(encoding, rate, channels, multichannel=multichannel), data, [])
    cuts = sorted(rng.sample(range(1, len(data)), 60))
    assert await _all(_live(encoding, rate, channels, multichannel=multichannel), data, cuts) == whole
    assert len(whole) == (channels if multichannel else 1)
    assert len(whole[0]) > 0


async def test_half_a_sample_waits() -> None:
    live = _live(Encoding.LINEAR16)
    assert await live.feed(b"\x01") == [b""]
    assert await live.feed(b"\x02\x03") == [b"\x01\x02"]
    assert await live.feed(b"\x04") == [b"\x03\x04"]


async def test_g711_values_arrive() -> None:
    assert await _live(Encoding.MULAW, 16_000).feed(b"\x80\xff") == [array("h", [32124, 0]).tobytes()]
    assert await _live(Encoding.ALAW, 16_000).feed(b"\xaa\xd5") == [array("h", [32256, 8]).tobytes()]


async def test_a_whole_recording_lets_others_run_and_is_bounded() -> None:
    data = random.Random(3).randbytes(1_500_001)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    whole = await _all(_live(Encoding.MULAW, 8_000), data, [])
    running.cancel()
    assert turns > 4
    assert whole == await _all(_live(Encoding.MULAW, 8_000), data, list(range(100_000, 1_500_000, 100_000)))
    short = LiveDecoder(Decoder(DecodeLimits(max_audio_ms=60_000)), AudioFormat(Encoding.MULAW, 8_000))
    with pytest.raises(TooLarge):
        await short.feed(data)


@pytest.mark.parametrize(("rate", "channels"), [(1_000, 1), (500_000, 1), (16_000, 0), (16_000, 9)])
def test_a_declaration_out_of_range(rate: int, channels: int) -> None:
    with pytest.raises(BadMedia):
        _live(Encoding.LINEAR16, rate, channels)


def _wav(samples: bytes, rate: int, channels: int) -> bytes:
    shape = struct.pack("<IHHIIHH", 16, 1, channels, rate, 2 * rate * channels, 2 * channels, 16)
    return b"RIFF" + bytes(4) + b"WAVEfmt " + shape + b"data" + struct.pack("<I", len(samples)) + samples


async def test_a_wav_header_says_what_comes_whatever_is_declared() -> None:
    samples = array("h", range(-400, 400)).tobytes()
    live = _live(Encoding.MULAW, 8_000)
    assert await live.feed(b"") == [b""]
    assert await _all(live, _wav(samples, 16_000, 1), [44, 45, 300]) == [samples]
    both = array("h", (each for sample in range(-400, 400) for each in (sample, sample))).tobytes()
    assert await _all(_live(Encoding.LINEAR16), _wav(both, 16_000, 2), []) == [samples]


async def test_a_header_that_needs_a_decoder_does_not_count_where_samples_are_declared() -> None:
    """No place for a decoder is held."""
    wav = bytearray(_wav(bytes(4), 16_000, 1))
    wav[20:22] = struct.pack("<H", 2)  # Microsoft's ADPCM
    assert await _live(Encoding.LINEAR16).feed(bytes(wav)) == [bytes(wav)]


@pytest.mark.parametrize(
    "head",
    [
        b"\x1aE\xdf\xa3" + bytes(16),
        b"OggS\x00\x02" + bytes(16),
        b"fLaC" + bytes(16),
        bytes(4) + b"ftypM4A " + bytes(8),
        b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10),
    ],
)
@pytest.mark.parametrize("multichannel", [False, True])
async def test_a_file_of_packets_is_no_samples(head: bytes, multichannel: bool) -> None:
    with pytest.raises(BadMedia, match="not the raw samples"):
        await _live(Encoding.LINEAR16, multichannel=multichannel).feed(head)
    later = _live(Encoding.LINEAR16)
    assert await later.feed(bytes(2)) + await later.feed(head) == [bytes(2), head]  # within samples it is chance


async def test_channels_apart_are_as_declared() -> None:
    live = _live(Encoding.LINEAR16, channels=2, multichannel=True)
    assert sum(map(len, await live.feed(_wav(bytes(4), 16_000, 2)))) == 48


async def test_a_header_after_half_a_sample_begins_with_a_whole_one() -> None:
    tone = array("h", [1_000] * 1_600).tobytes()
    endless = _wav(b"", 16_000, 1)
    live = _live(Encoding.CONTAINER)
    heard = [await live.feed(endless + tone + b"\x05"), await live.feed(endless + tone), await live.finish()]
    assert b"".join(part for (part,) in heard) == 2 * tone


async def test_a_header_with_another_rate_loses_none_of_the_samples_before() -> None:
    recordings = [_wav(bytes(2 * rate), rate, 1) for rate in (8_000, 24_000, 16_000)]  # a second each
    live = _live(Encoding.CONTAINER)
    heard = [await live.feed(b"".join(recordings)), await live.finish()]
    assert sum(len(part) for (part,) in heard) == 3 * 2 * 16_000
