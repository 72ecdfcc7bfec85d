"""The parser of price books: TOML, checked completely, so that all errors are reported at once, each with its line.

    book = "list"                              # the name that all its versions have
    version = "2026-12"
    currency = "USD"
    from = 2026-12-01T00:00:00Z                # until the `from` of the next version
    rounding = { mode = "half_up", per = "session" }

    [[price]]
    id = "stt-live"
    dimension = "stt.audio_ms"
    feature = "live"
    amount = "0.0077"
    per = "minute"

Amounts are decimals, as text or as TOML's numbers, and never become floats.
"""

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from fractions import Fraction
from itertools import product
from typing import Any, TypeVar

from antiphon.core.errors import CallerError
from antiphon.core.usage import Dimension
from antiphon.metering.pricing.book import (
    ANY,
    NANO,
    REQUESTS,
    Abandoned,
    Binding,
    Book,
    Channels,
    Every,
    Override,
    Price,
    Role,
    Rounding,
    Rule,
    Span,
    Tier,
)
from antiphon.metering.pricing.places import Path, Places

MAX_BYTES = 4 << 20
MAX_PRICES = 20_000
MAX_TIERS = 32
MAX_UNITS = 10**15  # the largest quantity in a book
MAX_AMOUNT = Decimal(10) ** 12
MAX_PLACES = 30  # digits after the point
MAX_PROBLEMS = 100  # reported in one error

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"), "at most 63 letters, digits, dots, underscores and hyphens"
_CURRENCY = re.compile(r"[A-Z]{3}"), "three capital letters such as USD"
_WORD = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}"), "at most 63 small letters, digits, dots, underscores and hyphens"
_EPOCH = datetime.fromtimestamp(0, UTC)

# The words allowed for `per`, `increment`, `minimum`, `free` and `up_to`, by the end of a dimension's name.
_TIME = {"millisecond": 1, "second": 1_000, "minute": 60_000, "hour": 3_600_000}
_UNITS: Mapping[str, Mapping[str, int]] = {
    "_ms": _TIME,
    "characters": {"character": 1},
    "tokens": {"token": 1},
    "requests": {"request": 1, "inference": 1},
    "bytes": {"byte": 1},
}
_HEAD = {
    *("book", "version", "currency", "from", "role", "rounding", "not_charged", "included", "abandoned"),
    *("minimum_invoice", "sources", "notes", "price", "override"),
}
_MONEY = ("amount", "tiers", "free", "per", "volume", "every", "minimum_charge")
_QUANTITY = ("factor", "increment", "minimum", "scope", "channels")
_PRICE = {"id", "dimension", "model", "feature", "surface", "add_on", "note", *_MONEY, *_QUANTITY}

Kind = TypeVar("Kind", bound=StrEnum)
_Form = tuple[re.Pattern[str], str]  # the pattern of a text, and its description


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


class InvalidBook(CallerError):
    """A price book is invalid. The message has all errors, each with its line."""

    code = "invalid_price_book"

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems)[:MAX_PROBLEMS]
        more = f"\nand {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        super().__init__(f"the price book {source} is invalid\n" + "\n".join(map(str, self.problems)) + more)


