"""Attempts to overrun hard budgets of money: any rules of a book, calls of two projects, in any order."""

import uuid
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.core.budgets import NANO, owned_budgets
from antiphon.core.entry import Entry, EntryKind, Reference
from antiphon.core.errors import BudgetExceeded
from antiphon.core.usage import ClosedSession, Dimension, Meter, Quantity
from antiphon.metering.budgets import Funds
from antiphon.metering.pricing.book import Series
from antiphon.metering.pricing.parse import parse_book
from antiphon.metering.rating import rate
from antiphon.metering.tally import Charged, Demand, Tally, closed_session
from antiphon.metering.tariff import Tariff, Use

MIDNIGHT = 1_793_491_200_000  # 1 November 2026
LIVE = Use("nova-3", "live+redact", "deepgram")
AUDIO, TIME = Meter(Dimension.STT_AUDIO_MS), Meter(Dimension.STT_SESSION_MS)
SECOND = Meter(Dimension.STT_AUDIO_MS, 1)
PROJECTS = ("acme", "beta")

rules = st.fixed_dictionaries(
    {
        "amount": st.sampled_from(["0.0077", "0.24", "0.000001"]),
        "per": st.just("minute"),
    },
    optional={
        "increment": st.sampled_from([1_000, 15_000, 60_000]),
        "minimum": st.sampled_from([1, 15_000]),
        "scope": st.sampled_from(["entry", "period"]),
        "minimum_charge": st.sampled_from(["0.000000001", "0.05"]),
        "free": st.sampled_from([1_000, 60_000]),
        "every": st.sampled_from(["day", "month"]),
        "volume": st.just(True),
        "channels": st.just("once"),
        "factor": st.sampled_from(["1/3", "7"]),
    },
)
tiers = st.lists(st.integers(0, 30), min_size=2, max_size=4).map(
    lambda cents: [
        {"up_to": 20_000 * (n + 1), "amount": f"0.{each:02}"} if n < len(cents) - 1 else {"amount": f"0.{each:02}"}
        for n, each in enumerate(cents)
    ]
)
roundings = st.tuples(
    st.sampled_from(["half_up", "half_even", "up", "down"]),
    st.sampled_from(["entry", "session", "day", "invoice"]),
    st.sampled_from(["0.000000001", "0.01"]),
)
steps = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 40_000), st.sampled_from("oosssce")), min_size=10, max_size=30
)


def toml(value):
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {toml(each)}" for name, each in value.items()) + " }"
    return "true" if value is True else f'"{value}"' if isinstance(value, str) else str(value)


def book(rounding, price, tiered, more):
    mode, per, to = rounding
    price = dict(price)
    if tiered is not None:
        del price["amount"]
        price.pop("free", None)
        price["tiers"] = tiered
    if len(price.get("tiers", ())) < 2 and "free" not in price:
        price.pop("volume", None)
        price.pop("every", None)
    if price.get("scope") == "period":
        price.pop("channels", None)
    lines = [
        *('book = "list"', 'version = "1"', 'currency = "USD"', "from = 2020-01-01"),
        f'rounding = {{ mode = "{mode}", per = "{per}", to = "{to}" }}',
        'not_charged = ["stt.session_ms"]',
        *("[[price]]", 'id = "stt"', 'dimension = "stt.audio_ms"'),
        *(f"{name} = {toml(each)}" for name, each in price.items()),
        *("[[price]]", 'id = "redact"', 'add_on = "redact"', 'dimension = "stt.audio_ms"', 'amount = "0.002"'),
        'per = "minute"',
    ]
    if more:
        lines += ["[[price]]", 'id = "call"', 'dimension = "requests"', 'amount = "0.03"', 'per = "request"']
    return parse_book("\n".join(lines).encode(), "test")


