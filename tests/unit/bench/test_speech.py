import pytest

from antiphon.bench.speech import Span, levels_db, merge, utterances
from antiphon.core.audio import SAMPLE_RATE

from .conftest import sound


def seconds(spans: tuple[Span, ...]) -> list[tuple[float, float]]:
    return [(span.start / SAMPLE_RATE, span.end / SAMPLE_RATE) for span in spans]


@pytest.mark.parametrize("hiss", [0.0, 0.0005, 0.01])
@pytest.mark.parametrize("amplitude", [0.5, 0.05])
def test_finds_onset_and_end_to_a_frame_whatever_the_loudness_and_the_noise(hiss: float, amplitude: float) -> None:
    pcm = sound((0.37, 0), (1.0, amplitude), (0.5, 0), hiss=hiss)
    assert seconds(utterances(pcm)) == [(0.37, 1.37)]


def test_a_pause_of_600_ms_separates_utterances_and_a_shorter_one_does_not() -> None:
    assert seconds(utterances(sound((0.5, 0.3), (0.6, 0), (0.5, 0.3), (0.5, 0)))) == [(0.0, 0.5), (1.1, 1.6)]
    assert seconds(utterances(sound((0.5, 0.3), (0.59, 0), (0.5, 0.3), (0.5, 0)))) == [(0.0, 1.59)]


def test_a_lone_burst_is_no_speech_but_one_beside_speech_is() -> None:
    assert seconds(utterances(sound((0.1, 0.3), (0.4, 0), (1.0, 0.3), (0.5, 0)))) == [(0.5, 1.5)]
    assert seconds(utterances(sound((0.1, 0.3), (0.2, 0), (1.0, 0.3), (0.5, 0)))) == [(0.0, 1.3)]


def test_a_clip_of_one_short_word_is_that_word() -> None:
    assert seconds(utterances(sound((0.3, 0), (0.2, 0.3), (0.5, 0)))) == [(0.3, 0.5)]


def test_a_faint_voice_within_35_db_of_the_loud_level_is_kept() -> None:
    spans = utterances(sound((1.0, 0.5), (0.7, 0), (0.5, 0.02), (1.0, 0), hiss=0.00001))
    assert seconds(spans) == [(0.0, 1.0), (1.7, 2.2)]


@pytest.mark.parametrize("pcm", [b"", bytes(100), bytes(32_000)])
def test_silence_holds_no_utterance(pcm: bytes) -> None:
    assert utterances(pcm) == ()


def test_levels_are_decibels_below_full_scale() -> None:
    assert levels_db(sound((0.05, 1.0), hiss=0)) == pytest.approx([-3.01] * 5, abs=0.01)


def test_merge_joins_what_is_closer_than_the_gap() -> None:
    assert merge([Span(0, 2), Span(4, 5), Span(9, 10)], 3) == [Span(0, 5), Span(9, 10)]
    assert merge([], 3) == []


def test_overlap_counts_shared_samples() -> None:
    assert Span(0, 10).overlap(Span(4, 20)) == 6
    assert Span(0, 10).overlap(Span(10, 20)) == 0
    assert Span(0, 10).overlap(Span(15, 20)) < 0
