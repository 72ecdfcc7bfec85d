import numpy as np
import pytest

from antiphon.bench.clips import Clip
from antiphon.bench.speech import Span, utterances
from antiphon.core.audio import SAMPLE_RATE


def sound(*pieces: tuple[float, float], hiss: float = 0.001) -> bytes:
    """Pieces of (seconds, amplitude) of a tone over a steady hiss, as 16 kHz mono int16."""
    rng = np.random.default_rng(7)
    parts = []
    for seconds, amplitude in pieces:
        t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        parts.append(amplitude * np.sin(2 * np.pi * 200 * t))
    samples = np.concatenate(parts)
    samples += hiss * rng.standard_normal(len(samples))
    return (samples * 32767).clip(-32768, 32767).astype("<i2").tobytes()


@pytest.fixture
def clip() -> Clip:
    """Speech from 0.2 s to 1.2 s of 1.5 s."""
    pcm = sound((0.2, 0), (1.0, 0.3), (0.3, 0))
    assert utterances(pcm) == (Span(3_200, 19_200),)
    return Clip("one.wav", pcm, utterances(pcm), "one two three")
