"""Numbers as English words. Every number is given as the digits written, and returned as separate words.

`num2words` does it; it is imported with the first number. A number too long to be counted is read digit by digit, so no
length of input makes this slow.
"""

from functools import lru_cache
from typing import Literal

_LONGEST = 15  # digits of a number that is still read as a quantity: hundreds of trillions
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_LETTER_O = "oh"


@lru_cache(maxsize=2048)
def _words(number: int, kind: Literal["cardinal", "ordinal", "year"]) -> tuple[str, ...]:
    from num2words import num2words  # type: ignore[import-untyped]

    read: str = num2words(number, lang="en", to=kind)
    return tuple(read.replace("-", " ").replace(",", "").split())


def digits(written: str) -> list[str]:
    """Return each digit by itself; everything else is skipped."""
    return [_DIGITS[int(char)] for char in written if char.isdecimal()]


def cardinal(written: str) -> list[str]:
    """Return the words of `"1,234"`, `"3.10"` or `"-5"`. With a leading zero, `"007"`, digits are read one by one."""
    sign = {"-": ["minus"], "−": ["minus"], "+": ["plus"]}.get(written[:1], [])
    whole, point, fraction = written.lstrip("+-−").replace(",", "").partition(".")
    if len(whole) > _LONGEST or (len(whole) > 1 and whole[0] in "0٠"):
        read = digits(whole)
    else:
        read = list(_words(int(whole or "0"), "cardinal"))
    return sign + read + (["point", *digits(fraction)] if point else [])


def ordinal(written: str) -> list[str]:
    """Return the words of an ordinal: `"21"` is twenty first."""
    whole = written.replace(",", "")
    return digits(whole) if len(whole) > _LONGEST else list(_words(int(whole), "ordinal"))


def year(written: str) -> list[str]:
    """Return the words of a year: `"1999"` is nineteen ninety nine."""
    return list(_words(int(written), "year")) if len(written) <= 4 else cardinal(written)


def plural(words: list[str]) -> list[str]:
    """Return the words with the last one in the plural: nineteen nineties, three quarters."""
    last = words[-1]
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "es" if last.endswith(("s", "x", "ch", "sh")) else "s"
    return [*words[:-1], last]


def grouped(written: str) -> list[str]:
    """Return the digits of a number that is not a quantity, with a comma between groups: `"555-1234"`."""
    read: list[str] = []
    parted = False
    for char in written:
        if char.isdecimal():
            if parted and read:
                read[-1] += ","
            read.append(_DIGITS[int(char)])
            parted = False
        elif char == "+":
            read.append("plus")
        else:
            parted = True
    return read


def minutes(written: str) -> list[str]:
    """Return the words of minutes: `"05"` is oh five."""
    return [_LETTER_O, *cardinal(written[1:])] if written[0] == "0" else cardinal(written)
