import pytest

from antiphon.slo.filling import MOST_LATE, MOST_SLOW, Interactive, Traffic, most_items

BUSY, NOBODY = Interactive(open=3), Interactive()


def most(traffic, items=0, interactive=NOBODY, quiet=True):
    return most_items(traffic, items, 8, interactive, quiet)


def test_all_run_where_nobody_else_does_and_few_beside_others():
    assert most(Traffic(256, 0)) == 8
    assert most(Traffic(256, 3), interactive=BUSY, quiet=False) == 2
    assert most_items(Traffic(256, 3), 0, 2, BUSY, False) == 1


def test_a_reserve_stays_free():
    assert most(Traffic(8, 0)) == 7
    assert most(Traffic(8, 5), items=2) == 4  # three of the five are others
    assert most(Traffic(8, 8), items=2) == 1
    assert most(Traffic(8, 8), items=1) == 0


def test_the_only_place_is_used_while_nobody_wants_it():
    assert most(Traffic(1, 0)) == 1
    assert most(Traffic(1, 1)) == 0
    assert most(Traffic(1, 1), items=1) == 1


@pytest.mark.parametrize(
    ("traffic", "interactive"),
    [
        (Traffic(256, 8, waiting=1), NOBODY),
        (Traffic(256, 8, pressed=True), NOBODY),
        (Traffic(256, 8), Interactive(late=MOST_LATE + 0.01)),
        (Traffic(256, 8), Interactive(slow=MOST_SLOW + 0.01)),
        (Traffic(0, 0), NOBODY),
    ],
)
def test_all_give_way_where_somebody_waits_or_is_late_or_nothing_may_begin(traffic, interactive):
    assert most(traffic, items=8, interactive=interactive) == 0
