"""Headers as writers make them, whole or not, honest or not."""

import asyncio
import struct
import time

import pytest

from antiphon.audio.decode import Decoder
from antiphon.audio.live import LiveDecoder
from antiphon.audio.wav import PlainWav, endless, plain_header
from antiphon.core.audio import AudioFormat
from antiphon.core.errors import BadMedia


def _header(
    *, tag: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16, size: int = 1_000, before: bytes = b""
) -> bytes:
    frame = channels * bits // 8
    shape = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    chunks = before + b"fmt " + struct.pack("<I", 16) + shape + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def test_plain_headers() -> None:
    assert plain_header(_header() + b"more") == PlainWav(16_000, 1, 44, 1_000)
    assert plain_header(_header(channels=2, rate=44_100)) == PlainWav(44_100, 2, 44, 1_000)
    listed = b"LIST" + struct.pack("<I", 5) + b"odd.." + b"\0"
    assert plain_header(_header(before=listed)) == PlainWav(16_000, 1, 58, 1_000)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFF000])
def test_a_length_that_the_writer_did_not_know(size: int) -> None:
    assert plain_header(_header(size=size)) == PlainWav(16_000, 1, 44, None)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"RIFF", _header()[:20], _header()[:43], b"RIFX" + _header()[4:], _header().replace(b"WAVE", b"AVI ")),
        *(_header(tag=3, bits=32), _header(tag=7, bits=8), _header(bits=24), _header(tag=0xFFFE)),
        _header()[:12] + _header()[36:],
    ],
)
def test_everything_else_is_a_decoders_work(data: bytes) -> None:
    assert plain_header(data) is None


async def test_live_samples_end_where_the_header_says() -> None:
    live = LiveDecoder(Decoder(), AudioFormat())
    assert live.channels is None
    assert await live.feed(b"") == []
    assert await live.feed(_header(size=6) + b"\1\2\3") == [b"\1\2"]
    assert live.channels == 1
    assert await live.feed(b"\4\5\6LIST....") == [b"\3\4\5\6"]
    assert await live.finish() == [b""]


@pytest.mark.parametrize("again", [b"JUNK" + bytes(4), _header(size=2) + b"\0\0"], ids=["chunks", "headers"])
async def test_a_message_of_nothing_but_headers_delays_nobody(again: bytes) -> None:
    live = LiveDecoder(Decoder(), AudioFormat())
    await live.feed(_header(size=2) + b"\0\0")
    message = again * ((1 << 18) // len(again))
    feeding = asyncio.create_task(live.feed(message))
    turns = 0
    while not feeding.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 1000


def test_the_samples_are_not_looked_for_without_end() -> None:
    begun = time.process_time()
    data = _header()[:12] + (b"JUNK" + bytes(4)) * 1_000_000
    assert plain_header(data) is None
    assert endless(data) == data
    assert time.process_time() - begun < 0.1


SAMPLES = bytes(range(200))


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(
            [_header(size=20) + SAMPLES[:20], SAMPLES[20:90], SAMPLES[90:]], id="a header of the first message"
        ),
        pytest.param([_header(size=36), SAMPLES[:100], SAMPLES[100:]], id="a header that declares too little"),
        pytest.param([_header(size=100) + part for part in (SAMPLES[:100], SAMPLES[100:])], id="each message a WAV"),
        pytest.param(
            [_header(size=0) + part for part in (SAMPLES[:100], SAMPLES[100:])], id="each a WAV, of no length"
        ),
        pytest.param([_header(size=100) + SAMPLES[:100] + _header(size=100) + SAMPLES[100:]], id="two in one message"),
        pytest.param(
            [
                _header(size=100) + SAMPLES[:100] + _header(size=100)[:9],
                _header(size=100)[9:30],
                _header(size=100)[30:] + SAMPLES[100:],
            ],
            id="a header in pieces",
        ),
        pytest.param(
            [_header(size=100) + SAMPLES[:100] + b"LIST\5\0\0\0odd..", b"\0" + _header(size=100) + SAMPLES[100:]],
            id="a chunk without sound between",
        ),
        pytest.param([_header(size=200)[:44] + SAMPLES + b"id3 \6\0\0\0abcdef"], id="a chunk behind"),
    ],
)
async def test_a_live_stream_goes_on_whatever_its_header_says(messages: list[bytes]) -> None:
    live = LiveDecoder(Decoder(), AudioFormat())
    heard = b"".join([part for message in messages for part in await live.feed(message)])
    assert heard + b"".join(await live.finish()) == SAMPLES


async def test_a_stream_that_begins_anew_with_what_cannot_be_read_is_refused() -> None:
    live = LiveDecoder(Decoder(), AudioFormat())
    await live.feed(_header(size=4) + SAMPLES[:4])
    with pytest.raises(BadMedia, match="again"):
        await live.feed(_header(bits=24, size=5_000) + bytes(5_000))


@pytest.mark.parametrize("header", [_header(rate=1_092_676), _header(rate=0), _header(channels=9), _header(channels=0)])
async def test_a_header_that_lies(header: bytes) -> None:
    with pytest.raises(BadMedia):
        await LiveDecoder(Decoder(), AudioFormat()).feed(header)


async def test_a_header_and_nothing_else() -> None:
    live = LiveDecoder(Decoder(), AudioFormat())
    assert await live.feed(_header()) == [b""]
    with pytest.raises(BadMedia):
        await live.finish()
    with pytest.raises(BadMedia):
        await LiveDecoder(Decoder(), AudioFormat()).finish()
