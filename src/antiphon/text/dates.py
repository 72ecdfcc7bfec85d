"""How dates and times are read."""

import re

from antiphon.text import numbers
from antiphon.text.forms import Parts, before, spelled, whole
from antiphon.text.tables import DAYS, MONTH_NUMBERS, MONTHS


def date_words(year: str | None, month: int | None, day: int | None) -> list[str] | None:
    """Return the words of a date, or `None` if there is no such date."""
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
    """Read a date as month first (American), unless that is no month; with points, the day comes first."""
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
