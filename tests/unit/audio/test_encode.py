"""What is coded is read back by FFmpeg: the same length, the same sound, whatever the pieces; nothing waits long."""

import io
import os
import wave
from functools import cache

import av
import numpy as np
import pytest

from antiphon.audio.encode import SpeechEncoder, check
from antiphon.audio.g711 import alaw_to_pcm, mulaw_to_pcm
from antiphon.core.audio import SYNTHETIC_SOURCE, Codec, Container, SpeechFormat
from antiphon.core.errors import UnsupportedParameter

PROCESSORS = os.sched_getaffinity(0)  # before there was any encoder
RATE = 22_050
SAMPLES = 17_777
RAW = {Codec.LINEAR16: "s16le", Codec.MULAW: "mulaw", Codec.ALAW: "alaw"}
WITHOUT_LENGTH = {Codec.MP3, Codec.AAC}  # whose streams do not say where the first and the last frame's padding is

FORMATS = [
    *(SpeechFormat(codec, Container.NONE, rate) for codec in RAW for rate in (8_000, 22_050, 48_000)),
    *(SpeechFormat(codec, Container.WAV, 24_000) for codec in RAW),
    *(SpeechFormat(Codec.MP3, Container.NONE, rate) for rate in (8_000, 22_050, 44_100)),
    *(SpeechFormat(Codec.OPUS, Container.OGG, rate) for rate in (8_000, 24_000, 48_000)),
    *(SpeechFormat(Codec.AAC, Container.NONE, rate) for rate in (16_000, 44_100)),
    *(SpeechFormat(Codec.FLAC, Container.NONE, rate) for rate in (16_000, 22_050, 48_000)),
]


@cache
def sweep(samples: int = SAMPLES, rate: int = RATE) -> bytes:
    """A tone that climbs from 200 Hz upwards, which is like itself at one delay only."""
    at = np.arange(samples) / rate
    return np.rint(9_000 * np.sin(2 * np.pi * (200 * at + 600 * at * at))).astype(np.int16).tobytes()


def encoded(format: SpeechFormat, pcm: bytes, piece: int = 441, *, rate: int = RATE, whole: bool = False) -> bytes:
    encoder = SpeechEncoder(format, rate, whole)
    parts = [encoder.push(pcm[start : start + 2 * piece]) for start in range(0, len(pcm), 2 * piece)]
    return b"".join([*parts, encoder.finish()])


def decoded(format: SpeechFormat, data: bytes) -> tuple[np.ndarray, int]:
    """Samples from -1 to 1, and their rate."""
    raw = RAW.get(format.codec) if format.container is Container.NONE else None
    options = {"sample_rate": str(format.sample_rate)} if raw else {}
    with av.open(io.BytesIO(data), format=raw, options=options) as container:
        stream = container.streams.audio[0]
        frames = [frame.to_ndarray()[0] for frame in container.decode(stream)]
        scale = 1 << 15 if frames[0].dtype == np.int16 else 1
        return np.concatenate(frames) / scale, stream.rate


