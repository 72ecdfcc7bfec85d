"""How a written form is said: one function for each kind of form, from its match to the words.

A function gets the match and returns parts: which characters (of the matched text), and the words that stand for them.
`None` means that the form is not what it looked like, and is read like any other text.
"""

import re
from collections.abc import Callable

from antiphon.text import numbers
from antiphon.text.tables import (
    CLOSERS,
    CONNECTIVES,
    CURRENCIES,
    DAYS,
    INITIALS,
    MAGNITUDES,
    MONTH_NUMBERS,
    MONTHS,
    NUMBERED,
    PER,
    POINTLESS,
    RULERS,
    SAID,
    SIGNS,
    SPELLED_SIGNS,
    TITLES,
    UNITS,
    WORDS_OF_CAPITALS,
    set_of,
)

Part = tuple[int, int, list[str]]
Parts = list[Part] | None

_WORD_BEFORE = re.compile(r"([^\W\d_]+)\.?[\s(]*$")
_WORD_AFTER = re.compile(r"[\s]*([^\W\d_]+)")
_VERSIONED = set_of(
    """
    version release python cpython ios android macos windows node java ubuntu debian firefox chrome
    section chapter figure table
    """
)
_ERAS = set_of("AD BC CE BCE")
_CALLED = set_of("call dial ring called dialed dialled calling dialing")
_VULGAR = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8"}
_RATIOS = {("24", "7"): "twenty four seven", ("50", "50"): "fifty fifty", ("9", "11"): "nine eleven"}


def before(match: re.Match[str]) -> str:
    """The word in front, in lower case; empty where something else stands there."""
    found = _WORD_BEFORE.search(match.string, max(0, match.start() - 40), match.start())
    return found[1].lower() if found else ""


def after(match: re.Match[str]) -> str:
    """The word that follows, as written."""
    found = _WORD_AFTER.match(match.string, match.end())
    return found[1] if found else ""


def whole(match: re.Match[str], words: list[str]) -> Parts:
    return [(match.start(), match.end(), words)]


def spelled(capitals: str) -> str:
    """Letters that are named one by one, as one word: `"FBI"` is `"F.B.I"`, which no reader takes for a word."""
    return ".".join(char for char in capitals.upper() if char.isalnum())


# -- numbers -----------------------------------------------------------------------------------------------------------


def amount(low: str, high: str | None) -> list[str]:
    """A number, or a range of two."""
    if high is None:
        return numbers.cardinal(low)
    read = numbers.year if _is_year(low) and _is_year(high) else numbers.cardinal
    return [*read(low), "to", *read(high)]


def _is_year(written: str) -> bool:
    return len(written) == 4 and written.isdecimal() and "1100" <= written < "2100"


def number(match: re.Match[str]) -> Parts:
    low, high = match["low"], match["high"]
    word = before(match)
    if high is None and word in _VERSIONED and low.count(".") == 1:
        return whole(match, _dotted(low, "point"))
    if high is None and word in _CALLED and low.isdecimal():
        return whole(match, numbers.digits(low))
    if high is None and (_is_year(low) or (low.isdecimal() and after(match) in _ERAS)):
        return whole(match, numbers.year(low))
    if high == low:
        return whole(match, numbers.cardinal(low) * 2)  # "50-50"
    return whole(match, amount(low, high))


def _dotted(written: str, name: str) -> list[str]:
    words: list[str] = []
    for place, part in enumerate(written.split(".")):
        words += [name] * (place > 0) + numbers.cardinal(part)
    return words


def ordinal(match: re.Match[str]) -> Parts:
    return whole(match, numbers.ordinal(match[1]))


def decade(match: re.Match[str]) -> Parts:
    written = match[1]
    return whole(match, numbers.plural(numbers.year(written) if len(written) == 4 else numbers.cardinal(written)))


