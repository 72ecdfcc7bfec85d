"""What a short endpoint cuts off is the context of what follows. The fake engine hears a word in each 300 ms."""

import pytest
from rig import Rig

from antiphon.core.audio import samples_to_ms
from antiphon.core.events import Cause
from antiphon.core.ports import Utterance
from antiphon.scheduler.endpoint import FRAME
from antiphon.testing import FakeRecogniser

SENTENCE = "S" * 48  # four words and more, with the silence before and behind


def rig(silence_ms=10, **spec):
    return Rig(endpointing_ms=silence_ms, interims=False, timed=True, **spec)


def given(rig):
    """What the engine was given."""
    return [utterance for call in rig.recogniser.calls for utterance in call]


def spoken(rig, *scripts):
    for script in scripts:
        rig.say(script)
        rig.decode_all()


@pytest.mark.parametrize("silence_ms", [10, 25, 100])
def test_what_follows_on_a_short_silence_is_heard_behind_what_was_said(silence_ms):
    one = rig(silence_ms)
    spoken(one, SENTENCE + "QQQQ", SENTENCE + "QQQQ")
    first, second = one.finals
    assert [final.cause for final in one.finals] == [Cause.ENDPOINT] * 2
    alone, after = given(one)[0], given(one)[-1]
    assert alone.prefix == ()
    assert after.prefix == tuple(range(1, len(first.transcript.words) + 1))
    assert samples_to_ms(len(after.pcm) // 2) == second.end_ms - first.start_ms
    assert len(first.transcript.words) >= 3
    assert second.transcript.text.split()[0] != ""
    assert second.start_ms >= first.end_ms


def test_its_times_count_from_its_own_beginning():
    one = rig()
    one.recogniser = FakeRecogniser(lambda utterance: "later than that" if utterance.prefix else "one two three")
    spoken(one, SENTENCE + "QQQQ", SENTENCE + "QQQQ")
    first, second = one.finals
    assert second.transcript.text == "later than that"
    assert second.transcript.words[0].start_ms == second.start_ms  # the fake begins with the audio, which is no earlier
    assert second.transcript.words[-1].end_ms <= second.end_ms
    assert first.transcript.words[-1].end_ms <= second.transcript.words[0].start_ms


@pytest.mark.parametrize(
    ("silence_ms", "script"),
    [
        (300, SENTENCE + "Q" * 12),
        (None, SENTENCE + "Q" * 12),
        (10, SENTENCE + "Q" * 36),  # more than a second
        (10, "S" * 14 + "QQQQ"),  # a single word
    ],
)
def test_what_does_not_go_on_is_heard_alone(silence_ms, script):
    one = rig(silence_ms)
    spoken(one, script, SENTENCE + "Q" * 12)
    assert not any(utterance.prefix for utterance in given(one))


def test_what_was_said_before_is_no_interim_of_what_follows():
    one = Rig(endpointing_ms=200)
    one.say("S" * 20 + "Q" * 10)
    while one.board.waiting:
        one.decode("and so it was that")
    one.say("S" * 10 + "QQQ")
    (ahead,) = one.board.waiting
    utterance = one.start(ahead)
    assert utterance.prefix
    one.say("S" * 4)
    said = len(one.interims)
    one.finish(ahead, utterance, "And so it was that")
    assert one.interims[said:] == []
    one.say("S" * 10)
    one.decode("we met")
    assert [interim.transcript.text for interim in one.interims[said:]] == ["we met"]


def test_no_more_is_heard_again_than_is_worth_it():
    one = rig()
    spoken(one, *[SENTENCE + "QQQQ"] * 12)
    lengths = [samples_to_ms(len(utterance.pcm) // 2) for utterance in given(one)]
    assert max(lengths) <= 8_000
    assert one.held_bytes < 2 * 16_000 * 10
    one.say("Q" * 64)
    assert one.held_bytes < 2 * 16_000


def test_a_final_waits_for_its_context_and_for_no_other():
    """They are said in order anyway."""
    one = rig()
    one.say(SENTENCE + "QQQQ" + SENTENCE + "QQQQ")
    (first,) = one.board.waiting
    assert not first.context
    one.decode()
    (second,) = one.board.waiting
    assert [segment.hypothesis for segment in second.context] != [None]
    one.decode()
    assert len(one.finals) == 2
    assert given(one)[-1].prefix


def test_decoding_ahead_waits_for_nothing():
    one = rig()
    one.say(SENTENCE + "QQQQ" + SENTENCE + "QQQ")
    first, ahead = one.board.waiting
    one.finish(ahead, one.start(ahead))
    assert given(one)[-1].prefix == ()
    one.finish(first, one.start(first))
    one.say("Q")
    assert len(one.finals) == 2


@pytest.mark.parametrize("heard", ["", "One, two three."])
def test_what_may_be_of_the_context_is_heard_again_alone(heard):
    """Nothing new, or the same once more."""
    one = rig()
    one.recogniser = FakeRecogniser(lambda utterance: heard if utterance.prefix else "one two three")
    spoken(one, SENTENCE + "QQQQ", SENTENCE + "QQQQ")
    assert [final.transcript.text for final in one.finals] == ["one two three"] * 2
    assert [bool(utterance.prefix) for utterance in given(one)] == [False, True, False]
    assert len(given(one)[2].pcm) == 2 * FRAME * (len(given(one)[2].pcm) // (2 * FRAME))
    assert samples_to_ms(len(given(one)[2].pcm) // 2) == one.finals[1].end_ms - one.finals[1].start_ms


def test_a_speaker_who_goes_on_meanwhile_is_heard_as_ever():
    one = rig(silence_ms=250)
    one.recogniser = FakeRecogniser(lambda utterance: "" if utterance.prefix else "one two three")
    spoken(one, SENTENCE + "Q" * 9)
    one.say(SENTENCE + "QQQQ")
    (ahead,) = one.board.waiting
    utterance = one.start(ahead)
    one.say("SSSS")
    one.finish(ahead, utterance)
    assert not one.board.waiting
    spoken(one, "S" * 10 + "Q" * 9)
    assert [final.transcript.text for final in one.finals] == ["one two three"] * 2


def test_interims_come_without_context():
    one = Rig(endpointing_ms=10)
    spoken(one, SENTENCE + "QQQQ", SENTENCE)
    one.say("S" * 20)
    assert all(not work.context for work in one.board.waiting)


def test_one_who_leaves_waits_for_nothing():
    one = rig()
    one.say(SENTENCE + "QQQQ" + SENTENCE + "QQQQ")
    one.stream.abandon()
    assert not one.board.waiting


def test_the_fake_goes_on_behind_a_prefix():
    (heard,) = FakeRecogniser().recognise([Utterance(bytes(32 * 1_500), prefix=(1, 2))])
    assert len(heard.words) == 3
