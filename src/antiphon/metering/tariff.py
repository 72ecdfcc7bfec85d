"""What calls of one project cost, while they run and when they end. Pure, and in whole nano-units.

A call that ends is rated as the statement rates it, by the same code. Before, `most` says what it may cost at most: in
tiers at the highest price that it may meet there, whatever the other running calls come to.
"""

from collections.abc import Mapping
from typing import NamedTuple

from antiphon.core.errors import Unpriced
from antiphon.core.usage import ClosedSession, Meter
from antiphon.metering.pricing.book import REQUESTS, Binding, Book, Channels, NoBook, Series, Span
from antiphon.metering.pricing.rates import ROUND, Rate, Rates, Used
from antiphon.metering.rating import Rater
from antiphon.metering.statements import month_of

Meters = Mapping[Meter, int]
Held = dict[tuple[str, int], int]  # parts that a running call may still count in the tiers of a price
_LONG = (Span.DAY, Span.INVOICE)


class Use(NamedTuple):
    """How a call uses a model."""

    model: str
    feature: str
    surface: str


class Tariff:
    """The price book of one project, with the state of its tiers in the present month."""

    def __init__(self, project: str, series: Series | None) -> None:
        """`series` is absent if there is no price book."""
        self.project = project
        self.series = series
        self.by_month = series is not None and any(map(_by_month, series.books))
        self._alone = series is not None and not (self.by_entry or self.by_month)
        self._rates: dict[str, Rates] = {}  # by version
        self._rater: Rater | None = None
        self._month = (0, 0)
        self._held: Held = {}  # by all running calls

    @property
    def currency(self) -> str:
        return self.series.currency if self.series else ""

    @property
    def by_entry(self) -> bool:
        """Whether the prices need the single entries of a call."""
        return self.series is not None and self.series.by_entry

    def most(self, use: Use, amounts: Meters, now_unix_ms: int, held: Held) -> int:
        """Return what these amounts may cost. `held` is what the call counts in tiers, which is changed to what it
        counts now. Raises `Unpriced`.
        """
        if self.series is None:
            raise _unpriced(use, "this server has no price book")
        try:
            book = self.series.at(now_unix_ms)
        except NoBook as error:
            raise _unpriced(use, error.message) from None
        rates = self._of(book)
        before = dict(held)
        self.release(held)
        try:
            return self._sum(rates, use, amounts, now_unix_ms, held)
        except Unpriced:
            held.clear()
            held.update(before)
            raise
        finally:
            self.hold(held)

    def hold(self, held: Held) -> None:
        """Count what a call may still use in tiers."""
        for key, parts in held.items():
            self._held[key] = self._held.get(key, 0) + parts

    def release(self, held: Held) -> None:
        """Count it no more."""
        for key, parts in held.items():
            self._held[key] -= parts
        held.clear()

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
        counted: list[tuple[Used, int]] = [
            ((dimension, *use), amount) for (dimension, _), amount in amounts.items() if amount > 0
        ]
        if rates.by_request and counted:
            counted.append(((REQUESTS, *use), 1))
        exact: dict[Rate, int] = {}  # of all channels: what is rounded is a price of the session
        for used, amount in counted:
            found = rates.find(used)
            if not isinstance(found, str):
                for each in found:
                    exact[each] = exact.get(each, 0) + max(each.cost(each.billable(amount)), each.least)
        return sum(to_whole(amount, each.scale * quantum) * quantum for each, amount in exact.items())

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

    def _sum(self, rates: Rates, use: Use, amounts: Meters, now_unix_ms: int, held: Held) -> int:
        nano = 0
        for (dimension, _), amount in amounts.items():
            found = rates.find((dimension, *use))
            if isinstance(found, str):
                raise _unpriced(use, found)
            for each in found:
                nano += self._most(each, amount, now_unix_ms, held)
        if rates.by_request and not isinstance(asked := rates.find((REQUESTS, *use)), str):
            for each in asked:
                nano += self._most(each, 1, now_unix_ms, held)
        return nano

    def _most(self, each: Rate, amount: int, now_unix_ms: int, held: Held) -> int:
        parts = each.billable(amount)
        if not parts:
            return 0
        if each.flat is not None:
            exact = parts * each.flat
        else:
            key = each.price.id, each.parts
            counted = self._rater.counted(each, now_unix_ms) if self._rater and self._in_month(now_unix_ms) else 0
            others = self._held.get(key, 0) + held.get(key, 0)
            held[key] = held.get(key, 0) + parts
            exact = _highest(each, counted, counted + others, parts)
        rounding = each.book.rounding
        quantum = 1 if rounding.per in _LONG else rounding.quantum_nano
        return -(-max(exact, each.least) // (each.scale * quantum)) * quantum

    def _in_month(self, unix_ms: int) -> bool:
        return self._month[0] <= unix_ms < self._month[1]


def _by_month(book: Book) -> bool:
    """Return whether what a session costs depends on the others of its month, or on its other channels."""
    prices = (*book.prices, *(price for each in book.overrides.values() for price in each.prices.values()))
    return book.rounding.per in _LONG or any(
        len(price.tiers) > 1 or price.binding is Binding.PERIOD or price.channels is Channels.ONCE for price in prices
    )


def _highest(each: Rate, least: int, most: int, parts: int) -> int:
    """Return what so many more parts cost at most, if between `least` and `most` are counted before them."""
    if each.price.volume:
        ends = {least, most, *(up_to for up_to, _ in each.tiers if up_to is not None and least <= up_to <= most)}
        return max(0, *(each.cost(before + parts) - each.cost(before) for before in ends))
    below, highest = 0, 0
    for up_to, nano in each.tiers:
        if below < most + parts and (up_to is None or up_to > least):
            highest = max(highest, nano)
        below = up_to or 0
    return parts * highest


def _unpriced(use: Use, reason: str) -> Unpriced:
    return Unpriced(
        f"The model {use.model!r} cannot be used like this: the project has a hard budget of money, and {reason}.",
        param="model",
    )