def parse_book(data: bytes, source: str) -> Book:
    """Return the book in a file. `source` is its name in errors. Raises `InvalidBook`."""
    if len(data) > MAX_BYTES:
        raise InvalidBook(source, [Problem(1, f"longer than {MAX_BYTES} bytes")])
    try:
        text = data.decode()
        values = tomllib.loads(text, parse_float=_number)
    except UnicodeDecodeError as error:
        raise InvalidBook(source, [Problem(data[: error.start].count(b"\n") + 1, "not UTF-8")]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        line = re.search(r"at line (\d+)", str(error))
        problem = Problem(int(line[1]) if line else text.count("\n") + 1, f"not TOML: {error}")
        raise InvalidBook(source, [problem]) from None
    reader = _Reader(Places(text))
    book = reader.book(values, hashlib.sha256(data).hexdigest())
    if reader.problems or book is None:
        raise InvalidBook(source, reader.problems)
    return book


def _number(text: str) -> Decimal:
    """Return the number as written; one that is too large becomes NaN, which is reported where it is used."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("nan")


class _Reader:
    """A reader of values that collects errors; an invalid value is read as `None` or as a harmless value."""

    def __init__(self, places: Places) -> None:
        self.problems: list[Problem] = []
        self._places = places

    def wrong(self, path: Path, message: str) -> None:
        self.problems.append(Problem(self._places.line(path), message))

    # -- the book ------------------------------------------------------------------------------------------------------

    def book(self, values: dict[str, Any], sha256: str) -> Book | None:
        self._known((), values, _HEAD)
        tables = self._tables(values)
        prices = [self._price(("price", number), table) for number, table in enumerate(tables)]
        overrides = self._overrides(values.get("override", {}), tables)
        since = self._time(("from",), values.get("from"))
        rounding = self._rounding(values.get("rounding"))
        book: dict[str, Any] = {
            "name": self._text(("book",), values.get("book"), _NAME),
            "version": self._text(("version",), values.get("version"), _NAME),
            "currency": self._text(("currency",), values.get("currency"), _CURRENCY),
            "role": self._choice(("role",), values, Role.PRICES),
            "not_charged": frozenset(self._dimensions(("not_charged",), values.get("not_charged", []), none=True)),
            "included": frozenset(self._texts(("included",), values.get("included", []), _WORD, none=True)),
            "abandoned": self._choice(("abandoned",), values, Abandoned.CHARGED),
            "minimum_invoice_nano": self._amount(("minimum_invoice",), values.get("minimum_invoice", 0)),
            "sources": self._texts(("sources",), values.get("sources", []), None, none=True),
            "notes": values.get("notes", "") if isinstance(values.get("notes", ""), str) else "",
        }
        self._check_prices(prices)
        if self.problems or rounding is None:
            return None
        return Book(
            **book, since_unix_ms=since, sha256=sha256, rounding=rounding, prices=tuple(prices), overrides=overrides
        )

    def _tables(self, values: dict[str, Any]) -> list[dict[str, Any]]:
        tables = values.get("price", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.wrong(("price",), "prices are written as [[price]] tables")
            return []
        if len(tables) > MAX_PRICES:
            self.wrong(("price", MAX_PRICES), f"more than {MAX_PRICES} prices")
        return tables[:MAX_PRICES]

    def _rounding(self, values: Any) -> Rule | None:
        path = ("rounding",)
        if not isinstance(values, dict):
            self.wrong(path, 'rounding is missing; write for example { mode = "half_up", per = "session" }')
            return None
        self._known(path, values, {"mode", "per", "to"})
        for name in ("mode", "per"):
            if name not in values:
                self.wrong(path, f"rounding.{name} is missing")
        quantum = self._amount((*path, "to"), values.get("to", Decimal("1e-9")))
        if quantum.denominator != 1 or not quantum:
            self.wrong((*path, "to"), "amounts are rounded to 0.000000001 or a multiple of it")
        return Rule(
            self._choice((*path, "mode"), values, Rounding.HALF_UP),
            self._choice((*path, "per"), values, Span.SESSION),
            int(quantum) or 1,
        )

    def _time(self, path: Path, value: Any) -> int:
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        if not isinstance(value, datetime) or value.tzinfo is None:
            self.wrong(path, "from is a date, or a time with its offset such as 2026-12-01T00:00:00Z")
            return 0
        return (value - _EPOCH) // timedelta(milliseconds=1)

    def _check_prices(self, prices: Sequence[Price]) -> None:
        """Check that each price has its own id, and that no two match the same usage."""
        ids: dict[str, int] = {}
        places: dict[tuple[str, ...], int] = {}
        for number, price in enumerate(prices):
            path = ("price", number)
            if (other := ids.setdefault(price.id, number)) != number and price.id:
                self.wrong(path, f"the id {price.id} is taken, on line {self._places.line(('price', other))}")
            for place in product(price.dimensions, price.models, price.features, price.surfaces):
                if (other := places.setdefault((price.add_on, *place), number)) != number:
                    line = self._places.line(("price", other))
                    self.wrong(path, f"{price.id} applies to the same usage as the price on line {line}")
                    break

    # -- one price -----------------------------------------------------------------------------------------------------

    def _price(self, path: Path, values: dict[str, Any]) -> Price:
        self._known(path, values, _PRICE)
        dimensions = self._dimensions((*path, "dimension"), values.get("dimension", []))
        kinds = {_kind(dimension) for dimension in dimensions}
        if len(kinds) > 1:
            self.wrong((*path, "dimension"), "the dimensions of one price have one unit")
        units = _UNITS.get(next(iter(kinds), ""), {})
        add_on = self._text((*path, "add_on"), values["add_on"], _WORD) if "add_on" in values else ""
        per = self._per(path, values, units)
        return Price(
            id=self._text((*path, "id"), values.get("id"), _NAME),
            dimensions=dimensions,
            models=self._patterns(path, values, "model"),
            features=self._patterns(path, values, "feature"),
            surfaces=self._patterns(path, values, "surface"),
            add_on=add_on,
            tiers=self._tiers(path, values, units, per),
            per=str(values.get("per", "")).replace("_", " "),
            volume=self._flag((*path, "volume"), values.get("volume", False)),
            every=self._choice((*path, "every"), values, Every.MONTH),
            factor=self._ratio((*path, "factor"), values.get("factor", 1)),
            increment=self._own(path, values, "increment", units, add_on),
            minimum=self._own(path, values, "minimum", units, add_on),
            minimum_nano=self._amount((*path, "minimum_charge"), values.get("minimum_charge", 0)),
            binding=self._choice((*path, "scope"), values, Binding.SESSION),
            channels=self._choice((*path, "channels"), values, Channels.EACH),
        )

    def _own(
        self, path: Path, values: Mapping[str, Any], name: str, units: Mapping[str, int], add_on: str
    ) -> int | None:
        if name not in values:
            return None if add_on else 0
        return self._units((*path, name), values[name], units, least=0)

    def _per(self, path: Path, values: Mapping[str, Any], units: Mapping[str, int]) -> int:
        if "per" not in values:
            self.wrong(path, "per is missing: the units that the amount is for")
            return 1
        return self._units((*path, "per"), values["per"], units, least=1)

    def _tiers(self, path: Path, values: Mapping[str, Any], units: Mapping[str, int], per: int) -> tuple[Tier, ...]:
        """Return the tiers of the key `tiers`, or of `amount` with or without `free`."""
        if ("tiers" in values) == ("amount" in values) or {"tiers", "free"} <= values.keys():
            self.wrong(path, "a price has either an amount, which may follow a free allowance, or tiers")
            return ()
        if "amount" in values:
            last = Tier(None, self._amount((*path, "amount"), values["amount"]) / per)
            if "free" not in values:
                return (last,)
            return Tier(self._units((*path, "free"), values["free"], units, least=1), Fraction(0)), last
        listed = values["tiers"]
        if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
            self.wrong((*path, "tiers"), 'tiers are written like [{ up_to = 1_000, amount = "2" }, { amount = "1" }]')
            return ()
        if len(listed) > MAX_TIERS:
            self.wrong((*path, "tiers"), f"more than {MAX_TIERS} tiers")
        tiers, before = [], 0
        for number, each in enumerate(listed):
            where = (*path, "tiers")
            self._known(where, each, {"up_to", "amount"})
            up_to = self._units(where, each["up_to"], units, least=1) if "up_to" in each else None
            if (up_to is None) != (number == len(listed) - 1):
                self.wrong(where, "every tier but the last has an up_to")
            elif up_to is not None and up_to <= before:
                self.wrong(where, "the tiers are in the order of their up_to")
            before = up_to or before
            tiers.append(Tier(up_to, self._amount(where, each.get("amount")) / per))
        return tuple(tiers)

    # -- overrides -----------------------------------------------------------------------------------------------------

    def _overrides(self, values: Any, tables: Sequence[dict[str, Any]]) -> dict[str, Override]:
        """Return the overrides. Their prices are the book's with some keys changed, and are checked in the same way."""
        if not isinstance(values, dict) or not all(isinstance(each, dict) for each in values.values()):
            self.wrong(("override",), "overrides are written as [override.PROJECT] tables")
            return {}
        own = {table.get("id"): table for table in tables if isinstance(table.get("id"), str)}
        overrides = {}
        for project, override in values.items():
            path = ("override", project)
            self._known(path, override, {"multiply", "prices"})
            multiply = self._decimal((*path, "multiply"), override.get("multiply", 1))
            changed = override.get("prices", {})
            if not isinstance(changed, dict) or not all(isinstance(each, dict) for each in changed.values()):
                self.wrong((*path, "prices"), 'prices are written like [override.PROJECT.prices] ID = { amount = "1" }')
                continue
            prices = {}
            for id, change in changed.items():
                where = (*path, "prices", id)
                if id not in own:
                    self.wrong(where, f"the book has no price {id}")
                    continue
                self._known(where, change, {*_MONEY, *_QUANTITY})
                kept = {"amount", "tiers", "free"} if {"amount", "tiers"} & change.keys() else set()
                base = {name: value for name, value in own[id].items() if name not in kept}
                prices[id] = self._changed(where, base | change)
            overrides[project] = Override(prices=prices, multiply=multiply)
        return overrides

    def _changed(self, path: Path, values: dict[str, Any]) -> Price:
        """Return a price of which a part is written elsewhere; errors in that part are reported there only."""
        known = len(self.problems)
        price = self._price(path, values)
        messages = {problem.message for problem in self.problems[:known]}
        self.problems[known:] = [problem for problem in self.problems[known:] if problem.message not in messages]
        return price

    # -- values --------------------------------------------------------------------------------------------------------

    def _known(self, path: Path, values: Mapping[str, Any], names: set[str]) -> None:
        for name in values:
            if name not in names:
                self.wrong((*path, name), f"unknown key {name}; known are {', '.join(sorted(names))}")

    def _text(self, path: Path, value: Any, form: _Form) -> str:
        pattern, words = form
        if not isinstance(value, str) or not pattern.fullmatch(value):
            self.wrong(path, f"{path[-1]} {'is missing: it ' if value is None else ''}has {words}")
            return ""
        return value

    def _texts(self, path: Path, value: Any, form: _Form | None, none: bool = False) -> tuple[str, ...]:
        """Return a text, or a list of texts, as a tuple."""
        values = [value] if isinstance(value, str) else value
        good = isinstance(values, list) and all(isinstance(each, str) for each in values) and (values or none)
        if not good or (form is not None and not all(form[0].fullmatch(each) for each in values)):
            self.wrong(path, f"{path[-1]} is a text or a list of texts" + (f", each of {form[1]}" if form else ""))
            return ()
        return tuple(dict.fromkeys(values))

    def _patterns(self, path: Path, values: Mapping[str, Any], name: str) -> tuple[str, ...]:
        patterns = self._texts((*path, name), values.get(name, ANY), None)
        if any(ANY in pattern[:-1] or not pattern for pattern in patterns):
            self.wrong((*path, name), f"a {name} may end in {ANY}, and has none elsewhere")
        return patterns

    def _dimensions(self, path: Path, value: Any, none: bool = False) -> tuple[str, ...]:
        names = self._texts(path, value, None, none)
        known = {*Dimension, REQUESTS}
        for name in names:
            if name not in known:
                self.wrong(path, f"unknown dimension {name}; known are {', '.join(sorted(known))}")
        return names

    def _choice(self, path: Path, values: Mapping[str, Any], default: Kind) -> Kind:
        value = values.get(str(path[-1]), default)
        try:
            return type(default)(value)
        except ValueError:
            self.wrong(path, f"{path[-1]} is one of {', '.join(type(default))}")
            return default

    def _flag(self, path: Path, value: Any) -> bool:
        if not isinstance(value, bool):
            self.wrong(path, f"{path[-1]} is true or false")
        return value is True

    def _units(self, path: Path, value: Any, units: Mapping[str, int], least: int) -> int:
        """Return a number of the dimension's units, which may be written as a word."""
        if isinstance(value, str) and value in units:
            return units[value]
        if type(value) is not int or not least <= value <= MAX_UNITS:
            words = f", or one of {', '.join(units)}" if units else ""
            self.wrong(path, f"{path[-1]} is a whole number from {least} to {MAX_UNITS}{words}")
            return 1
        return value

    def _amount(self, path: Path, value: Any) -> Fraction:
        """Return an amount in nano-units."""
        return self._decimal(path, value) * NANO

    def _decimal(self, path: Path, value: Any) -> Fraction:
        try:
            number = Decimal(value) if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else None
        except InvalidOperation:
            number = None
        if number is None or not number.is_finite() or not 0 <= number <= MAX_AMOUNT:
            self.wrong(path, f"{path[-1]} is missing or no decimal number from 0 to {MAX_AMOUNT}")
            return Fraction(0)
        if (places := number.as_tuple().exponent) and isinstance(places, int) and -places > MAX_PLACES:
            self.wrong(path, f"{path[-1]} has more than {MAX_PLACES} digits after the point")
            return Fraction(0)
        return Fraction(number)

    def _ratio(self, path: Path, value: Any) -> Fraction:
        """Return a decimal, or the quotient of two whole numbers with a slash between them."""
        known = len(self.problems)
        if isinstance(value, str) and (found := re.fullmatch(r"(\d{1,9})/(\d{1,9})", value)) and int(found[2]):
            ratio = Fraction(int(found[1]), int(found[2]))
        else:
            ratio = self._decimal(path, value)
        if not ratio and len(self.problems) == known:
            self.wrong(path, f"{path[-1]} is more than 0")
        return ratio or Fraction(1)


def _kind(dimension: str) -> str:
    """Return the end of a dimension's name, which names its unit."""
    return next((end for end in _UNITS if dimension.endswith(end)), "")
