"""What is left of budgets: each call reserves what it may come to at most, and settles what it came to. Pure; the time
is an argument.

What is used up and what running calls hold is never more than a hard budget, as every step checks and reserves at once.
A session counts in the window in which it ends, as it does in a statement; while it runs, what it holds counts in the
present one. Nothing here outlives the process: what was used is in the ledger.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from antiphon.core.budgets import EVERY, NOTHING, THRESHOLDS, Amounts, Budget, Measure, Window, shown
from antiphon.core.errors import BudgetExceeded

DAY_MS = 86_400_000
_MONDAY = 3  # days from the Monday before the Unix epoch to the epoch
_EPOCH = datetime.fromtimestamp(0, UTC)


class Alert(NamedTuple):
    """A threshold of a budget (percent) that was reached: once in each window."""

    budget: Budget
    percent: int
    used: int
    amount: int
    until_unix_ms: int | None
    currency: str = ""  # of money


class State(NamedTuple):
    """A budget as it stands: of `amount`, what is `used`, `reserved` by running calls, and left."""

    budget: Budget
    amount: int
    used: int
    reserved: int
    since_unix_ms: int | None
    until_unix_ms: int | None

    @property
    def left(self) -> int:
        return max(0, self.amount - self.used - self.reserved)


class Counter:
    """The present window of one budget. `running` is what open calls have used so far, out of what they reserved."""

    __slots__ = (
        "_past_thresholds",
        "amount",
        "budget",
        "hard",
        "place",
        "reserved",
        "running",
        "since",
        "until",
        "usage",
    )

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.hard = budget.hard
        self.place = int(budget.measure)  # among amounts
        self.amount = budget.amount
        self.usage = self.running = self.reserved = 0
        self.since = self.until = 0
        self._past_thresholds: set[int] = set()

    def roll(self, now_unix_ms: int) -> None:
        """Begin the window of that time, unless it is the present one. Time never goes back here."""
        if now_unix_ms >= self.until:
            self.since, self.until = bounds(self.budget.window, now_unix_ms)
            self.usage = 0
            self._past_thresholds.clear()

    def spend(self, amount: int) -> None:
        self.usage += amount

    @property
    def left(self) -> int:
        return self.amount - self.usage - self.reserved

    def state(self) -> State:
        return State(self.budget, self.amount, self.usage, self.reserved, self.since, self.until)

    def crossed(self, refused: bool = False) -> list[Alert]:
        """Return the thresholds reached since the last call; a refusal reaches the last."""
        used = self.usage + self.running
        if len(self._past_thresholds) == len(THRESHOLDS) or (
            not refused and used * 100 < THRESHOLDS[len(self._past_thresholds)] * self.amount
        ):
            return []
        reached = [
            each
            for each in THRESHOLDS
            if used * 100 >= each * self.amount and used and each not in self._past_thresholds
        ]
        if refused and THRESHOLDS[-1] not in self._past_thresholds:
            reached = [each for each in THRESHOLDS if each not in self._past_thresholds]
        self._past_thresholds.update(reached)
        return [Alert(self.budget, each, used, self.amount, self.until) for each in reached]


class Credits(Counter):
    """Grants of one measure and scope, spent together: the one that ends first before the others. What is used after
    the first grant began, without a valid one, is paid by the next one.
    """

    __slots__ = ("_begins", "_debt", "_grants", "_left")

    def __init__(self, grants: Sequence[Budget]) -> None:
        super().__init__(grants[0])
        self._grants = sorted(grants, key=lambda each: (each.until_unix_ms is None, each.until_unix_ms or 0))
        self._begins = begins(grants, 0)
        self._left = {grant.name: grant.amount for grant in grants}
        self._debt = 0

    def roll(self, now_unix_ms: int) -> None:
        """Take up the grants of that time, and drop those that ended."""
        if now_unix_ms >= self.until:
            edges = [t for each in self._grants for t in (each.since_unix_ms, each.until_unix_ms) if t is not None]
            self.since = now_unix_ms
            self.until = min((edge for edge in edges if edge > now_unix_ms), default=2**62)
            self.spend(0)
            self._past_thresholds.clear()

    def spend(self, amount: int) -> None:
        if self.since >= self._begins:
            self._debt += amount
        valid = [each for each in self._grants if _holds(each, self.since)]
        for grant in valid:
            paid = min(self._debt, self._left[grant.name]) if self._debt > 0 else 0
            self._left[grant.name] -= paid
            self._debt -= paid
        self.amount = sum(grant.amount for grant in valid)
        self.usage = self.amount - sum(self._left[grant.name] for grant in valid) + self._debt

    def state(self) -> State:
        until = None if self.until == 2**62 else self.until
        return State(self.budget, self.amount, self.usage, self.reserved, None, until)


class Purse(NamedTuple):
    """The budgets that apply to the calls of one key: what they count, and what those count that are hard."""

    counters: tuple[Counter, ...]
    counts: frozenset[Measure]
    bounds: frozenset[Measure]


class Reservation:
    """What one call holds of all budgets that apply to it."""

    __slots__ = ("amounts", "counters", "key", "project", "used")

    def __init__(self, key: str, project: str, counters: tuple[Counter, ...]) -> None:
        self.key = key
        self.project = project
        self.amounts = self.used = NOTHING
        self.counters = counters


class Funds:
    """The budgets of one project, or of an organisation with its projects. `currencies` are those of the projects'
    price books.
    """

    def __init__(self, budgets: Iterable[Budget], currencies: Mapping[str, str] | None = None) -> None:
        self.alerts: list[Alert] = []  # to be sent, then cleared
        self._currencies = currencies or {}
        self._counters: list[Counter] = []
        grants: dict[tuple[Measure, str, str, bool], list[Budget]] = {}
        for budget in budgets:
            if budget.window is Window.ONCE:
                grants.setdefault((budget.measure, budget.project, budget.key, budget.hard), []).append(budget)
            else:
                self._counters.append(Counter(budget))
        self._counters += map(Credits, grants.values())
        self._purses: dict[tuple[str, str], Purse] = {}

    def of(self, key: str, project: str = EVERY) -> Purse:
        """Return what applies to the calls of a key of a project."""
        found = self._purses.get((project, key))
        if found is None:
            counters = tuple(
                each
                for each in self._counters
                if each.budget.project in (EVERY, project) and each.budget.key in (EVERY, key)
            )
            found = self._purses[project, key] = Purse(
                counters,
                frozenset(each.budget.measure for each in counters),
                frozenset(each.budget.measure for each in counters if each.hard),
            )
        return found

    def currency(self, budget: Budget) -> str:
        """Return the currency of a budget of money: of an organisation's, that of all its projects, if it is one."""
        if budget.measure is not Measure.MONEY:
            return ""
        if budget.project:
            return self._currencies.get(budget.project, "")
        found = {each for each in self._currencies.values() if each}
        return found.pop() if len(found) == 1 else ""

    def reserve(self, key: str, amounts: Amounts, now_unix_ms: int, project: str = EVERY) -> Reservation:
        """Reserve what a call may come to. Raises `BudgetExceeded`, and then reserves nothing."""
        reservation = Reservation(key, project, self.of(key, project).counters)
        self.extend(reservation, amounts, now_unix_ms)
        return reservation

    def extend(self, reservation: Reservation, amounts: Amounts, now_unix_ms: int) -> None:
        """Reserve up to these amounts, where they are more than what the call holds. Raises as `reserve` does."""
        held = reservation.amounts
        for counter in reservation.counters:
            if now_unix_ms >= counter.until:
                counter.roll(now_unix_ms)
            more = amounts[counter.place] - held[counter.place]
            if more > 0 and counter.hard and more > counter.amount - counter.usage - counter.reserved:
                self.alerts += counter.crossed(refused=True)
                raise self._refusal(counter)
        self._hold(reservation, tuple(map(max, amounts, held)) if any(held) else amounts)  # type: ignore[arg-type]

    def use(self, reservation: Reservation, used: Amounts, now_unix_ms: int) -> None:
        """Note what a call has used so far."""
        before, reservation.used = reservation.used, used
        for counter in reservation.counters:
            counter.roll(now_unix_ms)
            counter.running += used[counter.place] - before[counter.place]
            self.alerts += counter.crossed()

    def spend(self, key: str, amounts: Amounts, at_unix_ms: int, project: str = EVERY) -> None:
        """Count what was used without a reservation."""
        for counter in self.of(key, project).counters:
            if at_unix_ms >= counter.until:
                counter.roll(at_unix_ms)
            if amount := amounts[counter.place]:
                counter.spend(amount)
                self.alerts += counter.crossed()

    def drop(self, reservation: Reservation) -> None:
        """Let go of all that a call holds."""
        if reservation.used is not NOTHING:
            for counter in reservation.counters:
                counter.running -= reservation.used[counter.place]
            reservation.used = NOTHING
        self._hold(reservation, NOTHING)

    def adopt(self, reservation: Reservation) -> None:
        """Take over a running call from the budgets before a change, whatever is left."""
        amounts, used = reservation.amounts, reservation.used
        reservation.counters, reservation.amounts = self.of(reservation.key, reservation.project).counters, NOTHING
        self._hold(reservation, amounts)
        for counter in reservation.counters:
            counter.running += used[counter.place]

    def states(self, now_unix_ms: int) -> list[State]:
        for counter in self._counters:
            counter.roll(now_unix_ms)
        return [counter.state() for counter in self._counters]

    def catch_up(self, now_unix_ms: int) -> None:
        """Begin with what was rebuilt: thresholds that it reached are not reported again."""
        for counter in self._counters:
            counter.roll(now_unix_ms)
            counter.crossed()
        self.alerts.clear()

    def _hold(self, reservation: Reservation, amounts: Amounts) -> None:
        held, reservation.amounts = reservation.amounts, amounts
        for counter in reservation.counters:
            counter.reserved += amounts[counter.place] - held[counter.place]

    def _refusal(self, counter: Counter) -> BudgetExceeded:
        budget, state = counter.budget, counter.state()
        unit = self.currency(budget) if budget.measure is Measure.MONEY else budget.measure.name.lower()
        amount = shown(budget.measure, state.amount)
        message = f"The budget '{budget.name}' of this {budget.whose} is used up: {amount} {unit}"
        if budget.window is Window.ONCE:
            return BudgetExceeded(f"{message.rstrip()}.")
        begins = (_EPOCH + timedelta(milliseconds=counter.until)).strftime("%Y-%m-%d %H:%M")
        return BudgetExceeded(f"{message.rstrip()} a {budget.window}. It begins anew at {begins} UTC.")


