import pytest

from antiphon.core.audio import BYTES_PER_MS
from antiphon.core.errors import EngineError
from antiphon.core.ports import Recogniser, Utterance, VoiceDetector
from antiphon.testing import FakeDetector, FakeRecogniser


def audio(ms: int, loudness: int = 5000) -> bytes:
    return loudness.to_bytes(2, "little", signed=True) * (ms * BYTES_PER_MS // 2)


def test_they_are_what_the_ports_ask_for():
    recogniser: Recogniser = FakeRecogniser()
    detector: VoiceDetector[int] = FakeDetector()
    assert recogniser.recognise([]) == []
    assert detector.probabilities([], []) == ([], [])


def test_a_loud_frame_is_speech_and_a_soft_one_is_not():
    detector = FakeDetector(threshold=1000)
    frames = [audio(32, 1000), audio(32, -1000), audio(32, 999), audio(32, 0)]
    probabilities, states = detector.probabilities(frames, [detector.initial_state(), 5, 6, 7])
    assert [p > 0.5 for (p,) in probabilities] == [True, True, False, False]
    assert states == [1, 6, 7, 8]
    assert detector.calls == [4]


def test_runs_may_differ_in_length():
    detector = FakeDetector(threshold=1000)
    runs = [audio(32, 1000) + audio(64, 0), audio(32, 1000)]
    probabilities, states = detector.probabilities(runs, [0, 1])
    assert [[p > 0.5 for p in each] for each in probabilities] == [[True, False, False], [True]]
    assert states == [3, 2]
    assert detector.calls == [2]


def test_a_detector_fails_while_it_is_told_to():
    detector = FakeDetector()
    detector.error = EngineError("no")
    with pytest.raises(EngineError):
        detector.probabilities([audio(32)], [0])
    detector.error = None
    assert detector.probabilities([audio(32)], [0])[1] == [1]


def test_a_recogniser_hears_a_number_in_each_300_ms():
    (heard,) = FakeRecogniser().recognise([Utterance(audio(1000))])
    assert heard.text == "one two three"
    assert [w.text for w in heard.words] == heard.text.split()
    assert len(heard.tokens) == len(heard.pieces) == len(heard.logprobs) == 3
    assert "".join(heard.pieces).strip() == heard.text
    assert (heard.steps, heard.accepted) == (4, 0)


def test_it_hears_nothing_in_next_to_nothing():
    (heard,) = FakeRecogniser().recognise([Utterance(b"")])
    assert (heard.text, heard.words, heard.tokens, heard.confidence) == ("", (), (), 0.0)


def test_a_draft_saves_steps_as_far_as_it_agrees():
    (heard,) = FakeRecogniser().recognise([Utterance(audio(1500), draft=(1, 2, 9, 4))])
    assert (heard.accepted, heard.steps) == (2, 4)
    assert heard.tokens == (1, 2, 3, 4, 5)


def test_word_times_cover_the_utterance_where_asked_for():
    plain, timed = FakeRecogniser().recognise([Utterance(audio(900)), Utterance(audio(900), timed=True)])
    assert [(w.start_ms, w.end_ms) for w in timed.words] == [(0, 300), (300, 600), (600, 900)]
    assert {(w.start_ms, w.end_ms) for w in plain.words} == {(0, 0)}


def test_what_it_hears_may_be_scripted():
    recogniser = FakeRecogniser(lambda utterance: "so be it" if len(utterance.pcm) > 10 else "")
    assert [h.text for h in recogniser.recognise([Utterance(audio(10)), Utterance(b"")])] == ["so be it", ""]


def test_a_call_with_an_utterance_that_fails_fails_and_is_counted():
    recogniser = FakeRecogniser(fails=lambda utterance: utterance.timed)
    good, bad = Utterance(audio(300)), Utterance(audio(300), timed=True)
    with pytest.raises(EngineError):
        recogniser.recognise([good, bad])
    assert recogniser.recognise([good])[0].text == "one"
    assert recogniser.calls == [(good, bad), (good,)]
