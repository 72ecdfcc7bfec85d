"""Dates, written and spoken. A date after a word about birth is a date of birth; one with a year may be."""

import re
from collections.abc import Iterator, Sequence

from antiphon.core.redaction import Entity, Span
from antiphon.trust.redaction.tokens import NUMERALS, Kind, Token, read_number, word_set

MONTHS = word_set(
    "january february march april may june july august september october november december jan feb mar apr jun jul "
    "aug sep sept oct nov dec"
)
_WORDS_TOO = frozenset(("may", "march", "mar", "august", "sep", "dec", "jan", "jun"))  # also other words
_ORDINALS = word_set(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth thirtieth"
)
_TEN_ORDINALS = frozenset(("twenty", "thirty"))
_BIRTH = word_set("born birth birthday birthdate dob birthdays")
_STAYS = word_set("admitted discharged appointment surgery visit home seen scheduled procedure hospital due died")
_WRITTEN = re.compile(
    r"(?<![0-9/.-])(?:[0-3]?[0-9]([/.-])[0-3]?[0-9]\1(?:[12][0-9])?[0-9]{2}|(?:19|20)[0-9]{2}([/.-])[01]?[0-9]\2[0-3]?[0-9])"
    r"(?![0-9/-]|\.[0-9])"
)
REACH = 12


def dates(text: str, tokens: Sequence[Token]) -> Iterator[Span]:
    for match in _WRITTEN.finditer(text):
        yield Span(*match.span(), (Entity.DATE, Entity.DATE_OF_BIRTH))
    dated = False
    at = 0
    while at < len(tokens):
        found = _date(tokens, at)
        if found is None:
            at += 1
            continue
        end, year = found
        dated = True
        birth = any(token.word in _BIRTH for token in tokens[max(0, at - REACH) : at]) or any(
            token.word in _BIRTH for token in tokens[end : end + 5]
        )
        kinds = (Entity.DATE_OF_BIRTH, Entity.DATE) if birth else (Entity.DATE, Entity.DATE_OF_BIRTH)[: 1 + year]
        yield Span(tokens[at].start, tokens[end - 1].end, kinds)
        at = end
    stays = any(token.word in _STAYS for token in tokens)
    if dated or stays:
        yield from _days(tokens)


def _date(tokens: Sequence[Token], at: int) -> tuple[int, bool] | None:
    """Return the end of a day of a month, and whether its year follows; `None` if no date begins at the token `at`."""
    month = tokens[at].word
    if month in MONTHS:
        end = at + 1
        end += _sign(tokens, end)
        end += _is(tokens, end, "the")
        day = _ordinal(tokens, end)
        if day is None:
            plain = _day(tokens, end)
            # "may two ..." is a date only if it is written as one
            if plain is not None and (month not in _WORDS_TOO or tokens[at].text[0].isupper() or _born(tokens, at)):
                day = plain
        if day is not None:
            return _year(tokens, day)
        year = _year(tokens, at + 1)
        return year if year[1] and _born(tokens, at) else None
    start = at + (month == "the")
    ordinal = _ordinal(tokens, start)
    if ordinal is None and tokens[at].kind is Kind.DIGITS and len(month) <= 2:
        ordinal = _day(tokens, at)
        if ordinal is not None:
            ordinal += _sign(tokens, ordinal)  # 03-Apr-1980
        if ordinal is not None and not (ordinal < len(tokens) and tokens[ordinal].word in MONTHS):
            return None
    if ordinal is None:
        return None
    end = ordinal + _is(tokens, ordinal, "day")
    end += _is(tokens, end, "of")
    if end < len(tokens) and tokens[end].word in MONTHS:
        return _year(tokens, end + 1)
    return None


def _born(tokens: Sequence[Token], at: int) -> bool:
    return any(token.word in _BIRTH for token in tokens[max(0, at - REACH) : at])


def _ordinal(tokens: Sequence[Token], at: int) -> int | None:
    if at >= len(tokens):
        return None
    token = tokens[at]
    if token.word in _ORDINALS:
        return at + 1
    if token.word in _TEN_ORDINALS:
        unit = at + 1 + _is(tokens, at + 1, "-")
        return unit + 1 if unit < len(tokens) and tokens[unit].word in _ORDINALS else None
    ends = at + 1 < len(tokens) and tokens[at + 1].glued and tokens[at + 1].word in ("st", "nd", "rd", "th")
    return at + 2 if token.kind is Kind.DIGITS and len(token.text) <= 2 and ends else None


def _day(tokens: Sequence[Token], at: int) -> int | None:
    number = read_number(tokens, at)
    short = number is not None and not number.scaled and len(number.digits) <= 2
    return number.end if number and short and 0 < int(number.digits) <= 31 else None


def _year(tokens: Sequence[Token], at: int) -> tuple[int, bool]:
    """Return the end of a year that begins at the token `at`, and whether there is one."""
    start = at + _is(tokens, at, ",")
    start += _sign(tokens, start)
    start += _is(tokens, start, "in")
    start += _is(tokens, start, "'")
    end, digits = start, ""
    for _ in range(3):
        if end >= len(tokens) or tokens[end].kind not in NUMERALS:
            break
        number = read_number(tokens, end)
        if number is None or len(digits) + len(number.digits) > 4:
            break
        digits, end = digits + number.digits, number.end
    if len(digits) == 4 and digits[:2] in ("18", "19", "20"):
        return end, True
    two = read_number(tokens, start)
    if two is not None and len(two.digits) == 2 and int(two.digits) >= 20 and end == two.end:
        return end, True
    return at, False


def _days(tokens: Sequence[Token]) -> Iterator[Span]:
    """Yield days like "the sixteenth", in texts with a whole date or a stay."""
    for at, token in enumerate(tokens):
        if (
            token.word != "the"
            or at == 0
            or tokens[at - 1].word not in ("on", "until", "till", "by", "since", "from", "to", "and")
        ):
            continue
        end = _ordinal(tokens, at + 1)
        if end is None:
            continue
        behind = tokens[end] if end < len(tokens) else None
        if (
            behind is None
            or behind.kind is Kind.MARK
            or behind.word in ("and", "or", "at", "but", "i", "he", "she", "we", "for", "to", "with")
        ):
            yield Span(token.start, tokens[end - 1].end, (Entity.DATE,))


def _sign(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a sign between the parts of a written date is there."""
    return at < len(tokens) and tokens[at].word in ("-", "/", ".") and tokens[at].glued


def _is(tokens: Sequence[Token], at: int, word: str) -> bool:
    return at < len(tokens) and tokens[at].word == word
