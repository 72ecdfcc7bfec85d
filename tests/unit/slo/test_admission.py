import pytest

from antiphon.slo.admission import Capacity, admit


@pytest.mark.parametrize(
    ("live", "workers", "share", "streams", "let_in"),
    [
        (0, 1, 5.0, 1, True),  # a lone caller makes nobody late
        (0, 1, 5.0, 8, True),
        (1, 1, 5.0, 1, False),
        (84, 1, 0.01, 1, True),
        (85, 1, 0.01, 1, False),
        (84, 1, 0.01, 2, False),
        (169, 2, 0.01, 1, True),
        (170, 2, 0.01, 1, False),
        (999, 64, 0.0, 1, True),
        (1000, 64, 0.0, 1, False),  # never more than `most_streams`
    ],
)
def test_who_is_let_in(live, workers, share, streams, let_in):
    assert admit(Capacity(live, workers, share), streams) is let_in


@pytest.mark.parametrize(("late", "let_in"), [(0.0, True), (0.05, True), (0.06, False), (1.0, False)])
def test_nobody_is_let_in_while_many_are_late(late, let_in):
    assert admit(Capacity(85, 2, 0.01, late=late), 1) is let_in


def test_what_was_late_under_a_load_that_has_gone_keeps_nobody_out():
    assert admit(Capacity(84, 2, 0.01, late=1.0), 1)


def test_a_lone_caller_is_let_in_even_when_many_were_late():
    assert admit(Capacity(0, 2, 0.01, late=1.0), 1)
