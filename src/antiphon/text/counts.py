"""How numbers are read, and what is counted with them: money, measures, shares."""

import re

from antiphon.text import numbers
from antiphon.text.forms import Parts, after, before, spelled, whole
from antiphon.text.tables import CURRENCIES, MAGNITUDES, PER, UNITS, set_of

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


def amount(low: str, high: str | None) -> list[str]:
    """Return the words of a number, or of a range of two."""
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
    """Return the words of `1/2` or `3/4`; any other fraction is read as "1 over 20"."""
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
    """Read a number that is not a quantity, such as a telephone or card number, digit by digit."""
    return whole(match, numbers.grouped(match[0])) if sum(map(str.isdecimal, match[0])) >= 7 else None


def sequence(match: re.Match[str]) -> Parts:
    """Read `3-2-1` digit by digit."""
    return whole(match, numbers.grouped(match[0]))


def version(match: re.Match[str]) -> Parts:
    written, _, rest = match[0].partition("-")
    words = ["version"] if written[0] in "vV" and before(match) != "version" else []
    words += _dotted(written.lstrip("vV"), "point")
    for run in re.findall(r"[a-z]+|[0-9]+", rest):
        words += numbers.cardinal(run) if run.isdecimal() else [run if len(run) > 2 else spelled(run)]
    return whole(match, words)


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
