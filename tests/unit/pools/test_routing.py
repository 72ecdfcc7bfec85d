"""Which backend is chosen: who may be, where conversations stay, and what moves them."""

from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.specs import Message, Role
from antiphon.pools.breaker import State
from antiphon.pools.routing import SLACK, SPREAD, choose, has_room, prefix_key

NOW = 1000


@dataclass(frozen=True)
class One:
    name: str
    weight: int = 1
    outstanding: int = 0
    most: int = 100
    state: State = State.CLOSED
    trials: int = 0
    rests_until_ns: int = 0
    latency_ms: float = 0.0
    limit: int = 1 << 30

    @property
    def free(self):
        return max(0, min(self.limit, self.most) - self.outstanding)


A, B, C = One("a"), One("b"), One("c")


def keys(count):
    return [prefix_key(f"conversation {n}") for n in range(count)]


def chosen(candidates, key=None):
    choice = choose(candidates, key, NOW)
    return choice[0].name if choice else None


@pytest.mark.parametrize(
    ("candidate", "may"),
    [
        (A, True),
        (replace(A, outstanding=99), True),
        (replace(A, outstanding=100), False),
        (replace(A, state=State.OPEN), False),
        (replace(A, state=State.HALF_OPEN), True),
        (replace(A, state=State.HALF_OPEN, trials=1), False),
        (replace(A, state=State.HALF_OPEN, outstanding=100), False),
    ],
)
def test_who_may_be_chosen(candidate, may):
    assert has_room(candidate) is may
    assert (choose([candidate], b"key", NOW) is not None) is may
    assert (choose([candidate], None, NOW) is not None) is may


def test_nobody_is_chosen_from_none():
    assert choose([], None, NOW) is None
    assert choose([], b"key", NOW) is None


def test_without_a_prefix_it_is_the_least_busy_for_its_weight():
    assert chosen([replace(A, outstanding=3), replace(B, outstanding=2)]) == "b"
    assert chosen([replace(A, outstanding=3, weight=2), replace(B, outstanding=2)]) == "a"
    assert chosen([replace(A, latency_ms=20.0), replace(B, latency_ms=10.0)]) == "b"
    assert chosen([replace(A, latency_ms=20.0), replace(B, latency_ms=10.0, outstanding=1)]) == "a"


def test_one_that_said_it_is_full_is_left_alone_unless_all_are():
    resting = replace(A, rests_until_ns=NOW + 1)
    assert chosen([resting, replace(B, outstanding=50)]) == "b"
    assert chosen([replace(A, rests_until_ns=NOW), replace(B, outstanding=50)]) == "a"
    assert chosen([resting, replace(B, outstanding=50, rests_until_ns=NOW + 1)]) == "a"
    assert chosen([resting, replace(B, outstanding=100)]) == "a"


# -- conversations -----------------------------------------------------------------------------------------------------


def turns(count, system="Be brief.", first="Hello"):
    said = [Message(Role.SYSTEM, system), Message(Role.USER, first)]
    for n in range(count):
        said += [Message(Role.ASSISTANT, f"answer {n}"), Message(Role.USER, f"question {n}")]
    return tuple(said)


def test_every_turn_of_a_conversation_has_one_key_and_other_conversations_have_others():
    assert len({prefix_key(turns(n)) for n in range(5)}) == 1
    assert len({prefix_key(turns(0, first=f"Hello {n}")) for n in range(50)}) == 50
    assert prefix_key(turns(0, system="Be long.")) != prefix_key(turns(0))
    assert prefix_key((Message(Role.USER, "Hello"),)) != prefix_key((Message(Role.ASSISTANT, "Hello"),))


def test_a_raw_text_that_goes_on_keeps_its_key():
    text = "Once upon a time " * 100
    assert prefix_key(text) == prefix_key(text + "there was")
    assert prefix_key(text) != prefix_key("No: " + text)


def test_a_text_that_is_no_unicode_has_a_key_too():
    assert prefix_key("\ud800") == prefix_key("\ud800")
    assert prefix_key((Message(Role.USER, "\ud800"),))


