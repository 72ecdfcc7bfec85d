"""Which words of an interim are said to be stable."""

from antiphon.scheduler.stability import AGREEING, UNSURE, StableWords


def pushed(*texts):
    stable = StableWords()
    return [stable.push(text.split()) for text in texts]


def test_words_are_stable_once_enough_hypotheses_agree_but_for_the_last():
    counts = pushed(*["we were all going"] * AGREEING)
    assert counts == [*[0] * (AGREEING - 1), 4 - UNSURE]


def test_a_word_that_was_heard_otherwise_begins_anew_and_takes_those_after_it_along():
    texts = [
        "we were all going direct",
        "we're all going direct to",
        *["we were all going direct to heaven"] * AGREEING,
    ]
    assert pushed(*texts)[-2:] == [0, 7 - UNSURE]


def test_marks_and_capitals_change_nothing():
    assert pushed("In short the", "in short, the", *["In short. The period"] * (AGREEING - 2))[-1] == 3


def test_the_number_never_falls():
    assert pushed(*["a b c d"] * AGREEING, "x", "a", "")[-3:] == [4 - UNSURE] * 3
