"""Texts as tokens, with the role of each in a number, a code or a spelled word, in written and spoken forms."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text: a compact notation for long lists."""
    return frozenset(text.split())


def _listed(text: str) -> list[str]:
    return text.split()


class Kind(Enum):
    DIGITS = auto()
    UNIT = auto()  # zero to nine, and "oh"
    TEEN = auto()  # ten to nineteen
    TENS = auto()
    SCALE = auto()  # hundred, thousand
    TIMES = auto()  # double, triple
    LETTER = auto()
    WORD = auto()
    MARK = auto()


UNITS = {
    **{word: str(n) for n, word in enumerate(_listed("zero one two three four five six seven eight nine"))},
    **dict.fromkeys(("oh", "nought", "naught", "nil"), "0"),
    "niner": "9",
}
TEENS = {
    word: str(10 + n)
    for n, word in enumerate(_listed("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"))
}
TENS = {
    word: str(20 + 10 * n) for n, word in enumerate(_listed("twenty thirty forty fifty sixty seventy eighty ninety"))
}
TENS["fourty"] = "40"
SCALES = {"hundred": "00", "thousand": "000"}
TIMES = {"double": 2, "triple": 3, "treble": 3, "quadruple": 4}
JOINERS = {
    **dict.fromkeys(("dash", "hyphen", "minus", "tack"), "-"),
    **dict.fromkeys(("dot", "point", "period", "full stop"), "."),
    **dict.fromkeys(("underscore", "underline"), "_"),
    **dict.fromkeys(("slash", "stroke"), "/"),
    "plus": "+",
}
FILLERS = word_set("um uh uhm erm er hmm hm ah")  # between the signs of a number that somebody reads out
# The same, after some digits and before others.
SOFT_JOINERS = word_set(
    "and then sorry no wait correction actually okay ok yeah yes right oops rather scratch that make mean you got it "
    "pause space comma next last hang hold on sec let see"
)
# Words that are letters beside other letters and digits, by alphabets of radio or as they sound.
LETTER_WORDS = {
    **{
        word: word[0]
        for word in _listed(
            "alpha alfa bravo charlie delta echo foxtrot hotel india juliet juliett kilo lima mike november oscar papa "
            "quebec romeo sierra tango uniform victor whiskey whisky xray yankee zulu dee gee jay kay tee vee"
        )
    },
    **dict(zip(_listed("aitch cue eff ell em en ess ex"), "hqflmnsx", strict=True)),
}
LETTERS = {"zed": "z", "zee": "z"}  # whose names are no other words
_KINDS = (
    *((UNITS, Kind.UNIT), (TEENS, Kind.TEEN), (TENS, Kind.TENS)),
    *((SCALES, Kind.SCALE), (TIMES, Kind.TIMES)),
)
_BY_WORD = {word: kind for words, kind in _KINDS for word in words}
# The sign of ASCII that looks like each of these: hyphens, dashes and dots, which language models write in numbers, and
# the wide forms of Chinese and Japanese keyboards, and digits of other scripts. Each is one character.
_ASCII = {
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63"), "-"),
    **dict.fromkeys(map(ord, "\u00b7\u2022\u2027\u2219"), "."),
    **dict.fromkeys(map(ord, "\u00a6\u2502\u2503\u2758"), "|"),
    **{0xFEE0 + n: chr(n) for n in range(0x21, 0x7F)},
    **{zero + n: str(n) for zero in (0x660, 0x6F0, 0x966, 0x1D7CE, 0x1D7D8, 0x1D7E2) for n in range(10)},
}
# Soft hyphens, joiners, marks of direction, and what makes an emoji of a digit.
_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u20e3\ufe0e\ufe0f\ufeff]")
_BRACKETED = re.compile(r"[(\[{<](at|dot)[)\]}>]", re.IGNORECASE)  # as against collectors of mail addresses
_TOKEN = re.compile(r"[0-9]+|[^\W\d_]+(?:['’][^\W\d_]+)*|\S")

NUMERALS = frozenset({Kind.DIGITS, Kind.UNIT, Kind.TEEN, Kind.TENS, Kind.TIMES})


@dataclass(frozen=True, slots=True)
class Token:
    """A token. `word` is the text in lower case; `glued`: no space precedes it."""

    text: str
    word: str
    start: int
    end: int
    kind: Kind
    glued: bool


