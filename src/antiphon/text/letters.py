"""How initials, abbreviations, addresses and signs are read."""

import re

from antiphon.text import numbers
from antiphon.text.forms import Part, Parts, before, capital_before, spelled, whole
from antiphon.text.tables import (
    CLOSERS,
    CONNECTIVES,
    INITIALS,
    NUMBERED,
    POINTLESS,
    PRONUNCIATIONS,
    RULERS,
    SIGNS,
    SPELLED_SIGNS,
    TITLES,
    WORDS_OF_CAPITALS,
    set_of,
)  # fmt: skip


def _run(run: str) -> list[str]:
    """Return the words of a run of letters or digits, in something that is not a word."""
    if run.isdecimal():
        return numbers.cardinal(run) if len(run) <= 2 else numbers.digits(run)
    if len(run) == 1:
        return ["A-" if run in "aA" else run.upper()]  # alone it would be read as the article
    vowels = set("aeiouy" if run.islower() and len(run) > 3 else "aeiou").intersection(run.lower())
    is_initials = run.upper() in INITIALS or (len(run) <= 5 and not vowels) or (run.isupper() and len(run) <= 3)
    return [spelled(run) if is_initials and run.isascii() else run]


def mixed(match: re.Match[str]) -> Parts:
    """Read letters and digits without a space: `MP3`, `BA2490`."""
    runs = re.finditer(r"[0-9]+(?:\.[0-9]+)?|[^\W\d_]+", match[0])
    base = match.start()
    return [
        (base + run.start(), base + run.end(), numbers.cardinal(run[0]) if "." in run[0] else _run(run[0]))
        for run in runs
    ]


def address(match: re.Match[str]) -> Parts:
    """Read a web or mail address, a path, or a file name."""
    written = re.sub(r"^(?:[a-z][a-z0-9+.-]*://|mailto:)", "", match[0])
    start = match.end() - len(written)
    written = written.rstrip("/") or written
    parts: list[Part] = []
    for piece in re.finditer(r"[0-9]+|[^\W\d_]+|.", written):
        text = piece[0]
        if text[0].isdecimal():
            words = numbers.cardinal(text) if len(text) <= 4 else numbers.digits(text)
        elif text[0].isalpha():
            words = _run(text)
        else:
            words = SPELLED_SIGNS.get(text, "").split()
        parts.append((start + piece.start() if parts else match.start(), start + piece.end(), words))
    return parts


# Begins like an English word.
_SAYABLE = re.compile(
    "(?:[BCDFGHJKLMNPQRSTVWXZ]|[BCFGPS]L|[BCDFGPTW]R|[CPSTW]H|S[CKMNPTW]|TW|DW|KN|GN|PS|QU|S[CPT]R|SCH|SHR|THR|CHR|SPL)?"
    "[AEIOUY]"
)


def capitals(match: re.Match[str]) -> Parts:
    """Read initials, unless all the text is in capitals or the match is a word."""
    letters, many = match[1], match[2]
    shouted = not any(char.islower() for char in match.string)
    sayable = _SAYABLE.match(letters) is not None
    known = letters in INITIALS or (len(letters) <= 5 and not sayable)
    if not known or letters in WORDS_OF_CAPITALS or (shouted and sayable and len(letters) != 3):
        return None
    if not many:
        return whole(match, [spelled(letters)])
    return whole(match, [*([spelled(letters[:-1])] if len(letters) > 1 else []), letters[-1] + "'s"])


def joined_initials(match: re.Match[str]) -> Parts:
    left, _, right = match[0].partition("&")
    owned = "'s" * right.endswith("s")
    return whole(match, [spelled(left), "and", spelled(right.rstrip("'’s")) + owned])


def dotted_initials(match: re.Match[str]) -> Parts:
    key = match[0].rstrip(".")
    known = CONNECTIVES.get(key) or CONNECTIVES.get(key.lower()) or CLOSERS.get(key)
    return whole(match, known.split() if known else [spelled(key)])


def initial(match: re.Match[str]) -> Parts:
    return whole(match, [match[0][0]])


_BEFORE_NUMBER = set_of("Vol vol Fig fig Figs Sec Ch ch pp Eq eq Art")
_BEFORE_NAME = set_of("Gen Col Maj Gov Sen Rep Pres Hon Rev Mt Ft Fr Lt Capt")


def abbreviation(match: re.Match[str]) -> Parts:
    """Read an abbreviation, with or without its point."""
    key, point = match[1], match[2]
    if not point and key not in POINTLESS:
        return None
    follows = match.string[match.end() : match.end() + 12].lstrip()
    is_street = bool(before(match)) and capital_before(match)
    if key == "St":
        return whole(match, ["Saint" if follows[:1].isupper() and not is_street else "Street"])
    if key == "Dr" and is_street and not follows[:1].isupper():
        return whole(match, ["Drive"])
    if key in _BEFORE_NUMBER and not follows[:1].isdecimal():
        return None
    if key in _BEFORE_NAME and not follows[:1].isupper():
        return None
    if key in ("min", "max") and not point:
        return None
    known = TITLES.get(key) or CONNECTIVES.get(key) or CLOSERS.get(key)
    return whole(match, known.split()) if known else None


_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_VALID_ROMAN = re.compile(r"(?:C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})$")
_CLEARLY_ROMAN = set_of("II III VII VIII IX XII XIII XIV XVI XVII XVIII XIX XXI")


def roman(match: re.Match[str]) -> Parts:
    """Read Roman numbers: `Chapter IV` is a cardinal, `Henry VIII` an ordinal; alone only if it is no other word."""
    written, word = match[0], before(match)
    if not _VALID_ROMAN.match(written):
        return None
    worths = [_ROMAN[char] for char in written]
    value = sum(
        worth if worth >= following else -worth for worth, following in zip(worths, [*worths[1:], 0], strict=True)
    )
    if word.capitalize() in RULERS and written != "I":
        return whole(match, ["the", *numbers.ordinal(str(value))])
    if word in NUMBERED or written in _CLEARLY_ROMAN:
        return whole(match, numbers.cardinal(str(value)))
    return None


def pronunciation(match: re.Match[str]) -> Parts:
    return whole(match, PRONUNCIATIONS[match[0]].split())


def sign(match: re.Match[str]) -> Parts:
    return whole(match, SIGNS[match[0]].split())


def hashtag(match: re.Match[str]) -> Parts:
    return [(match.start(), match.start() + 1, ["hashtag"]), (match.start() + 1, match.end(), [match[1]])]
