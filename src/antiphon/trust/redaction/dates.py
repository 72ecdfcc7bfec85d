"""Dates, written and spoken. A date after a word about birth is a date of birth; one with a year may be."""

import re
from collections.abc import Iterator, Sequence

from antiphon.core.redaction import Entity, Span
from antiphon.trust.redaction.tokens import NUMERALS, Kind, Token, is_word, read_number, word_set

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
_BIRTH = word_set("born birth birthday birthdate dob birthdays birthday's birthdate's dob's")
_STAYS = word_set("admitted discharged appointment surgery visit home seen scheduled procedure hospital due died")
_WRITTEN = re.compile(
    r"(?<![0-9/.-])(?:[0-3]?[0-9]([/.-])[0-3]?[0-9]\1(?:[12][0-9])?[0-9]{2}|(?:19|20)[0-9]{2}([/.-])[01]?[0-9]\2[0-3]?[0-9])"
    r"(?![0-9/-]|\.[0-9])"
)
_SEASONS = word_set("spring summer autumn fall winter")
_WEEKDAYS = word_set("monday tuesday wednesday thursday friday saturday sunday")
_EXPIRES = word_set("expires expiry expiration expiring expire expiry's expiration's exp valid good runs run")
_LASTS = word_set(
    "out the , is in on until till thru through to : . date of would will should be was says"
)  # between such a word and the month
_MONTH_NUMBERS = 12
REACH, REACH_BEHIND = 12, 5
MAX_DAY_TOKENS, MAX_TO_MONTH = 3, 3


def written_dates(text: str) -> Iterator[Span]:
    for match in _WRITTEN.finditer(text):
        yield Span(*match.span(), (Entity.DATE, Entity.DATE_OF_BIRTH))


def dates(tokens: Sequence[Token]) -> Iterator[Span]:
    """Yield dates of words, or of words and numbers."""
    dated = False
    at = 0
    while at < len(tokens):
        found = _date(tokens, at)
        if found is None:
            at += 1
            continue
        end, year = found
        dated = True
        birth = _born(tokens, at) or _called_birth(tokens, end)
        kinds = (Entity.DATE_OF_BIRTH, Entity.DATE) if birth else (Entity.DATE, Entity.DATE_OF_BIRTH)[: 1 + year]
        yield Span(tokens[_weekday(tokens, at)].start, tokens[end - 1].end, kinds)
        at = end
    yield from _expiries(tokens)
    stays = any(token.word in _STAYS for token in tokens)
    if dated or stays:
        yield from _days(tokens)


def open_date(tokens: Sequence[Token]) -> Iterator[Span]:
    """Yield a day or a month at the end of a text about birth, whose date may go on: "born on the twenty fourth"."""
    for at in range(max(0, len(tokens) - MAX_DAY_TOKENS), len(tokens)):
        ends = at + 1 if tokens[at].word in MONTHS else ordinal_end(tokens, at)
        if ends == len(tokens) and _born(tokens, at):
            yield Span(tokens[at].start, tokens[-1].end, (Entity.DATE_OF_BIRTH, Entity.DATE))
            return


def _date(tokens: Sequence[Token], at: int) -> tuple[int, bool] | None:
    """Return the end of a day of a month, and whether its year follows; `None` if no date begins at the token `at`."""
    month = tokens[at].word
    if at > 1 and tokens[at].kind in NUMERALS and [each.word for each in tokens[at - 2 : at]] == ["born", "in"]:
        year = _year(tokens, at)
        return year if year[1] else None
    if month in _SEASONS:
        year = _year(tokens, at + 1 + is_word(tokens, at + 1, "of"))
        return year if year[1] and _born(tokens, at) else None
    if month in MONTHS:
        end = at + 1
        end += _sign(tokens, end)
        end += is_word(tokens, end, "the")
        day = ordinal_end(tokens, end)
        if day is None:
            plain = _day(tokens, end)
            # "may two ..." is a date only if it is written as one
            if plain is not None and (month not in _WORDS_TOO or tokens[at].text[0].isupper() or _born(tokens, at)):
                day = plain
        if day is not None:
            return _year(tokens, day)
        year = _year(tokens, at + 1 + is_word(tokens, at + 1, "of"))
        return year if year[1] and (_born(tokens, at) or _called_birth(tokens, year[0])) else None
    slashed = _slashed(tokens, at)
    if slashed is not None:
        return slashed, True
    start = at + (month == "the")
    ordinal = ordinal_end(tokens, start)
    if ordinal is None and tokens[at].kind in NUMERALS:
        ordinal = _day(tokens, at)
        if ordinal is not None:
            ordinal += _sign(tokens, ordinal)  # 03-Apr-1980
        if ordinal is not None and not _is_month(tokens, ordinal, sure=tokens[at].kind is Kind.DIGITS):
            return None
    if ordinal is None:
        return None
    end = ordinal + is_word(tokens, ordinal, "day")
    end += is_word(tokens, end, "of")
    if end < len(tokens) and tokens[end].word in MONTHS:
        return _year(tokens, end + 1)
    month_end = ordinal_end(tokens, end + is_word(tokens, end, "the"))
    if month_end is not None and end > ordinal and _born(tokens, at):
        last, dated = _year(tokens, month_end)  # the first of the second eighty three
        return (last, True) if dated else None
    return None


