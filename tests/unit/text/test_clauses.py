"""When a phrase leaves, and what it holds."""

import pytest

from antiphon.core.specs import Markup
from antiphon.text.clauses import Clauses


def pushed(*pieces: str, schedule: tuple[int, ...] = ()) -> list[list[str]]:
    """The phrases that each piece lets go, and those of the flush."""
    clauses = Clauses(Markup.NONE, schedule)
    gone = [[phrase.text for phrase in clauses.push(piece)] for piece in pieces]
    return [*gone, [phrase.text for phrase in clauses.flush()]]


def said(text: str, schedule: tuple[int, ...] = ()) -> list[str]:
    return [phrase for phrases in pushed(text, schedule=schedule) for phrase in phrases]


def test_a_sentence_leaves_with_the_first_character_behind_it() -> None:
    assert pushed("Hello", " there", ".", " How", " are you?") == [[], [], [], ["Hello there."], [], ["How are you?"]]


def test_a_point_that_may_end_a_sentence_waits_for_what_follows() -> None:
    assert pushed("Cats etc.", " ", "All") == [[], [], ["Cats et cetera."], ["All"]]
    assert pushed("Cats etc.", "\n") == [[], ["Cats et cetera."], []]


def test_the_first_phrase_ends_at_a_comma_and_later_ones_do_not() -> None:
    assert said("Well, if you ask me, I would go, and soon. If you ask them, they would not.") == [
        "Well, if you ask me,",
        "I would go, and soon.",
        "If you ask them, they would not.",
    ]


def test_the_first_phrase_ends_without_a_comma_too() -> None:
    first, *rest = said("one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen")
    assert first.split()[-1] == "twelve"
    assert rest == ["thirteen fourteen fifteen"]


def test_the_first_phrase_ends_sooner_where_another_group_of_words_begins() -> None:
    clauses = Clauses(Markup.NONE, first_words=8)
    gone = [clauses.push(piece) for piece in ("The leaves fall down", " every", " year", " in", " autumn", " and")]
    assert [[phrase.text for phrase in phrases] for phrases in gone] == [
        [], [], [], [], ["The leaves fall down every year"], []
    ]  # fmt: skip
    assert [phrase.text for phrase in clauses.flush()] == ["in autumn and"]


def test_a_word_that_only_begins_like_one_that_opens_a_group_does_not() -> None:
    clauses = Clauses(Markup.NONE, first_words=8)
    phrases = clauses.push("The leaves fall down every year invariably, or so")
    assert [phrase.text for phrase in phrases] == ["The leaves fall down every year invariably,"]


def test_the_first_phrase_does_not_end_between_words_that_belong_together() -> None:
    for eleven, pair in (("so " * 11, "Dr. Smith"), ("so " * 11, "5 apples"), ("so " * 11, "the house")):
        first, *_ = said(eleven + pair + " went home and more came " * 2)
        assert len(first.split()) > 12, first


def test_after_a_flush_the_first_phrase_is_short_again() -> None:
    clauses = Clauses(Markup.NONE)
    clauses.push("Hello.")
    clauses.flush()
    assert [phrase.text for phrase in clauses.push("As you may know, this")] == ["As you may know,"]


@pytest.mark.parametrize(
    "text",
    [
        "Pi is 3.14 or so, roughly.",
        "It has 1,000 parts.",
        "Ask Dr. Smith of St. Louis.",
        "The U.S. Army is here.",
        "I met J. Smith.",
        "It ends at 5 p.m. today.",
        "Take fruit, e.g. apples.",
        "See No. 5 here.",
        "Go to https://a.io/b?c=1.2 now!",
        "At 5:30 sharp.",
    ],
)
def test_no_cut_inside_what_belongs_together(text: str) -> None:
    assert len(said(text)) == 1 or said(text)[0].endswith(",")
    assert len(said("Yes. " + text)) == 2


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("We left at 5 p.m. Then it rained.", "We left at five P.M."),
        ("Cats, dogs, etc. All of them.", "Cats, dogs, et cetera."),
        ("It works at Acme Inc. Today it closed.", "It works at Acme Incorporated."),
        ("Done!\nNext", "Done!"),
        ("A title\nThe text", "A title"),
        ("你好。再见。", "你好."),
    ],
)
def test_a_point_that_ends_both_ends_the_sentence(text: str, first: str) -> None:
    assert said(text)[0] == first


def test_a_date_is_not_cut_at_its_comma() -> None:
    assert said("We met on March 5, 2024, at noon.")[0] == "We met on March fifth, twenty twenty four,"


def test_long_sentences_are_cut_where_it_hurts_least() -> None:
    text = "Hi. " + "word " * 30 + "end, " + "and more " * 20 + "stop."
    phrases = said(text)
    assert phrases[1].endswith("end,")
    assert all(len(phrase) <= 200 for phrase in phrases)
    assert " ".join(phrases) == text


def test_a_schedule_waits_for_as_many_characters() -> None:
    sentence = "This is a sentence. "  # 20 characters
    gone = pushed(*[sentence] * 6, schedule=(30, 50))
    one = ["This is a sentence."]
    assert gone == [[], one, [], one * 2, [], one * 2, one]


def test_a_schedule_never_parts_a_word() -> None:
    text = "supercalifragilistic expialidocious words are long"
    assert " ".join(said(text, schedule=(5,))) == text


def test_places_count_everything_that_was_pushed() -> None:
    clauses = Clauses(Markup.NONE)
    clauses.push("Hello. ")
    clauses.flush()
    (phrase,) = clauses.push("You. ")
    assert [(word.start, word.end) for word in phrase.words] == [(7, 11)]


def test_what_no_phrase_says_belongs_to_the_next_one() -> None:
    clauses = Clauses(Markup.NONE)
    assert clauses.push("***\n") == []
    assert [(word.read, word.start, word.end) for phrase in clauses.push("Go.\n") for word in phrase.words] == [
        ("Go.", 0, 7)
    ]
