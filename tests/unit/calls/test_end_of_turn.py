"""What a hypothesis at a pause looks like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.calls.end_of_turn import SILENCE_MS, Thought, longest_ms, silence_after_ms, soonest_ms, thought_of
from antiphon.core.conversation.spec import Eagerness

WHOLE = [
    "What time is it?",
    "I would like a table for two.",
    "Stop!",
    "Yes.",
    "No thanks.",
    "Yes, I do.",
    "Please tell me where they are.",
    "My number is 555 123 4567.",
    "I have been there before.",
    "Is that the one you want?",
    "He was more respectable than he was.",
    "I was there. I saw the ship.",
    "I need 15.",
    "It is about 15 degrees.",
]
HANGING = [
    "I asked him. He",
    "",
    "...",
    "I want to go to the",
    "I want to go to the.",
    "So I was thinking, um.",
    "Well, because",
    "It costs:",
    "I met him, and,",
    "five five,",
    "What I mean is —",
    "I'm.",
    "My number is five five.",
    "It is one two three four five.",
    "Let me think...",
    "and",
    "I met him and.",
]
OPEN = [
    "It costs, ",
    "He was not an ill-disposed young man,",
    "I would like a table for two,",
    "That is all;",
    "Yes,",
    "He might have been.",
    "Tell me how.",
    "It was.",
    "It was the best of times. It.",
    "I would like a table for two",
    "Table two",
    "Seven.",
    "Blue car.",
]


@pytest.mark.parametrize(
    ("text", "kind"),
    [(t, Thought.WHOLE) for t in WHOLE] + [(t, Thought.HANGING) for t in HANGING] + [(t, Thought.OPEN) for t in OPEN],
)
def test_what_was_said(text, kind):
    assert thought_of(text) is kind


def test_the_less_sure_the_more_patient():
    for table in SILENCE_MS.values():
        assert table[Thought.WHOLE] < table[Thought.OPEN] < table[Thought.HANGING]
    for kind in Thought:
        assert SILENCE_MS[Eagerness.HIGH][kind] < SILENCE_MS[Eagerness.MEDIUM][kind] < SILENCE_MS[Eagerness.LOW][kind]


# OpenAI's documented maximum timeouts
MAXIMA_MS = {Eagerness.HIGH: 2_000, Eagerness.MEDIUM: 4_000, Eagerness.LOW: 8_000}


@pytest.mark.parametrize("eagerness", Eagerness)
def test_nobody_waits_for_as_long_as_may_be(eagerness):
    """Silence of a second is long (Jefferson 1989), and twice that in the middle of a phrase."""
    assert longest_ms(eagerness) < MAXIMA_MS[eagerness]
    comma_ms = silence_after_ms("He was not an ill-disposed young man,", eagerness)
    assert comma_ms == silence_after_ms("He was not an ill-disposed young man", eagerness)
    assert comma_ms <= longest_ms(eagerness) // 2
    assert silence_after_ms("He was not an,", eagerness) == longest_ms(eagerness)


@given(st.text(max_size=200), st.sampled_from(Eagerness))
def test_any_text_has_a_patience_within_bounds(text, eagerness):
    assert soonest_ms(eagerness) <= silence_after_ms(text, eagerness) <= longest_ms(eagerness)