def _is_month(tokens: Sequence[Token], at: int, *, sure: bool) -> bool:
    """Return whether a month is at the token `at`; if it is another word, too, only if one is `sure`."""
    if at >= len(tokens) or tokens[at].word not in MONTHS:
        return False
    return sure or tokens[at].word not in _WORDS_TOO or _born(tokens, at) or _year(tokens, at + 1)[1]


def _weekday(tokens: Sequence[Token], at: int) -> int:
    """Return the beginning of a date with the day of the week before it, "Tuesday, the first of May", or with what was
    said twice: "march march the second".
    """
    while at > 0 and tokens[at - 1].word == tokens[at].word:
        at -= 1
    day = at - 1
    while day > 0 and tokens[day].word in (",", "the"):
        day -= 1
    return day if day >= 0 and tokens[day].word in _WEEKDAYS else at


def _expiries(tokens: Sequence[Token]) -> Iterator[Span]:
    """Yield months with years after words about the end of a card: "expires in march twenty seven"."""
    for at, token in enumerate(tokens):
        if token.word == "oh" and (month := _month_number(tokens, at)) and is_word(tokens, month, "slash"):
            last, dated = _year(tokens, month + 1)  # "oh nine slash twenty seven"
            if dated:
                yield Span(token.start, tokens[last - 1].end, (Entity.CARD_EXPIRY, Entity.DATE))
        if token.word not in _EXPIRES:
            continue
        start = at + 1
        while start < len(tokens) and (tokens[start].word in _LASTS or _month_comes(tokens, start)):
            start += 1
        # Cards are not all that is valid or good.
        if start >= len(tokens) or (token.word in ("valid", "good", "runs", "run") and start == at + 1):
            continue
        end = start + 1 if tokens[start].word in MONTHS else _month_number(tokens, start)
        if end is None:
            continue
        while end < len(tokens) and tokens[end].word in ("of", "slash", "/", ","):
            end += 1
        last, dated = _year(tokens, end)
        if dated:
            yield Span(tokens[start].start, tokens[last - 1].end, (Entity.CARD_EXPIRY, Entity.DATE))


def _month_comes(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a month's name follows on a word within a few words: "expires sometime in September"."""
    return (
        tokens[at].kind is Kind.WORD
        and tokens[at].word not in MONTHS
        and any(token.word in MONTHS for token in tokens[at + 1 : at + 1 + MAX_TO_MONTH])
    )


def _slashed(tokens: Sequence[Token], at: int) -> int | None:
    """Return the end of a date that is read out with its signs: "four slash twelve slash eighty one"."""
    end = at
    for _ in range(2):
        number = _day(tokens, end)
        if number is None or number >= len(tokens) or tokens[number].word != "slash":
            return None
        end = number + 1
    last, dated = _year(tokens, end)
    return last if dated else None


def _month_number(tokens: Sequence[Token], at: int) -> int | None:
    """Return the end of the number of a month, like "six" or "oh six"; `None` if there is none."""
    number = read_number(tokens, at)
    if number is not None and number.digits == "0":
        number = read_number(tokens, number.end)
    short = number is not None and len(number.digits) <= 2
    if number is None and at < len(tokens) and tokens[at].word in _ORDINALS:
        return at + 1
    return number.end if number and short and 0 < int(number.digits) <= _MONTH_NUMBERS else None


def _born(tokens: Sequence[Token], at: int) -> bool:
    return any(token.word in _BIRTH for token in tokens[max(0, at - REACH) : at])


def _called_birth(tokens: Sequence[Token], end: int) -> bool:
    """Return whether the words behind a date say that it is one of birth: "... is my birth date"."""
    return any(token.word in _BIRTH for token in tokens[end : end + REACH_BEHIND])


def ordinal_end(tokens: Sequence[Token], at: int) -> int | None:
    """Return the end of an ordinal number up to the thirty-first at the token `at`; `None` if there is none."""
    if at >= len(tokens):
        return None
    token = tokens[at]
    if token.word in _ORDINALS:
        return at + 1
    if token.word in _TEN_ORDINALS:
        unit = at + 1 + is_word(tokens, at + 1, "-")
        return unit + 1 if unit < len(tokens) and tokens[unit].word in _ORDINALS else None
    ends = at + 1 < len(tokens) and tokens[at + 1].glued and tokens[at + 1].word in ("st", "nd", "rd", "th")
    return at + 2 if token.kind is Kind.DIGITS and len(token.text) <= 2 and ends else None


def _day(tokens: Sequence[Token], at: int) -> int | None:
    number = read_number(tokens, at)
    short = number is not None and not number.scaled and len(number.digits) <= 2
    return number.end if number and short and 0 < int(number.digits) <= 31 else None


def _year(tokens: Sequence[Token], at: int) -> tuple[int, bool]:
    """Return the end of a year that begins at the token `at`, and whether there is one."""
    start = at + is_word(tokens, at, ",")
    start += _sign(tokens, start)
    start += is_word(tokens, start, "in")
    start += is_word(tokens, start, "'")
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
    if is_word(tokens, start, "oh") and end == start + 2 and len(digits) == 2:
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
        end = ordinal_end(tokens, at + 1)
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
