"""What applies to the calls of one project: budgets, prices, and limits. Pure; the time is an argument.

`admit` checks everything, then reserves everything, in one step: a call that is refused leaves no trace.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from antiphon.core.budgets import (
    EVERY,
    NOTHING,
    Amounts,
    Limits,
    Measure,
    RateLimit,
    RateLimited,
    parse_limits,
)
from antiphon.core.entry import CLOSING, Entry, EntryKind
from antiphon.core.errors import PolicyError
from antiphon.core.units import NS_PER_S
from antiphon.core.usage import Charge, ClosedSession, Dimension, Meter
from antiphon.metering.buckets import Bucket
from antiphon.metering.budgets import Funds, Reservation
from antiphon.metering.tariff import Held, Meters, Tariff, Use

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
_TOO_MANY = {
    LIVE: "live streams at once",
    CALLS: "calls at once",
    REQUESTS: "requests a minute",
    TOKENS: "tokens a minute",
}


class Demand(NamedTuple):
    """What a call asks for: what it may be charged at most, the tokens that it counts in limits of rate until it ends,
    and whether it is a live stream.
    """

    meters: Meters
    tokens: int = 0
    live: bool = False


class Charged(NamedTuple):
    """What a session was charged since `since_unix_ms`, until it closed. `entries` are given if single ones matter."""

    meters: Meters
    since_unix_ms: int
    closed_unix_ms: int
    abandoned: bool = False
    entries: Sequence[Entry] = ()


class Permit:
    """What one call may use, and what it holds."""

    __slots__ = ("counted", "held", "id", "key", "reservation", "served", "tokens", "use")

    def __init__(self, id: str, key: str, use: Use) -> None:
        self.id = id
        self.key = key
        self.use = use
        self.reservation: Reservation | None = None
        self.held: Held = {}  # parts in tiers
        self.counted: tuple[tuple[str, str], ...] = ()  # in what it counts as a running call
        self.tokens = 0  # of those that were taken from buckets
        self.served = False


class Tally:
    """The state of one project."""

    def __init__(self, project: str, tariff: Tariff) -> None:
        self.project = project
        self.tariff = tariff
        self.funds: Funds | None = None
        self.open: set[Permit] = set()
        self._limits: dict[str, Limits] = {}
        self._buckets: dict[tuple[str, str], Bucket] = {}  # by the key of the limits, and what they limit
        self._running: Counter[tuple[str, str]] = Counter()

    # -- what applies --------------------------------------------------------------------------------------------------

    def take_limits(self, text: str) -> None:
        """Apply these limits from now on. A rate that stays the same keeps its state."""
        self._limits = {each.key: each for each in parse_limits(text)}
        before, self._buckets = self._buckets, {}
        for key, each in self._limits.items():
            for name, limit in ((REQUESTS, each.requests_per_minute), (TOKENS, each.tokens_per_minute)):
                if limit is not None:
                    known = before.get((key, name))
                    self._buckets[key, name] = known if known and known.limit == limit else Bucket(limit)

    def take_funds(self, funds: Funds | None, tariff: Tariff) -> None:
        """Apply these budgets from now on, also to running calls."""
        for permit in self.open:
            if permit.reservation is not None and funds is not None:
                funds.adopt(permit.reservation)
                tariff.hold(permit.held)
            else:
                permit.reservation = None
                permit.held.clear()
        self.funds, self.tariff = funds, tariff

    # -- calls ---------------------------------------------------------------------------------------------------------

    def admit(self, id: str, key: str, use: Use, demand: Demand, now_ns: int, now_unix_ms: int) -> Permit:
        """Admit a call. Raises `PolicyError` for a model that is not allowed, `RateLimited`, `BudgetExceeded`,
        `Unpriced`.
        """
        permit = Permit(id, key, use)
        scopes = [each for each in (self._limits.get(EVERY), self._limits.get(key)) if each is not None]
        for limits in scopes:
            self._check(limits, demand, now_ns)
        self.cover(permit, demand.meters, now_unix_ms)
        for limits in scopes:
            if bucket := self._buckets.get((limits.key, REQUESTS)):
                bucket.take(1, now_ns)
            if bucket := self._buckets.get((limits.key, TOKENS)):
                bucket.take(demand.tokens, now_ns)
        permit.tokens = demand.tokens
        permit.counted = tuple(
            (limits.key, name) for limits in scopes for name in ((LIVE, CALLS) if demand.live else (CALLS,))
        )
        self._running.update(permit.counted)
        self.open.add(permit)
        return permit

    def cover(self, permit: Permit, meters: Meters, now_unix_ms: int) -> None:
        """Reserve what the call may be charged in all. Raises `BudgetExceeded`, `Unpriced`; then nothing changes."""
        if (funds := self.funds) is None:
            return
        reservation = permit.reservation or funds.reserve(permit.key, NOTHING, now_unix_ms)
        held = dict(permit.held)
        try:
            money = 0
            if funds.counts(permit.key, Measure.MONEY) or self.tariff.by_month:
                money = self._most(funds, permit, meters, now_unix_ms, permit.held)
            funds.extend(reservation, amounts_of(meters, money, requests=1), now_unix_ms)
        except PolicyError:
            self.tariff.release(permit.held)
            permit.held.update(held)
            self.tariff.hold(held)
            raise
        permit.reservation = reservation

    def note(self, permit: Permit, meters: Meters, now_unix_ms: int) -> None:
        """Note what a running call has used so far, for alerts."""
        if self.funds is not None and permit.reservation is not None:
            money, held = 0, Held()
            if self.funds.counts(permit.key, Measure.MONEY):
                money = self._most(self.funds, permit, meters, now_unix_ms, held)
                self.tariff.release(held)
            self.funds.use(permit.reservation, amounts_of(meters, money), now_unix_ms)

    def leave(self, permit: Permit) -> None:
        """Count the call no more as a running one: its caller was served."""
        if not permit.served:
            permit.served = True
            self._running.subtract(permit.counted)

    def settle(self, permit: Permit, charged: Charged, now_ns: int) -> Amounts | None:
        """End a call, and return what it came to; `None` if it had ended."""
        self.leave(permit)
        if permit not in self.open:
            return None
        self.open.discard(permit)
        if permit.held:
            self.tariff.release(permit.held)
        amounts = self.amounts(permit.id, permit.key, permit.use, charged)
        if self.funds is not None:
            if permit.reservation is not None:
                self.funds.drop(permit.reservation)
            self.funds.spend(permit.key, amounts, charged.closed_unix_ms)
        if more := amounts[Measure.TOKENS] - permit.tokens:
            for key in {EVERY, permit.key}:
                if bucket := self._buckets.get((key, TOKENS)):
                    bucket.take(more, now_ns)
        return amounts

    def amounts(self, id: str, key: str, use: Use, charged: Charged) -> Amounts:
        """Return what a session came to."""
        if not any(charged.meters.values()):
            return NOTHING
        money = self.tariff.cost(use, charged.meters, charged.since_unix_ms)
        if money is None:
            money = self.tariff.settle(closed_session(self.project, id, key, use, charged))
        return amounts_of(charged.meters, money, requests=1)

    # -- questions -----------------------------------------------------------------------------------------------------

    def bounds(self, key: str) -> bool:
        """Return whether the output of the key's calls needs a bound, as a hard budget counts it."""
        funds = self.funds
        return funds is not None and any(funds.bounds(key, each) for each in (Measure.MONEY, Measure.TOKENS))

    def by_entry(self, key: str) -> bool:
        """Return whether single entries of a call matter for what it costs."""
        return self.funds is not None and self.tariff.by_entry and self.funds.counts(key, Measure.MONEY)

    def rates(self, key: str, now_ns: int) -> tuple[RateLimit, ...]:
        """Return the limits of rate of the key's calls, of each kind the one that has the least left."""
        found: list[RateLimit] = []
        for name in (REQUESTS, TOKENS):
            buckets = (self._buckets.get((each, name)) for each in {EVERY, key})
            states = [bucket.state(name, now_ns) for bucket in buckets if bucket is not None]
            if states:
                found.append(min(states, key=lambda state: state.remaining))
        return tuple(found)

    def _check(self, limits: Limits, demand: Demand, now_ns: int) -> None:
        whose = "API key" if limits.key else "project"
        for name, most in ((LIVE, limits.live_streams if demand.live else None), (CALLS, limits.calls)):
            if most is not None and self._running[limits.key, name] >= most:
                raise RateLimited(f"This {whose} may have {most} {_TOO_MANY[name]}.", RETRY_AFTER_S)
        for name, wanted in ((REQUESTS, 1), (TOKENS, demand.tokens)):
            bucket = self._buckets.get((limits.key, name))
            if bucket is not None and wanted and (wait_ns := bucket.wait_ns(wanted, now_ns)):
                said = f"This {whose} may have {bucket.limit} {_TOO_MANY[name]}."
                raise RateLimited(said, -(-wait_ns // NS_PER_S), self.rates(limits.key, now_ns))

    def _most(self, funds: Funds, permit: Permit, meters: Meters, now_unix_ms: int, held: Held) -> int:
        try:
            return self.tariff.most(permit.use, meters, now_unix_ms, held)
        except PolicyError:
            if funds.bounds(permit.key, Measure.MONEY):
                raise
            return 0  # only alerts depend on it


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
