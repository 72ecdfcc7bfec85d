"""The cost of past usage by other price books."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.core.usage import ClosedSession
from antiphon.metering.bills import decimal
from antiphon.metering.pricing.book import Book, Series
from antiphon.metering.rating import LineKind, rate
from antiphon.metering.statements import Period


@dataclass(frozen=True, slots=True)
class Plan:
    """The result for one book. `by_dimension` are amounts in nano-units; `missing` are quantities without a price, in
    the dimensions' units.
    """

    book: Book
    nano: int
    by_dimension: Mapping[str, int]
    missing: Mapping[str, int]


def compare(
    sessions: Callable[[str, bool], Iterable[ClosedSession]], projects: Iterable[str], books: Sequence[Series]
) -> list[Plan]:
    """Return the plan of each book, in order; each project has its own allowances. `sessions` returns those of a
    project, entry by entry or not, and is called repeatedly. A book's latest version is used for all times.
    """
    names = list(projects)
    return [_plan(sessions, names, series.books[-1]) for series in books]


def _plan(sessions: Callable[[str, bool], Iterable[ClosedSession]], projects: Iterable[str], book: Book) -> Plan:
    amounts: dict[str, int] = {}
    missing: dict[str, int] = {}
    for project in projects:
        for line in rate(sessions(project, book.by_entry), book.always()):
            if line.kind is LineKind.UNRATED:
                missing[line.dimension] = missing.get(line.dimension, 0) + line.measured
            else:
                amounts[line.dimension] = amounts.get(line.dimension, 0) + line.nano
    return Plan(book, sum(amounts.values()), dict(sorted(amounts.items())), dict(sorted(missing.items())))


def records(plans: Iterable[Plan], period: Period) -> list[dict[str, Any]]:
    """Return each plan as named fields."""
    return [
        {
            "book": plan.book.name,
            "version": plan.book.version,
            "period": period.name,
            "currency": plan.book.currency,
            "amount_nano": plan.nano,
            "amount": decimal(plan.nano),
            "by_dimension": {dimension: decimal(nano) for dimension, nano in plan.by_dimension.items()},
            "without_price": dict(plan.missing),
            "sources": list(plan.book.sources),
        }
        for plan in plans
    ]
