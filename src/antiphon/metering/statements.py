"""A project's statement of a month: its rated sessions, and what corrections have changed in earlier months.

A statement is computed from the ledger and the price books. It is not stored, and each computation gives the same
bytes: it covers the ledger up to a cursor, and once it is issued, later entries, whatever their time, belong to later
statements (`Settled`). The present cost of an earlier month minus its former cost gives lines of this one: so the sum
of all statements is always the cost of all known usage.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from antiphon.core.errors import CallerError, Conflict
from antiphon.core.stores import Bills, IssuedStatement, Usage
from antiphon.core.usage import ClosedSession, LooseEnds, SessionQuery, Settled
from antiphon.metering.pricing.book import Book, Series
from antiphon.metering.rating import Line, LineKind, rate, summary

MAX_LINES = 100_000  # lines of sessions in one answer

_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Period:
    """A month, in UTC."""

    name: str
    since_unix_ms: int
    until_unix_ms: int


class Place(NamedTuple):
    """The key by which lines are summed in a statement."""

    kind: LineKind
    price: str
    version: str
    dimension: str
    model: str
    feature: str
    surface: str
    reason: str


@dataclass(slots=True)
class Item:
    """One line of a statement: the sum of lines that differ only in the session. `billed` is in the dimension's unit,
    as text, since it may be a fraction.
    """

    place: Place
    rule: str = ""
    rounding: str = ""
    sessions: int = 0
    entries: int = 0
    measured: int = 0
    billed: str = "0"
    nano: int = 0
    cost_nano: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement. `unrated` is the number of lines without a price. Sessions that were `open` at the end of the period
    belong to the one in which they close. `costs_nano` is the cost of the engines, if there is a book of costs.
    """

    project: str
    period: Period
    currency: str
    books: tuple[Book, ...]
    items: tuple[Item, ...]
    unrated: int
    open: int
    cursor: str
    issued: bool = False
    with_costs: bool = False
    uncosted: int = 0  # lines without a price in the book of costs

    @property
    def total_nano(self) -> int:
        return sum(item.nano for item in self.items)

    @property
    def costs_nano(self) -> int:
        return sum(item.cost_nano or 0 for item in self.items)


def parse_period(text: str) -> Period:
    """Return the period of a month such as 2026-11. Raises `CallerError`."""
    try:
        since = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
        until = (since.replace(day=28) + timedelta(days=4)).replace(day=1)
    except (ValueError, OverflowError):
        raise CallerError("a period is a month, written like 2026-11", param="period") from None
    return Period(since.strftime("%Y-%m"), _unix_ms(since), _unix_ms(until))


def month_of(unix_ms: int) -> Period:
    return parse_period((_EPOCH + timedelta(milliseconds=unix_ms)).strftime("%Y-%m"))


