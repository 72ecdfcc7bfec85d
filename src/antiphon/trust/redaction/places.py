"""Postal addresses, written and spoken: a number, a street, and any flat, town and postcode after it."""

from collections.abc import Iterator, Sequence

from antiphon.core.redaction import Entity, Span
from antiphon.trust.redaction.cues import STOPWORDS
from antiphon.trust.redaction.dates import ordinal_end
from antiphon.trust.redaction.lexicon import LONG_TOWNS, TOWNS
from antiphon.trust.redaction.tokens import NUMERALS, Kind, Token, is_word, read_number, word_set

_STREETS = word_set(
    "street st avenue ave road rd lane ln boulevard blvd terrace parkway pkwy highway hwy crescent mews alley trail "
    "gardens grove quay drive dr court ct"
)
_WEAK = word_set("way place pl square sq circle close drive dr court ct st row walk hill view loop path run")
_ANY_STREET = _STREETS | _WEAK
_BEFORE = word_set("rue via calle avenida avenue plaza piazza rua impasse chemin")  # the name comes after it
_JOINED = word_set("place boulevard cours quai route allée allee square")  # the name may come after it
LINKS = word_set(
    "de des du la le les lo los las del della di da saint st san santa north south east west n s e w ne nw se sw "
    "northeast northwest southeast southwest old new"
)
_NO_LINKS = STOPWORDS - LINKS
_DIRECTIONS = word_set(
    "north south east west n s e w ne nw se sw northeast northwest southeast southwest"
)  # before a street's name
_SUFFIXES = ("straße", "strasse", "gasse", "platz", "allee", "str")  # ends of German streets' names
_UNITS = word_set("apartment apt suite ste unit flat floor room building bldg")
_NUMBERED = word_set("house plot block tower villa sector door")  # before a number that a street follows
_PARTS = _UNITS | _NUMBERED
_CUES = word_set(
    "live lives living address deliver delivered delivery located ship shipped mail send home house moved renting "
    "staying come office"
)
_HOMES = word_set("live lives living address located moved staying")
_AT_HOME = word_set("at is to on number no in")
_AFTER_TOWN = STOPWORDS | frozenset(("zip", "postal", "postcode", "today", "tomorrow", "tonight", "yesterday"))
STATES = word_set(
    "alabama alaska arizona arkansas california colorado connecticut delaware florida georgia hawaii idaho illinois "
    "indiana iowa kansas kentucky louisiana maine maryland massachusetts michigan minnesota mississippi missouri "
    "montana nebraska nevada ohio oklahoma oregon pennsylvania tennessee texas utah vermont virginia washington "
    "wisconsin wyoming"
)
_CROSSINGS = word_set("corner intersection junction streets crossing crossroads")
_TO_CROSSING = word_set("of is are at : by")
_FIRST_OF_TOWNS = frozenset(town[0] for town in LONG_TOWNS)
LONGEST_TOWN = max(map(len, LONG_TOWNS))
MAX_NAME_WORDS = 3
MAX_TOWN_WORDS = 2
REACH, REACH_OPEN = 8, 4


def addresses(tokens: Sequence[Token]) -> Iterator[Span]:
    at = 0
    while at < len(tokens):
        end = _address(tokens, at)
        if end is None:
            town = _long_town(tokens, at) or at + (tokens[at].word in TOWNS)
            if town > at:
                yield Span(tokens[at].start, tokens[town - 1].end, (Entity.PLACE, Entity.ADDRESS))
            at = max(town, at + 1)
            continue
        yield Span(tokens[_flat_before(tokens, at)].start, tokens[end - 1].end, (Entity.ADDRESS,))
        at = end


def open_address(tokens: Sequence[Token]) -> Iterator[Span]:
    """Yield a number at the end of a text after words that say that somebody lives there: "i live at eighty eight"."""
    at = len(tokens)
    while at > 0 and tokens[at - 1].kind in NUMERALS:
        at -= 1
    homes = (token.word in _HOMES for token in tokens[max(0, at - REACH_OPEN) : at])
    if 0 < at < len(tokens) and tokens[at - 1].word in _AT_HOME and any(homes):
        yield Span(tokens[at].start, tokens[-1].end, (Entity.ADDRESS,))


def _long_town(tokens: Sequence[Token], at: int) -> int | None:
    if tokens[at].word not in _FIRST_OF_TOWNS:
        return None
    words = [token.word for token in tokens[at : at + LONGEST_TOWN]]
    return next((at + size for size in range(len(words), 1, -1) if tuple(words[:size]) in LONG_TOWNS), None)


