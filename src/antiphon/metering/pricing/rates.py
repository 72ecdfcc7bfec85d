"""Prices in the form in which they are computed: whole numbers only.

A quantity is counted in parts of a unit, so small that the price's factor gives whole parts (`parts`); an amount in
parts of a nano-unit, so small that the price of a part is whole in every tier (`scale`). So rounding happens only where
a rule requires it, and sums of any length are exact.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import lcm

from antiphon.metering.pricing.book import REQUESTS, Binding, Book, Price, Rounding, Span, choose


class Rate:
    """A price of one version of a book, for one project; an add-on takes the rules of the quantity from the price
    `below`.
    """

    __slots__ = (
        *("binding", "book", "factor", "flat", "increment", "least", "minimum", "parts", "price", "scale", "tiers"),
        *("entry_nano", "entry_parts", "entry_rest", "highest", "nano_parts", "quantum", "slack", "steps"),
    )

    def __init__(self, book: Book, price: Price, below: Price | None = None) -> None:
        self.book, self.price = book, price
        from_below = below is not None and price.increment is None and price.minimum is None
        quantity = below if below is not None and from_below else price
        factor = quantity.factor * (price.factor if from_below else 1)
        self.binding = quantity.binding
        self.factor, self.parts = factor.numerator, factor.denominator
        self.increment = (quantity.increment or 0) * self.parts
        self.minimum = (quantity.minimum or 0) * self.parts
        each = [tier.nano / self.parts for tier in price.tiers]
        self.scale = lcm(price.minimum_nano.denominator, *(nano.denominator for nano in each))
        self.tiers = [
            (None if tier.up_to is None else tier.up_to * self.parts, int(nano * self.scale))
            for tier, nano in zip(price.tiers, each, strict=True)
        ]
        self.flat = self.tiers[0][1] if len(self.tiers) == 1 else None
        self.least = int(price.minimum_nano * self.scale)
        self._bound()

    def billable(self, amount: int) -> int:
        """Return the parts of a unit that are charged for a quantity: at least the minimum, rounded up to whole
        increments.
        """
        parts = amount * self.factor
        if parts <= 0:
            return 0
        if parts < self.minimum:
            parts = self.minimum
        if self.increment:
            parts = -(-parts // self.increment) * self.increment
        return parts

    def most(self, amount: int, entries: int = 1) -> int:
        """Return the most nano-units that a quantity can cost in a session, in so many entries, whatever is counted in
        the tiers before it.
        """
        parts = self.billable(amount)
        if not parts:
            return 0
        if entries > 1 and self.binding is Binding.ENTRY:
            # What an entry counts as grows the faster, the longer it is: the most is one long entry beside short ones.
            further = min(entries, amount) - 1
            long = (amount - further) * self.factor + self.entry_rest
            parts = further * self.entry_parts + max(self.entry_parts, long)
            if self.increment:
                parts -= parts % self.increment
        exact = parts * self.highest + self.steps
        if exact < self.least:
            exact = self.least
        return -(-exact // self.nano_parts) * self.quantum + (entries - 1) * self.entry_nano + self.slack

    def _bound(self) -> None:
        """Set what `most` goes by: the highest price of a part, what a short entry and the rest of a long one count as
        at most, and what each further entry may add to the amount. Where the price of all units rises with their
        number, one session may pay that `steps` for all of them.
        """
        rounding = self.book.rounding
        by_entry = rounding.per is Span.ENTRY
        long = rounding.per.long
        self.quantum = 1 if long else rounding.quantum_nano
        self.nano_parts = self.scale * self.quantum
        self.slack = 1 if long else 0  # a sum rounded anew may gain more than what was added to it
        self.entry_nano = self.quantum if by_entry else 0
        self.highest = max(nano for _, nano in self.tiers)
        rises = zip(self.tiers, self.tiers[1:], strict=False) if self.price.volume else ()
        self.steps = sum((up_to or 0) * max(0, above - below) for (up_to, below), (_, above) in rises)
        self.entry_rest = max(self.increment - 1, 0)
        self.entry_parts = max(self.billable(1), self.factor + self.entry_rest)

    def cost(self, parts: int) -> int:
        """Return the cost of the first so many parts, in parts of a nano-unit."""
        if self.flat is not None:
            return parts * self.flat
        if self.price.volume:
            return parts * next(each for up_to, each in self.tiers if up_to is None or parts <= up_to)
        cost, below = 0, 0
        for up_to, each in self.tiers:
            if up_to is None or parts <= up_to:
                return cost + (parts - below) * each
            cost, below = cost + (up_to - below) * each, up_to
        return cost

    def units(self, parts: int) -> str:
        """Return a quantity as an exact text, for people."""
        return str(Fraction(parts, self.parts))


Found = tuple[Rate, ...] | str  # the base price, then those of add-ons; or why there is none
Used = tuple[str, str, str, str]  # dimension, model, feature, surface


class Rates:
    """The prices of a book for a project, by dimension, model, feature and surface."""

    def __init__(self, book: Book, project: str) -> None:
        self.book = book
        self._prices = book.prices_of(project)
        self._rates: dict[tuple[str, str], Rate] = {}
        self._found: dict[Used, Found] = {}
        self.by_request = any(REQUESTS in price.dimensions for price in self._prices)
        self.by_entry = book.by_entry

    def find(self, used: Used) -> Found:
        found = self._found.get(used)
        if found is None:
            found = self._found[used] = self._look(*used)
        return found

    def _look(self, dimension: str, model: str, feature: str, surface: str) -> Found:
        base, *add_ons = feature.split("+")
        below = choose(self._prices, dimension, model, base, surface, "")
        if below is None:
            if dimension in self.book.not_charged:
                return ()
            return f"no price for {dimension}"
        rates = [self._rate(below, None)]
        for add_on in dict.fromkeys(add_ons):
            if add_on in self.book.included:
                continue
            price = choose(self._prices, dimension, model, base, surface, add_on)
            if price is not None:
                rates.append(self._rate(price, below))
            elif not self._priced(add_on):
                return f"no price for the add-on {add_on}"
        return tuple(rates)

    def _rate(self, price: Price, below: Price | None) -> Rate:
        key = price.id, below.id if below is not None else ""
        if key not in self._rates:
            self._rates[key] = Rate(self.book, price, below)
        return self._rates[key]

    def _priced(self, add_on: str) -> bool:
        """Return whether the add-on has a price in another dimension."""
        return any(price.add_on == add_on for price in self._prices)


def _half_even(numerator: int, denominator: int) -> int:
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2))


ROUND: Mapping[Rounding, Callable[[int, int], int]] = {
    Rounding.HALF_UP: lambda numerator, denominator: (2 * numerator + denominator) // (2 * denominator),
    Rounding.HALF_EVEN: _half_even,
    Rounding.UP: lambda numerator, denominator: -(-numerator // denominator),
    Rounding.DOWN: lambda numerator, denominator: numerator // denominator,
}