class Caller:
    """A call that charges nothing which is not covered, entry by entry."""

    def __init__(self, tally, number, project, now):
        self.tally, self.project, self.id = tally, project, str(uuid.UUID(int=number))
        self.entries, self.totals, self.numbers = [], {}, {}
        demand = Demand({AUDIO: 1_000, SECOND: 1_000})
        self.permit = tally.admit(self.id, project, "k", LIVE, demand, 0, now)

    def charge(self, meter, more, now):
        totals = self.totals | {meter: self.totals.get(meter, 0) + more}
        numbers = self.numbers | {meter: self.numbers.get(meter, 0) + 1}
        self.tally.cover(self.permit, totals, now, numbers)
        self.totals, self.numbers = totals, numbers
        self.entries.append(self._entry(meter, more, now))

    def correct(self, meter, now):
        if self.totals.get(meter, 0) > 1:
            less = self.totals[meter] // 3
            of = next(
                each.sequence for each in reversed(self.entries) if meter == (each.quantity.dimension, each.channel)
            )
            self.totals[meter] -= less
            self.entries.append(self._entry(meter, -less, now, Reference(self.id, of)))

    def end(self, now):
        since = self.entries[0].at_unix_ms if self.entries else now
        charged = Charged(self.totals, since, now, entries=tuple(self.entries))
        held = self.permit.reservation.amounts
        assert self.tally.settle(self.permit, charged, 0)[0] <= held[0]
        return closed_session(self.project, self.id, "k", LIVE, charged) if any(self.totals.values()) else None

    def _entry(self, meter, amount, now, corrects=None):
        return Entry(
            project=self.project,
            session=self.id,
            sequence=len(self.entries),
            kind=EntryKind.USAGE if corrects is None else EntryKind.CORRECTION,
            key_id="k",
            at_unix_ms=now,
            surface=LIVE.surface,
            model=LIVE.model,
            quantity=Quantity(meter.dimension, amount),
            channel=meter.channel,
            feature=LIVE.feature,
            corrects=corrects,
            tags=(),
        )


@settings(max_examples=60)
@given(roundings, rules, st.none() | tiers, st.booleans(), steps, st.sampled_from(["0.05", "0.5", "5", "100"]))
def test_no_rule_and_no_order_overruns_a_hard_budget(rounding, price, tiered, more, steps, amount):
    """Over midnight and the turn of a month, with `once`, which does not begin anew."""
    list_price = book(rounding, price, tiered, more)
    budgets = owned_budgets(f"all money {amount} once", "") + owned_budgets(f"own money {amount} once", "acme")
    tally = Tally()
    tally.take_funds(Funds(budgets), {each: Tariff(each, Series([list_price])) for each in PROJECTS})
    now, callers, ended = MIDNIGHT - 60_000, {}, []
    for number, (who, amount_ms, act) in enumerate((*steps, *((n, 0, "e") for n in range(4)))):
        now += amount_ms
        try:
            match act:
                case "o" if who not in callers:
                    callers[who] = Caller(tally, number, PROJECTS[who % 2], now)
                case "s" if who in callers:
                    callers[who].charge(SECOND if who == 3 and amount_ms % 2 else AUDIO, amount_ms, now)
                case "c" if who in callers:
                    callers[who].correct(AUDIO, now)
                case "e" if who in callers:
                    ended.append(callers.pop(who).end(now))
        except BudgetExceeded:
            pass
        for state in tally.funds.states(now):
            assert state.used + state.reserved <= state.amount
    allowed = Fraction(amount) * NANO
    billed = {each: whole(list_price, [s for s in ended if s and s.project == each]) for each in PROJECTS}
    assert sum(billed.values()) <= allowed
    assert billed["acme"] <= allowed


def whole(list_price, sessions: list[ClosedSession]):
    """What a project's sessions come to, each month and day by itself, before the sums of a month are rounded."""
    months = {}
    for session in sessions:
        months.setdefault(session.closed_unix_ms >= MIDNIGHT, []).append(session)
    return sum(line.nano for month in months.values() for line in rate(month, list_price) if line.session)