def fraction(match: re.Match[str]) -> Parts:
    count, over, under = match["count"], match["over"], match["under"]
    if match["vulgar"]:
        over, under = _VULGAR[match["vulgar"]].split("/")
    if not count and (over, under) in _RATIOS:
        return whole(match, _RATIOS[over, under].split())
    words = [*numbers.cardinal(count), "and"] if count else []
    words += fraction_words(over, under, alone=not count)
    if match["unit"]:
        one, many = UNITS[match["unit"]]
        words += (many if count else one).split()
    return whole(match, words)


def fraction_words(over: str, under: str, alone: bool = True) -> list[str]:
    """`1/2`, `3/4`; what is no simple part of one is read as it stands."""
    top, bottom = int(over[:15]), int(under[:15])
    if not 1 < bottom <= 16 or top >= bottom or top == 0:
        return [*numbers.cardinal(over), "over", *numbers.cardinal(under)]
    part = {2: ["half"], 4: ["quarter"]}.get(bottom, numbers.ordinal(under))
    if top == 1 and not alone:
        return ["a" if bottom != 8 else "an", *part]
    return [*numbers.cardinal(over), *(part if top == 1 else numbers.plural(part))]


def percent(match: re.Match[str]) -> Parts:
    return whole(match, [*amount(match["low"], match["high"]), "percent"])


def measure(match: re.Match[str]) -> Parts:
    low, high, unit, per = match["low"], match["high"], match["unit"], match["per"]
    one, many = UNITS[re.sub(r"\s+", " ", unit)]
    words = amount(low, high) + (one if (high is None and low == "1") or match["tied"] == "-" else many).split()
    return whole(match, words + (["per", *PER[per].split()] if per else []))


def feet(match: re.Match[str]) -> Parts:
    return whole(match, [*numbers.cardinal(match[1]), "foot", *numbers.cardinal(match[2])])


def magnitude(match: re.Match[str]) -> Parts:
    size = match["size"]
    return whole(match, [*amount(match["low"], None), "K" if size in "kK" else MAGNITUDES[size]])


def money(match: re.Match[str]) -> Parts:
    low, high, size, per = match["low"], match["high"], match["size"], match["per"]
    words = money_words(match["sign"].strip().upper(), low, high, MAGNITUDES.get(size.strip()) if size else None)
    words = ["minus"] * bool(match["minus"]) + words
    return whole(match, words + (["per", *PER[per].split()] if per else []))


def price(match: re.Match[str]) -> Parts:
    return whole(match, money_words(match["sign"], match["low"], match["high"], None))


def cents(match: re.Match[str]) -> Parts:
    return whole(match, [*numbers.cardinal(match[1]), "cent" if match[1] == "1" else "cents"])


def money_words(sign: str, low: str, high: str | None, size: str | None) -> list[str]:
    one, many, part, parts = CURRENCIES[sign]
    if high is not None or size is not None:
        return [*amount(low, high), *([size] if size else []), *many.split()]
    units, _, hundredths = low.partition(".")
    if len(hundredths) != 2 or not part:
        return [*numbers.cardinal(low), *(one if low == "1" else many).split()]
    count, rest = int(units.replace(",", "") or "0"), int(hundredths)
    words = [*numbers.cardinal(units or "0"), *(one if count == 1 else many).split()] if count or not rest else []
    return words + ([*numbers.cardinal(str(rest)), part if rest == 1 else parts] if rest else [])


def called(match: re.Match[str]) -> Parts:
    """A number nobody counts: of a telephone, a card."""
    return whole(match, numbers.grouped(match[0])) if sum(map(str.isdecimal, match[0])) >= 7 else None


def sequence(match: re.Match[str]) -> Parts:
    """`3-2-1`."""
    return whole(match, numbers.grouped(match[0]))


def version(match: re.Match[str]) -> Parts:
    written, _, rest = match[0].partition("-")
    words = ["version"] if written[0] in "vV" and before(match) != "version" else []
    words += _dotted(written.lstrip("vV"), "point")
    return whole(match, words + [piece for run in re.findall(r"[a-z]+|\d+", rest) for piece in _run(run)])


