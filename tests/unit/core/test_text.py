"""Bare words, as a caller who wants no punctuation gets them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.text import join, plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It was the best of times, it was the worst of times.", "it was the best of times it was the worst of times"),
        ('"Don\'t!"', "don't"),
        ("Don’t", "don't"),
        ("the boys' mother-in-law", "the boys mother-in-law"),
        ("one—two – three… four...five -- six", "one two three four five six"),
        ("$3.50, 50% at 10:30", "$3.50 50% at 10:30"),
        ("Q & A: C++ (#1)", "q & a c++ #1"),
        ("¿Qué? ¡Sí!", "qué sí"),
        ("नमस्ते।", "नमस्ते"),
        ("ÇA VA", "ça va"),
        ("♪ la la ♪", "la la"),
        (" - ... !? ", ""),
        ("", ""),
    ],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["It", "was", "", "so."], "It was so."),
        (["今日", "は", "。", "明日"], "今日は。明日"),
        (["สวัสดี", "ครับ"], "สวัสดีครับ"),
        (["これは", "test", "です"], "これは test です"),
        (["안녕", "하세요"], "안녕 하세요"),
        ([], ""),
    ],
)
def test_join(texts: list[str], expected: str) -> None:
    assert join(texts) == expected


@given(st.text())
def test_plain_of_plain_is_the_same(text: str) -> None:
    bare = plain(text)
    assert plain(bare) == bare


@given(st.lists(st.text()))
def test_words_are_taken_one_by_one(words: list[str]) -> None:
    assert plain(" ".join(words)) == " ".join(filter(None, map(plain, words)))
