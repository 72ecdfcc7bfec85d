"""What all written forms share.

The function of a form takes the match and returns parts: ranges of the matched text with the words that replace them.
`None` means that the form is not what it looked like, and is read like any other text.
"""

import re
from collections.abc import Callable

Part = tuple[int, int, list[str]]
Parts = list[Part] | None
Say = Callable[[re.Match[str]], Parts]

_WORD_BEFORE = re.compile(r"([^\W\d_]+)\.?[\s(]*$")
_WORD_AFTER = re.compile(r"[\s]*([^\W\d_]+)")


def before(match: re.Match[str]) -> str:
    """Return the word before the match in lower case, or nothing if something else is there."""
    found = _WORD_BEFORE.search(match.string, max(0, match.start() - 40), match.start())
    return found[1].lower() if found else ""


def after(match: re.Match[str]) -> str:
    """Return the word after the match, as written."""
    found = _WORD_AFTER.match(match.string, match.end())
    return found[1] if found else ""


def whole(match: re.Match[str], words: list[str]) -> Parts:
    return [(match.start(), match.end(), words)]


def spelled(capitals: str) -> str:
    """Return letters to be named one by one, as one word: `"FBI"` becomes `"F.B.I"`, which no voice reads as a word."""
    return ".".join(char for char in capitals.upper() if char.isalnum())


def capital_before(match: re.Match[str]) -> bool:
    """Return whether the word before is capitalised like a name: "Elm St." but not "In St. Louis"."""
    found = _WORD_BEFORE.search(match.string, max(0, match.start() - 40), match.start())
    return (
        found is not None and found[1][0].isupper() and found[1].lower() not in ("the", "in", "at", "to", "from", "of")
    )


def constant(*words: str) -> Say:
    """Return a form that is always read as the same words."""
    return lambda match: whole(match, list(words))
