"""Every format through the real decoder processes: the same audio in, roughly the same samples out."""

import asyncio
import errno
import io
import os
import signal
import socket
import struct
import wave
from array import array
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import av
import pytest

from antiphon.audio.decode import DecodeLimits, Decoder
from antiphon.audio.live import LiveDecoder
from antiphon.core.audio import AudioFormat, Encoding
from antiphon.core.errors import BadMedia, CapacityError, EngineError, EngineTimeout, TooLarge
from encoded import FORMATS, encode, likeness, murmur, opus_packets

SPEECH = murmur(2.0)
# Lossy codecs at their default rates; samples and FLAC do better.
ALIKE = 0.96


@pytest.fixture
async def decoder() -> AsyncIterator[Decoder]:
    made = Decoder()
    yield made
    await made.close()


async def _stream(live: LiveDecoder, data: bytes, piece: int) -> list[bytes]:
    parts: list[bytearray] = []
    for start in range(0, len(data), piece):
        new = await live.feed(data[start : start + piece])
        parts = parts or [bytearray() for _ in new]
        for part, more in zip(parts, new, strict=True):
            part += more
    last = await live.finish()
    parts = parts or [bytearray() for _ in last]
    for part, more in zip(parts, last, strict=True):
        part += more
    live.close()
    return [bytes(part) for part in parts]


@pytest.mark.parametrize("name", FORMATS)
async def test_every_format_as_a_file(decoder: Decoder, name: str) -> None:
    decoded = await decoder.decode(encode(SPEECH, name))
    assert len(decoded.channels) == 1
    assert abs(decoded.duration_ms - 2_000) < 110
    assert likeness(decoded.channels[0], SPEECH) > ALIKE


async def test_joined_wav_files_of_two_formats_are_heard_wholly(decoder: Decoder) -> None:
    decoded = await decoder.decode(encode(SPEECH, "wav") + encode(SPEECH, "wav-24bit"))
    assert abs(decoded.duration_ms - 4_000) < 5
    assert likeness(decoded.channels[0], SPEECH + SPEECH) > ALIKE


@pytest.mark.parametrize("live", [False, True])
async def test_a_big_endian_wav_file(decoder: Decoder, live: bool) -> None:
    shape = struct.pack(">IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    head = (
        b"RIFX" + struct.pack(">I", 36 + len(SPEECH)) + b"WAVEfmt " + shape + b"data" + struct.pack(">I", len(SPEECH))
    )
    swapped = array("h", SPEECH)
    swapped.byteswap()
    data = head + swapped.tobytes()
    heard = await _stream(LiveDecoder(decoder, AudioFormat()), data, 2_999) if live else None
    (samples,) = heard or (await decoder.decode(data)).channels
    assert likeness(samples, SPEECH) > 0.99


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "m4a", "webm-opus"])
async def test_two_channels_apart_and_mixed(decoder: Decoder, name: str) -> None:
    data = encode(SPEECH, name, channels=2)
    apart = await decoder.decode(data, multichannel=True)
    assert len(apart.channels) == 2
    assert len(apart.channels[0]) == len(apart.channels[1])
    assert likeness(apart.channels[0], SPEECH) > ALIKE
    assert max(map(abs, memoryview(apart.channels[1]).cast("h"))) < 200
    mixed = await decoder.decode(data)
    assert len(mixed.channels) == 1
    assert likeness(mixed.channels[0], SPEECH) > ALIKE


@pytest.mark.parametrize("name", ["wav", "wav-24bit", "flac", "mp3", "m4a", "webm-opus"])
async def test_channels_that_cancel_each_other_out_are_heard_in_a_mix(decoder: Decoder, name: str) -> None:
    data = encode(SPEECH, name, channels=2, opposed=True)
    mixes = [(await decoder.decode(data)).channels[0]]
    if name != "m4a":
        mixes += await _stream(LiveDecoder(decoder, AudioFormat()), data, 2_999)
    for mixed in mixes:
        assert abs(likeness(mixed, SPEECH)) > ALIKE


