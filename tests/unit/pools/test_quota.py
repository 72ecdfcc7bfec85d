"""Whoever comes finds a place, and those who want more than they get hold equal shares by weight."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.pools.quota import SHARE, Quota


def filled(places, weights):
    """What each project holds when all take whatever they may, in turn."""
    quota, held = Quota(), dict.fromkeys(weights, 0)
    while True:
        free = places - sum(held.values())
        takers = [name for name, weight in weights.items() if free and quota.may(name, weight, free)]
        if not takers:
            return quota, held
        taker = min(takers, key=lambda name: held[name] / weights[name])
        quota.take(taker, weights[taker], 1)
        held[taker] += 1


def test_one_project_alone_leaves_an_eighth_free():
    _, held = filled(128, {"a": 1})
    assert held == {"a": 112}


def test_two_that_want_all_hold_as_much_and_leave_a_fifteenth():
    _, held = filled(150, {"a": 1, "b": 1})
    assert held == {"a": 70, "b": 70}


def test_a_weight_is_a_share():
    _, held = filled(230, {"a": 2, "b": 1})
    assert held["a"] == pytest.approx(2 * held["b"], abs=2)


@given(st.integers(SHARE + 1, 400), st.dictionaries(st.text(max_size=2), st.integers(1, 9), min_size=1, max_size=4))
def test_a_newcomer_finds_a_place(places, weights):
    most = SHARE * max(weights.values())
    quota, held = filled(places, weights)
    free = places - sum(held.values())
    assert free >= 1 or places <= most * len(weights)
    assert not free or quota.may("newcomer", 1, free)


def test_few_places_are_all_for_whoever_is_there():
    _, held = filled(SHARE, {"a": 1})
    assert held == {"a": SHARE}


def test_what_is_given_back_may_be_taken_again():
    quota, held = filled(20, {"a": 1})
    assert not quota.may("a", 1, 20 - held["a"])
    quota.give("a", held["a"])
    assert quota.may("a", 1, 20)


def test_who_holds_less_than_a_share_is_told_from_who_holds_more():
    quota = Quota()
    quota.take("many", 1, 44)
    assert not quota.lacks("many", 1, 40)
    assert quota.lacks("none", 1, 40)
    quota.take("some", 1, 19)
    assert quota.lacks("some", 1, 40)
    quota.take("some", 1, 1)
    assert not quota.lacks("some", 1, 40)
    assert quota.lacks("some", 2, 40)
    assert quota.lacks("none", 1, 1)
    quota.give("many", 44)
    assert quota.lacks("some", 1, 40)
