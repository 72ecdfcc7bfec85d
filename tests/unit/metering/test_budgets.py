from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.budgets import NOTHING, Measure, Window, parse_budgets
from antiphon.core.errors import BudgetExceeded
from antiphon.metering.buckets import Bucket
from antiphon.metering.budgets import Funds, begins, bounds

NS_PER_S = 1_000_000_000


def at(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOON = at("2026-11-30T12:00")  # a Monday


def tokens(amount):
    return (0, amount, 0, 0, 0)


def funds(*lines):
    return Funds(parse_budgets("\n".join(lines)), {"acme": "USD"})


def settle(funds, reservation, amounts, now):
    """The end of a call, as the tally does it."""
    funds.drop(reservation)
    funds.spend("k", amounts, now)


def left(funds, now=NOON):
    return {state.budget.name: state.left for state in funds.states(now)}


@pytest.mark.parametrize(
    ("window", "time", "since", "until"),
    [
        (Window.DAY, "2026-11-30T23:59", "2026-11-30", "2026-12-01"),
        (Window.WEEK, "2026-11-30T00:00", "2026-11-30", "2026-12-07"),
        (Window.WEEK, "2026-11-29T23:59", "2026-11-23", "2026-11-30"),
        (Window.WEEK, "2027-01-02T00:00", "2026-12-28", "2027-01-04"),
        (Window.MONTH, "2026-11-30T23:59", "2026-11-01", "2026-12-01"),
        (Window.MONTH, "2028-02-29T12:00", "2028-02-01", "2028-03-01"),
        (Window.MONTH, "2026-12-31T12:00", "2026-12-01", "2027-01-01"),
    ],
)
def test_windows_are_of_utc(window, time, since, until):
    assert bounds(window, at(time)) == (at(since), at(until))


def test_what_is_reserved_cannot_be_spent_twice_and_comes_back():
    pool = funds("day tokens 100 day")
    first = pool.reserve("k", tokens(60), NOON)
    with pytest.raises(BudgetExceeded) as refused:
        pool.reserve("k", tokens(41), NOON)
    assert refused.value.message == (
        "The budget 'day' of this organisation is used up: 100 tokens a day. It begins anew at 2026-12-01 00:00 UTC."
    )
    pool.reserve("k", tokens(40), NOON)
    settle(pool, first, tokens(10), NOON)
    assert left(pool) == {"day": 50}
    pool.extend(pool.reserve("k", tokens(1), NOON), tokens(50), NOON)
    assert left(pool) == {"day": 0}


def test_a_refused_call_leaves_no_trace_in_any_budget():
    pool = funds("day tokens 100 day", "requests requests 1 day")
    pool.reserve("k", (0, 10, 0, 0, 1), NOON)
    with pytest.raises(BudgetExceeded, match="requests"):
        pool.reserve("k", (0, 10, 0, 0, 1), NOON)
    assert left(pool) == {"day": 90, "requests": 0}


def test_a_budget_of_a_key_counts_its_calls_only():
    pool = funds("all tokens 100 day", "one tokens 10 day key=k1")
    pool.reserve("k2", tokens(50), NOON)
    with pytest.raises(BudgetExceeded, match="this API key"):
        pool.reserve("k1", tokens(11), NOON)
    pool.reserve("k1", tokens(10), NOON)
    assert left(pool) == {"all": 40, "one": 0}


def test_a_new_window_begins_at_nothing_but_with_what_runs():
    pool = funds("day tokens 100 day")
    running = pool.reserve("k", tokens(30), NOON)
    pool.spend("k", tokens(70), NOON)
    tomorrow = NOON + 86_400_000
    assert left(pool, tomorrow) == {"day": 70}
    settle(pool, running, tokens(20), tomorrow)
    assert left(pool, tomorrow) == {"day": 80}


def test_credits_are_spent_by_their_end_and_expire():
    pool = funds(
        "late tokens 100 once from=2026-11-01 until=2027-11-01",
        "soon tokens 50 once from=2026-11-01 until=2026-12-01",
        "next tokens 10 once from=2026-12-02",
    )
    pool.spend("k", tokens(30), NOON)
    assert left(pool) == {"late": 120}  # the pool's name is its first grant's
    december = at("2026-12-01")
    assert left(pool, december) == {"late": 100}  # 20 of the one that ended are lost
    pool.spend("k", tokens(105), december)  # more than there was
    assert left(pool, december) == {"late": 0}
    with pytest.raises(BudgetExceeded):
        pool.reserve("k", tokens(1), december)
    assert left(pool, at("2026-12-02")) == {"late": 5}  # the debt is paid


def test_credits_do_not_pay_for_what_was_used_before_the_first_of_them_began():
    """Another server, which begins to read at the first one, would not know of it."""
    pool = funds("first tokens 50 once from=2026-12-01 soft", "more tokens 50 once from=2026-12-02 soft")
    pool.spend("k", tokens(20), NOON)
    assert left(pool, at("2026-12-01")) == {"first": 50}
    pool.spend("k", tokens(60), at("2026-12-01"))
    assert left(pool, at("2026-12-02")) == {"first": 40}


def test_each_threshold_is_told_once_in_a_window():
    pool = funds("day tokens 100 day soft")
    told = []
    for now, amount in ((NOON, 49), (NOON, 1), (NOON, 10), (NOON, 45), (NOON, 10), (NOON + 86_400_000, 80)):
        pool.spend("k", tokens(amount), now)
        told.append([alert.percent for alert in pool.alerts])
        pool.alerts.clear()
    assert told == [[], [50], [], [80, 100], [], [50, 80]]


def test_what_a_running_call_has_used_is_told_too_and_a_refusal_is_the_end():
    pool = funds("day tokens 100 day")
    reservation = pool.reserve("k", tokens(90), NOON)
    pool.use(reservation, tokens(55), NOON)
    assert [alert.percent for alert in pool.alerts] == [50]
    with pytest.raises(BudgetExceeded):
        pool.extend(reservation, tokens(101), NOON)
    assert [alert.percent for alert in pool.alerts] == [50, 80, 100]
    settle(pool, reservation, tokens(90), NOON)
    assert len(pool.alerts) == 3


def test_a_soft_budget_refuses_nothing():
    pool = funds("day tokens 100 day soft")
    settle(pool, pool.reserve("k", tokens(1000), NOON), tokens(1000), NOON)
    assert left(pool) == {"day": 0}


def test_a_change_takes_over_running_calls():
    before, after = funds("day tokens 100 day"), funds("day tokens 50 day")
    reservation = before.reserve("k", tokens(80), NOON)
    before.use(reservation, tokens(10), NOON)
    after.adopt(reservation)
    with pytest.raises(BudgetExceeded):
        after.reserve("k", tokens(1), NOON)
    settle(after, reservation, tokens(20), NOON)
    assert left(after) == {"day": 30}


def test_usage_is_read_from_the_first_window_on():
    budgets = parse_budgets("a tokens 1 day\nb tokens 1 month\nc tokens 1 once from=2026-10-05")
    assert begins(budgets[:1], NOON) == at("2026-11-30")
    assert begins(budgets[:2], NOON) == at("2026-11-01")
    assert begins(budgets, NOON) == at("2026-10-05")


STRETCH = 30
STEPS = st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["hear", "end"]), st.integers(1, 40)), max_size=200)


