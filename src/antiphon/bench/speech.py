"""Detection of speech in a clip, without any server: a plain energy detector.

The level of each 10 ms frame is compared with a threshold that is 30 % of the way, in decibels, from the clip's floor
(the 5th percentile of its frames) to its loud level (the 95th), at most 35 dB below the loud level. Three frames in a
row above it are speech. A burst shorter than 260 ms and as far from any other is a click or a cough, and is ignored.
Pauses of 600 ms or more separate utterances: any endpointing of up to 500 ms ends one there. On the clips tested,
onsets agree with a neural detector's within 80 ms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from antiphon.core.audio import SAMPLE_RATE

FRAME = SAMPLE_RATE // 100
THRESHOLD_SHARE = 0.3
MAX_BELOW_LOUD_DB = 35.0
SUSTAINED_FRAMES = 3
BURST_FRAMES = 26
PAUSE_FRAMES = 60

# Digital silence: a lower floor would move the threshold down to quantisation noise.
_SILENCE_DB = -90.0


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of samples."""

    start: int
    end: int

    def overlap(self, other: "Span") -> int:
        """Return how many samples both have in common; zero or less if they do not meet."""
        return min(self.end, other.end) - max(self.start, other.start)


def utterances(pcm: bytes) -> tuple[Span, ...]:
    """Return the utterances in 16 kHz mono int16 audio, in order; none if there is no sound."""
    loudness = levels_db(pcm)
    if not len(loudness):
        return ()
    floor, loud = np.percentile(loudness, [5, 95])
    if loud <= _SILENCE_DB:
        return ()
    threshold = max(floor + THRESHOLD_SHARE * (loud - floor), loud - MAX_BELOW_LOUD_DB)
    runs = merge(_runs(loudness >= threshold), BURST_FRAMES)
    voiced = [run for run in runs if run.end - run.start >= BURST_FRAMES] or runs
    return tuple(Span(run.start * FRAME, run.end * FRAME) for run in merge(voiced, PAUSE_FRAMES))


def levels_db(pcm: bytes) -> NDArray[np.float64]:
    """Return the level of each whole 10 ms frame, in dB below full scale."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float64) / 32768
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    power = (frames**2).mean(axis=1)
    levels: NDArray[np.float64] = np.maximum(10 * np.log10(np.maximum(power, 1e-12)), _SILENCE_DB)
    return levels


def _runs(loud: NDArray[np.bool_]) -> list[Span]:
    """Return the stretches of at least `SUSTAINED_FRAMES` loud frames."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], loud.astype(np.int8), [0])))).tolist()
    runs = (Span(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True))
    return [run for run in runs if run.end - run.start >= SUSTAINED_FRAMES]


def merge(runs: Sequence[Span], gap: int) -> list[Span]:
    """Join neighbours that are closer than `gap`."""
    merged: list[Span] = []
    for run in runs:
        if merged and run.start - merged[-1].end < gap:
            merged[-1] = Span(merged[-1].start, run.end)
        else:
            merged.append(run)
    return merged
