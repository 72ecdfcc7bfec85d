import wave
from pathlib import Path

import numpy as np
import pytest

from antiphon.bench.clips import load, read_references
from antiphon.core.errors import BadMedia, CallerError


def write_wav(path: Path, samples: "np.ndarray[tuple[int, ...], np.dtype[np.int16]]", rate: int) -> None:
    """Samples of shape (n, channels)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def test_any_rate_and_channels_become_16_khz_mono(tmp_path: Path) -> None:
    t = np.arange(48_000) / 48_000
    tone = np.where((t > 0.25) & (t < 0.75), 8_000 * np.sin(2 * np.pi * 300 * t), 0).astype("<i2")
    write_wav(tmp_path / "tone.wav", np.stack([tone, tone], axis=1), 48_000)
    clip = load(tmp_path / "tone.wav", {"tone.wav": "la", "other.wav": "no"})
    assert (clip.name, clip.reference) == ("tone.wav", "la")
    assert clip.samples == pytest.approx(16_000, abs=50)
    (span,) = clip.utterances
    assert span.start == pytest.approx(4_000, abs=160)
    assert span.end == pytest.approx(12_000, abs=160)


def test_what_cannot_be_decoded_or_holds_no_speech_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(b"not audio at all" * 20)
    write_wav(tmp_path / "silence.wav", np.zeros((16_000, 1), "<i2"), 16_000)
    for name in ("noise.wav", "silence.wav", "missing.wav"):
        with pytest.raises(BadMedia, match=name):
            load(tmp_path / name, {})


def test_references_are_read_by_column_and_quotes_are_text(tmp_path: Path) -> None:
    path = tmp_path / "references.tsv"
    path.write_text('file\ttext\tsource\na.wav\tsaid "so\tx\nbad.wav\t\ty\n')
    assert read_references(path) == {"a.wav": 'said "so'}
    path.write_text("name\twords\na.wav\thello\n")
    with pytest.raises(CallerError, match="columns file and text"):
        read_references(path)