def legible(text: str) -> tuple[str, Sequence[int] | None]:
    """Return the text as it is searched: with signs of ASCII in place of those that look the same, without invisible
    signs, and with " at " for "(at)". Where it is shorter, also return the place of each character in the text.
    """
    places = None
    if not text.isascii():
        if _INVISIBLE.search(text) is not None:
            places = [at for at, sign in enumerate(text) if _INVISIBLE.match(sign) is None]
            text = "".join(text[at] for at in places)
        text = text.translate(_ASCII)
    return _BRACKETED.sub(r" \1 ", text), places


def placed(start: int, end: int, places: Sequence[int] | None) -> tuple[int, int]:
    """Return where a part of the legible text begins and ends in the text itself."""
    return (start, end) if places is None else (places[start], places[end - 1] + 1)


def tokens_of(text: str) -> list[Token]:
    found: list[Token] = []
    end = -1
    seen, places = legible(text)
    for match in _TOKEN.finditer(seen):
        token_text = match[0]
        word = token_text.lower().replace("’", "'")
        start, stop = placed(match.start(), match.end(), places)
        found.append(Token(token_text, word, start, stop, _kind(token_text, word), match.start() == end))
        end = match.end()
    return found


def _kind(token_text: str, word: str) -> Kind:
    if token_text.isdecimal():
        return Kind.DIGITS
    if not token_text[0].isalpha():
        return Kind.MARK
    if len(token_text) == 1 or word in LETTERS:
        return Kind.LETTER
    return _BY_WORD.get(word, Kind.WORD)


@dataclass(frozen=True, slots=True)
class Number:
    """One number as it is spoken at once: "4111", "double four", "forty two", "eight hundred", "two thousand and four".
    `single`: one digit, or one repeated.
    """

    end: int  # the token after it
    digits: str
    single: bool = False
    scaled: bool = False
    written: bool = False


def read_number(tokens: Sequence[Token], at: int, *, joins: bool = True) -> Number | None:
    """Return the number that begins at the token `at`; `None` if none does."""
    if at >= len(tokens):
        return None
    token = tokens[at]
    match token.kind:
        case Kind.DIGITS:
            return Number(at + 1, token.text, single=len(token.text) == 1, written=True)
        case Kind.TIMES:
            following = tokens[at + 1] if at + 1 < len(tokens) else None
            if following is None:
                return None
            digit = UNITS.get(following.word) or (following.text if following.text.isdecimal() else "")
            if len(digit) != 1:
                return None
            return Number(at + 2, digit * TIMES[token.word], single=True)
        case Kind.UNIT:
            return _scaled(tokens, at + 1, UNITS[token.word], single=True, joins=joins)
        case Kind.TEEN:
            return _scaled(tokens, at + 1, TEENS[token.word], single=False, joins=joins)
        case Kind.TENS:
            value, end = TENS[token.word], at + 1
            unit = end + 1 if is_word(tokens, end, "-") else end
            if unit < len(tokens) and UNITS.get(tokens[unit].word, "0") != "0":
                value, end = str(int(value) + int(UNITS[tokens[unit].word])), unit + 1
            return _scaled(tokens, end, value, single=False, joins=joins)
    return None


def _scaled(tokens: Sequence[Token], end: int, value: str, *, single: bool, joins: bool) -> Number:
    """Return the number with the hundreds and thousands after it and, if it `joins`, with those added by "and"."""
    if end >= len(tokens) or tokens[end].word not in SCALES or value == "0":
        return Number(end, value, single=single)
    number = int(value) * (100 if tokens[end].word == "hundred" else 1000)
    thousands = tokens[end].word == "thousand"
    end += 1
    joined = is_word(tokens, end, "and")
    if joins and (joined or thousands):
        more = read_number(tokens, end + joined, joins=False)
        if more is not None and not more.written and int(more.digits) < number and not (more.single and not joined):
            number, end = number + int(more.digits), more.end
    return Number(end, str(number), scaled=True)


def spelled(token: Token) -> bool:
    """Return whether a token is a letter or a number, as somebody spells it."""
    return token.kind is Kind.LETTER or token.kind in NUMERALS


def is_word(tokens: Sequence[Token], at: int, word: str) -> bool:
    """Return whether that word is at the token `at`."""
    return at < len(tokens) and tokens[at].word == word
