"""Which words of a hypothesis will stay."""

from antiphon.core.agreement import LocalAgreement, common_words

AGREEING, UNSURE = 4, 1


def pushed(*texts):
    stable = LocalAgreement(AGREEING, UNSURE)
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


def test_a_hypothesis_that_is_shorter_than_what_is_unsure_of_it():
    assert common_words([["a"], ["a"]], 2) == 0


def test_the_number_never_falls():
    assert pushed(*["a b c d"] * AGREEING, "x", "a", "")[-3:] == [4 - UNSURE] * 3