@dataclass(frozen=True, slots=True)
class Billing:
    """The maker of statements. `series_of` returns the books by which a project is billed, `costs` are those of the
    engines' costs, in the same currency; `pace` is called after each session, and may wait so that other work can run.
    Blocking.
    """

    ledger: Usage
    bills: Bills
    series_of: Callable[[str], Series]
    costs: Series | None = None
    pace: Callable[[], None] | None = None
    drafts: bool = False  # the books may still change: they are not recorded, and nothing is issued

    def statement(self, project: str, period: Period, now_unix_ms: int, with_costs: bool = False) -> Statement:
        """Return the statement of a period. Raises `CallerError`, `InternalError`, or `Conflict` if a book has changed
        since it was used.
        """
        scope = self._scope(project, period)
        series = self.series_of(project)
        sums = _Sums()
        used: dict[str, Book] = {}
        for line in self._lines(scope, series):
            sums.add(line)
            if line.rate is not None:
                used[line.rate.book.version] = line.rate.book
        if not self.drafts:
            for book in used.values():
                self.bills.pin(book.name, book.version, book.sha256, now_unix_ms)
        if with_costs and self.costs is not None:
            if self.costs.currency != series.currency:
                raise CallerError(f"costs are in {self.costs.currency}, prices in {series.currency}")
            for line in self._lines(scope, self.costs):
                sums.add_cost(line)
        statement = Statement(
            project=project,
            period=period,
            currency=series.currency,
            books=tuple(used[version] for version in sorted(used)),
            items=sums.items(),
            unrated=sums.unrated,
            open=scope.ends.open,
            cursor=scope.head,
            issued=scope.issued is not None,
            with_costs=with_costs and self.costs is not None,
            uncosted=sums.uncosted,
        )
        if scope.issued is not None and not self.drafts and not with_costs and scope.issued.sha256 != digest(statement):
            raise Conflict(f"the statement of {period.name} is not the one that was issued: a price book has changed")
        return statement

    def lines(self, project: str, period: Period) -> Iterator[Line]:
        """Yield the lines of the statement for each session."""
        return self._lines(self._scope(project, period), self.series_of(project))

    def issue(self, project: str, period: Period, now_unix_ms: int) -> Statement:
        """Issue a statement, which never changes afterwards, and return it. Raises `Conflict` before the end of the
        period, if usage has no price, or if this period or a later one is already issued.
        """
        if self.drafts:
            raise Conflict("a statement is issued by the price books of the configuration")
        if now_unix_ms < period.until_unix_ms:
            raise Conflict(f"{period.name} is not over")
        statement = self.statement(project, period, now_unix_ms)
        if statement.unrated:
            raise Conflict(
                f"{statement.unrated} lines have no price: price them, or say in the book what is not charged"
            )
        total, sha256 = statement.total_nano, digest(statement)
        limits = period.since_unix_ms, period.until_unix_ms
        self.bills.issue(
            IssuedStatement(project, *limits, statement.cursor, statement.currency, total, sha256, now_unix_ms)
        )
        return replace(statement, issued=True)

    def sessions(self, project: str, period: Period, by_entry: bool = False) -> Iterator[ClosedSession]:
        """Yield the sessions of a project in a period, without corrections of earlier periods."""
        return self._sessions(self._scope(project, period).query(period, by_entry=by_entry))

    def _scope(self, project: str, period: Period) -> "_Scope":
        issued = self.bills.issued(project)
        this = next((each for each in issued if each.since_unix_ms == period.since_unix_ms), None)
        head = self.ledger.head() if this is None else this.cursor
        settled = tuple(Settled(each.cursor, each.until_unix_ms) for each in issued)
        scope = _Scope(project, period, head, settled, this)
        return replace(scope, ends=self.ledger.loose_ends(scope.query(period)))

    def _lines(self, scope: "_Scope", series: Series) -> Iterator[Line]:
        reopened = scope.ends.reopened
        yield from self._rate(scope, series, scope.period, scope.period.until_unix_ms)
        for earlier in sorted({month_of(closed) for closed in reopened.values()}, key=lambda each: each.since_unix_ms):
            before, now = (
                self._rate(scope, series, earlier, known)
                for known in (scope.period.since_unix_ms, scope.period.until_unix_ms)
            )
            yield from _changes(before, now, reopened, earlier)

    def _rate(self, scope: "_Scope", series: Series, closed: Period, known_unix_ms: int) -> Iterator[Line]:
        return rate(self._sessions(scope.query(closed, known_unix_ms, series.by_entry)), series)

    def _sessions(self, query: SessionQuery) -> Iterator[ClosedSession]:
        for session in self.ledger.sessions(query):
            yield session
            if self.pace is not None:
                self.pace()


@dataclass(frozen=True, slots=True)
class _Scope:
    """The part of the ledger that a statement covers."""

    project: str
    period: Period
    head: str
    settled: tuple[Settled, ...]
    issued: IssuedStatement | None
    ends: LooseEnds = field(default_factory=lambda: LooseEnds({}, 0))

    def query(self, closed: Period, known_unix_ms: int | None = None, by_entry: bool = False) -> SessionQuery:
        """Return the query for the sessions that closed in a period, as known at the end of this statement's period or
        at `known_unix_ms`.
        """
        return SessionQuery(
            project=self.project,
            since_unix_ms=closed.since_unix_ms,
            until_unix_ms=closed.until_unix_ms,
            known_unix_ms=self.period.until_unix_ms if known_unix_ms is None else known_unix_ms,
            head=self.head,
            settled=self.settled,
            by_entry=by_entry,
        )


