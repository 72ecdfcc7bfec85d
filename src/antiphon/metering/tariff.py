"""What calls of one project cost, while they run and when they end. Pure, and in whole nano-units.

A call that ends is rated as the statement rates it, by the same code. Before, `most` says what it may cost at most,
whatever other calls come to meanwhile: in tiers, at the highest price of any.
"""

from collections.abc import Mapping
from typing import NamedTuple

from antiphon.core.errors import Unpriced
from antiphon.core.usage import ClosedSession, Meter
from antiphon.metering.pricing.book import REQUESTS, Binding, Book, Channels, NoBook, Series
from antiphon.metering.pricing.rates import ROUND, Rate, Rates
from antiphon.metering.rating import Rater
from antiphon.metering.statements import month_of

Meters = Mapping[Meter, int]
Entries = Mapping[Meter, int]  # how many entries a call may write of each
ONE: Entries = {}  # of each
SOON_MS = 60_000  # a version of the book that begins within it may be that of a call of now


class Use(NamedTuple):
    """How a call uses a model."""

    model: str
    feature: str
    surface: str


class Tariff:
    """The price book of one project, with the state of its tiers in the present month."""

    def __init__(self, project: str, series: Series | None, reason: str = "this server has no price book") -> None:
        """`series` is absent for that reason."""
        self.project = project
        self._reason = reason
        self.series = series
        self.by_month = series is not None and any(map(_by_month, series.books))
        self._alone = series is not None and not (self.by_entry or self.by_month)
        self._rates: dict[str, Rates] = {}  # by version
        self._rater: Rater | None = None
        self._month = (0, 0)

    @property
    def currency(self) -> str:
        return self.series.currency if self.series else ""

    @property
    def by_entry(self) -> bool:
        """Whether the prices need the single entries of a call."""
        return self.series is not None and self.series.by_entry

    def most(self, use: Use, amounts: Meters, now_unix_ms: int, entries: Entries = ONE) -> int:
        """Return what these amounts may cost, in so many entries each (one if left out). Raises `Unpriced`."""
        if self.series is None:
            raise _unpriced(use, self._reason)
        try:
            books = self.series.between(now_unix_ms, now_unix_ms + SOON_MS)
        except NoBook as error:
            raise _unpriced(use, error.message) from None
        if len(books) == 1:
            return self._sum(self._of(books[0]), use, amounts, entries)
        return max(self._sum(self._of(book), use, amounts, entries) for book in books)

    def cost(self, use: Use, amounts: Meters, since_unix_ms: int) -> int | None:
        """Return what a session costs that began at that time, as `settle` would, but without its entries; `None` if
        the prices need them, or the sessions before it.
        """
        if self.series is None:
            return 0  # no budget counts money
        if not self._alone:
            return None
        try:
            book = self.series.at(since_unix_ms)
        except NoBook:
            return 0
        rates, to_whole, quantum = self._of(book), ROUND[book.rounding.mode], book.rounding.quantum_nano
        counted: list[tuple[str, int]] = [
            (dimension, amount) for (dimension, _), amount in amounts.items() if amount > 0
        ]
        if rates.by_request and counted:
            counted.append((REQUESTS, 1))
        exact: dict[Rate, int] = {}  # of all channels: what is rounded is a price of the session
        for dimension, amount in counted:
            found = rates.find((dimension, *use))
            if not isinstance(found, str):
                for each in found:
                    cost = each.cost(each.billable(amount))
                    exact[each] = exact.get(each, 0) + (cost if cost > each.least else each.least)
        nano = 0
        for each, amount in exact.items():
            nano += to_whole(amount, each.scale * quantum) * quantum
        return nano

    def settle(self, session: ClosedSession) -> int:
        """Return what a session costs that ended. Without a price it costs nothing, and the statement reports it."""
        if self.series is None:
            return 0
        if self._rater is None or session.closed_unix_ms >= self._month[1]:  # time never goes back here
            month = month_of(session.closed_unix_ms)
            self._rater, self._month = Rater(self.series), (month.since_unix_ms, month.until_unix_ms)
        try:
            return sum(line.nano for line in self._rater.session(session))
        except NoBook:
            return 0

    def _of(self, book: Book) -> Rates:
        rates = self._rates.get(book.version)
        if rates is None:
            rates = self._rates[book.version] = Rates(book, self.project)
        return rates

    def _sum(self, rates: Rates, use: Use, amounts: Meters, entries: Entries) -> int:
        nano = 0
        for meter, amount in amounts.items():
            found = rates.find((meter.dimension, *use))
            if isinstance(found, str):
                raise _unpriced(use, found)
            for each in found:
                nano += each.most(amount, entries.get(meter, 1))
        if rates.by_request and not isinstance(per_request := rates.find((REQUESTS, *use)), str):
            for each in per_request:
                nano += each.most(1)
        return nano


def _by_month(book: Book) -> bool:
    """Return whether what a session costs depends on the others of its month, or on its other channels."""
    prices = (*book.prices, *(price for each in book.overrides.values() for price in each.prices.values()))
    return book.rounding.per.long or any(
        len(price.tiers) > 1 or price.binding is Binding.PERIOD or price.channels is Channels.ONCE for price in prices
    )


def _unpriced(use: Use, reason: str) -> Unpriced:
    return Unpriced(
        f"The model {use.model!r} cannot be used like this: the project has a hard budget of money, and {reason}.",
        param="model",
    )