async def test_bare_opus_and_samples_that_cancel_each_other_out_are_heard_in_a_mix(decoder: Decoder) -> None:
    live = LiveDecoder(decoder, AudioFormat(Encoding.OPUS, 48_000, 2))
    packets = opus_packets(SPEECH, channels=2, opposed=True)
    mixed = b"".join([(await live.feed(packet) or [b""])[0] for packet in packets])
    live.close()
    assert likeness(mixed, SPEECH) > ALIKE
    samples = encode(SPEECH, "wav", channels=2, opposed=True)[44:]
    (mixed,) = await _stream(LiveDecoder(decoder, AudioFormat(Encoding.LINEAR16, 16_000, 2)), samples, 641)
    assert likeness(mixed, SPEECH) > ALIKE


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("mp4", "m4a")])
async def test_every_streamable_format_live_gives_what_the_file_gives(decoder: Decoder, name: str) -> None:
    data = encode(SPEECH, name)
    file = (await decoder.decode(data)).channels[0]
    (live,) = await _stream(LiveDecoder(decoder, AudioFormat()), data, 2_999)
    assert abs(len(live) - len(file)) < 1_000
    assert likeness(live, SPEECH) > ALIKE
    assert decoder.live_open == 0


@pytest.mark.parametrize("name", ["wav", "wav-alaw", "webm-opus", "ogg-opus", "mp3", "mpga"])
async def test_live_audio_comes_out_as_it_goes_in(decoder: Decoder, name: str) -> None:
    data = encode(murmur(4.0), name)
    live = LiveDecoder(decoder, AudioFormat())
    heard_bytes = 0
    for start in range(0, len(data), len(data) // 40):
        heard_bytes += sum(map(len, await live.feed(data[start : start + len(data) // 40])))
    live.close()
    assert heard_bytes / 32 > 4_000 - 500


@pytest.mark.parametrize("name", ["wav-24bit", "wav-alaw", "flac", "ogg-opus", "webm-opus", "mp4-fragmented"])
async def test_a_live_stream_that_begins_anew_is_followed(decoder: Decoder, name: str) -> None:
    live = LiveDecoder(decoder, AudioFormat())
    heard, again = bytearray(), murmur(2.0, seed=2)
    for part in (SPEECH, again):
        heard += b"".join(await live.feed(encode(part, name)))
    heard += b"".join(await live.finish())
    live.close()
    assert likeness(bytes(heard[: len(SPEECH)]), SPEECH) > ALIKE
    assert likeness(bytes(heard[-len(again) :]), again) > ALIKE  # some coders begin with a silence of their own


async def test_a_live_stream_that_begins_anew_may_end_at_once(decoder: Decoder) -> None:
    live = LiveDecoder(decoder, AudioFormat())
    heard = await live.feed(encode(SPEECH, "flac"))
    heard += await live.feed(encode(SPEECH, "flac")[:64])
    heard += await live.finish()
    live.close()
    assert likeness(b"".join(heard), SPEECH) > ALIKE
    empty = LiveDecoder(decoder, AudioFormat())
    await empty.feed(encode(SPEECH, "flac")[:64])
    with pytest.raises(BadMedia):
        await empty.finish()
    empty.close()


async def test_a_live_stream_that_begins_anew_keeps_its_channels(decoder: Decoder) -> None:
    live = LiveDecoder(decoder, AudioFormat(), multichannel=True)
    assert len(await live.feed(encode(SPEECH, "flac", channels=2))) == 2
    again = encode(SPEECH, "flac")
    await live.feed(again[:64])  # of one channel, but that is not known yet
    with pytest.raises(BadMedia, match="number of channels"):
        await live.feed(again[64:])
    live.close()


async def test_without_descriptors_there_is_no_decoder(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_descriptor() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    for started in (False, True):
        with monkeypatch.context() as scarce:
            scarce.setattr(socket, "socketpair", no_descriptor)
            with pytest.raises(CapacityError):
                await decoder.decode(encode(SPEECH, "mp3"))
            with pytest.raises(CapacityError):
                await decoder.open_live(split=False)
            assert decoder.live_open == 0
        if not started:
            await decoder.start()
    await decoder.decode(encode(SPEECH, "mp3"))


async def test_a_live_wav_that_no_plain_reader_takes_goes_on_beyond_its_header(decoder: Decoder) -> None:
    data = encode(SPEECH, "wav-alaw")
    at = data.index(b"data") + 4
    live = LiveDecoder(decoder, AudioFormat())
    (heard,) = await _stream(live, data[:at] + struct.pack("<I", 1_600) + data[at + 4 :], 1_600)
    assert likeness(heard, SPEECH) > ALIKE


async def test_live_two_channels(decoder: Decoder) -> None:
    live = LiveDecoder(decoder, AudioFormat(), multichannel=True)
    assert live.channels is None
    left, right = await _stream(live, encode(SPEECH, "webm-opus", channels=2), 1_000)
    assert live.channels == 2
    assert likeness(left, SPEECH) > ALIKE
    assert len(right) == len(left)


async def test_bare_opus_packets(decoder: Decoder) -> None:
    live = LiveDecoder(decoder, AudioFormat(Encoding.OPUS, 48_000, 1))
    parts = [(await live.feed(packet) or [b""])[0] for packet in opus_packets(SPEECH)]
    parts += await live.finish()
    live.close()
    assert len(parts[3]) == 640  # 20 ms in, 20 ms out
    assert likeness(b"".join(parts), SPEECH) > ALIKE


@pytest.mark.parametrize("name", ["ogg-opus", "webm-opus"])
async def test_bare_opus_in_stereo_and_opus_that_is_a_file_after_all(decoder: Decoder, name: str) -> None:
    live = LiveDecoder(decoder, AudioFormat(Encoding.OPUS, 48_000, 2), multichannel=True)
    left = b"".join([(await live.feed(packet) or [b""])[0] for packet in opus_packets(SPEECH, channels=2)])
    live.close()
    assert likeness(left, SPEECH) > ALIKE
    file = LiveDecoder(decoder, AudioFormat(Encoding.OPUS, 48_000, 1))
    (mono,) = await _stream(file, encode(SPEECH, name), 1_000)
    assert likeness(mono, SPEECH) > ALIKE


async def test_an_mp4_whose_index_comes_last_cannot_be_live(decoder: Decoder) -> None:
    live = LiveDecoder(decoder, AudioFormat())
    with pytest.raises(BadMedia, match="index at the beginning"):
        await _stream(live, encode(SPEECH, "m4a"), 1_000)
    live.close()


def _with_pictures() -> bytes:
    """An mp4 of a moving picture and speech."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=25, options={"threads": "1"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("aac", rate=16_000, layout="mono")
        for number in range(50):
            container.mux(video.encode(av.VideoFrame(64, 48, "yuv420p")))
            frame = av.AudioFrame(format="fltp", layout="mono", samples=640)
            frame.sample_rate, frame.pts = 16_000, number * 640
            samples = memoryview(SPEECH).cast("h")[number * 640 : (number + 1) * 640]
            frame.planes[0].update(array("f", (value / 32_768 for value in samples)).tobytes())
            container.mux(audio.encode(frame))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return file.getvalue()


def _with_cover() -> bytes:
    """An mp3 behind an ID3v2 tag with a picture that is none."""
    picture = b"APIC" + struct.pack(">IH", 100_013, 0) + b"\0image/png\0\3\0" + bytes(100_000)
    size = len(picture)
    return b"ID3\3\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + picture + encode(SPEECH, "mp3")


async def test_pictures_are_passed_over(decoder: Decoder) -> None:
    for data in (_with_pictures(), _with_cover()):
        assert likeness((await decoder.decode(data)).channels[0], SPEECH) > ALIKE
    (live,) = await _stream(LiveDecoder(decoder, AudioFormat()), _with_cover(), 3_000)
    assert likeness(live, SPEECH) > ALIKE


# -- what is no audio --------------------------------------------------------------------------------------------------


def _wav(
    *, rate: int = 16_000, channels: int = 1, bits: int = 16, data: bytes = b"", claimed: int | None = None
) -> bytes:
    size = len(data) if claimed is None else claimed
    frame = channels * bits // 8
    shape = struct.pack("<HHIIHH", 1, channels, rate, rate * frame & 0xFFFFFFFF, frame, bits)
    return (
        b"RIFF"
        + struct.pack("<I", min(36 + size, 0xFFFFFFFF))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + shape
        + b"data"
        + (struct.pack("<I", size) + data)
    )


NOT_AUDIO = {
    "nothing": b"",
    "text": b"hello, this is not audio" * 100,
    "zeros": bytes(10_000),
    "a wav without samples": _wav(),
    "a wav of 1,092,676 Hz": _wav(rate=1_092_676, data=bytes(800)),
    "a wav of 0 Hz": _wav(rate=0, data=bytes(800)),
    "a wav without a data chunk": _wav(data=bytes(800))[:36],
    "a wav of 9 channels": _wav(channels=9, data=bytes(1_800)),
    "a wav of 0 channels": _wav(channels=0, data=bytes(1_800)),
    "a playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "a concatenation": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "subtitles": b"1\n00:00:01,000 --> 00:00:02,000\nhello\n\n" * 20,
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(200),
}


@pytest.mark.parametrize("what", NOT_AUDIO)
async def test_what_is_not_audio_is_said_to_be_bad(decoder: Decoder, what: str) -> None:
    with pytest.raises(BadMedia) as caught:
        await decoder.decode(NOT_AUDIO[what])
    assert len(caught.value.message) > 20
    live = LiveDecoder(decoder, AudioFormat())
    with pytest.raises(BadMedia):
        await _stream(live, NOT_AUDIO[what], 700)
    live.close()
    assert decoder.live_open == 0


async def test_a_wav_that_claims_more_than_it_has_gives_what_it_has(decoder: Decoder) -> None:
    for claimed in (0xFFFFFFFF, 0x7FFFFFFF, 10**9):
        data = _wav(data=SPEECH, claimed=claimed)
        assert (await decoder.decode(data)).channels == (SPEECH,)
        assert await _stream(LiveDecoder(decoder, AudioFormat()), data, 3_000) == [SPEECH]


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_24_bits_in_32_are_integers(decoder: Decoder) -> None:
    samples = array("h", SPEECH)
    data = b"".join(struct.pack("<i", sample << 16) for sample in samples)
    shape = struct.pack("<HHIIHH", 0xFFFE, 1, 16_000, 64_000, 4, 32) + struct.pack("<HHI", 22, 24, 4)
    shape += bytes.fromhex("0100000000001000800000aa00389b71")  # KSDATAFORMAT_SUBTYPE_PCM
    chunks = b"WAVEfmt " + struct.pack("<I", len(shape)) + shape + b"data" + struct.pack("<I", len(data)) + data
    decoded = await decoder.decode(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    assert likeness(decoded.channels[0], SPEECH) > 0.999


async def test_gsm_in_a_wav_is_decoded(decoder: Decoder) -> None:
    """No encoder is at hand; any 65 bytes are two frames of sound, 40 ms (Microsoft's WAV 49)."""
    shape = struct.pack("<HHIIHHHH", 49, 1, 8_000, 1_625, 65, 0, 2, 320)
    data = bytes(range(65)) * 50
    chunks = b"WAVEfmt " + struct.pack("<I", len(shape)) + shape + b"data" + struct.pack("<I", len(data)) + data
    assert abs((await decoder.decode(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)).duration_ms - 2_000) < 50


async def test_decoded_length_is_bounded() -> None:
    decoder = Decoder(DecodeLimits(max_audio_ms=1_500, max_burst_ms=500))
    with pytest.raises(TooLarge, match="1 s"):
        await decoder.decode(encode(SPEECH, "flac"))
    live = LiveDecoder(decoder, AudioFormat())
    with pytest.raises(TooLarge):
        await live.feed(encode(SPEECH, "mpga"))
    live.close()
    # A stream may be long, if only no single message is.
    (whole,) = await _stream(LiveDecoder(decoder, AudioFormat()), encode(SPEECH, "mpga"), 2_000)
    assert len(whole) > len(SPEECH) - 3_000
    await decoder.close()


async def test_input_is_bounded() -> None:
    decoder = Decoder(DecodeLimits(max_input_bytes=1_000))
    with pytest.raises(TooLarge):
        await decoder.decode(bytes(1_001))
    await decoder.close()


async def test_memory_is_bounded() -> None:
    # AAC's decoder wants over a megabyte, more than what the allocator holds free from before the bound.
    decoder = Decoder(DecodeLimits(memory_bytes=0))
    with pytest.raises((TooLarge, BadMedia, EngineError)):
        await decoder.decode(encode(murmur(1.0), "m4a", channels=2))
    await decoder.close()


async def test_processor_time_is_bounded() -> None:
    decoder = Decoder(DecodeLimits(cpu_s=0, max_audio_ms=10**9))
    silence = io.BytesIO()
    with wave.open(silence, "wb") as wav:
        wav.setparams((8, 2, 192_000, 0, "NONE", ""))
        wav.writeframes(bytes(300_000_000))
    with pytest.raises(TooLarge, match="processor time"):
        await decoder.decode(silence.getvalue())
    await decoder.close()


async def test_waiting_time_is_bounded() -> None:
    decoder = Decoder(DecodeLimits(wall_s=0))
    await decoder.start()
    with pytest.raises(EngineTimeout, match="in 0 s"):
        await decoder.decode(encode(SPEECH, "mp3"))
    await decoder.close()


async def test_live_streams_are_counted() -> None:
    decoder = Decoder(DecodeLimits(live_at_once=1))
    data = encode(SPEECH, "mpga")
    first, second = LiveDecoder(decoder, AudioFormat()), LiveDecoder(decoder, AudioFormat())
    await first.feed(data[:4_000])
    with pytest.raises(CapacityError):
        await second.feed(data[:4_000])
    second.close()
    first.close()
    first.close()
    third = LiveDecoder(decoder, AudioFormat())
    await third.feed(data[:4_000])
    third.close()
    assert decoder.live_open == 0
    await decoder.close()


async def test_waiting_recordings_are_counted() -> None:
    decoder = Decoder(DecodeLimits(files_at_once=1, files_waiting=1))
    await decoder.start()
    data = encode(SPEECH, "mp3")
    first, second = (asyncio.create_task(decoder.decode(data)) for _ in range(2))
    await asyncio.sleep(0)
    with pytest.raises(CapacityError):
        await decoder.decode(data)
    assert (await first).channels == (await second).channels
    await decoder.close()


# -- processes ---------------------------------------------------------------------------------------------------------


def _proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def _children(parent: int) -> list[int]:
    return [int(pid) for pid in _proc(parent, f"task/{parent}/children").split()]


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the decoder processes did not settle")


def _decoders(decoder: Decoder) -> list[int]:
    assert decoder.pid is not None
    return _children(decoder.pid)


async def test_a_decoder_has_no_files_and_ends_with_its_stream(decoder: Decoder) -> None:
    live = LiveDecoder(decoder, AudioFormat())
    await live.feed(encode(SPEECH, "mpga")[:4_000])
    (pid,) = _decoders(decoder)
    assert sorted(map(int, os.listdir(f"/proc/{pid}/fd"))) == [0, 1, 2]
    limits = _proc(pid, "limits").splitlines()
    for name, bound in (("open files", "0"), ("processes", "0"), ("file size", "0"), ("core file size", "1")):
        (line,) = (line for line in limits if line.startswith(f"Max {name}"))
        assert line.removeprefix(f"Max {name}").split()[:2] == [bound, bound]
    assert "HOME=/\0" in _proc(pid, "environ")
    live.close()
    await _until(lambda: not _decoders(decoder))


async def test_a_stopped_decoder_is_killed_when_its_caller_gives_up(decoder: Decoder) -> None:
    live = LiveDecoder(decoder, AudioFormat())
    await live.feed(encode(SPEECH, "mpga")[:4_000])
    os.kill(_decoders(decoder)[0], signal.SIGSTOP)
    waiting = asyncio.create_task(live.feed(b"more"))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    live.close()
    await _until(lambda: not _decoders(decoder))


@pytest.mark.parametrize(("number", "error"), [(signal.SIGSEGV, BadMedia), (signal.SIGKILL, EngineError)])
async def test_a_decoder_that_dies_says_of_what(decoder: Decoder, number: signal.Signals, error: type) -> None:
    live = LiveDecoder(decoder, AudioFormat())
    await live.feed(encode(SPEECH, "mpga")[:4_000])
    os.kill(_decoders(decoder)[0], number)
    with pytest.raises(error):
        await live.feed(b"more")
    live.close()
    assert likeness((await decoder.decode(encode(SPEECH, "wav"))).channels[0], SPEECH) > ALIKE


async def test_the_process_that_forks_is_replaced(decoder: Decoder) -> None:
    await decoder.decode(encode(SPEECH, "wav"))
    assert decoder.pid is not None
    os.kill(decoder.pid, signal.SIGKILL)
    for _ in range(3):
        assert len((await decoder.decode(encode(SPEECH, "wav"))).channels[0]) == len(SPEECH)


async def test_close_ends_everything() -> None:
    decoder = Decoder()
    live = LiveDecoder(decoder, AudioFormat())
    await live.feed(encode(SPEECH, "mpga")[:4_000])
    pids = [decoder.pid, *_decoders(decoder)]
    await decoder.close()
    with pytest.raises(EngineError):
        await live.feed(b"more")
    live.close()
    await _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