@given(STEPS, st.integers(0, 500))
def test_whatever_the_order_streams_never_exceed_a_budget(steps, amount):
    """Eight streams open, hear and end in any order; each hears only what it has reserved."""
    pool = funds(f"day audio_ms {amount} day")
    open_streams, spent = {}, 0

    def audio(ms):
        return (0, 0, 0, ms, 0)

    for stream, step, ms in steps:
        reservation, heard = open_streams.get(stream, (None, 0))
        try:
            if reservation is None:
                open_streams[stream] = pool.reserve("k", audio(STRETCH), NOON), 0
            elif step == "end":
                settle(pool, reservation, audio(heard), NOON)
                spent += heard
                del open_streams[stream]
            else:
                if heard + ms > reservation.amounts[Measure.AUDIO_MS]:
                    pool.extend(reservation, audio(heard + ms), NOON)
                open_streams[stream] = reservation, heard + ms
        except BudgetExceeded:
            pass
        held = sum(each.amounts[Measure.AUDIO_MS] for each, _ in open_streams.values())
        assert spent + held <= amount
        assert left(pool)["day"] == amount - spent - held
    for reservation, heard in open_streams.values():
        settle(pool, reservation, audio(heard), NOON)
        spent += heard
    assert spent <= amount
    assert left(pool) == {"day": amount - spent}
    assert not any(state.reserved for state in pool.states(NOON))


def test_nothing_is_the_amount_of_nothing():
    assert len(NOTHING) == len(Measure)


# -- rates -------------------------------------------------------------------------------------------------------------


def test_a_bucket_holds_a_minute_and_refills():
    bucket = Bucket(60)
    assert bucket.state("requests", 0).remaining == 60
    for _ in range(60):
        assert bucket.wait_ns(1, 0) == 0
        bucket.take(1, 0)
    assert bucket.wait_ns(1, 0) == NS_PER_S
    assert bucket.wait_ns(1, NS_PER_S) == 0
    assert bucket.state("requests", 0) == bucket.state("requests", 0)
    assert (bucket.state("requests", 0).remaining, bucket.state("requests", 0).reset_ms) == (0, 60_000)


def test_a_bucket_is_corrected_by_what_a_call_used():
    bucket = Bucket(1000)
    assert bucket.wait_ns(5000, 0) == 0  # as much as it holds is enough for any one
    bucket.take(5000, 0)
    assert bucket.wait_ns(1, 0) > 0
    bucket.take(-4900, 0)
    assert bucket.state("tokens", 0).remaining == 900


def test_a_bucket_of_nothing_gives_nothing():
    bucket = Bucket(0)
    bucket.take(1, 0)
    assert bucket.wait_ns(1, 0) > 0
    assert bucket.state("requests", 0).remaining == 0
