"""Text without a model's punctuation and case."""

import re
import unicodedata

# Separators of words other than spaces.
_BREAKS = re.compile(r"[—–…_]|-{2,}|\.{2,}")
# Punctuation in Unicode, but spoken: "50%", "Q & A", "#1".
_SPOKEN = frozenset("%&@#")


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
