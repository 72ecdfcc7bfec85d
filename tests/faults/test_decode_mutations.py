"""Damaged and hostile recordings: each gets its answer within the bounds, and nothing of it stays behind.

`ANTIPHON_MUTATIONS` sets how many mutants are tried (a soak wants tens of thousands); each is made from its number,
so that a failure names what to reproduce.
"""

import asyncio
import gc
import io
import os
import random
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import av
import pytest

from antiphon.audio.decode import DecodeLimits, Decoder
from antiphon.audio.live import LiveDecoder
from antiphon.core.audio import AudioFormat
from antiphon.core.errors import BadMedia, TooLarge
from encoded import FORMATS, encode, murmur

MUTANTS = int(os.environ.get("ANTIPHON_MUTATIONS", "600"))
LIMITS = DecodeLimits(max_audio_ms=60_000, max_burst_ms=60_000, cpu_s=3, wall_s=20, step_cpu_s=3, step_wall_s=20)
EXTREMES = (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@pytest.fixture(scope="module")
def corpus() -> list[bytes]:
    speech = murmur(0.4)
    return [encode(speech, name) for name in FORMATS] + [encode(speech, name, channels=2) for name in ("wav", "mp3")]


@pytest.fixture
async def decoder() -> AsyncIterator[Decoder]:
    made = Decoder(LIMITS)
    yield made
    await made.close()


def mutant(corpus: list[bytes], number: int) -> bytes:
    rng = random.Random(number)
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        # Headers decide most, so half of all damage goes there.
        end = max(1, len(data) if rng.random() < 0.5 else min(len(data), 300))
        at = rng.randrange(end)
        match rng.randrange(7):
            case 0:
                del data[at + 1 :]
            case 1:
                data[at : at + 1] = bytes([data[at] ^ 1 << rng.randrange(8)]) if data else b"?"
            case 2:
                length = rng.choice((2, 4, 8, 64))
                data[at : at + length] = rng.randbytes(length)
            case 3:
                data[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(EXTREMES))
            case 4:
                other = rng.choice(corpus)
                data[at:] = other[rng.randrange(len(other)) :]
            case 5:
                data[at:at] = data[at : at + rng.choice((1, 16, 1_000))]
            case _:
                del data[at : at + rng.choice((1, 4, 100))]
    return bytes(data)


async def _as_file(decoder: Decoder, data: bytes) -> str:
    decoded = await decoder.decode(data, multichannel=len(data) % 2 == 0)
    lengths = {len(channel) for channel in decoded.channels}
    assert len(lengths) == 1
    assert 0 < lengths.pop() <= 60_000 * 32 + 64
    return "audio"


async def _live(decoder: Decoder, data: bytes) -> str:
    live = LiveDecoder(decoder, AudioFormat(), multichannel=len(data) % 2 == 0)
    piece = 1 + len(data) // 7
    try:
        for start in range(0, len(data), piece):
            assert len({len(part) for part in await live.feed(data[start : start + piece])}) <= 1
        await live.finish()
    finally:
        live.close()
    return "audio"


async def _outcome(decoder: Decoder, data: bytes, number: int) -> tuple[str, float]:
    began = time.perf_counter()
    try:
        outcome = await (_live if number % 3 == 0 else _as_file)(decoder, data)
    except (BadMedia, TooLarge) as error:
        outcome = error.code
    except Exception as error:
        raise AssertionError(f"mutant {number} got {error!r}") from error
    return outcome, time.perf_counter() - began


def _resident_bytes(pid: int | None) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _descriptors(pid: int | None) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _children(pid: int | None) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def _measures(decoder: Decoder) -> list[int]:
    gc.collect()
    return [measure(pid) for measure in (_resident_bytes, _descriptors) for pid in (os.getpid(), decoder.pid)]


async def test_mutants_get_their_answer_and_leave_nothing(decoder: Decoder, corpus: list[bytes]) -> None:
    for number in range(60):  # so that what is made once is made before memory is measured
        await _outcome(decoder, mutant(corpus, -number), number)
    before, pid = _measures(decoder), decoder.pid
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    numbers = iter(range(MUTANTS))

    async def caller() -> None:
        nonlocal slowest
        for number in numbers:
            outcome, seconds = await _outcome(decoder, mutant(corpus, number), number)
            outcomes[outcome] += 1
            slowest = max(slowest, seconds)

    await asyncio.gather(*(caller() for _ in range(3)))
    assert outcomes.total() == MUTANTS
    assert outcomes["audio"] > 0.1 * MUTANTS
    assert outcomes["bad_media"] > 0.1 * MUTANTS
    assert slowest < LIMITS.wall_s
    await asyncio.sleep(0.1)
    after = _measures(decoder)
    assert decoder.pid == pid
    assert after[0] - before[0] < 30_000_000
    assert after[1] - before[1] < 5_000_000
    assert after[2:] == before[2:]
    assert _children(pid) == ""
    assert decoder.live_open == 0


# -- bombs: small, and days long ---------------------------------------------------------------------------------------


def _flac_of_days() -> bytes:
    codec = av.CodecContext.create("flac", "w")
    codec.sample_rate, codec.layout, codec.format = 16_000, "mono", "s16"
    codec.open()
    frame = av.AudioFrame(format="s16", layout="mono", samples=codec.frame_size)
    frame.sample_rate = 16_000
    frame.planes[0].update(bytes(2 * codec.frame_size))
    packets = [bytes(packet) for part in (frame, None) for packet in codec.encode(part)]
    info = bytes(codec.extradata or b"")
    return (
        b"fLaC" + bytes([0x80]) + struct.pack(">I", len(info))[1:] + info + packets[0] * (5_000_000 // len(packets[0]))
    )


def _opus_of_hours(container_name: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container_name) as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        container.start_encoding()
        for number in range(20_000):
            packet = av.Packet(b"\x1b\x02")  # RFC 6716, 3.2.5: two frames of 60 ms and of no bytes, silence
            packet.stream, packet.time_base = stream, stream.time_base
            packet.pts = packet.dts = number * int(0.12 / stream.time_base)
            container.mux(packet)
    return file.getvalue()


def _mp3_of_hours() -> bytes:
    return (b"\xff\xe3\x18\xc0" + bytes(68)) * 50_000  # MPEG-2.5, 8 kbit/s, 72 ms of nothing each


def _wav_of_hours() -> bytes:
    shape = struct.pack("<HHIIHH", 1, 1, 4_000, 4_000, 1, 8)
    size = 25_000_000
    return (
        b"RIFF"
        + struct.pack("<I", size + 36)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + shape
        + b"data"
        + (struct.pack("<I", size) + bytes(size))
    )


BOMBS = {
    "flac": _flac_of_days,
    "ogg": lambda: _opus_of_hours("ogg"),
    "webm": lambda: _opus_of_hours("webm"),
    "mp3": _mp3_of_hours,
    "wav": _wav_of_hours,
}


async def _feed_all(live: LiveDecoder, data: bytes) -> None:
    for start in range(0, len(data), 5_000_000):
        await live.feed(data[start : start + 5_000_000])


@pytest.mark.parametrize("kind", BOMBS)
async def test_a_bomb_is_refused_when_its_length_passes_the_limit(decoder: Decoder, kind: str) -> None:
    await decoder.start()
    bomb = BOMBS[kind]()
    before = _resident_bytes(os.getpid())
    began = time.perf_counter()
    with pytest.raises(TooLarge, match="more than the 60 s"):
        await decoder.decode(bomb)
    assert time.perf_counter() - began < 10
    live = LiveDecoder(decoder, AudioFormat())
    with pytest.raises(TooLarge):
        await _feed_all(live, bomb)
    live.close()
    gc.collect()
    assert _resident_bytes(os.getpid()) - before < 40_000_000
    assert (await decoder.decode(encode(murmur(0.1), "wav"))).duration_ms == 100


@pytest.mark.parametrize("box", [b"stsz", b"stts"])
async def test_an_mp4_that_promises_billions_of_packets(decoder: Decoder, box: bytes) -> None:
    data = bytearray(encode(murmur(0.4), "m4a"))
    at = data.index(box) + 8
    data[at : at + 12] = struct.pack(">III", 1, 0xFFFFFFF0, 1)
    with pytest.raises((TooLarge, BadMedia)):
        await decoder.decode(bytes(data))