def test_the_name_decides_and_not_the_order():
    for key in keys(50):
        assert chosen([A, B, C], key) == chosen([C, A, B], key)


def test_conversations_spread_by_weight():
    heavy = replace(A, weight=2)
    counts = Counter(chosen([heavy, B, C], key) for key in keys(4000))
    assert counts["a"] == pytest.approx(2000, rel=0.1)
    assert counts["b"] == pytest.approx(1000, rel=0.15)


def test_a_backend_that_goes_moves_no_conversation_but_its_own_and_gets_them_back():
    ill = replace(B, state=State.OPEN)
    for key in keys(300):
        with_all, without = chosen([A, B, C], key), chosen([A, ill, C], key)
        assert without == with_all or (with_all == "b" and without in "ac")
        assert without == chosen([A, C], key)


def test_what_is_not_where_it_belongs_is_no_hit():
    for key in keys(20):
        place, sticky = choose([A, B], key, NOW)
        assert sticky
        other = [replace(c, state=State.OPEN) if c.name == place.name else c for c in (A, B)]
        assert choose(other, key, NOW)[1] is False
    assert choose([A, B], None, NOW)[1] is False


@pytest.mark.parametrize("least", [0, 10, 40])
def test_a_conversation_leaves_a_backend_that_has_clearly_more_to_do(least):
    key = next(key for key in keys(50) if chosen([A, B], key) == "a")
    most = int(SPREAD * least + SLACK)
    assert chosen([replace(A, outstanding=most), replace(B, outstanding=least)], key) == "a"
    assert chosen([replace(A, outstanding=most + 1), replace(B, outstanding=least)], key) == "b"
    heavy = replace(A, weight=9, most=1000, outstanding=int(9 * SPREAD * least + SLACK))
    assert chosen([heavy, replace(B, outstanding=least)], key) == "a"
    assert chosen([replace(heavy, outstanding=heavy.outstanding + 1), replace(B, outstanding=least)], key) == "b"


def test_what_overflows_stays_together():
    key = next(key for key in keys(50) if chosen([A, B, C], key) == "a")
    full = replace(A, outstanding=50)
    second = chosen([full, B, C], key)
    assert chosen([full, replace(B, outstanding=2), replace(C, outstanding=1)], key) == second
    assert chosen([full, replace(B, outstanding=1), replace(C, outstanding=2)], key) == second


def test_one_over_its_present_limit_is_left_alone_while_another_is_not():
    key = next(key for key in keys(50) if chosen([A, B], key) == "a")
    over = replace(A, outstanding=4, limit=2)
    assert chosen([over, replace(B, outstanding=3)], key) == "b"
    assert chosen([over, replace(B, outstanding=9, limit=9)], key) == "a"  # no limit leaves room, so all that count


candidates = st.lists(
    st.builds(
        One,
        name=st.text(max_size=3),
        weight=st.integers(1, 9),
        outstanding=st.integers(0, 12),
        most=st.integers(1, 12),
        state=st.sampled_from(State),
        trials=st.integers(0, 1),
        rests_until_ns=st.sampled_from([0, NOW + 1]),
        latency_ms=st.floats(0, 1e6),
    ),
    max_size=6,
    unique_by=lambda c: c.name,
)


@given(candidates, st.none() | st.binary(min_size=16, max_size=16))
def test_whatever_there_is_the_chosen_one_has_room_and_is_not_clearly_busier_than_any(candidates, key):
    choice = choose(candidates, key, NOW)
    assert (choice is None) == (not any(map(has_room, candidates)))
    if choice is None:
        return
    place, _ = choice
    assert has_room(place)
    awake = [c for c in candidates if has_room(c) and c.rests_until_ns <= NOW]
    assert not awake or place in awake
    for other in awake:
        fair = other.outstanding * place.weight / other.weight
        assert place.outstanding <= SPREAD * fair + SLACK or place.outstanding <= fair
