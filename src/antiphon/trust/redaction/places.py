"""Postal addresses, written and spoken: a number, a street, and any flat, town and postcode after it."""

from collections.abc import Iterator, Sequence

from antiphon.core.redaction import Entity, Span
from antiphon.trust.redaction.cues import STOPWORDS
from antiphon.trust.redaction.tokens import NUMERALS, Kind, Token, read_number, word_set

_STREETS = word_set(
    "street st avenue ave road rd lane ln boulevard blvd terrace parkway pkwy highway hwy crescent mews alley trail "
    "gardens grove quay drive dr court ct"
)
_WEAK = word_set("way place pl square sq circle close drive dr court ct st row walk hill view loop path run")
_BEFORE = word_set("rue via calle avenida avenue plaza piazza rua impasse chemin")  # the name comes after it
_LINKS = word_set(
    "de des du la le les lo los las del della di da saint st san santa north south east west n s e w old new"
)
_UNITS = word_set("apartment apt suite ste unit flat floor room building bldg")
_CUES = word_set("live lives living address deliver delivered delivery located ship shipped mail send home house moved")
_AFTER_TOWN = STOPWORDS | frozenset(("zip", "postal", "postcode", "today", "tomorrow", "tonight", "yesterday"))
STATES = word_set(
    "alabama alaska arizona arkansas california colorado connecticut delaware florida georgia hawaii idaho illinois "
    "indiana iowa kansas kentucky louisiana maine maryland massachusetts michigan minnesota mississippi missouri "
    "montana nebraska nevada ohio oklahoma oregon pennsylvania tennessee texas utah vermont virginia washington "
    "wisconsin wyoming"
)
# Towns that are not other words, for texts without capitals.
TOWNS = word_set(
    "london manchester birmingham liverpool glasgow edinburgh dublin belfast cardiff leeds sheffield chicago "
    "houston philadelphia seattle denver boston atlanta dallas miami detroit portland baltimore cleveland "
    "pittsburgh cincinnati minneapolis milwaukee nashville memphis toronto montreal vancouver ottawa calgary sydney "
    "melbourne brisbane perth auckland paris lyon marseille toulouse berlin hamburg munich frankfurt cologne vienna "
    "zurich geneva brussels amsterdam rotterdam copenhagen stockholm oslo helsinki madrid barcelona seville lisbon "
    "porto rome milan naples venice athens istanbul moscow warsaw prague budapest bucharest sofia kyiv cairo lagos "
    "nairobi johannesburg mumbai delhi bangalore chennai kolkata karachi lahore dhaka tokyo osaka kyoto seoul "
    "beijing shanghai singapore bangkok jakarta manila hanoi dubai riyadh tehran baghdad jerusalem"
)
MAX_NAME_WORDS = 3
MAX_TOWN_WORDS = 2
REACH = 8


def addresses(tokens: Sequence[Token]) -> Iterator[Span]:
    at = 0
    while at < len(tokens):
        end = _address(tokens, at)
        if end is None:
            if tokens[at].word in TOWNS:
                yield Span(tokens[at].start, tokens[at].end, (Entity.PLACE, Entity.ADDRESS))
            at += 1
            continue
        yield Span(tokens[_flat_before(tokens, at)].start, tokens[end - 1].end, (Entity.ADDRESS,))
        at = end


def _flat_before(tokens: Sequence[Token], at: int) -> int:
    """Return the beginning of the address with a "flat three," before it."""
    for start in range(at - 1, max(-1, at - 5), -1):
        if tokens[start].word in _UNITS:
            return start
        if tokens[start].kind not in NUMERALS | {Kind.MARK, Kind.LETTER}:
            break
    return at


def _address(tokens: Sequence[Token], at: int) -> int | None:
    token = tokens[at]
    if token.word in ("po", "p") and (end := _box(tokens, at)) is not None:
        return end
    if token.kind not in NUMERALS or (at and tokens[at - 1].kind in NUMERALS):
        return None
    number_end, digits = _house_number(tokens, at)
    cued = any(each.word in _CUES for each in tokens[max(0, at - REACH) : at])
    end = _street(tokens, number_end, sure=cued or len(digits) > 1)
    if end is None:
        return None
    return _rest(tokens, end, cued)


def _box(tokens: Sequence[Token], at: int) -> int | None:
    words = [token.word for token in tokens[at : at + 6]]
    if "box" not in words:
        return None
    start = at + words.index("box") + 1
    end, digits = _house_number(tokens, start)
    return end if digits and set(words[: words.index("box")]) <= {"po", "p", "o", "."} else None


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


def _street(tokens: Sequence[Token], at: int, *, sure: bool) -> int | None:
    """Return the end of a street's name that begins at the token `at`; `None` if there is none."""
    if at < len(tokens) and tokens[at].word in _BEFORE and at + 1 < len(tokens):
        end = at + 1
        while end < len(tokens) and tokens[end].word in _LINKS:
            end += 1
        end += _named(tokens, end)
        while end < len(tokens) and tokens[end].kind is Kind.WORD and tokens[end].text[0].isupper():
            end += 1
        return end if end > at + 1 else None
    named = capital = 0
    end = at
    while end < len(tokens) and named <= MAX_NAME_WORDS:
        token = tokens[end]
        if token.word in _STREETS | _WEAK and named:
            strong = token.word in _STREETS - _WEAK
            if (
                (strong and (sure or capital))
                or (sure and (capital or _near_cue(tokens, at)))
                or (capital and capital == named)
            ):
                end += 1
                return end + _is(tokens, end, ".")
        ordinal = token.kind is Kind.DIGITS and named == 0
        if token.kind is Kind.MARK or (token.word in STOPWORDS - _LINKS):
            return None
        if (
            token.kind is not Kind.WORD
            and token.kind is not Kind.LETTER
            and not ordinal
            and token.kind is not Kind.TENS
        ):
            return None
        named += not token.glued or ordinal
        capital += token.text[0].isupper()
        end += 1
    return None


def _near_cue(tokens: Sequence[Token], at: int) -> bool:
    return any(each.word in _CUES for each in tokens[max(0, at - REACH) : at])


def _named(tokens: Sequence[Token], at: int) -> bool:
    return at < len(tokens) and tokens[at].kind is Kind.WORD and tokens[at].word not in STOPWORDS


def _rest(tokens: Sequence[Token], end: int, cued: bool) -> int:
    """Return the end of the address with the flat, town, state and postcode after it, if there are any."""
    last = end
    for _ in range(4):
        begin = last + _is(tokens, last, ",")
        if begin >= len(tokens):
            break
        token = tokens[begin]
        if token.word in _UNITS or token.word == "#":
            begin += 1 + _is(tokens, begin + 1, "number")
            last = _code(tokens, begin)
        elif token.kind in NUMERALS:
            number_end, digits = _house_number(tokens, begin)
            if len(digits) < 4:
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


def _is(tokens: Sequence[Token], at: int, word: str) -> bool:
    return at < len(tokens) and tokens[at].word == word