def digest(statement: Statement) -> str:
    """Return a hash of the statement without its descriptions, which another version of the server may word
    differently.
    """
    header = [statement.project, statement.period.name, statement.currency, statement.open]
    books = [(book.name, book.version, book.sha256) for book in statement.books]
    items = sorted(
        (*item.place[:-1], item.sessions, item.entries, item.measured, item.billed, item.nano)
        for item in statement.items
    )
    return hashlib.sha256(json.dumps([header, books, items]).encode()).hexdigest()


@dataclass(slots=True)
class _Sums:
    """The sums of lines of sessions."""

    unrated: int = 0
    uncosted: int = 0
    _items: dict[Place, Item] = field(default_factory=dict)
    _billed: dict[Place, list[int]] = field(default_factory=dict)  # parts, and parts per unit
    _costs: dict[tuple[bool, str, str, str, str], int] = field(default_factory=dict)
    _last: dict[Place, str] = field(default_factory=dict)  # the last session; its lines come one after another

    def add(self, line: Line) -> None:
        each = line.rate
        price, version = (each.price.id, each.book.version) if each is not None else ("", "")
        place = Place(*(line.kind, price, version, line.dimension, line.model, line.feature, line.surface, line.reason))
        item = self._items.get(place)
        if item is None:
            item = self._items[place] = Item(place)
            if each is not None:
                item.rule, item.rounding = each.price.rule, str(each.book.rounding)
        if line.session and self._last.get(place) != line.session:
            self._last[place] = line.session
            item.sessions += 1
        item.entries += line.entries
        item.measured += line.measured
        item.nano += line.nano
        if each is not None:
            billed = self._billed.setdefault(place, [0, each.parts])
            billed[0] += line.parts
        self.unrated += line.kind is LineKind.UNRATED

    def add_cost(self, line: Line) -> None:
        self.uncosted += line.kind is LineKind.UNRATED
        used = line.kind is LineKind.CORRECTION, line.dimension, line.model, line.feature, line.surface
        self._costs[used] = self._costs.get(used, 0) + line.nano

    def items(self) -> tuple[Item, ...]:
        for place, (parts, unit) in self._billed.items():
            whole, rest = divmod(parts, unit)
            self._items[place].billed = f"{parts}/{unit}" if rest else str(whole)
        for used, nano in self._costs.items():
            # Added to the first line of that usage, as margins are by model; usage without a price gets its own line.
            same = (each for each in sorted(self._items) if (each.kind is LineKind.CORRECTION, *each[3:7]) == used)
            place = next(same, Place(LineKind.USAGE, "", "", *used[1:], "costs only"))
            item = self._items.setdefault(place, Item(place))
            item.cost_nano = (item.cost_nano or 0) + nano
        return tuple(self._items[place] for place in sorted(self._items))


def _changes(before: Iterable[Line], now: Iterable[Line], reopened: dict[str, int], earlier: Period) -> Iterator[Line]:
    """Yield the difference between the lines of an earlier period now and before: one by one for sessions with new
    entries, and one for each price for all other sessions, whose part of a tier or of a rounded sum has changed.
    """
    changes: dict[tuple[object, ...], Line] = {}
    for sign, lines in ((-1, before), (1, now)):
        for line in lines:
            price = (line.rate.price.id, line.rate.book.version) if line.rate is not None else ()
            unrated = line.kind is LineKind.UNRATED
            key: tuple[object, ...]
            if line.session in reopened:
                key = (unrated, line.kind is LineKind.WAIVED, price, line.session, line[5:10])
                kind = line.kind if unrated else LineKind.CORRECTION
                change = line._replace(kind=kind, measured=sign * line.measured, reason=f"of {earlier.name}")
            else:
                key = (price,)
                moved = f"of {earlier.name}, what moved in it"
                change = summary(LineKind.CORRECTION, line.project, line.rate, earlier.since_unix_ms, 0, moved)
            change = change._replace(parts=sign * line.parts, nano=sign * line.nano)
            changes[key] = _plus(changes[key], change) if key in changes else change
    return (line for line in changes.values() if line.nano or line.measured or line.parts)


def _plus(old: Line, more: Line) -> Line:
    return more._replace(measured=old.measured + more.measured, parts=old.parts + more.parts, nano=old.nano + more.nano)


def _unix_ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