def _flat_before(tokens: Sequence[Token], at: int) -> int:
    """Return the beginning of the address with a "flat three," before it."""
    begin = at - (at > 0 and tokens[at - 1].word == "number")
    for start in range(at - 1, max(-1, at - 5), -1):
        if tokens[start].word in _PARTS:
            return start
        if tokens[start].kind not in NUMERALS | {Kind.MARK, Kind.LETTER} and tokens[start].word not in ("no", "number"):
            break
    return begin


def _address(tokens: Sequence[Token], at: int) -> int | None:
    token = tokens[at]
    if token.word in ("po", "p", "post") and (end := _box(tokens, at)) is not None:
        return _rest(tokens, end, cued=True)
    if (end := _numbered_parts(tokens, at)) is not None:
        return _rest(tokens, end, cued=True)
    if token.word in _CROSSINGS and (end := _crossing(tokens, at)) is not None:
        return _rest(tokens, end, cued=False)
    if token.kind is Kind.WORD and token.word not in STOPWORDS and (end := _street_number(tokens, at)) is not None:
        return end
    if token.kind is Kind.WORD and (end := _numbered_street(tokens, at)) is not None:
        return _rest(tokens, end, cued=False)
    if token.kind not in NUMERALS or (at and tokens[at - 1].kind in NUMERALS):
        return None
    number_end, digits = _house_number(tokens, at)
    near = tokens[max(0, at - REACH) : at]
    cued = any(each.word in _CUES for each in near) or (bool(near) and near[-1].word == "number")
    if cued or _flat_before(tokens, at) < at:
        number_end += is_word(tokens, number_end, ",")  # "house no. 12, MG Road"
    end = _street(tokens, number_end, sure=cued or len(digits) > 1, cued=cued)
    if end is None:
        return None
    return _rest(tokens, end, cued)


def _numbered_parts(tokens: Sequence[Token], at: int) -> int | None:
    """Return the end of two or more numbered parts of an address, like "plot fourteen, sector sixty two"."""
    parts, end = 0, at
    while end + 1 < len(tokens) and tokens[end].word in _PARTS and tokens[end + 1].kind in NUMERALS:
        parts, end = parts + 1, _house_number(tokens, end + 1)[0]
        end += is_word(tokens, end, ",")
    end -= parts > 0 and tokens[end - 1].word == ","
    return end if parts > 1 else None


def _crossing(tokens: Sequence[Token], at: int) -> int | None:
    """Return the end of two streets that meet, from the word "corner" on: "corner of 5th and Main"."""
    start = at + 1
    while start < len(tokens) and tokens[start].word in _TO_CROSSING:
        start += 1
    first, sure = _street_that_meets(tokens, start)
    if start == at + 1 or first == start or first >= len(tokens) or tokens[first].word not in ("and", "&"):
        return None
    end, also = _street_that_meets(tokens, first + 1)
    ends = end >= len(tokens) or tokens[end].kind is Kind.MARK
    return end if end > first + 1 and (sure or also or ends) else None


def _street_that_meets(tokens: Sequence[Token], at: int) -> tuple[int, bool]:
    """Return the end of a street's name, and whether its form says that it is one: "5th", "Main", "church street"."""
    end = ordinal_end(tokens, at) or at
    sure = end > at
    while end < len(tokens) and end - at < MAX_NAME_WORDS:
        token = tokens[end]
        kind = token.word in _ANY_STREET
        capital = token.text[0].isupper()
        if token.kind is not Kind.WORD or token.word in _NO_LINKS or not (end == at or kind or capital):
            break
        sure |= capital or (kind and end > at)
        end += 1
    return end, sure


def _box(tokens: Sequence[Token], at: int) -> int | None:
    words = [token.word for token in tokens[at : at + 6]]
    if "box" not in words:
        return None
    start = at + words.index("box") + 1
    end, digits = _house_number(tokens, start)
    return end if digits and set(words[: words.index("box")]) <= {"po", "p", "o", ".", "post", "office"} else None


def _house_number(tokens: Sequence[Token], at: int) -> tuple[int, str]:
    end, digits = at, ""
    while end < len(tokens) and tokens[end].kind in NUMERALS and len(digits) < 6:
        number = read_number(tokens, end)
        if number is None:
            break
        digits, end = digits + number.digits, number.end
    if (
        digits
        and end < len(tokens)
        and tokens[end].kind is Kind.LETTER
        and (tokens[end].glued or tokens[end].word not in "ai")
    ):
        following = tokens[end + 1] if end + 1 < len(tokens) else None
        if following is not None and following.kind is Kind.WORD:
            end += 1  # 12b
    return end, digits


