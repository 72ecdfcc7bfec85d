"""How long a batch will take, learnt from how long batches took.

A linear model over three features of a batch, fitted online by recursive least squares with forgetting (Haykin,
*Adaptive Filter Theory*, ch. 10): a constant, the audio to encode, and the new audio of the row that has most of it,
because rows are decoded together and the last one to finish decides how many steps are taken.
"""

from collections.abc import Sequence
from typing import Protocol

FORGET = 0.995
PRIOR = (6.0, 6.0, 10.0)  # ms: per batch, per second of audio, per second of not yet drafted audio
UNCERTAINTY = 1.0


class Load(Protocol):
    """What the model looks at in an item."""

    @property
    def audio_ms(self) -> int: ...

    @property
    def new_audio_ms(self) -> int: ...


def features(batch: Sequence[Load]) -> tuple[float, float, float]:
    """(1, seconds of audio, the most seconds of new audio in one row)."""
    return (1.0, sum(i.audio_ms for i in batch) / 1000, max(i.new_audio_ms for i in batch) / 1000)


class CostModel:
    """Predicts and learns a batch's wall time in milliseconds."""

    def __init__(self, prior: tuple[float, float, float] = PRIOR) -> None:
        self.weights = list(prior)
        self._p = [[UNCERTAINTY if r == c else 0.0 for c in range(3)] for r in range(3)]

    def predict_ms(self, batch: Sequence[Load]) -> float:
        return self.of(features(batch))

    def of(self, x: tuple[float, float, float]) -> float:
        return max(1.0, sum(w * f for w, f in zip(self.weights, x, strict=True)))

    def learn(self, batch: Sequence[Load], took_ms: float) -> None:
        x = features(batch)
        px = [sum(row[c] * x[c] for c in range(3)) for row in self._p]
        gain = [v / (FORGET + sum(f * v for f, v in zip(x, px, strict=True))) for v in px]
        error = took_ms - sum(w * f for w, f in zip(self.weights, x, strict=True))
        # A weight below zero would say that more work takes less time.
        self.weights = [max(0.0, w + g * error) for w, g in zip(self.weights, gain, strict=True)]
        for r in range(3):
            for c in range(3):
                # The cap keeps a long run of like batches from winding the uncertainty up without end.
                self._p[r][c] = max(-10.0, min(10.0, (self._p[r][c] - gain[r] * px[c]) / FORGET))
