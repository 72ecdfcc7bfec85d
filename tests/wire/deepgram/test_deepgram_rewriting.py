"""`replace` and `profanity_filter`: what is written for what was said."""

from dataclasses import replace

import pytest

from antiphon.core.errors import CallerError
from antiphon.core.events import Transcript, Word
from antiphon.surfaces.deepgram import results, rewriting
from antiphon.surfaces.deepgram.rewriting import MAX_REPLACEMENT_CHARS


def heard(text: str) -> Transcript:
    """A word every 100 ms, as long as that."""
    words = tuple(Word(word, 100 * i, 100 * (i + 1), 0.8) for i, word in enumerate(text.split()))
    return Transcript(text, 0.9, words)


def written(text: str, *given: str, masks: bool = False, punctuate: bool = True) -> str:
    made = rewriting.read(given, masks)
    assert made is not None
    return results.alternative(made.apply(heard(text)), punctuate=punctuate).transcript


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("monika:Monica", "Monica, said Jon’s “Zendesk” — and Monica Jon Smith!"),
        ("monika jon:Monica John", "Monika, said Jon’s “Zendesk” — and Monica John Smith!"),
        ("MONIKA:Monica", "Monika, said Jon’s “Zendesk” — and Monika Jon Smith!"),
        ("Zendesk:ZenDesk", "Monika, said Jon’s “ZenDesk” — and Monika Jon Smith!"),
        ("jon's:Joan of Arc's", "Monika, said Joan of Arc's “Zendesk” — and Monika Jon Smith!"),
        ("jon smith:Smith", "Monika, said Jon’s “Zendesk” — and Monika Smith!"),
        ("said", "Monika, Jon’s “Zendesk” — and Monika Jon Smith!"),
        ("said:", "Monika, Jon’s “Zendesk” — and Monika Jon Smith!"),
        ("and:at 10:30", "Monika, said Jon’s “Zendesk” — at 10:30 Monika Jon Smith!"),
        ("on:off", "Monika, said Jon’s “Zendesk” — and Monika Jon Smith!"),
    ],
)
def test_words_and_phrases_are_replaced_with_the_marks_around_them_kept(given: str, text: str) -> None:
    assert written("Monika, said Jon’s “Zendesk” — and Monika Jon Smith!", given) == text


def test_what_was_put_in_is_not_found_again_and_the_first_that_fits_is_taken() -> None:
    assert written("One two", "one:two", "two:three", "two:four") == "two three"


def test_without_punctuation_a_replacement_keeps_its_case() -> None:
    assert written("Hello, monika!", "monika:Monica", punctuate=False) == "hello Monica"


@pytest.mark.parametrize(
    ("put", "times"),
    [
        ("x y", [("x", 0, 100), ("y", 100, 200), ("three", 200, 300)]),
        ("x", [("x", 0, 200), ("three", 200, 300)]),
        ("w x y z", [("w", 0, 50), ("x", 50, 100), ("y", 100, 150), ("z", 150, 200), ("three", 200, 300)]),
        ("", [("three", 200, 300)]),
    ],
)
def test_words_put_in_share_the_time_of_those_they_stand_for(put: str, times: list[tuple[str, int, int]]) -> None:
    made = rewriting.read([f"one two:{put}"], masks=False)
    assert made is not None
    words = made.apply(heard("one two three")).words
    assert [(word.text, word.start_ms, word.end_ms) for word in words] == times
    assert {round(word.confidence, 6) for word in words} == {0.8}


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("Oh, shit! That's fucking “Bullshit.”", "Oh, ****! That's **** “****.”"),
        ("The class of Scunthorpe passed a cocktail", "The class of Scunthorpe passed a cocktail"),
        ("Bitches' asshole’s", "****' ****"),
    ],
)
@pytest.mark.parametrize("punctuate", [True, False])
def test_profanities_are_masked_and_nothing_else(said: str, text: str, punctuate: bool) -> None:
    assert written(said, masks=True) == text
    if not punctuate:
        assert written(said, masks=True, punctuate=False).count("****") == text.count("****")


def test_what_has_nothing_to_change_stays_as_it_is() -> None:
    given = heard("Hello there")
    made = rewriting.read(["jon:John"], masks=True)
    assert made is not None
    assert made.apply(given) is given
    assert made.apply(replace(given, text="", words=())).text == ""
    assert rewriting.read([], masks=False) is None
    assert rewriting.read(["false"], masks=False) is None


@pytest.mark.parametrize("given", ["", ":x", "—:x", "a:" + "b" * MAX_REPLACEMENT_CHARS])
def test_a_replacement_that_finds_nothing_is_refused(given: str) -> None:
    with pytest.raises(CallerError):
        rewriting.read([given], masks=False)
