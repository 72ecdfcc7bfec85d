import numpy as np
import pytest

from antiphon.engines import alignment

FRAME_MS = alignment.FRAME_MS
FIRST_MS = 16


def looks(spans: list[tuple[int, int]], frames: int) -> np.ndarray:
    """Attention of tokens that each look at a range of frames."""
    weights = np.full((len(spans), frames), 1e-3, np.float32)
    for token, (start, end) in enumerate(spans):
        weights[token, start:end] = 1
    return weights / weights.sum(axis=1, keepdims=True)


def frames_of(times: list[tuple[int, int]]) -> list[tuple[float, float]]:
    return [((a - FIRST_MS) / FRAME_MS, (b - FIRST_MS) / FRAME_MS) for a, b in times]


def test_words_are_where_their_tokens_look():
    weights = looks([(0, 4), (4, 6), (6, 11)], 11)
    times = alignment.word_times(weights, [(0, 2), (2, 3)], np.zeros(11, bool))
    assert frames_of(times) == [(0, 6), (6, 11)]


def test_silence_belongs_to_no_word():
    silent = np.zeros(20, bool)
    silent[:3] = silent[8:14] = silent[18:] = True
    # While nothing is said the decoder looks anywhere: here, the first word's last token.
    weights = looks([(0, 5), (5, 14), (14, 20)], 20)
    times = alignment.word_times(weights, [(0, 2), (2, 3)], silent)
    assert frames_of(times) == [(3, 8), (14, 18)]


def test_no_pause_inside_a_word():
    silent = np.zeros(12, bool)
    silent[4:6] = True
    weights = looks([(0, 4), (6, 12)], 12)
    ((start, end),) = frames_of(alignment.word_times(weights, [(0, 2)], silent))
    assert (start, end) == (0, 12)


def test_more_tokens_than_frames_share_the_frames():
    times = alignment.word_times(looks([(0, 1)] * 6, 3), [(0, 2), (2, 6)], np.zeros(3, bool))
    assert frames_of(times) == [(0, 1), (1, 3)]


def test_no_words_no_times():
    assert alignment.word_times(np.ones((1, 4), np.float32), [], np.zeros(4, bool)) == []


def test_attention_rows_sum_to_one_and_prefer_the_like():
    keys = np.eye(4, 36, dtype=np.float32) * 60
    weights = alignment.attention(keys[2:3], keys)
    assert weights.sum() == pytest.approx(1)
    assert weights.argmax() == 2


def test_quiet_is_relative_to_the_loud():
    rng = np.random.default_rng(1)
    samples = (rng.standard_normal(384 * 20 + 512) * 20).astype(np.int16)
    samples[448 + 384 * 5 : 448 + 384 * 12] *= 200
    silent = alignment.quiet_frames(samples, 20)
    assert not silent[6:11].any()
    assert silent[:4].all()
    assert silent[13:].all()
    assert not alignment.quiet_frames((rng.standard_normal(384 * 20 + 512) * 3000).astype(np.int16), 20).any()