def _street(tokens: Sequence[Token], at: int, *, sure: bool, cued: bool = False) -> int | None:
    """Return the end of a street's name that begins at the token `at`; `None` if there is none."""
    if at + 1 < len(tokens) and (tokens[at].word in _BEFORE or _of_something(tokens, at)):
        end = at + 1
        while end < len(tokens) and tokens[end].word in LINKS:
            end += 1
        end += _named(tokens, end)
        while end < len(tokens) and tokens[end].kind is Kind.WORD and tokens[end].text[0].isupper():
            end += 1
        return end if end > at + 1 else None
    named = capital = 0
    end = at
    while end < len(tokens) and named <= MAX_NAME_WORDS:
        token = tokens[end]
        if named and token.word in _ANY_STREET:
            strong = token.word not in _WEAK
            if (strong and (sure or capital)) or (sure and (capital or cued)) or (capital and capital == named):
                end += 1
                return end + is_word(tokens, end, ".")
        ordinal = token.kind is Kind.DIGITS and not named
        if token.kind is Kind.MARK or token.word in _NO_LINKS:
            return None
        if (
            token.kind is not Kind.WORD
            and token.kind is not Kind.LETTER
            and not ordinal
            and token.kind is not Kind.TENS
        ):
            return None
        named += (not token.glued or ordinal) and token.word not in _DIRECTIONS
        capital += token.text[0].isupper()
        end += 1
    return None


def _of_something(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a street's kind and the rest of its name are joined as in "Place de la Paix"."""
    return tokens[at].word in _JOINED and tokens[at + 1].word in ("de", "des", "du")


def _numbered_street(tokens: Sequence[Token], at: int) -> int | None:
    """Return the end of a street with its number behind it, like "Via Garibaldi 9" or "Lindenstr. 9"."""
    token = tokens[at]
    if token.word in _BEFORE and token.text[0].isupper():
        end = _street(tokens, at, sure=False)
    elif token.word.endswith(_SUFFIXES) and token.text[0].isupper() and token.word not in _SUFFIXES:
        end = at + 1 + is_word(tokens, at + 1, ".")
    else:
        return None
    if end is None:
        return None
    end += is_word(tokens, end, ",")
    return _house_number(tokens, end)[0] if end < len(tokens) and tokens[end].kind is Kind.DIGITS else None


def _street_number(tokens: Sequence[Token], at: int) -> int | None:
    """Return the end of a street with the word "number" behind it: "elm street number fourteen"."""
    for kind in (at + 1, at + 2):
        number = kind + 1 + is_word(tokens, kind + 1, ",")
        if number + 1 < len(tokens) and tokens[kind].word in _ANY_STREET and tokens[number].word == "number":
            return _house_number(tokens, number + 1)[0] if tokens[number + 1].kind in NUMERALS else None
    return None


def _named(tokens: Sequence[Token], at: int) -> bool:
    return at < len(tokens) and tokens[at].kind is Kind.WORD and tokens[at].word not in STOPWORDS


def _rest(tokens: Sequence[Token], end: int, cued: bool) -> int:
    """Return the end of the address with the flat, town, state and postcode after it, if there are any."""
    last = end
    for _ in range(4):
        begin = last + is_word(tokens, last, ",")
        if begin >= len(tokens):
            break
        token = tokens[begin]
        numbered = token.word == "number" and begin + 1 < len(tokens) and tokens[begin + 1].kind in NUMERALS
        if token.word in _UNITS or token.word == "#" or numbered:
            begin += 1 + is_word(tokens, begin + 1, "number")
            last = _code(tokens, begin)
        elif token.kind in NUMERALS:
            number_end, digits = _house_number(tokens, begin)
            ends = number_end >= len(tokens) or tokens[number_end].kind is Kind.MARK
            if len(digits) < 4 and not (ends and tokens[begin - 1].word in TOWNS):  # "dublin four"
                break
            last = number_end
        elif _is_town(tokens, begin, cued):
            last = begin
            for _ in range(MAX_TOWN_WORDS):
                if not _is_town(tokens, last, cued):
                    break
                last += 1
        else:
            break
    return last


def _code(tokens: Sequence[Token], at: int) -> int:
    """Return the end of a number with a letter, like "four b" or "4B"."""
    end, digits = _house_number(tokens, at)
    if end < len(tokens) and tokens[end].kind is Kind.LETTER:
        end += 1
    if digits == "" and end < len(tokens) and tokens[end].kind in NUMERALS:
        end, _ = _house_number(tokens, end)
    return end


def _is_town(tokens: Sequence[Token], at: int, cued: bool) -> bool:
    """Return whether the word after a street belongs to the address: a capitalised one, or any if the text has no
    capitals.
    """
    if at >= len(tokens):
        return False
    token = tokens[at]
    if token.kind is not Kind.WORD or token.word in _AFTER_TOWN:
        return False
    return token.text[0].isupper() or token.word in STATES or cued
