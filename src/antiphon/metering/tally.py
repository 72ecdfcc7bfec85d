"""What applies to the calls of one project, or of all projects of an organisation: budgets, prices, and limits. Pure;
the time is an argument.

`admit` checks everything, then reserves everything, in one step: a call that is refused leaves no trace.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from antiphon.core.budgets import (
    EVERY,
    NOTHING,
    Amounts,
    Limits,
    Measure,
    RateExceeded,
    RateLimit,
)
from antiphon.core.entry import CLOSING, Entry, EntryKind
from antiphon.core.errors import CapacityError, PolicyError
from antiphon.core.units import NS_PER_S
from antiphon.core.usage import Charge, ClosedSession, Dimension, Meter
from antiphon.metering.buckets import Bucket
from antiphon.metering.budgets import Funds, Purse, Reservation
from antiphon.metering.tariff import ONE, Entries, Meters, Tariff, Use

RETRY_AFTER_S = 1  # when one more call may fit
LIVE, CALLS = "live_streams", "calls"
REQUESTS, TOKENS = "requests", "tokens"

MEASURES: Mapping[str, Measure] = {
    Dimension.STT_AUDIO_MS: Measure.AUDIO_MS,
    Dimension.TTS_CHARACTERS: Measure.CHARACTERS,
    Dimension.LLM_INPUT_TOKENS: Measure.TOKENS,
    Dimension.LLM_CACHED_TOKENS: Measure.TOKENS,
    Dimension.LLM_OUTPUT_TOKENS: Measure.TOKENS,
    Dimension.LLM_REASONING_TOKENS: Measure.TOKENS,
    Dimension.EMBEDDING_TOKENS: Measure.TOKENS,
}
_BOUNDED = {Measure.MONEY, Measure.TOKENS}
_TOO_MANY = {
    LIVE: "live streams at once",
    CALLS: "calls at once",
    REQUESTS: "requests a minute",
    TOKENS: "tokens a minute",
}


class Demand(NamedTuple):
    """What a call asks for: what it may be charged at most, the tokens that it counts in limits of rate until it ends,
    whether it is a live stream, and how many entries it may write of each meter (one if left out).
    """

    meters: Meters
    tokens: int = 0
    live: bool = False
    entries: Entries = ONE


class Charged(NamedTuple):
    """What a session was charged since `since_unix_ms`, until it closed. `entries` are given if single ones matter."""

    meters: Meters
    since_unix_ms: int
    closed_unix_ms: int
    abandoned: bool = False
    entries: Sequence[Entry] = ()


class Permit:
    """What one call may use, and what it holds."""

    __slots__ = ("id", "key", "limits", "live", "project", "reservation", "served", "tokens", "use")

    def __init__(self, id: str, project: str, key: str, use: Use) -> None:
        self.id = id
        self.project = project
        self.key = key
        self.use = use
        self.reservation: Reservation | None = None
        self.limits: tuple[Scope, ...] = ()  # in which it counts as a running call
        self.live = False
        self.tokens = 0  # of those that were taken from buckets
        self.served = False


class Scope:
    """The limits of an organisation, a project or a key: their buckets, and how many of its calls run."""

    __slots__ = ("calls", "limits", "live", "requests", "tokens")

    def __init__(self, limits: Limits, before: "Scope | None") -> None:
        """Begin, or follow the limits of before a change: a rate that stays the same keeps its state."""
        self.limits = limits
        self.calls: int = before.calls if before else 0
        self.live: int = before.live if before else 0
        self.requests: Bucket | None = _bucket(limits.requests_per_minute, before.requests if before else None)
        self.tokens: Bucket | None = _bucket(limits.tokens_per_minute, before.tokens if before else None)


class Tally:
    """The state of one project, or of an organisation with its projects: these have a price list each."""

    def __init__(self) -> None:
        self.tariffs: Mapping[str, Tariff] = {}  # by project
        self.funds: Funds | None = None
        self.open: set[Permit] = set()
        self._limits: dict[tuple[str, str], Scope] = {}  # by project and key
        self._scopes: dict[tuple[str, str], tuple[Scope, ...]] = {}  # that apply to a key of a project

    # -- what applies --------------------------------------------------------------------------------------------------

    def take_limits(self, limits: Iterable[Limits]) -> None:
        """Apply these limits from now on. Running calls count where they were counted before."""
        before, self._limits, self._scopes = self._limits, {}, {}
        following: dict[Scope, Scope] = {}
        for each in limits:
            place = each.project, each.key
            scope = self._limits[place] = Scope(each, before.get(place))
            if place in before:
                following[before[place]] = scope
        for permit in self.open:
            if not permit.served:
                permit.limits = tuple(following.get(scope, scope) for scope in permit.limits)

    def take_funds(self, funds: Funds | None, tariffs: Mapping[str, Tariff]) -> None:
        """Apply these budgets from now on, also to running calls. Those of projects that have left keep their
        prices.
        """
        for permit in self.open:
            if permit.reservation is not None and funds is not None:
                funds.adopt(permit.reservation)
            else:
                permit.reservation = None
        running = {permit.project for permit in self.open}
        kept = {project: tariff for project, tariff in self.tariffs.items() if project in running}
        self.funds, self.tariffs = funds, {**kept, **tariffs}

    # -- calls ---------------------------------------------------------------------------------------------------------

    def admit(self, id: str, project: str, key: str, use: Use, demand: Demand, now_ns: int, now_unix_ms: int) -> Permit:
        """Admit a call. Raises `RateExceeded`, `BudgetExceeded`, `Unpriced`, or `CapacityError` if its project has just
        joined, and its prices are not known yet.
        """
        permit = Permit(id, project, key, use)
        scopes = self._scopes_of(project, key)
        for scope in scopes:
            self._check(scope, permit, demand, now_ns)
        self.cover(permit, demand.meters, now_unix_ms, demand.entries)
        for scope in scopes:
            if scope.requests is not None:
                scope.requests.take(1, now_ns)
            if scope.tokens is not None:
                scope.tokens.take(demand.tokens, now_ns)
            scope.calls += 1
            scope.live += demand.live
        permit.tokens, permit.limits, permit.live = demand.tokens, scopes, demand.live
        self.open.add(permit)
        return permit

    def cover(self, permit: Permit, meters: Meters, now_unix_ms: int, entries: Entries = ONE) -> None:
        """Reserve what the call may be charged in all. Raises `BudgetExceeded`, `Unpriced`; then nothing changes."""
        funds = self.funds
        if funds is None:
            return
        purse = funds.of(permit.key, permit.project)
        money = self._most(purse, permit, meters, now_unix_ms, entries) if Measure.MONEY in purse.counts else 0
        amounts = amounts_of(meters, money, requests=1)
        if permit.reservation is None:
            permit.reservation = funds.reserve(permit.key, amounts, now_unix_ms, permit.project)
        else:
            funds.extend(permit.reservation, amounts, now_unix_ms)

    def note(self, permit: Permit, meters: Meters, now_unix_ms: int) -> None:
        """Note what a running call has used so far, for alerts."""
        if self.funds is not None and permit.reservation is not None:
            purse = self.funds.of(permit.key, permit.project)
            money = self._most(purse, permit, meters, now_unix_ms, ONE) if Measure.MONEY in purse.counts else 0
            self.funds.use(permit.reservation, amounts_of(meters, money), now_unix_ms)

    def leave(self, permit: Permit) -> None:
        """Count the call no more as a running one: its caller was served."""
        if not permit.served:
            permit.served = True
            for scope in permit.limits:
                scope.calls -= 1
                scope.live -= permit.live

    def settle(self, permit: Permit, charged: Charged, now_ns: int) -> Amounts | None:
        """End a call, and return what it came to; `None` if it had ended."""
        self.leave(permit)
        if permit not in self.open:
            return None
        self.open.discard(permit)
        amounts = self.amounts(permit.id, permit.project, permit.key, permit.use, charged)
        if self.funds is not None:
            if permit.reservation is not None:
                self.funds.drop(permit.reservation)
            self.funds.spend(permit.key, amounts, charged.closed_unix_ms, permit.project)
        if more := amounts[Measure.TOKENS] - permit.tokens:
            for scope in self._scopes_of(permit.project, permit.key):
                if scope.tokens is not None:
                    scope.tokens.take(more, now_ns)
        return amounts

    def amounts(self, id: str, project: str, key: str, use: Use, charged: Charged) -> Amounts:
        """Return what a session came to."""
        if not any(charged.meters.values()):
            return NOTHING
        tariff = self.tariffs.get(project)
        money = tariff.cost(use, charged.meters, charged.since_unix_ms) if tariff is not None else 0
        if tariff is not None and money is None:
            money = tariff.settle(closed_session(project, id, key, use, charged))
        return amounts_of(charged.meters, money or 0, requests=1)

    # -- questions -----------------------------------------------------------------------------------------------------

    def bounds(self, project: str, key: str) -> bool:
        """Return whether the output of the key's calls needs a bound, as a hard budget counts it."""
        funds = self.funds
        return funds is not None and not _BOUNDED.isdisjoint(funds.of(key, project).bounds)

    def by_entry(self, project: str, key: str) -> bool:
        """Return whether single entries of a call matter for what it costs."""
        tariff, funds = self.tariffs.get(project), self.funds
        if funds is None or tariff is None or not tariff.by_entry:
            return False
        return Measure.MONEY in funds.of(key, project).counts

    def rates(self, project: str, key: str, now_ns: int) -> tuple[RateLimit, ...]:
        """Return the limits of rate of the key's calls, of each kind the one that has the least left."""
        found: list[RateLimit] = []
        scopes = self._scopes_of(project, key)
        for name in (REQUESTS, TOKENS):
            least: RateLimit | None = None
            for scope in scopes:
                bucket = scope.requests if name is REQUESTS else scope.tokens
                if bucket is not None:
                    state = bucket.state(name, now_ns)
                    if least is None or state.remaining < least.remaining:
                        least = state
            if least is not None:
                found.append(least)
        return tuple(found)

    def _scopes_of(self, project: str, key: str) -> tuple[Scope, ...]:
        found = self._scopes.get((project, key))
        if found is None:
            places = dict.fromkeys(((EVERY, EVERY), (project, EVERY), (project, key)))
            found = tuple(self._limits[place] for place in places if place in self._limits)
            self._scopes[project, key] = found
        return found

    def _check(self, scope: Scope, permit: Permit, demand: Demand, now_ns: int) -> None:
        limits = scope.limits
        if demand.live and limits.live_streams is not None and scope.live >= limits.live_streams:
            raise _too_many(limits, limits.live_streams, LIVE)
        if limits.calls is not None and scope.calls >= limits.calls:
            raise _too_many(limits, limits.calls, CALLS)
        for name, bucket, wanted in ((REQUESTS, scope.requests, 1), (TOKENS, scope.tokens, demand.tokens)):
            if bucket is not None and wanted and (wait_ns := bucket.wait_ns(wanted, now_ns)):
                rates = self.rates(permit.project, permit.key, now_ns)
                raise _too_many(limits, bucket.limit, name, -(-wait_ns // NS_PER_S), rates)

    def _most(self, purse: Purse, permit: Permit, meters: Meters, now_unix_ms: int, entries: Entries) -> int:
        tariff, bounds = self.tariffs.get(permit.project), Measure.MONEY in purse.bounds
        if tariff is None and bounds:
            raise CapacityError("The prices of this project are being read.", retry_after_s=RETRY_AFTER_S)
        try:
            return tariff.most(permit.use, meters, now_unix_ms, entries) if tariff is not None else 0
        except PolicyError:
            if bounds:
                raise
            return 0  # only alerts depend on it


def _bucket(limit: int | None, before: Bucket | None) -> Bucket | None:
    if limit is None:
        return None
    return before if before is not None and before.limit == limit else Bucket(limit)


def _too_many(
    limits: Limits, most: int, name: str, retry_after_s: int = RETRY_AFTER_S, rates: tuple[RateLimit, ...] = ()
) -> RateExceeded:
    return RateExceeded(f"This {limits.whose} may have {most} {_TOO_MANY[name]}.", retry_after_s, rates)


def amounts_of(meters: Meters, money: int, requests: int = 0) -> Amounts:
    """Return amounts by measure."""
    totals = [money, 0, 0, 0, requests]
    for (dimension, _), amount in meters.items():
        measure = MEASURES.get(dimension)
        if measure is not None:
            totals[measure] += amount
    return tuple(totals)  # type: ignore[return-value]


def amounts_in(session: ClosedSession, money: int) -> Amounts:
    """Return what a session in the ledger came to."""
    meters: Counter[Meter] = Counter()
    for charge in session.charges:
        meters[Meter(Dimension(charge.dimension))] += charge.amount
    return amounts_of(meters, money, requests=1 if any(meters.values()) else 0)


def closed_session(project: str, id: str, key: str, use: Use, charged: Charged) -> ClosedSession:
    """Return a session as the ledger would, with its charges."""
    if charged.entries:
        charges = [
            Charge(
                *(entry.sequence, entry.sequence, 1, entry.at_unix_ms, key, use.surface, entry.model),
                *(entry.quantity.dimension.value, entry.quantity.amount, entry.channel, entry.feature),
                *(entry.kind.value, entry.corrects.sequence if entry.corrects else None),
            )
            for entry in charged.entries
            if entry.kind not in CLOSING
        ]
    else:
        charges = [
            Charge(
                *(number, number, 1, charged.since_unix_ms, key, use.surface, use.model, str(dimension), amount),
                *(channel, use.feature, EntryKind.USAGE.value, None),
            )
            for number, ((dimension, channel), amount) in enumerate(charged.meters.items())
            if amount
        ]
    return ClosedSession(project, id, charged.closed_unix_ms, charged.abandoned, charges)
