"""The times of words, from where the decoder attended while it wrote them.

One head of the second decoder layer follows the audio token by token. Its attention gives every frame a likelihood for
every token, the frame's loudness says whether it can be a pause, and the best monotone path through tokens, with a
pause before any word and at the end, gives the times. Dynamic programming over tokens: a step is a few operations on
whole arrays of frames.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FRAME_SAMPLES = 384
FRAME_MS = 24
# A frame's audio is centred on its first sample plus this much.
_CENTRE_SAMPLES = 448
_CENTRE_MS = 16
# The level between the quiet and the loud of an utterance where silence ends, and how far below the loud it is at
# least.
_QUIET_SHARE = 0.3
_QUIET_BELOW_DB = 25.0
# In natural logs: the cost of a pause in sound, and of a token in silence.
_LOUD_PAUSE = 6.0
_QUIET_TOKEN = 3.0
_FLOOR = 1e-3


def attention(queries: NDArray[np.float32], keys: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return attention weights: (tokens, head), (frames, head) -> (tokens, frames). Rows sum to 1."""
    scores = queries @ keys.T * np.float32(keys.shape[1] ** -0.5)
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights: NDArray[np.float32] = scores / scores.sum(axis=1, keepdims=True)
    return weights


def quiet_frames(samples: NDArray[np.int16], frames: int) -> NDArray[np.bool_]:
    """Return which frames of an utterance contain only background."""
    start = _CENTRE_SAMPLES - FRAME_SAMPLES // 2
    signal = np.zeros((frames, FRAME_SAMPLES), np.float32)
    part = samples[start : start + signal.size]
    signal.reshape(-1)[: len(part)] = part
    loudness = 10 * np.log10(np.square(signal).mean(axis=1) + 1)
    low, high = np.percentile(loudness, (5, 95))
    silent: NDArray[np.bool_] = loudness < min(low + _QUIET_SHARE * (high - low), high - _QUIET_BELOW_DB)
    return silent


def word_times(
    weights: NDArray[np.float32], words: Sequence[tuple[int, int]], silent: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Return the (start, end) of every word in milliseconds from the first sample.

    `weights` is (tokens, frames), `words` are ordered half-open ranges of tokens, `silent` is (frames,). Each token
    takes at least one frame if there are enough; otherwise words share the frames evenly.
    """
    tokens, frames = weights.shape
    if not words:
        return []
    if frames < tokens:
        edges = [frames * token // tokens for token in range(tokens + 1)]
        spans = {token: (edges[token], edges[token + 1]) for token in range(tokens)}
    else:
        spans = _best_path(weights, {start for start, _ in words}, silent)
    return [
        (spans[start][0] * FRAME_MS + _CENTRE_MS, spans[end - 1][1] * FRAME_MS + _CENTRE_MS) for start, end in words
    ]


def _best_path(weights: NDArray[np.float32], starts: set[int], silent: NDArray[np.bool_]) -> dict[int, tuple[int, int]]:
    """Return the half-open range of frames of every token."""
    tokens, frames = weights.shape
    likelihood = np.log(weights / (weights.sum(axis=0) + 1e-9) + _FLOOR) - _QUIET_TOKEN * silent
    steps: list[int | None] = []
    for token in range(tokens):
        steps += [None, token] if token in starts else [token]
    steps.append(None)
    sums = np.zeros((tokens + 1, frames + 1))
    np.cumsum(likelihood, axis=1, out=sums[:tokens, 1:])
    np.cumsum(np.where(silent, 0.0, -_LOUD_PAUSE), out=sums[tokens, 1:])

    # best[t]: the score of all steps so far, ending before frame t. A pause may be empty, a token may not.
    best = np.full(frames + 1, -np.inf)
    best[0] = 0.0
    gains = []
    for step in steps:
        total = sums[tokens if step is None else step]
        gain = best - total
        gains.append(gain)
        best = np.maximum.accumulate(gain)
        best = best + total if step is None else np.concatenate(([-np.inf], best[:-1] + total[1:]))
    end = frames
    spans: dict[int, tuple[int, int]] = {}
    for step, gain in zip(reversed(steps), reversed(gains), strict=True):
        start = int(gain[: end + 1 if step is None else end].argmax())
        if step is not None:
            spans[step] = (start, end)
        end = start
    return spans