def record(state: State, currency: str) -> dict[str, Any]:
    """Return a budget as it stands as named fields, in a fixed order."""
    budget = state.budget
    return {
        "name": budget.name,
        "measure": budget.measure.name.lower(),
        "currency": currency,
        "window": budget.window.value,
        "project": budget.project,
        "key": budget.key,
        "hard": budget.hard,
        "amount": state.amount,
        "used": state.used,
        "reserved": state.reserved,
        "left": state.left,
        "since_unix_ms": state.since_unix_ms,
        "until_unix_ms": state.until_unix_ms,
    }


def bounds(window: Window, unix_ms: int) -> tuple[int, int]:
    """Return the beginning and the end of the window (not `ONCE`) that contains a time."""
    day = unix_ms // DAY_MS
    match window:
        case Window.DAY:
            first, last = day, day + 1
        case Window.WEEK:
            first = day - (day + _MONDAY) % 7
            last = first + 7
        case _:
            month = (_EPOCH + timedelta(days=day)).replace(day=1)
            first, last = (month - _EPOCH).days, ((month + timedelta(days=31)).replace(day=1) - _EPOCH).days
    return first * DAY_MS, last * DAY_MS


def begins(budgets: Iterable[Budget], now_unix_ms: int) -> int:
    """Return the time from which usage counts for any of the budgets."""
    return min(
        each.since_unix_ms if each.window is Window.ONCE else bounds(each.window, now_unix_ms)[0] for each in budgets
    )


def _holds(grant: Budget, unix_ms: int) -> bool:
    return grant.since_unix_ms <= unix_ms and (grant.until_unix_ms is None or unix_ms < grant.until_unix_ms)
