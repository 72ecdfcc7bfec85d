"""Rating: sessions and a price book give lines with amounts. Pure, and in whole numbers only.

The unit of rating is the session, never the entry: a minimum and an increment apply to a session and channel, and one
call writes many entries, corrections among them. The order is: the sum of the entries of one kind (dimension, model,
feature, surface) and channel; the factor; the minimum, then the increment; the tiers; the price; the add-ons, by the
quantity that was billed below them. A project's override is already in the prices.

Amounts are rounded once for each price and span (`Rule`). If a span has several lines, each line gets its increase of
the rounded sum, so the lines always add up to the total. Tiers work in the same way: a session costs its increase of
the cost of all sessions before it, in the order in which they closed. So no total depends on how usage is split into
entries.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from antiphon.core.entry import EntryKind
from antiphon.core.usage import Charge, ClosedSession
from antiphon.metering.pricing.book import REQUESTS, Abandoned, Binding, Book, Channels, Every, Series, Span
from antiphon.metering.pricing.rates import ROUND, Rate, Rates, Used

DAY_MS = 86_400_000

_USAGE = EntryKind.USAGE.value


class LineKind(StrEnum):
    """The purpose of a line."""

    USAGE = "usage"
    CORRECTION = "correction"  # the present cost of an earlier period's session, minus its former cost
    UNRATED = "unrated"  # no price applies: an error of the book
    WAIVED = "waived"  # the last result of a session whose caller left
    MINIMUM = "minimum"  # the difference up to the minimum of an invoice
    ROUNDING = "rounding"  # of the sum of a day or an invoice, if to more than a nano-unit


class Line(NamedTuple):
    """One price of one session and channel. `first` and `last` are the sequences of the first and the last entry of
    that dimension, channel and session, `entries` is their number. `measured` is their sum, `parts` the billed quantity
    (in parts of a unit, as in `Rate`), `nano` the amount. `reason` says why there is no price, or what a line without a
    session is.
    """

    kind: LineKind
    project: str
    session: str
    closed_unix_ms: int
    key_id: str
    dimension: str
    model: str
    feature: str
    surface: str
    channel: int
    first: int
    last: int
    entries: int
    measured: int
    rate: Rate | None
    parts: int
    nano: int
    reason: str = ""


class _Cell:
    """The charges of a session of one kind and channel."""

    __slots__ = ("amount", "by_entry", "entries", "first", "last")

    def __init__(self, sequence: int) -> None:
        self.first = self.last = sequence
        self.amount = self.entries = 0
        self.by_entry: dict[int, int] = {}

    def amounts(self) -> list[int]:
        """Return the amount of each entry after corrections. A correction above its entry reduces the entries before
        it.
        """
        amounts = list(self.by_entry.values())
        over = 0
        for place in range(len(amounts) - 1, -1, -1):
            left = amounts[place] - over
            amounts[place], over = max(left, 0), max(-left, 0)
        return amounts


_Cells = dict[tuple[Used, int], _Cell]


def rate(sessions: Iterable[ClosedSession], books: Series | Book) -> Iterator[Line]:
    """Yield the lines of a project's sessions of one period, which must be in the order in which they closed.

    Raises `NoBook` for a session that began before the first version of the book.
    """
    rater = Rater(Series([books]) if isinstance(books, Book) else books)
    for session in sessions:
        yield from rater.session(session)
    yield from rater.end()


class Rater:
    """The state of rating one project and period."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._of: dict[str, Rates] = {}  # by version
        self._used: dict[tuple[str, int, int], int] = {}  # by price, parts and day: the parts counted in its tiers
        self._measured: dict[tuple[str, int, int], int] = {}  # by the same: measured amounts, before rounding up
        self._sums: dict[tuple[Rate, int], list[int]] = {}  # by rate and day: the exact sum, and the sum of the lines
        self._total = 0
        self._last: tuple[Book, str] | None = None

    def session(self, session: ClosedSession) -> list[Line]:
        rates = self._rates(session)
        book = rates.book
        cells, waived = _cells(session, book, rates.by_entry)
        if rates.by_request and any(cell.amount > 0 for cell in cells.values()):
            _add_request(cells, session)
        lines: list[Line] = []
        if waived is not None:
            lines.append(_line(LineKind.WAIVED, session, *waived, reason="the last result may not have arrived"))
        sums: dict[tuple[Rate, int], list[int]] = self._sums if book.rounding.per.long else {}
        several = len(cells) > 1
        for place in sorted(cells) if several else cells:
            cell, used = cells[place], place[0]
            if not cell.amount:
                continue
            found = rates.find(used)
            if cell.amount < 0:
                found = "corrections exceed what was used"
            if isinstance(found, str):
                if used[0] != REQUESTS:
                    lines.append(_line(LineKind.UNRATED, session, *place, cell, reason=found))
                continue
            if found and several and found[0].price.channels is Channels.ONCE and not _longest(cells, place):
                continue
            for each in found:
                parts, nano = self._cost(each, cell, session.closed_unix_ms // DAY_MS, sums)
                lines.append(_line(LineKind.USAGE, session, *place, cell, each, parts, nano))
                self._total += nano
        return lines

    def end(self) -> Iterator[Line]:
        """Yield the lines about all sessions together."""
        if self._last is None:
            return
        book, project = self._last
        for (each, day), (exact, lines) in self._sums.items():
            quantum = each.book.rounding.quantum_nano
            whole = ROUND[each.book.rounding.mode](exact, each.scale * quantum) * quantum
            if whole != lines:
                self._total += whole - lines
                yield summary(LineKind.ROUNDING, project, each, day * DAY_MS, whole - lines, str(each.book.rounding))
        least = -int(-book.minimum_invoice_nano // 1)
        if self._total < least:
            yield summary(LineKind.MINIMUM, project, None, 0, least - self._total, f"at least {least} nano an invoice")

    def _rates(self, session: ClosedSession) -> Rates:
        book = self._series.at(session.charges[0].at_unix_ms)
        rates = self._of.get(book.version)
        if rates is None:
            rates = self._of[book.version] = Rates(book, session.project)
        self._last = book, session.project
        return rates

    def _cost(self, each: Rate, cell: _Cell, day: int, sums: dict[tuple[Rate, int], list[int]]) -> tuple[int, int]:
        """Return how many parts are billed, and their cost in nano-units."""
        rounding = each.book.rounding
        quantum = 1 if rounding.per.long else rounding.quantum_nano
        to_whole, scale = ROUND[rounding.mode], each.scale * quantum
        if rounding.per is not Span.ENTRY:
            parts = self._billable(each, cell, day)
            total = sums.setdefault((each, day if rounding.per is Span.DAY else 0), [0, 0])
            total[0] += max(self._exact(each, parts, day), each.least)
            nano = to_whole(total[0], scale) * quantum - total[1]
            total[1] += nano
            return parts, nano
        billed = nano = amount = 0
        for entry in cell.amounts():
            if each.binding is Binding.SESSION:
                parts = each.billable(amount + entry) - each.billable(amount)
                amount += entry
            else:
                parts = self._step(each, entry, day)
            billed += parts
            nano += to_whole(self._exact(each, parts, day), scale) * quantum
        return billed, max(nano, to_whole(each.least, scale) * quantum)

    def _billable(self, each: Rate, cell: _Cell, day: int) -> int:
        if each.binding is Binding.SESSION:
            return each.billable(cell.amount)
        if each.binding is Binding.PERIOD:
            return self._step(each, cell.amount, day)
        return sum(map(each.billable, cell.amounts()))

    def _step(self, each: Rate, amount: int, day: int) -> int:
        """Return the billed parts of one more amount, if the rules of the quantity apply to an entry or to the whole
        period.
        """
        if each.binding is Binding.ENTRY:
            return each.billable(amount)
        key = each.price.id, each.parts, day if each.price.every is Every.DAY else 0
        before = self._measured.get(key, 0)
        self._measured[key] = before + amount
        return each.billable(before + amount) - each.billable(before)

    def _exact(self, each: Rate, parts: int, day: int) -> int:
        """Return the cost of so many more parts, in parts of a nano-unit."""
        if each.flat is not None:
            return parts * each.flat
        key = each.price.id, each.parts, day if each.price.every is Every.DAY else 0
        before = self._used.get(key, 0)
        self._used[key] = before + parts
        return each.cost(before + parts) - each.cost(before)


def _cells(session: ClosedSession, book: Book, by_entry: bool) -> tuple[_Cells, tuple[Used, int, _Cell] | None]:
    """Return the sums of the entries, and the waived one, if any. A correction counts with the entry it corrects."""
    cells: _Cells = {}
    free = -1
    if session.abandoned and book.abandoned is Abandoned.LAST_RESULT_FREE:
        free = max((charge.last for charge in session.charges if charge.kind == _USAGE), default=-1)
    waived: tuple[Used, int, _Cell] | None = None
    for charge in session.charges:
        first, last, entries, _, _, surface, model, dimension, amount, channel, feature, _, corrects = charge
        place = (dimension, model, feature, surface), channel
        if corrects is not None:
            first, place = _corrected(session.charges, charge, place)
        if first == free:
            if waived is None:
                waived = *place, _Cell(first)
            cell = waived[2]
        elif (found := cells.get(place)) is not None:
            cell = found
        else:
            cell = cells[place] = _Cell(first)
        cell.amount += amount
        cell.entries += entries
        cell.last = max(cell.last, last)
        if by_entry:
            cell.by_entry[first] = cell.by_entry.get(first, 0) + amount
    return cells, waived


def _corrected(charges: list[Charge], correction: Charge, place: tuple[Used, int]) -> tuple[int, tuple[Used, int]]:
    """Return the first sequence of the corrected entry, and its place; if it is not there, those of the correction
    itself.
    """
    for charge in charges:
        if charge.kind == _USAGE and charge.sequence <= (correction.corrects or 0) <= charge.last:
            used = charge.dimension, charge.model, charge.feature, charge.surface
            if (used, charge.channel) == place or charge.entries == 1:
                return charge.sequence, (used, charge.channel)
    return correction.sequence, place


def _add_request(cells: _Cells, session: ClosedSession) -> None:
    first = session.charges[0]
    cell = cells[(REQUESTS, first.model, first.feature, first.surface), 0] = _Cell(first.sequence)
    cell.amount = cell.entries = 1
    cell.by_entry[first.sequence] = 1


def _longest(cells: _Cells, place: tuple[Used, int]) -> bool:
    """Return whether the channel is the one that is charged for all: the first of the longest."""
    used, channel = place
    amounts = [(-cell.amount, number) for (other, number), cell in cells.items() if other == used]
    return min(amounts)[1] == channel


def _line(
    kind: LineKind,
    session: ClosedSession,
    used: Used,
    channel: int,
    cell: _Cell,
    each: Rate | None = None,
    parts: int = 0,
    nano: int = 0,
    reason: str = "",
) -> Line:
    closed, key_id = session.closed_unix_ms, session.charges[0].key_id
    return Line(
        *(kind, session.project, session.session, closed, key_id, *used, channel),
        *(cell.first, cell.last, cell.entries, cell.amount, each, parts, nano, reason),
    )


def summary(kind: LineKind, project: str, each: Rate | None, at_unix_ms: int, nano: int, reason: str) -> Line:
    """Return a line without a session."""
    return Line(kind, project, "", at_unix_ms, "", *("",) * 4, 0, 0, 0, 0, 0, each, 0, nano, reason)
