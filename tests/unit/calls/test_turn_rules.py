"""When a turn ends, by what was said: confidence, silence, and back."""

import pytest

from antiphon.calls.end_of_turn import longest_ms, silence_after_ms
from antiphon.calls.turn_rules import silences_ms, sure_after, tuning
from antiphon.core.conversation.spec import Eagerness
from antiphon.core.specs import TurnRules

WHOLE, HANGING = "I would like a table for two.", "I would like to"


def test_the_usual_confidence_waits_as_long_as_an_agent_of_medium_eagerness():
    for text in (WHOLE, HANGING):
        assert silences_ms(text, TurnRules(timeout_ms=60_000)) == (silence_after_ms(text, Eagerness.MEDIUM), None)


def test_the_surer_it_must_be_the_longer_it_waits():
    waits = [silences_ms(WHOLE, TurnRules(confidence))[0] for confidence in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)]
    assert waits == sorted(set(waits))


def test_no_turn_outlasts_its_timeout_and_full_confidence_leaves_it_to_that():
    assert silences_ms(HANGING, TurnRules(0.9, timeout_ms=500)) == (500, None)
    assert silences_ms(WHOLE, TurnRules(1.0, timeout_ms=5_000)) == (5_000, None)
    assert tuning(TurnRules(1.0, timeout_ms=5_000)).soonest_ms == 5_000


def test_a_turn_has_its_least_silence_and_its_timeout_goes_before_that():
    rules = TurnRules(0.4, timeout_ms=1_280, least_ms=400, voice_threshold=0.3)
    assert silences_ms(WHOLE, rules) == (400, None)
    assert 400 < silences_ms(HANGING, rules)[0] < 1_280
    assert (tuning(rules).soonest_ms, tuning(rules).silence_ms, tuning(rules).threshold) == (400, 1_280, 0.3)
    assert silences_ms(WHOLE, TurnRules(0.4, timeout_ms=300, least_ms=400)) == (300, None)


def test_the_early_word_comes_before_the_end_or_not_at_all():
    ends_ms, early_ms = silences_ms(WHOLE, TurnRules(0.7, early_confidence=0.4))
    assert early_ms is not None
    assert 0 < early_ms < ends_ms
    assert silences_ms(HANGING, TurnRules(0.9, timeout_ms=500, early_confidence=0.9)) == (500, None)


@pytest.mark.parametrize("text", [WHOLE, HANGING])
def test_confidence_grows_with_silence_and_is_what_the_silence_was_reckoned_from(text):
    sure = [sure_after(text, silence_ms) for silence_ms in range(0, 2 * longest_ms(Eagerness.LOW), 50)]
    assert sure == sorted(sure)
    assert (sure[0], sure[-1]) == (0.0, 0.99)
    for confidence in (0.5, 0.65, 0.7, 0.85):
        ends_ms, _ = silences_ms(text, TurnRules(confidence, timeout_ms=60_000))
        assert sure_after(text, ends_ms) == pytest.approx(confidence, abs=0.005)


def test_a_stream_waits_for_the_timeout_where_nothing_is_known_of_what_was_said():
    rules = TurnRules(0.7, timeout_ms=4_000)
    assert tuning(rules).silence_ms == 4_000
    assert tuning(rules).soonest_ms == silences_ms("Yes.", rules)[0]
