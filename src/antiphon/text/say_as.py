"""`say-as`: text with a declared way of reading. One function for each; other content is refused."""

import re
from collections.abc import Callable

from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.text import numbers
from antiphon.text.counts import fraction_words
from antiphon.text.dates import clock, date_words
from antiphon.text.reading import read
from antiphon.text.tables import SPELLED_SIGNS

_NUMBER = re.compile(r"[+−-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[+−-]?[0-9]+(?:\.[0-9]+)?")
_DATE_FORMS = frozenset(("mdy", "dmy", "ymd", "ydm", "md", "dm", "ym", "my", "y", "m", "d"))


def say_as(kind: str, form: str, text: str) -> list[str]:
    """Return the words of a text of that kind (`interpret-as`) and `format`. Raises `CallerError`."""
    say = _KINDS.get(kind)
    if say is None:
        raise UnsupportedParameter("That interpret-as of <say-as> is not supported.", param="text")
    if not text:
        return []
    words = say(text, form.lower())
    if words is None:
        raise CallerError(f"The content of <say-as> is not a valid {kind}.", param="text")
    return words


def _free(text: str) -> list[str]:
    return [word.read for word in read(text, range(len(text)), range(1, len(text) + 1))]


def _characters(text: str, _: str) -> list[str]:
    words: list[str] = []
    for char in text:
        if char.isdecimal():
            words += numbers.digits(char)
        elif char in SPELLED_SIGNS:
            words += SPELLED_SIGNS[char].split()
        elif not char.isspace():
            words.append(char.upper())
    return [word + "," for word in words[:-1]] + words[-1:]


def _cardinal(text: str, _: str) -> list[str] | None:
    return numbers.cardinal(text) if _NUMBER.fullmatch(text) else None


def _ordinal(text: str, _: str) -> list[str] | None:
    found = re.fullmatch(r"([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:st|nd|rd|th)?", text)
    return numbers.ordinal(found[1]) if found else None


def _digits(text: str, _: str) -> list[str] | None:
    return numbers.digits(text) or None


def _telephone(text: str, _: str) -> list[str] | None:
    return numbers.grouped(text) or None if re.fullmatch(r"\+?[0-9][0-9\s().-]*|\([0-9\s().-]*", text) else None


def _date(text: str, form: str) -> list[str] | None:
    form = re.sub(r"(.)\1+", r"\1", form)
    if not form:
        return _free(text)
    if form not in _DATE_FORMS:
        raise UnsupportedParameter("That format of <say-as> is not supported.", param="text")
    if text.isdecimal() and len(text) == 8 and len(form) == 3:
        sizes = {"y": 4, "m": 2, "d": 2}
        fields, place = [], 0
        for field in form:
            fields.append(text[place : place + sizes[field]])
            place += sizes[field]
    else:
        fields = re.split(r"[\s./-]+", text)
    if len(fields) != len(form) or not all(re.fullmatch("[0-9]{1,4}", field) for field in fields):
        return None
    parts = dict(zip(form, fields, strict=True))
    month, day = parts.get("m"), parts.get("d")
    return date_words(parts.get("y"), int(month) if month else None, int(day) if day else None)


def _time(text: str, form: str) -> list[str] | None:
    found = re.fullmatch(r"([0-9]{1,2})(?::([0-9]{2}))?(?::([0-9]{2}))?\s*([aApP])?\.?(?:[mM]\.?)?", text)
    if found is None or int(found[1]) > 24 or int(found[2] or 0) > 59 or int(found[3] or 0) > 59:
        return _duration(text)
    if form and not re.fullmatch(r"h?m?s?(?:12|24)?", form):
        raise UnsupportedParameter("That format of <say-as> is not supported.", param="text")
    return clock(found[1], found[2] or "00", found[3], found[4] + "m" if found[4] else None)


def _duration(text: str) -> list[str] | None:
    found = re.fullmatch(r"([0-9]{1,3})['′](?:([0-9]{1,2})(?:[\"″]|''))?", text)
    if found is None:
        return None
    words = [*numbers.cardinal(found[1]), "minute" if found[1] == "1" else "minutes"]
    return words + (
        ["and", *numbers.cardinal(found[2]), "second" if found[2] == "1" else "seconds"] if found[2] else []
    )


def _fraction(text: str, _: str) -> list[str] | None:
    found = re.fullmatch(r"(?:([0-9]{1,9})[\s+]+)?([0-9]{1,9})/([0-9]{1,9})", text)
    if found is None:
        return None
    words = [*numbers.cardinal(found[1]), "and"] if found[1] else []
    return words + fraction_words(found[2], found[3], alone=not found[1])


def _of_its_kind(pattern: str) -> Callable[[str, str], list[str] | None]:
    expression = re.compile(pattern)
    return lambda text, _: _free(text) if expression.search(text) else None


_KINDS: dict[str, Callable[[str, str], list[str] | None]] = {
    "characters": _characters,
    "spell-out": _characters,
    "verbatim": _characters,
    "cardinal": _cardinal,
    "number": _cardinal,
    "ordinal": _ordinal,
    "digits": _digits,
    "telephone": _telephone,
    "date": _date,
    "time": _time,
    "fraction": _fraction,
    "currency": _of_its_kind("[0-9]"),
    "unit": _of_its_kind("[0-9]"),
}
