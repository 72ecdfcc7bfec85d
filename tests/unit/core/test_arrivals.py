"""When samples arrived, and the marks after them."""

from antiphon.core.arrivals import MOST_MARKS, Arrivals

PIECE = 1600
MS = 1_000_000


def spoken(pieces: int) -> Arrivals:
    arrivals = Arrivals()
    for n in range(pieces):
        arrivals.add(PIECE, n * 100 * MS)
    return arrivals


def test_a_sample_arrived_with_its_piece():
    arrivals = spoken(3)
    assert arrivals.received == 3 * PIECE
    assert [arrivals.at_ns(at) // MS for at in (1, PIECE, PIECE + 1, 3 * PIECE)] == [0, 0, 100, 200]


def test_of_what_is_forgotten_or_to_come_the_nearest_counts():
    arrivals = spoken(3)
    arrivals.forget(PIECE + 1)
    assert [arrivals.at_ns(at) // MS for at in (1, 9 * PIECE)] == [100, 200]
    assert Arrivals().at_ns(1) == 0


def test_sample_by_sample_fills_no_memory():
    arrivals = Arrivals()
    for n in range(10_000):
        arrivals.add(1, n)
    assert len(arrivals._times) < 50


def test_marks_are_told_in_order_each_once():
    arrivals = spoken(1)
    arrivals.mark(1)
    arrivals.mark(2)
    arrivals.add(PIECE, 3)
    arrivals.mark(4)
    assert [arrivals.marked_ns(PIECE), arrivals.marked_ns(PIECE), arrivals.marked_ns(2 * PIECE)] == [1, 2, 4]
    assert arrivals.marked_ns(2 * PIECE) == arrivals.at_ns(2 * PIECE)


def test_marks_that_nobody_answers_are_skipped_and_bounded():
    arrivals = spoken(1)
    for n in range(10 * MOST_MARKS):
        arrivals.mark(n)
    assert len(arrivals._marks) == MOST_MARKS
    arrivals.add(PIECE, 0)
    arrivals.mark(7)
    assert arrivals.marked_ns(2 * PIECE) == 7
