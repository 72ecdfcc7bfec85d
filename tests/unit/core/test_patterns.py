"""Patterns that take exponential time, and those that do not."""

import re
import time

import pytest

from antiphon.core.patterns import explodes

BAD = [
    r"(a+)+b",
    r"((a+))+b",
    r"(?:(?:a+)){2,}b",
    r"(a|aa)+b",
    r"(?:a.|ab)+c",
    r"(.|.)+b",
    r"(a*)*b",
    r"(?:a*b*)*c",
    r"(?:a?b?)*c",
    r"(?:(?:a|b)+)+c",
    r"(?:\s*\w+\s*)+$",
    r"([a-z]+\d?)+!",
    r"(x+x+)+y",
    r"(?:a+?)+?b",
    r"(a{1,9}){1,9}b",
    r"(?:[^a]|[^b])+c",
    r"(?=(a+)+b)x",
    r"(?:(?i:Q)|q)+z",
    r"(?:(\w(?:a|a)|))+b",
]
GOOD = [
    r"\S+",
    r"case-[0-9]+",
    r"(?:\d{1,3}\.){3}\d{1,3}",
    r"(\d{4}[ -]?){3}\d{4}",
    r"\d{16}|\d{4}( \d{4}){3}",
    r"(?:\d{2}){3,5}",
    r"\b[A-Z]{2}\d{6}[A-D]?\b",
    r"(?:foo|bar|baz)+",
    r"(?:\w+\s)+end",
    r"[a-z]+@[a-z]+(?:\.[a-z]+)+",
    r"(?<!\w)x\d{2,4}(?:-\d{2,4})*",
    r"(['\"]).*?\1",
    r"(A|a)+b",
    r"(?x) case - [0-9]+  # a comment",
]


@pytest.mark.parametrize("pattern", BAD)
def test_one_with_two_ways_around_is_exponential(pattern):
    assert explodes(pattern)


@pytest.mark.parametrize("pattern", GOOD)
def test_one_with_one_way_around_is_not(pattern):
    assert not explodes(pattern)
    for text in ("a" * 5_000, "1" * 5_000, "x1-" * 2_000, "ab " * 2_000):
        list(re.finditer(pattern, text, re.IGNORECASE))


@pytest.mark.parametrize(
    "pattern", ["(?:" + "|".join(f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh") + ")+", "(" + "a?" * 90 + ")+"]
)
def test_the_check_itself_is_short(pattern):
    begun = time.thread_time()
    explodes(pattern)
    assert time.thread_time() - begun < 2


def test_a_pattern_that_is_too_large_to_be_judged_is_refused():
    assert explodes("(?:[ab]{64}){8}[cd]" * 10)
