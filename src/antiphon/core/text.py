"""Text as callers want it: joined from parts, and without the punctuation and case that a model wrote."""

import re
import unicodedata
from collections.abc import Iterable

# Separators of words other than spaces.
_BREAKS = re.compile(r"[—–…_]|-{2,}|\.{2,}")
# Punctuation in Unicode, but spoken: "50%", "Q & A", "#1".
_SPOKEN = frozenset("%&@#")
# Thai and Lao, Myanmar, Chinese and Japanese with their punctuation: no space stands between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u2e80-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff]"
)


def join(texts: Iterable[str]) -> str:
    """Join words or longer texts, with a space between any two if their scripts use one. Empty ones are left out."""
    parts: list[str] = []
    for text in filter(None, texts):
        if parts:
            parts.append(gap(parts[-1], text))
        parts.append(text)
    return "".join(parts)


def gap(before: str, after: str) -> str:
    """Return the separator of two texts: a space, or nothing if both sides are of a script without spaces."""
    return "" if _UNSPACED.match(before[-1:]) and _UNSPACED.match(after[:1]) else " "


def plain(text: str) -> str:
    """Return the words alone: lower case, no punctuation around them, one space between; `"Don't!"` gives `"don't"`.

    Punctuation inside a word stays (`don't`, `mother-in-law`, `3.5`). Text without a word gives the empty string.
    """
    words = (_bare(token) for token in _BREAKS.sub(" ", text).split())
    return " ".join(word for word in words if word)


def word_span(token: str) -> tuple[int, int]:
    """Return the span of the word in a token, without surrounding punctuation; empty if there is none."""
    start, end = 0, len(token)
    while start < end and _is_silent(token[start]):
        start += 1
    while end > start and _is_silent(token[end - 1]):
        end -= 1
    return start, end


def _bare(token: str) -> str:
    start, end = word_span(token)
    return token[start:end].replace("’", "'").lower()


def _is_silent(char: str) -> bool:
    category = unicodedata.category(char)
    return (category[0] in "PCZ" and char not in _SPOKEN) or category in ("So", "Sk")