def internet_address(match: re.Match[str]) -> Parts:
    host, _, port = match[0].partition(":")
    return whole(match, _dotted(host, "dot") + (["port", *numbers.cardinal(port)] if port else []))


def ratio(match: re.Match[str]) -> Parts:
    return whole(match, [*numbers.cardinal(match[1]), "to", *numbers.cardinal(match[2])])


def product(match: re.Match[str]) -> Parts:
    sides = [numbers.year(side) if _is_year(side) else numbers.cardinal(side) for side in match.groups()]
    is_sum = match.string[match.end() :].lstrip()[:1] in ("=", "?")
    return whole(match, [*sides[0], "times" if is_sum else "by", *sides[1]])


def times(match: re.Match[str]) -> Parts:
    return whole(match, [*numbers.cardinal(match[1]), "times"])


def power(match: re.Match[str]) -> Parts:
    return whole(match, [*numbers.cardinal(match[1]), "to", "the", "power", "of", *numbers.cardinal(match[2])])


def exponent(match: re.Match[str]) -> Parts:
    tail = ["times", "ten", "to", "the", "power", "of", *numbers.cardinal(match[2].lstrip("+"))]
    return whole(match, numbers.cardinal(match[1]) + tail)


def numbered(match: re.Match[str]) -> Parts:
    return whole(match, ["number"])


# -- dates and times ---------------------------------------------------------------------------------------------------


def date_words(year: str | None, month: int | None, day: int | None) -> list[str] | None:
    """`None` where there is no such day."""
    if (month is not None and not 1 <= month <= 12) or (day is not None and not 1 <= day <= 31):
        return None
    words = [MONTHS[month - 1]] if month is not None else []
    if day is not None:
        words += numbers.ordinal(str(day))
    if year:
        words = [*words[:-1], words[-1] + ","] if words and day is not None else words
        words += numbers.year(year)
    return words


def iso_date(match: re.Match[str]) -> Parts:
    words = date_words(match[1], int(match[2]), int(match[3]))
    if words is None:
        return None
    if match["hour"]:
        words += ["at", *clock(match["hour"], match["minute"], None, None)]
    return whole(match, words + ["U.T.C"] * (match["zone"] == "Z"))


def numeric_date(match: re.Match[str]) -> Parts:
    """Month first, as Americans do, where that is a month; with points the day comes first."""
    first, second = int(match[1]), int(match[3])
    day_first = match[2] == "." or first > 12
    month, day = (second, first) if day_first else (first, second)
    words = date_words(match[4], month, day)
    return whole(match, words) if words is not None else None


def month_day(match: re.Match[str]) -> Parts:
    month, day, year = match["month"], match["day"], match["year"]
    if not 1 <= int(day) <= 31:
        return None
    read_day = numbers.ordinal(day)
    parts = [
        (*match.span("month"), [MONTHS[MONTH_NUMBERS[month] - 1]]),
        (match.start("day"), match.end("th"), read_day),
    ]
    if year:
        read_day[-1] += ","
        parts.append((*match.span("year"), numbers.year(year)))
    return parts


def day_month(match: re.Match[str]) -> Parts:
    month, day, year = match["month"], match["day"], match["year"]
    if not 1 <= int(day) <= 31:
        return None
    read_day = ["the"] * (before(match) != "the") + numbers.ordinal(day) + ["of"]
    parts = [
        (match.start(), match.start("month"), read_day),
        (*match.span("month"), [MONTHS[MONTH_NUMBERS[month] - 1]]),
    ]
    return parts + ([(*match.span("year"), numbers.year(year))] if year else [])


def month_year(match: re.Match[str]) -> Parts:
    month = MONTHS[MONTH_NUMBERS[match["month"]] - 1]
    return [(*match.span("month"), [month]), (*match.span("year"), numbers.year(match["year"]))]


def days(match: re.Match[str]) -> Parts:
    return [(*match.span(1), [DAYS[match[1]], "to"]), (*match.span(2), [DAYS[match[2]]])]


