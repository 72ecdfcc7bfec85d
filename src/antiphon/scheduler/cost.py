"""How long a batch will take, learnt from how long batches took.

A linear model over three features of a batch: a constant, the audio to encode, and the new audio of the row that has
most of it, because rows are decoded together and the last one to finish decides the number of steps. It is fitted
online by recursive least squares with forgetting (Ljung, *System Identification*, 11.2), in the form that keeps the
information matrix rather than its inverse. This makes three rules easy to keep:

1. Information fades, but never below a floor: after a million equal batches, the model still follows the next change,
   and the first batch that differs does not upset it.
2. One stall of the machine must not teach much: the time that is learnt from a batch is bounded.
3. No weight goes below zero, which would say that more work takes less time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

FORGET = 0.995
PRIOR = (6.0, 6.0, 10.0)  # ms: per batch, per second of audio, per second of audio without a draft
FLOOR = 0.1  # of information, in batches
SURPRISE = 4.0  # a batch counts with at most this many times its predicted time ...
STALL_MS = 50.0  # ... plus this


class BatchLoad(Protocol):
    """The features of an item."""

    @property
    def audio_ms(self) -> int: ...

    @property
    def new_audio_ms(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Row:
    """A hypothetical item, to ask for its cost."""

    audio_ms: int
    new_audio_ms: int


def features(batch: Sequence[BatchLoad]) -> tuple[float, float, float]:
    """Return (1, seconds of audio, the most seconds of new audio in one row)."""
    return (1.0, sum(i.audio_ms for i in batch) / 1000, max(i.new_audio_ms for i in batch) / 1000)


class CostModel:
    """Predicts and learns the wall time of a batch, in milliseconds."""

    def __init__(self, prior: tuple[float, float, float] = PRIOR) -> None:
        self._fit = list(prior)  # a weight may be below zero here: the fit needs that to recover
        self._information = [[FLOOR * (i == j) for j in range(3)] for i in range(3)]
        self.weights = prior

    def predict_ms(self, batch: Sequence[BatchLoad]) -> float:
        return max(1.0, sum(w * f for w, f in zip(self.weights, features(batch), strict=True)))

    def believed_ms(self, batch: Sequence[BatchLoad], took_ms: float) -> float:
        """Return how much of the time was the batch's own: the engine may have been stopped or restarted."""
        return min(took_ms, SURPRISE * self.predict_ms(batch) + STALL_MS)

    def learn(self, batch: Sequence[BatchLoad], took_ms: float) -> None:
        believed = self.believed_ms(batch, took_ms)
        seen = features(batch)
        size = sum(seen)  # a large batch is off by more milliseconds than a small one, and must not count for more
        x = [feature / size for feature in seen]
        for i, row in enumerate(self._information):
            for j in range(3):
                row[j] = FORGET * row[j] + (1 - FORGET) * FLOOR * (i == j) + x[i] * x[j]
        off = believed / size - sum(w * f for w, f in zip(self._fit, x, strict=True))
        self._fit = [w + gain * off for w, gain in zip(self._fit, _solved(self._information, x), strict=True)]
        a, b, c = (max(weight, 0.0) for weight in self._fit)
        self.weights = a, b, c


def _solved(matrix: list[list[float]], x: list[float]) -> list[float]:
    """Return the y for which `matrix` times y is x, by elimination. A positive definite matrix needs no pivoting."""
    rows = [[*row, value] for row, value in zip(matrix, x, strict=True)]
    for i, pivot in enumerate(rows):
        for row in rows:
            if row is not pivot:
                factor = row[i] / pivot[i]
                row[:] = [a - factor * b for a, b in zip(row, pivot, strict=True)]
    return [row[-1] / row[i] for i, row in enumerate(rows)]
