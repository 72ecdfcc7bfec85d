"""What Whisper's process says, as hypotheses; and how long the audio is that it is given."""

from math import exp

import pytest

from antiphon.core.audio import SAMPLE_RATE
from antiphon.engines.whisper.messages import Result, Row
from antiphon.engines.whisper.recogniser import _hypothesis
from antiphon.engines.whisper.worker import _length

RESULT = Result(
    (11, 12, 13, 14), (" He", " was", "n't", " ill"), (-0.1, -0.2, -0.4, 0.0), (0, 20, 40, 60), (20, 40, 60, 90), False
)


def test_words_are_of_the_tokens_between_blanks():
    hypothesis = _hypothesis(RESULT, timed=True)
    assert hypothesis.text == "He wasn't ill"
    assert [(word.text, word.start_ms, word.end_ms) for word in hypothesis.words] == [
        ("He", 0, 20),
        ("wasn't", 20, 60),
        ("ill", 60, 90),
    ]
    assert hypothesis.words[1].confidence == pytest.approx(exp(-0.3))
    assert "".join(hypothesis.pieces).strip() == hypothesis.text


def test_times_only_where_they_are_asked_for():
    assert {(word.start_ms, word.end_ms) for word in _hypothesis(RESULT, timed=False).words} == {(0, 0)}


def test_nothing_said_is_no_word():
    hypothesis = _hypothesis(Result((), (), (), (), (), False), timed=True)
    assert (hypothesis.text, hypothesis.words, hypothesis.confidence) == ("", (), 0.0)


@pytest.mark.parametrize(("seconds", "given"), [(0, 10), (3, 10), (9, 10), (9.1, 15), (14.5, 20), (29.5, 30), (40, 30)])
def test_audio_is_filled_with_silence_to_a_whole_step(seconds, given):
    assert _length(Row(bytes(2 * int(seconds * SAMPLE_RATE)), ())) == given * SAMPLE_RATE


def test_without_blanks_a_word_is_a_token_with_a_letter():
    result = Result((1, 2, 3), ("你", "好", "。"), (0.0,) * 3, (0, 20, 40), (20, 40, 60), False, "zh", 0.8)
    assert [word.text for word in _hypothesis(result, timed=True).words] == ["你", "好。"]