def clock(hour: str, minute: str, second: str | None, half: str | None) -> list[str]:
    words = numbers.cardinal(str(int(hour)))
    half_words = [spelled(half)] if half else []
    if int(minute):
        words += numbers.minutes(minute)
    elif not half and 1 <= int(hour) <= 12:
        words += ["o'clock"]
    elif not half:
        words += ["hundred"]
    if second and int(second):
        words += ["and", *numbers.cardinal(str(int(second))), "second" if int(second) == 1 else "seconds"]
    return words + half_words


def time(match: re.Match[str]) -> Parts:
    return whole(match, clock(match["hour"], match["minute"], match["second"], match["half"]))


def hour(match: re.Match[str]) -> Parts:
    return whole(match, [*numbers.cardinal(match[1]), spelled(match[2])])


# -- letters -----------------------------------------------------------------------------------------------------------


def _run(run: str) -> list[str]:
    """A run of letters, or of digits, in something that is no word."""
    if run.isdecimal():
        return numbers.cardinal(run) if len(run) <= 2 else numbers.digits(run)
    if len(run) == 1:
        return ["A-" if run in "aA" else run.upper()]  # alone it would be the article
    vowels = set("aeiouy" if run.islower() and len(run) > 3 else "aeiou").intersection(run.lower())
    is_initials = run.upper() in INITIALS or (len(run) <= 5 and not vowels) or (run.isupper() and len(run) <= 3)
    return [spelled(run) if is_initials and run.isascii() else run]


def mixed(match: re.Match[str]) -> Parts:
    """Letters and digits without a space: `MP3`, `BA2490`."""
    runs = re.finditer(r"[0-9]+(?:\.[0-9]+)?|[^\W\d_]+", match[0])
    base = match.start()
    return [
        (base + run.start(), base + run.end(), numbers.cardinal(run[0]) if "." in run[0] else _run(run[0]))
        for run in runs
    ]


def address(match: re.Match[str]) -> Parts:
    """A web or mail address, a path, the name of a file."""
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


# Begins as an English word may.
_SAYABLE = re.compile(
    "(?:[BCDFGHJKLMNPQRSTVWXZ]|[BCFGPS]L|[BCDFGPTW]R|[CPSTW]H|S[CKMNPTW]|TW|DW|KN|GN|PS|QU|S[CPT]R|SCH|SHR|THR|CHR|SPL)?"
    "[AEIOUY]"
)


def capitals(match: re.Match[str]) -> Parts:
    """Initials, unless everything around is in capitals, or a word is."""
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
    """A shortened word, with its point or without."""
    key, point = match[1], match[2]
    if not point and key not in POINTLESS:
        return None
    follows = match.string[match.end() : match.end() + 12].lstrip()
    is_street = bool(before(match)) and _capital_before(match)
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


def _capital_before(match: re.Match[str]) -> bool:
    found = _WORD_BEFORE.search(match.string, max(0, match.start() - 40), match.start())
    return (
        found is not None and found[1][0].isupper() and found[1].lower() not in ("the", "in", "at", "to", "from", "of")
    )


_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_VALID_ROMAN = re.compile(r"(?:C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})$")
_CLEARLY_ROMAN = set_of("II III VII VIII IX XII XIII XIV XVI XVII XVIII XIX XXI")


def roman(match: re.Match[str]) -> Parts:
    """`Chapter IV` counts, `Henry VIII` orders; alone only what is no other word."""
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


def said_so(match: re.Match[str]) -> Parts:
    return whole(match, SAID[match[0]].split())


def sign(match: re.Match[str]) -> Parts:
    return whole(match, SIGNS[match[0]].split())


def said(*words: str) -> Callable[[re.Match[str]], Parts]:
    """A form that is always the same words."""
    return lambda match: whole(match, list(words))


def hashtag(match: re.Match[str]) -> Parts:
    return [(match.start(), match.start() + 1, ["hashtag"]), (match.start() + 1, match.end(), [match[1]])]
