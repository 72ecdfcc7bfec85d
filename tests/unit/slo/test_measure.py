import pytest

from antiphon.slo.measure import Measured, UtteranceTimer
from antiphon.slo.objectives import Objectives

MS = 1_000_000


def measure(interims, final, *, onset=1000, spoken=3000, sent=3500, asked=True):
    timer = UtteranceTimer()
    for text, at in interims:
        timer.interim(text, at * MS)
    return timer.final(final, onset * MS, spoken * MS, sent * MS, asked)


@pytest.mark.parametrize(
    ("interims", "final", "expected"),
    [
        ([("it", 1200), ("it was", 1500)], "It was.", Measured(200, 200, 500)),
        ([("", 1100), ("it", 1300)], "It was.", Measured(300, 300, 500)),  # an empty one is none
        ([("at", 1200), ("it was", 1500)], "It was.", Measured(200, 500, 500)),  # the right word came later
        ([("it", 1200), ("at", 1500), ("it", 1800)], "It was.", Measured(200, 800, 500)),  # and was taken back
        ([("at", 1200)], "It was.", Measured(200, 2500, 500)),  # only the final had it
        ([("...", 1200)], "...", Measured(200, None, 500)),  # a text without a word
        ([], "It was.", Measured(2500, 2500, 500)),  # no interim in time: the final was the first
    ],
)
def test_an_utterance(interims, final, expected):
    assert measure(interims, final) == expected


def test_without_interims_asked_for_only_the_final_counts():
    assert measure([], "It was.", asked=False) == Measured(None, None, 500)


def test_an_utterance_leaves_nothing_to_the_next():
    timer = UtteranceTimer()
    timer.interim("it", 1200 * MS)
    timer.final("It.", 1000 * MS, 1500 * MS, 2000 * MS, True)
    timer.interim("was", 5300 * MS)
    assert timer.final("Was.", 5000 * MS, 5500 * MS, 6000 * MS, True) == Measured(300, 300, 500)


@pytest.mark.parametrize(
    ("ttfb_ms", "final_ms", "good"),
    [(300, 800, True), (301, 800, False), (300, 801, False), (None, 800, True), (None, 801, False)],
)
def test_objectives(ttfb_ms, final_ms, good):
    assert Objectives().met(ttfb_ms, final_ms) is good
