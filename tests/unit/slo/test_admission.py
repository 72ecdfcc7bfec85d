import pytest

from antiphon.slo.admission import SILENT, Asker, Capacity, Queueing, admit, bearable
from antiphon.slo.shares import Holding


@pytest.mark.parametrize(
    ("live", "workers", "share", "streams", "let_in"),
    [
        (0, 1, 5.0, 1, True),  # a lone caller makes nobody late
        (0, 1, 5.0, 8, True),
        (9 * SILENT, 1, 5.0, 1, True),  # nor who has silent connections beside it
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


# -- several projects --------------------------------------------------------------------------------------------------


def asker(own=0.0, *others, late=0.0, weight=1):
    return Asker(Holding(own, weight), late, [Holding(places, 1) for places in others])


def test_a_project_that_is_alone_gets_what_it_got_before():
    for live in range(200):
        for late in (0.0, 0.06):
            capacity = Capacity(live, 2, 0.01, late=late)
            assert admit(capacity, 1, asker(live, late=late)) is admit(capacity, 1)


def test_another_finds_room_where_one_has_taken_it_all():
    full = Capacity(170, 2, 0.01)
    assert not admit(full, 1, asker(170))
    assert admit(full, 1, asker(0, 170))
    assert admit(Capacity(180, 2, 0.01), 1, asker(10, 170))
    assert not admit(Capacity(190, 2, 0.01), 1, asker(20, 170))


def test_silent_streams_keep_no_other_out():
    assert SILENT == 0.1
    silent = Capacity(1700 * SILENT, 2, 0.01, most_streams=10_000)
    assert not admit(silent, 1, asker(1700 * SILENT))
    assert admit(silent, 1, asker(80, 0.0))


def test_the_lateness_of_others_keeps_nobody_out_and_ones_own_does():
    full = Capacity(150, 2, 0.01, late=0.5)
    assert not admit(full, 1, asker(150))
    assert admit(full, 1, asker(5, 145))
    assert not admit(full, 1, asker(5, 145, late=0.06))


# -- queues ------------------------------------------------------------------------------------------------------------

MS = 1_000_000


def test_a_burst_may_wait_and_a_queue_that_stands_may_not():
    queueing = Queueing()
    assert queueing.admit("acme", 60, 75, False, 0)
    assert queueing.admit("acme", 200, 75, True, 1 * MS)
    assert queueing.admit("acme", 400, 75, True, 400 * MS)
    assert not queueing.admit("acme", 200, 75, True, 502 * MS)
    assert queueing.admit("acme", 70, 75, True, 503 * MS)
    assert not queueing.admit("acme", 1001, 75, True, 1 * MS)


def test_after_the_first_refusal_no_burst_may_wait_until_it_is_calm():
    queueing = Queueing()
    for at_ms in range(0, 501, 100):
        queueing.admit("acme", 200, 75, True, at_ms * MS)
    assert queueing.admit("acme", 60, 75, False, 600 * MS)
    assert not queueing.admit("acme", 100, 75, True, 601 * MS)
    assert queueing.admit("acme", 60, 75, False, 2700 * MS)
    assert queueing.admit("acme", 100, 75, True, 2701 * MS)


def test_the_first_of_a_project_is_let_in_however_long_others_have_queued():
    queueing = Queueing()
    for at_ms in range(0, 1000, 100):
        queueing.admit("many", 900, 75, True, at_ms * MS)
    assert queueing.admit("few", 90, 75, False, 1000 * MS)
    assert queueing.admit("few", 140, 75, True, 1001 * MS)


def test_nobody_waits_longer_than_anybody_could_bear():
    assert bearable(1000.0)
    assert not bearable(1000.1)
