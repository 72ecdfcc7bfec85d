"""Each row of the breaker's table, and how long it waits between probes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.pools.breaker import (
    FIRST_WAIT_NS,
    IDLE_NS,
    LONGEST_WAIT_NS,
    SOON_NS,
    TOLERATED,
    TRANSITIONS,
    Breaker,
    Sign,
    State,
)

NOW = 1_000_000_000_000


def breaker(state: State) -> Breaker:
    """In that state, with one failure fewer than a closed one tolerates."""
    made = Breaker(0)
    signs = [Sign.FAILED] * (TOLERATED - 1 if state is State.CLOSED else TOLERATED)
    for sign in signs + [Sign.PROBED_WELL] * (state is State.HALF_OPEN):
        made.hear(sign, 0)
    assert made.state is state
    return made


@pytest.mark.parametrize(
    ("before", "sign", "after", "failures"),
    [
        (State.CLOSED, Sign.SUCCEEDED, State.CLOSED, 0),
        (State.CLOSED, Sign.FAILED, State.OPEN, TOLERATED),
        (State.CLOSED, Sign.PROBED_WELL, State.CLOSED, TOLERATED - 1),
        (State.CLOSED, Sign.PROBED_ILL, State.OPEN, TOLERATED),
        (State.OPEN, Sign.SUCCEEDED, State.OPEN, TOLERATED),
        (State.OPEN, Sign.FAILED, State.OPEN, TOLERATED),
        (State.OPEN, Sign.PROBED_WELL, State.HALF_OPEN, TOLERATED),
        (State.OPEN, Sign.PROBED_ILL, State.OPEN, TOLERATED),
        (State.HALF_OPEN, Sign.SUCCEEDED, State.CLOSED, 0),
        (State.HALF_OPEN, Sign.FAILED, State.OPEN, TOLERATED),
        (State.HALF_OPEN, Sign.PROBED_WELL, State.HALF_OPEN, TOLERATED),
        (State.HALF_OPEN, Sign.PROBED_ILL, State.OPEN, TOLERATED),
    ],
)
def test_what_each_state_does_with_each_sign(before, sign, after, failures):
    made = breaker(before)
    assert made.hear(sign, NOW) is (before is not after)
    assert (made.state, made.failures) == (after, failures)


def test_the_table_is_whole():
    assert set(TRANSITIONS) == {(state, sign) for state in State for sign in Sign}


def test_failures_count_in_a_row_only():
    made = Breaker(0)
    for _ in range(10):
        for _ in range(TOLERATED - 1):
            made.hear(Sign.FAILED, 0)
        made.hear(Sign.SUCCEEDED, 0)
    assert made.state is State.CLOSED


def test_an_unknown_backend_is_probed_at_once_an_idle_one_now_and_then_and_one_in_doubt_soon():
    made = Breaker(NOW)
    assert made.probe_ns == NOW
    made.hear(Sign.PROBED_WELL, NOW)
    assert made.probe_ns == NOW + IDLE_NS
    made.hear(Sign.SUCCEEDED, NOW + 5)
    assert made.probe_ns == NOW + 5 + IDLE_NS
    made.hear(Sign.FAILED, NOW + 6)
    assert made.probe_ns == NOW + 6 + SOON_NS
    made = breaker(State.HALF_OPEN)
    made.hear(Sign.PROBED_WELL, NOW)
    assert made.probe_ns == NOW + SOON_NS


def test_an_open_one_is_probed_less_and_less_often_until_it_is_well():
    made, waits = breaker(State.OPEN), []
    for _ in range(7):
        waits.append(made.probe_ns - (NOW if waits else 0))
        made.hear(Sign.PROBED_ILL, NOW)
    assert waits == [FIRST_WAIT_NS, 2 * FIRST_WAIT_NS] + [LONGEST_WAIT_NS] * 5
    made.hear(Sign.PROBED_WELL, NOW)
    made.hear(Sign.FAILED, NOW)  # a probe is not enough to be trusted again
    assert made.probe_ns == NOW + LONGEST_WAIT_NS
    made.hear(Sign.PROBED_WELL, NOW)
    made.hear(Sign.SUCCEEDED, NOW)
    for _ in range(TOLERATED):
        made.hear(Sign.FAILED, NOW)
    assert made.probe_ns == NOW + FIRST_WAIT_NS


def test_what_was_begun_before_it_opened_does_not_move_the_next_probe():
    made = breaker(State.OPEN)
    due_ns = made.probe_ns
    made.hear(Sign.FAILED, due_ns - 1)
    made.hear(Sign.SUCCEEDED, due_ns - 1)
    assert made.probe_ns == due_ns


@given(st.lists(st.sampled_from(Sign)))
def test_it_is_closed_from_open_only_by_a_probe_and_then_a_success(signs):
    made, probed = Breaker(0), False
    for now_ns, sign in enumerate(signs):
        before = made.state
        made.hear(sign, now_ns)
        if before is State.OPEN:
            assert made.state is (State.HALF_OPEN if sign is Sign.PROBED_WELL else State.OPEN)
            probed = sign is Sign.PROBED_WELL
        elif made.state is State.CLOSED and before is State.HALF_OPEN:
            assert probed
            assert sign is Sign.SUCCEEDED
        assert made.probe_ns > now_ns or before is State.OPEN
        assert made.probe_ns <= now_ns + max(LONGEST_WAIT_NS, IDLE_NS)
