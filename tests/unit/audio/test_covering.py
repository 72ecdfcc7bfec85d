"""A copy of a recording: what is hidden cannot be heard in it, and the rest can."""

import io
import wave

import av
import numpy as np
import pytest

from antiphon.audio import covering
from antiphon.audio.covering import MARGIN_MS, cover
from antiphon.core.audio import Codec
from antiphon.core.redaction import Cover, RedactedAudio

RATE = 16_000
HIDDEN = [(1_000, 1_500), (2_990, 3_400)]


def voice(hz: int, seconds: int = 4) -> memoryview:
    at = np.arange(seconds * RATE) / RATE
    return memoryview(np.rint(8_000 * np.sin(2 * np.pi * hz * at)).astype("<i2").tobytes())


def share(samples: np.ndarray, hz: int, start_ms: int, end_ms: int) -> float:
    """How much of a tone is in a stretch of sound."""
    part = samples[start_ms * 16 : end_ms * 16].astype(np.float64)
    at = np.arange(len(part)) / RATE
    return float(abs(np.dot(part, np.exp(-2j * np.pi * hz * at))) / len(part))


def heard(copy: bytes) -> np.ndarray:
    if copy.startswith(b"RIFF"):
        with wave.open(io.BytesIO(copy)) as file:
            assert (file.getframerate(), file.getnchannels()) == (RATE, 1)
            return np.frombuffer(file.readframes(file.getnframes()), "<i2")
    with av.open(io.BytesIO(copy)) as file:
        frames = [frame.to_ndarray()[0] for frame in file.decode(audio=0)]
        return np.concatenate(frames) * 32_768


@pytest.mark.parametrize("codec", [Codec.LINEAR16, Codec.MP3])
@pytest.mark.parametrize("how", list(Cover))
def test_no_channel_is_heard_at_hidden_times(codec: Codec, how: Cover, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covering, "PIECE_SAMPLES", 3 * RATE)  # the second is in two pieces
    sound = heard(cover([voice(300), voice(2_500)], HIDDEN, RedactedAudio(codec, how)))
    for start, end in ((100, 900), (1_650, 2_800), (3_550, 3_900)):
        assert share(sound, 300, start, end) > 1_000
        assert share(sound, 2_500, start, end) > 1_000
    for start, end in HIDDEN:
        assert share(sound, 300, start, end) < 30
        assert share(sound, 2_500, start, end) < 30
        assert (share(sound, covering.BEEP_HZ, start, end) > 1_000) is (how is Cover.BEEP)


def test_a_margin_is_hidden_too_and_nothing_beyond() -> None:
    sound = heard(cover([voice(300)], [(1_000, 1_500)], RedactedAudio(Codec.LINEAR16, Cover.SILENCE)))
    silent = np.flatnonzero(sound == 0)
    inside = silent[(silent > 12_000) & (silent < 28_000)]
    begin, end = (1_000 - MARGIN_MS) * 16, (1_500 + MARGIN_MS) * 16
    assert not sound[begin:end].any()
    assert inside.size < end - begin + 200  # zero crossings


def test_times_beyond_the_recording_are_hidden_as_far_as_there_are_any() -> None:
    sound = heard(cover([voice(300, 1)], [(-500, 100), (900, 9_000)], RedactedAudio(Codec.LINEAR16, Cover.SILENCE)))
    assert len(sound) == RATE
    assert not sound[:1_600].any()
    assert not sound[-1_600:].any()
    assert sound.any()


@pytest.mark.parametrize("codec", [Codec.LINEAR16, Codec.MP3])
def test_a_copy_that_is_too_large_is_none(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covering, "MAX_BYTES", 1_000)
    assert cover([voice(300)], [], RedactedAudio(codec)) == b""


def test_a_copy_is_not_called_synthetic() -> None:
    with av.open(io.BytesIO(cover([voice(300)], [], RedactedAudio()))) as file:
        assert "synthetic" not in str(file.metadata).lower()
        assert file.metadata["comment"] == covering.TAGS["comment"]
