import pytest

from antiphon.core.identity import Principal
from antiphon.core.units import NS_PER_S
from antiphon.slo.shares import LONGEST_WAIT_S, Bound, Holding, Shares, reserved


def who(project="acme", key="k1", weight=1):
    return Principal(project, key, frozenset(), weight)


def take(shares, principal, most=10**6, now_ns=0):
    """As many places as there are for that one; they are returned."""
    taken = []
    while len(taken) < most and shares.fits(principal):
        taken.append(shares.hold(principal, 1, now_ns))
    return taken


def test_one_project_alone_may_hold_everything_and_no_more():
    shares = Shares(Bound(2000))
    assert len(take(shares, who())) == 2000
    assert not shares.fits(who(key="k2"))


def test_whoever_comes_then_finds_a_place_and_so_does_the_next():
    shares = Shares(Bound(2000))
    take(shares, who("many"))
    second = len(take(shares, who("second")))
    third = len(take(shares, who("third")))
    fourth = len(take(shares, who("fourth")))
    assert 150 < second < 200
    assert second > third > fourth >= 1
    assert second + third + fourth <= 200
    assert not shares.fits(who("many"))


def test_the_first_place_is_never_refused_while_there_is_one():
    shares = Shares(Bound(100))
    take(shares, who("many"))
    for n in range(10):
        assert shares.fits(who(f"project {n}"))
        shares.hold(who(f"project {n}"), 1, 0)
    assert not shares.fits(who("eleventh"))


@pytest.mark.parametrize(("weight", "least", "most"), [(1, 45, 50), (3, 70, 75)])
def test_what_one_lets_go_of_goes_to_the_others_up_to_their_share(weight, least, most):
    shares = Shares(Bound(100))
    held = take(shares, who("many"))
    few = who("few", weight=weight)
    for place in held:
        shares.let_go(place)
        take(shares, few, 1)
        take(shares, who("many"), 1)  # which comes back at once
    assert least <= shares.own(few).places <= most + 2
    assert shares.held <= 110


def test_a_project_and_a_key_may_have_bounds_of_their_own():
    shares = Shares(Bound(100, per_project=5, per_key=3))
    assert len(take(shares, who(key="k1"))) == 3
    assert len(take(shares, who(key="k2"))) == 2
    assert len(take(shares, who("other", "k3"))) == 3


def test_all_that_was_held_is_let_go():
    shares = Shares(Bound(10))
    places = [shares.hold(who("a", weight=2), 3, 5), shares.hold(who("b"), 1, 7)]
    shares.mark(places[0], silent=True)
    shares.mark(places[0], silent=True)
    assert shares.weighed(0.1) == pytest.approx(1.3)
    assert shares.own(who("a", weight=2), 0.1) == Holding(pytest.approx(0.3), 2)
    assert shares.others(who("b"), 0.0) == [Holding(0.0, 2)]
    for place in places:
        shares.let_go(place)
    assert (shares.held, shares._since_ns, shares.weighed(0.0)) == (0, 0, 0)
    left = (shares._projects, shares._keys, shares._weights, shares._silent)
    assert not any(left)


def test_who_is_refused_is_told_when_one_of_those_there_is_likely_to_have_ended():
    shares = Shares(Bound(4))
    take(shares, who("many"), now_ns=0)
    now_ns = 40 * NS_PER_S
    told = [shares.retry_after_s(who("many"), now_ns) for _ in range(8)]
    assert told == [10, 20, 30, 40, 50, 60, 60, 60]
    assert LONGEST_WAIT_S == 60
    assert shares.retry_after_s(who("other"), now_ns) == 10  # whose turn does not come after all of those
    assert Shares(Bound(1)).retry_after_s(who(), now_ns) == 1


# -- the reserve, on its own -------------------------------------------------------------------------------------------


def test_there_is_no_reserve_for_one_alone():
    assert not reserved(Holding(0, 1), [], 1, 10, 1)
    assert reserved(Holding(4, 1), [Holding(0, 1)], 1, 10, 1)  # one that holds nothing that counts is there too
    assert not reserved(Holding(5, 1), [Holding(0, 1)], 1, 10, 1)


def test_who_holds_their_share_has_no_part_in_it():
    others = [Holding(50, 1)]
    assert reserved(Holding(49, 1), others, 1, 100, 10)
    assert not reserved(Holding(50, 1), others, 1, 100, 10)
    assert reserved(Holding(50, 3), others, 1, 100, 10)


def test_what_somebody_holds_beyond_everything_counts_against_nobody():
    # Of 300 that were silent all speak now.
    assert reserved(Holding(20, 1), [Holding(300, 1), Holding(20, 1)], 1, 100, 10)
    assert not reserved(Holding(34, 1), [Holding(300, 1), Holding(20, 1)], 1, 100, 10)


def test_the_first_of_a_project_may_be_let_in_beyond_the_reserve():
    full = [Holding(105, 1), Holding(5, 1)]
    assert not reserved(Holding(0, 1), full, 1, 100, 10)
    assert reserved(Holding(0, 1), full, 1, 100, 10, first=True)
    assert not reserved(Holding(1, 1), full, 1, 100, 10, first=True)
    assert not reserved(Holding(0, 1), [Holding(1, 1)] * 110, 1, 100, 10, first=True)


def test_many_who_hold_one_each_are_as_full_as_one_who_holds_all():
    assert not reserved(Holding(0, 1), [Holding(1, 1)] * 110, 1, 100, 10)
    assert not reserved(Holding(0, 1), [Holding(1, 1)] * 1000, 1, 100, 10)


def test_the_first_of_a_project_is_let_in_however_little_there_is_while_another_holds_more_than_a_share():
    assert reserved(Holding(0, 1), [Holding(2, 1), Holding(1, 1), Holding(1, 1)], 1, 2, 1, first=True)
    assert not reserved(Holding(0, 1), [Holding(1, 1), Holding(1, 1), Holding(1, 1)], 1, 2, 1, first=True)
    assert not reserved(Holding(1, 1), [Holding(2, 1), Holding(1, 1), Holding(1, 1)], 1, 2, 1, first=True)