def delay_and_likeness(got: np.ndarray, rate: int) -> tuple[int, float]:
    """Where the sweep begins in it, and how like it that stretch is (1 is equal)."""
    wanted = np.frombuffer(sweep(SAMPLES * rate // RATE, rate), np.int16).astype(np.float64)
    size = 1 << (len(got) + len(wanted)).bit_length()
    dots = np.fft.irfft(np.fft.rfft(got, size) * np.conj(np.fft.rfft(wanted, size)), size)[: len(got)]
    delay = int(np.argmax(dots))
    stretch = got[delay : delay + len(wanted)]
    wanted = wanted[: len(stretch)]
    return delay, float(np.dot(stretch, wanted) / np.linalg.norm(stretch) / np.linalg.norm(wanted))


@cache
def usual_delay(format: SpeechFormat) -> int:
    """Decoded samples before the first that was pushed."""
    return delay_and_likeness(*decoded(format, encoded(format, sweep())))[0]


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_the_same_sound_comes_back(format):
    got, rate = decoded(format, encoded(format, sweep()))
    assert rate == (48_000 if format.codec is Codec.OPUS else format.sample_rate)
    expected = SAMPLES * rate / RATE
    if format.codec in WITHOUT_LENGTH:
        assert expected <= len(got) <= expected + 4 * 1_152
    else:
        assert abs(len(got) - expected) <= rate / format.sample_rate  # to the sample, of its own rate
    delay, likeness = delay_and_likeness(got, rate)
    assert likeness > (0.98 if format.codec in WITHOUT_LENGTH | {Codec.OPUS} else 0.999)
    assert delay <= (2 * 1_152 if format.codec in WITHOUT_LENGTH else 2)


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_pieces_change_nothing(format):
    pcm = sweep(11_111)
    assert encoded(format, pcm, 100) == encoded(format, pcm, 11_111) == encoded(format, pcm, 1_001)


@pytest.mark.parametrize(
    ("format", "held_ms"),
    [
        (SpeechFormat(Codec.LINEAR16, Container.NONE, 8_000), 3),
        (SpeechFormat(Codec.MULAW, Container.WAV, 8_000), 3),
        (SpeechFormat(Codec.FLAC, Container.NONE, 24_000), 22),
        (SpeechFormat(Codec.OPUS, Container.OGG, 48_000), 48),
        (SpeechFormat(Codec.MP3, Container.NONE, 44_100), 55),
        (SpeechFormat(Codec.MP3, Container.NONE, 24_000), 50),
        (SpeechFormat(Codec.AAC, Container.NONE, 44_100), 50),
    ],
    ids=str,
)
def test_little_is_held_back(format, held_ms):
    encoder, data, step = SpeechEncoder(format, RATE), b"", RATE // 500
    pcm = sweep()
    for end in range(step, RATE // 2, step):
        data += encoder.push(pcm[2 * (end - step) : 2 * end])
        if end * 1000 // RATE > 60 + held_ms and end % 7 == 0:
            got, rate = decoded(format, data)
            assert end * 1000 / RATE - len(got) * 1000 / rate <= held_ms


@pytest.mark.parametrize(
    "format", [form for form in FORMATS if form.codec not in RAW or form.container is Container.WAV]
)
def test_containers_say_that_it_is_synthetic(format):
    with av.open(io.BytesIO(encoded(format, sweep(2_000)))) as container:
        tags = container.metadata | container.streams[0].metadata
    assert SYNTHETIC_SOURCE in tags["comment"]
    if format.container is not Container.WAV:  # whose tags are a closed list
        assert tags["digitalsourcetype"] == SYNTHETIC_SOURCE


@pytest.mark.parametrize("format", FORMATS, ids=str)
@pytest.mark.parametrize("samples", [5_000, 5_111, 5_160, 5_899])
def test_silence_pushes_out_what_was_said(format, samples):
    delay = usual_delay(format)
    encoder = SpeechEncoder(format, RATE)
    silence = bytes(2 * (RATE * encoder.flush_ms // 1000))
    data = encoder.push(sweep(samples)) + encoder.push(silence)
    got, rate = decoded(format, data)
    assert len(got) >= delay + samples * rate // RATE
    assert encoder.flush_ms <= (300 if format.sample_rate == 8_000 else 200)
    got, rate = decoded(format, data + encoder.push(sweep(samples)) + encoder.finish())
    length = (2 * samples + len(silence) // 2) * format.sample_rate // RATE
    assert len(got) >= delay + length * rate // format.sample_rate


def test_a_whole_wav_knows_its_length_and_a_streamed_one_says_that_it_does_not():
    format = SpeechFormat(Codec.LINEAR16, Container.WAV, RATE)
    streamed, whole = encoded(format, sweep()), encoded(format, sweep(), whole=True)
    assert len(whole) == len(streamed)
    assert streamed[4:8] == b"\xff\xff\xff\xff" != whole[4:8]
    with wave.open(io.BytesIO(whole)) as wav:
        assert (wav.getnframes(), wav.getframerate()) == (SAMPLES, RATE)
        assert wav.readframes(SAMPLES) == sweep()


@pytest.mark.parametrize("codec", [Codec.MP3, Codec.FLAC])
def test_a_whole_recording_knows_its_length(codec):
    format = SpeechFormat(codec, Container.NONE, RATE)
    got, _ = decoded(format, encoded(format, sweep(), whole=True))
    assert len(got) == SAMPLES
    assert delay_and_likeness(got, RATE)[0] == 0


def test_nothing_comes_before_the_end_of_a_whole_recording():
    encoder = SpeechEncoder(SpeechFormat(Codec.LINEAR16, Container.WAV, RATE), RATE, whole=True)
    assert encoder.push(sweep()) == b""
    assert len(encoder.finish()) > 2 * SAMPLES


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_no_speech_at_all(format):
    data = encoded(format, b"")
    assert encoded(format, b"", whole=True)[:4] == data[:4]
    assert len(data) < 500  # no padding is sent ahead of the sound
    if format.container is Container.WAV:
        assert data.startswith(b"RIFF")


def test_no_thread_is_left_by_an_encoder():
    before = len(os.listdir("/proc/self/task")), PROCESSORS
    encoders = [SpeechEncoder(format, RATE) for format in FORMATS]
    for encoder in encoders:
        encoder.push(sweep(1_000))
    assert (len(os.listdir("/proc/self/task")), os.sched_getaffinity(0)) == before


@pytest.mark.parametrize(
    ("format", "param"),
    [
        (SpeechFormat(Codec.MP3, Container.WAV), "container"),
        (SpeechFormat(Codec.OPUS, Container.NONE, 48_000), "container"),
        (SpeechFormat(Codec.OPUS, Container.OGG, 44_100), "sample_rate"),
        (SpeechFormat(Codec.LINEAR16, Container.NONE, 12_345), "sample_rate"),
        (SpeechFormat(Codec.FLAC, Container.NONE, 24_000, 64_000), "bit_rate"),
        (SpeechFormat(Codec.MP3, Container.NONE, 24_000, 192_000), "bit_rate"),
        (SpeechFormat(Codec.MP3, Container.NONE, 8_000, 80_000), "bit_rate"),
        (SpeechFormat(Codec.MP3, Container.NONE, 44_100, 24_000), "bit_rate"),
        (SpeechFormat(Codec.OPUS, Container.OGG, 48_000, 256_001), "bit_rate"),
        (SpeechFormat(Codec.AAC, Container.NONE, 8_000, 64_000), "bit_rate"),
    ],
    ids=str,
)
def test_what_no_encoder_makes_is_refused(format, param):
    with pytest.raises(UnsupportedParameter) as refused:
        check(format)
    assert refused.value.param == param
    with pytest.raises(UnsupportedParameter):
        SpeechEncoder(format, RATE)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
@pytest.mark.parametrize("bit_rate", [8_000, 32_000, 48_000, 64_000, 128_000, 160_000, 192_000, 320_000])
def test_an_mp3_has_the_bit_rate_that_was_asked_for(rate, bit_rate):
    format = SpeechFormat(Codec.MP3, Container.NONE, rate, bit_rate)
    try:
        check(format)
    except UnsupportedParameter:
        assert bit_rate > (64_000 if rate == 8_000 else 160_000) or (rate == 44_100 and bit_rate < 32_000)
        return
    with av.open(io.BytesIO(encoded(format, sweep()))) as container:
        assert container.streams[0].codec_context.bit_rate == bit_rate


@pytest.mark.parametrize("bit_rate", [16_000, 64_000, 128_000])
@pytest.mark.parametrize(
    "format", [SpeechFormat(Codec.OPUS, Container.OGG, 48_000), SpeechFormat(Codec.AAC, Container.NONE, 44_100)]
)
def test_other_bit_rates_are_kept_about(format, bit_rate):
    noise = np.random.default_rng(1).normal(0, 3_000, 4 * RATE).astype(np.int16).tobytes()
    data = encoded(SpeechFormat(format.codec, format.container, format.sample_rate, bit_rate), noise, 4 * RATE)
    pages = 4 * 50 * 28 if format.codec is Codec.OPUS else 0  # their headers
    assert bit_rate * 0.8 < (len(data) - pages) * 2 < bit_rate * 1.2 + 4_000


def test_g711_is_what_we_read():
    pcm = np.arange(-32_768, 32_768, dtype=np.int16)
    for codec, expand in ((Codec.MULAW, mulaw_to_pcm), (Codec.ALAW, alaw_to_pcm)):
        data = encoded(SpeechFormat(codec, Container.NONE, 8_000), pcm.tobytes(), rate=8_000)
        got = np.frombuffer(expand(data), np.int16).astype(np.int32)
        assert np.max(np.abs(got - pcm) / (np.abs(pcm.astype(np.int32)) + 256)) < 0.042
