"""Captions, and how a stream listens for a conversation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.conversation.hearing import Caption, recognition_spec, tuning
from antiphon.core.conversation.spec import ConverseSpec, Eagerness, Transcription, Turns


def test_a_caption_says_what_two_hypotheses_agree_on():
    caption = Caption()
    assert caption.push("the cat") == ""
    assert caption.push("the cat sat") == "the cat"
    assert caption.push("the cat sad on") == ""
    assert caption.push("the cat sad on a") == " sad on"
    assert caption.finish("the cat sad on a mat.") == " a mat."


def test_what_was_said_is_not_said_otherwise():
    caption = Caption()
    caption.push("a b")
    assert caption.push("a b") == "a b"
    assert caption.finish("a c d") == ""


@given(st.lists(st.lists(st.sampled_from("ab"), max_size=5), max_size=10))
def test_a_caption_only_grows(hypotheses):
    caption, said = Caption(), ""
    for words in hypotheses:
        text = " ".join(words)
        more = caption.push(text)
        said += more
        assert not more or text.startswith(said)


def test_how_a_stream_listens():
    assert tuning(None).silence_ms is None
    by_silence = tuning(Turns(silence_ms=700, threshold=0.0, padding_ms=100))
    assert (by_silence.silence_ms, by_silence.soonest_ms, by_silence.padding_ms) == (700, None, 100)
    assert by_silence.threshold == pytest.approx(0.01)
    by_meaning = tuning(Turns(eagerness=Eagerness.HIGH, silence_ms=700))
    assert (by_meaning.silence_ms, by_meaning.soonest_ms) == (1200, 250)


def test_what_it_is_told():
    spec = recognition_spec(ConverseSpec(transcription=Transcription("ear", tokens=True)))
    assert (spec.model, spec.tokens, spec.live, spec.interims, spec.speech_events) == ("ear", True, True, True, True)
