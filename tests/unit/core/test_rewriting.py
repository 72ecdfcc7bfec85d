"""Replaced words: which replacement counts, and how long many of them take."""

from time import process_time

import pytest

from antiphon.core.events import Transcript, Word
from antiphon.core.rewriting import Replacement, Rewriting


def _heard(text: str) -> Transcript:
    return Transcript(text, 1.0, tuple(Word(word, n, n + 1, 1.0) for n, word in enumerate(text.split())))


@pytest.mark.parametrize(
    ("replacements", "text"),
    [
        ((("ada",), ("Ada",)), "x x."),
        ((("Ada",), ("ada",)), "x x."),
        ((("ada", "ada"), ("Ada",)), "x."),
        ((("ada", "lovelace"), ("ada",)), "y y."),
        ((("ADA",), ("ada",)), "y y."),
    ],
)
def test_the_first_replacement_that_fits_counts(replacements: tuple[tuple[str, ...], ...], text: str) -> None:
    made = tuple(Replacement(find, (put,)) for find, put in zip(replacements, "xy", strict=True))
    assert Rewriting(made).apply(_heard("Ada Ada.")).text == text


def test_many_replacements_in_a_long_recording_take_little_time() -> None:
    rewriting = Rewriting(tuple(Replacement((f"unsaid{n}",), ("x",)) for n in range(500)))
    heard = _heard(" ".join(f"word{n % 1500}" for n in range(10_000)))
    began = process_time()
    assert rewriting.apply(heard) is heard
    assert process_time() - began < 2  # to try each at each word takes more than ten seconds
