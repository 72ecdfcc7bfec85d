"""A price book as a value: which price applies to which usage.

Amounts are exact fractions of nano-units, made from the decimals of the file. A price is chosen by dimension, model,
feature and surface: an exact name takes precedence over the longest prefix that ends in `*`, and `*` comes last; the
model is compared first, then the feature, then the surface.

A session's feature is a word and, after `+`, the add-ons that its caller requested: `live+redact`. Each add-on is
priced in addition, by the billed quantity of the price below it.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction

from antiphon.core.errors import CallerError, NotFound

NANO = 1_000_000_000
REQUESTS = "requests"  # a dimension: one for each session with any charge
ANY = "*"


class Rounding(StrEnum):
    """How an exact amount is rounded to a whole one."""

    HALF_UP = "half_up"
    HALF_EVEN = "half_even"
    UP = "up"
    DOWN = "down"


class Span(StrEnum):
    """The span over which the amounts of one price are summed before they are rounded."""

    ENTRY = "entry"
    SESSION = "session"
    DAY = "day"  # for the sessions that closed on that day (UTC)
    INVOICE = "invoice"

    @property
    def long(self) -> bool:
        """Whether it may have several sessions."""
        return self in (Span.DAY, Span.INVOICE)


class Binding(StrEnum):
    """The scope of a minimum and an increment."""

    ENTRY = "entry"
    SESSION = "session"  # and each of its channels
    PERIOD = "period"


class Channels(StrEnum):
    """Whether each channel of a recording is charged, or only the longest."""

    EACH = "each"
    ONCE = "once"


class Every(StrEnum):
    """When tiers and allowances start again."""

    MONTH = "month"
    DAY = "day"


class Abandoned(StrEnum):
    """What is charged for a session whose last result may not have arrived."""

    CHARGED = "charged"
    LAST_RESULT_FREE = "last_result_free"  # its last entry


class Role(StrEnum):
    PRICES = "prices"  # what customers pay
    COSTS = "costs"  # what engines cost


class NoBook(NotFound):
    """No price book was in force at that time, or there is none at all."""

    code = "no_price_book"


@dataclass(frozen=True, slots=True)
class Tier:
    """A price of a unit, in nano-units, up to a total quantity in the dimension's unit; the last tier has no end."""

    up_to: int | None
    nano: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A price of a book. `increment` and `minimum` are in the dimension's unit after `factor`; 0 means none, and
    `None`, for an add-on, those of the price below. With `volume` all units cost the price of the highest tier reached.
    `minimum_nano` is the least charge for any usage. `per` is as written in the file, for people.
    """

    id: str
    dimensions: tuple[str, ...]
    models: tuple[str, ...] = (ANY,)
    features: tuple[str, ...] = (ANY,)
    surfaces: tuple[str, ...] = (ANY,)
    add_on: str = ""
    tiers: tuple[Tier, ...]
    per: str = ""
    volume: bool = False
    every: Every = Every.MONTH
    factor: Fraction = Fraction(1)
    increment: int | None = 0
    minimum: int | None = 0
    minimum_nano: Fraction = Fraction(0)
    binding: Binding = Binding.SESSION
    channels: Channels = Channels.EACH

    @property
    def rule(self) -> str:
        """The rule from a quantity to an amount, in words."""
        first = self.tiers[-1].nano if len(self.tiers) == 1 else None
        words = [f"{'tiers' if first is None else ''} per {self.per}".strip()]
        if self.factor != 1:
            words.append(f"factor {self.factor}")
        if self.minimum:
            words.append(f"at least {self.minimum}")
        if self.increment:
            words.append(f"in steps of {self.increment}")
        if self.minimum is None or self.increment is None:
            words.append("the quantity of the price below")
        if self.minimum or self.increment or self.binding is not Binding.SESSION:
            words.append(f"by {self.binding}")
        if self.channels is Channels.ONCE:
            words.append("the longest channel")
        if len(self.tiers) > 1:
            words.append(f"{'volume' if self.volume else 'graduated'} by {self.every}")
        if self.minimum_nano:
            words.append(f"at least {self.minimum_nano / NANO} a session")
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Rule:
    """How amounts are rounded: to whole multiples of `quantum_nano`, once for each price and span."""

    mode: Rounding
    per: Span
    quantum_nano: int = 1

    def __str__(self) -> str:
        return f"{self.mode} by {self.per}, to {self.quantum_nano} nano"


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """The override of one project: prices that replace those with the same id, and a factor for all others."""

    prices: Mapping[str, Price] = field(default_factory=dict)
    multiply: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """One version of a book. `not_charged` are dimensions without charge, `included` add-ons without charge; any other
    usage without a price is an error of the statement, never free. `sha256` is the hash of the file.
    """

    name: str
    version: str
    currency: str
    since_unix_ms: int
    sha256: str
    rounding: Rule
    prices: tuple[Price, ...]
    role: Role = Role.PRICES
    not_charged: frozenset[str] = frozenset()
    included: frozenset[str] = frozenset()
    overrides: Mapping[str, Override] = field(default_factory=dict)
    abandoned: Abandoned = Abandoned.CHARGED
    minimum_invoice_nano: Fraction = Fraction(0)
    sources: tuple[str, ...] = ()
    notes: str = ""

    @property
    def by_entry(self) -> bool:
        """Whether any of its rules needs single entries."""
        overrides = (price for override in self.overrides.values() for price in override.prices.values())
        return (
            self.rounding.per is Span.ENTRY
            or self.abandoned is Abandoned.LAST_RESULT_FREE
            or any(price.binding is Binding.ENTRY for price in (*self.prices, *overrides))
        )

    def always(self) -> "Book":
        """Return the book in force at all times, for comparison."""
        return replace(self, since_unix_ms=0)

    def prices_of(self, project: str) -> tuple[Price, ...]:
        """Return the prices of a project, with its override."""
        override = self.overrides.get(project)
        if override is None:
            return self.prices
        return tuple(override.prices.get(price.id) or _times(price, override.multiply) for price in self.prices)


class Series:
    """The versions of one book. Each is in force from its own time until that of the next."""

    def __init__(self, books: Sequence[Book]) -> None:
        """Sort the versions by time. Raises `CallerError` if they are not versions of one book."""
        self.books = sorted(books, key=lambda book: book.since_unix_ms)
        if not self.books:
            raise NoBook("there is no price book")
        if len({(book.name, book.currency, book.role) for book in books}) > 1:
            raise CallerError("the versions of a price book have one name, one currency and one role")
        self._times = [book.since_unix_ms for book in self.books]
        if len(set(self._times)) < len(books) or len({book.version for book in books}) < len(books):
            raise CallerError(f"two versions of the price book {self.name} have one time, or one name")

    @property
    def by_entry(self) -> bool:
        """Whether any version needs single entries."""
        return any(book.by_entry for book in self.books)

    @property
    def name(self) -> str:
        return self.books[0].name

    @property
    def currency(self) -> str:
        return self.books[0].currency

    def at(self, unix_ms: int) -> Book:
        """Return the version in force. Raises `NoBook`."""
        number = bisect_right(self._times, unix_ms)
        if not number:
            raise NoBook(f"no version of the price book {self.name} was in force at {unix_ms} ms (Unix time)")
        return self.books[number - 1]

    def between(self, since_unix_ms: int, until_unix_ms: int) -> Sequence[Book]:
        """Return the versions in force at any time of these. Raises `NoBook` if none was at the first."""
        if len(self.books) == 1 and since_unix_ms >= self._times[0]:
            return self.books
        number = bisect_right(self._times, since_unix_ms)
        if not number:
            return [self.at(since_unix_ms)]
        return self.books[number - 1 : bisect_right(self._times, until_unix_ms)]


def specificity(patterns: Sequence[str], text: str) -> int:
    """Return how closely the best of the patterns matches; 0 if none does."""
    best = 0
    for pattern in patterns:
        if pattern == text:
            return 1_000_000
        if pattern.endswith(ANY) and text.startswith(pattern[:-1]):
            best = max(best, len(pattern))
    return best


def choose(
    prices: Sequence[Price], dimension: str, model: str, feature: str, surface: str, add_on: str
) -> Price | None:
    """Return the price that matches best; `None` if none does. Two equal matches cannot be in one book."""
    best, found = (0, 0, 0), None
    for price in prices:
        if price.add_on == add_on and dimension in price.dimensions:
            fit = (
                specificity(price.models, model),
                specificity(price.features, feature),
                specificity(price.surfaces, surface),
            )
            if all(fit) and fit > best:
                best, found = fit, price
    return found


def _times(price: Price, multiply: Fraction) -> Price:
    if multiply == 1:
        return price
    tiers = tuple(Tier(tier.up_to, tier.nano * multiply) for tier in price.tiers)
    return replace(price, tiers=tiers, minimum_nano=price.minimum_nano * multiply)
