"""Who is next, who is refused, and what is learnt of the pace. Times in milliseconds."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.units import NS_PER_MS
from antiphon.pools.queue import EVERY, Pace, QueueLimits, Queues, Room


@dataclass(frozen=True)
class One:
    number: int
    deadline_ms: int
    project: str = ""
    weight: int = 1

    @property
    def deadline_ns(self):
        return self.deadline_ms * NS_PER_MS


def queue(first_ms=0.0, held_ms=0.0, **limits):
    """With a pace that is known well."""
    pace = Pace()
    for _ in range(200):
        pace.learn_first(first_ms)
        pace.learn_held(held_ms)
    return Queues(QueueLimits(**limits), pace)


def push(waiting, number, deadline_ms, now_ms=0, places=1):
    return [gone.number for gone in waiting.push(One(number, deadline_ms), now_ms * NS_PER_MS, Room(places))]


def take(waiting, now_ms=0, may=lambda project, weight: True):
    return waiting.take(now_ms * NS_PER_MS, may)


def order(waiting, now_ms=0):
    """Everybody, if all places became free now."""
    taken = []
    while item := take(waiting, now_ms):
        taken.append(item.number)
    assert len(waiting) == 0
    return taken


# -- the order ---------------------------------------------------------------------------------------------------------


def test_those_in_time_come_by_deadline_then_as_they_came():
    waiting = queue()
    for number, deadline_ms in enumerate([300, 100, 200, 100]):
        assert push(waiting, number, deadline_ms) == []
    assert order(waiting) == [1, 3, 2, 0]


def test_those_who_are_late_come_after_them_and_as_they_came():
    waiting = queue()
    for number, deadline_ms in enumerate([100, 50, 500, 400]):
        push(waiting, number, deadline_ms)
    assert order(waiting, now_ms=150) == [3, 2, 0, 1]


def test_who_could_not_have_a_token_in_time_is_late():
    waiting = queue(first_ms=100)
    push(waiting, 0, 250)
    push(waiting, 1, 350)
    assert order(waiting, now_ms=145) == [0, 1]
    push(waiting, 0, 250)
    push(waiting, 1, 350)
    assert order(waiting, now_ms=155) == [1, 0]


def test_who_is_predicted_to_get_a_place_too_late_is_late_when_it_comes():
    waiting = queue(held_ms=100)
    for number in range(5):
        push(waiting, number, 200, places=1)  # the first two get theirs in 100 and 200 ms
    push(waiting, 5, 10_000)
    assert order(waiting) == [0, 1, 5, 2, 3, 4]


def test_an_earlier_deadline_is_predicted_to_get_a_place_before_the_later_ones():
    waiting = queue(held_ms=100)
    for number in range(4):
        push(waiting, number, 1000)
    push(waiting, 4, 150)
    assert order(waiting)[0] == 4


def test_places_that_there_are_more_of_become_free_sooner():
    waiting = queue(held_ms=100)
    for number in range(6):
        push(waiting, number, 200, places=3)
    push(waiting, 6, 200, places=3)
    push(waiting, 7, 10_000, places=3)
    assert order(waiting) == [0, 1, 2, 3, 4, 5, 7, 6]


def test_every_eighth_place_goes_to_the_late_while_others_wait():
    waiting = queue()
    for number in range(3):
        push(waiting, number, 10)
    for number in range(3, 40):
        push(waiting, number, 1000, now_ms=20)
    taken = order(waiting, now_ms=20)
    assert [taken.index(number) for number in range(3)] == [EVERY - 1, 2 * EVERY - 1, 3 * EVERY - 1]


def test_what_passed_while_no_late_one_waited_does_not_count():
    waiting = queue()
    for number in range(20):
        push(waiting, number, 100)
    for _ in range(10):
        take(waiting)
    push(waiting, 20, 0, now_ms=1)
    assert order(waiting, now_ms=1).index(20) == EVERY - 1


def test_the_late_take_their_share_of_what_is_predicted_for_the_others():
    waiting = queue(held_ms=70)
    push(waiting, 0, 0, now_ms=1)
    for number in range(1, 8):
        push(waiting, number, 1 + 81 * number, now_ms=1)
    push(waiting, 8, 1 + 600, now_ms=1)  # the eighth of them would have a place after 560 ms; with the late one, 640
    push(waiting, 9, 10_000, now_ms=1)
    assert order(waiting, now_ms=1) == [1, 2, 3, 4, 5, 6, 7, 0, 9, 8]


def test_the_first_token_counts_in_what_is_predicted():
    waiting = queue(first_ms=100, held_ms=200)
    push(waiting, 0, 320)
    push(waiting, 1, 1000)
    push(waiting, 2, 290)
    assert order(waiting) == [0, 1, 2]


def test_a_request_that_goes_away_is_not_taken():
    waiting = queue()
    push(waiting, 0, 10)
    for number in range(1, 5):
        push(waiting, number, 100, now_ms=20)
    for number, deadline_ms in ((0, 10), (2, 100), (2, 100), (9, 100)):
        waiting.remove(One(number, deadline_ms))
    assert order(waiting, now_ms=20) == [1, 3, 4]


def test_all_are_turned_out_at_once():
    waiting = queue()
    push(waiting, 0, 10)
    push(waiting, 1, 100, now_ms=20)
    assert sorted(item.number for item in waiting.clear()) == [0, 1]
    assert len(waiting) == 0
    assert take(waiting) is None


# -- the bounds --------------------------------------------------------------------------------------------------------


def test_where_all_are_in_time_the_last_by_deadline_is_refused():
    waiting = queue(waiting=2)
    assert push(waiting, 0, 300) == []
    assert push(waiting, 1, 200) == []
    assert push(waiting, 2, 400) == [2]
    assert push(waiting, 3, 100) == [0]
    assert order(waiting) == [3, 1]


def test_a_request_in_time_takes_the_place_of_the_last_of_the_late():
    waiting = queue(waiting=3)
    push(waiting, 0, 10)
    push(waiting, 1, 10)
    assert push(waiting, 2, 500, now_ms=20) == []
    assert push(waiting, 3, 500, now_ms=20) == [1]
    assert order(waiting, now_ms=20) == [2, 3, 0]


def test_the_late_are_refused_where_they_would_wait_too_long():
    waiting = queue(held_ms=100, wait_ms=1000)
    refused = [number for number in range(20) if push(waiting, number, 0) == [number]]
    assert refused == list(range(10, 20))


def test_they_would_wait_longer_where_others_go_first():
    waiting = queue(held_ms=100, wait_ms=1000)
    for number in range(3):
        push(waiting, number, 10_000)
    refused = [number for number in range(3, 20) if push(waiting, number, 0) == [number]]
    assert refused == list(range(10, 20))  # after the three, each at 100 ms


def test_where_others_keep_going_first_they_would_wait_longer_still():
    waiting = queue(held_ms=100, wait_ms=1000)
    push(waiting, 0, 0, now_ms=1)
    for number in range(1, 40):
        push(waiting, number, 100_000, now_ms=1)
        taken = take(waiting, now_ms=1)
        if taken.number == 0:
            push(waiting, 0, 0, now_ms=1)
    push(waiting, 40, 100_000, now_ms=1)
    refused = [number for number in range(41, 60) if push(waiting, number, 0, now_ms=1) == [number]]
    assert refused == list(range(41, 60))  # there is one; each would be after eight others, and that is 800 ms


def test_when_to_come_back_is_when_those_who_wait_are_served():
    waiting = queue(held_ms=1000, wait_ms=100_000)
    assert waiting.retry_after_s(One(0, 0), Room(4)) == 1
    for number in range(7):
        push(waiting, number, 0)
    assert waiting.retry_after_s(One(0, 0), Room(4)) == 2
    assert waiting.retry_after_s(One(0, 0), Room(1)) == 8
    for number in range(7, 100):
        push(waiting, number, 0)
    assert waiting.retry_after_s(One(0, 0), Room(1)) == 60


def test_before_anything_was_learnt_only_the_number_is_bounded():
    waiting = Queues(QueueLimits(waiting=50), Pace())
    assert [number for number in range(60) if push(waiting, number, 500)] == list(range(50, 60))
    assert waiting.retry_after_s(One(0, 0), Room(1)) == 1


# -- the pace ----------------------------------------------------------------------------------------------------------


def test_the_pace_follows_what_is_measured():
    pace = Pace()
    assert (pace.first_ns, pace.wait_ns(10, Room(1))) == (0, 0)
    pace.learn_first(100.0)
    pace.learn_held(1000.0)
    assert pace.first_ns == pytest.approx(190 * NS_PER_MS)  # little is known, so twice half of it on top
    assert pace.wait_ns(4, Room(2)) == 2000 * NS_PER_MS
    for _ in range(100):
        pace.learn_first(50.0)
        pace.learn_held(200.0)
    assert pace.first_ns == pytest.approx(50 * NS_PER_MS, rel=0.05)
    assert pace.wait_ns(4, Room(2)) == pytest.approx(400 * NS_PER_MS, rel=0.05)


def test_where_first_tokens_differ_the_prediction_is_on_the_safe_side():
    pace = Pace()
    for n in range(200):
        pace.learn_first(50.0 + 50 * (n % 2))
        pace.learn_held(200.0)
    assert 100 * NS_PER_MS < pace.first_ns < 140 * NS_PER_MS


# -- whatever comes ----------------------------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(st.sampled_from(["push", "push", "take", "leave", "learn"]), st.integers(0, 300), st.integers(0, 600)),
    max_size=80,
)


@given(steps, st.integers(1, 8), st.integers(1, 4))
def test_everybody_is_taken_refused_or_waits_once_and_all_is_bounded(steps, most, places):
    pace = Pace()
    waiting = Queues(QueueLimits(waiting=most, wait_ms=2000), pace)
    inside, now_ms = {}, 0
    for number, (what, passes_ms, amount) in enumerate(steps):
        now_ms += passes_ms
        now_ns = now_ms * NS_PER_MS
        if what == "push":
            item = inside[number] = One(number, now_ms + amount)
            for gone in waiting.push(item, now_ns, Room(places)):
                del inside[gone.number]
        elif what == "take":
            item = take(waiting, now_ms)
            assert (item is None) == (not inside)
            if item:
                in_time = [one for one in inside.values() if one.deadline_ns >= now_ns + pace.first_ns]
                late = [one for one in inside.values() if one not in in_time]
                if item.deadline_ns < now_ns + pace.first_ns:
                    assert item.number == min(one.number for one in late)
                elif not late and not pace.wait_ns(1, Room(places)):  # nobody was predicted to be late, either
                    assert item == min(in_time, key=lambda one: (one.deadline_ns, one.number))
                del inside[item.number]
        elif what == "leave" and inside:
            waiting.remove(inside.pop(min(inside)))
        elif what == "learn":
            pace.learn_first(amount / 4)
            pace.learn_held(float(amount))
        assert len(waiting) == len(inside) <= most
    assert sorted(order(waiting, now_ms)) == sorted(inside)


@given(st.integers(1, 30))
def test_nobody_starves_while_those_in_time_keep_coming(late):
    waiting = queue(waiting=10_000)
    for number in range(late):
        push(waiting, number, 0, now_ms=1)
    taken = []
    for n in range(EVERY * late):
        push(waiting, late + n, 1000, now_ms=1)
        taken.append(take(waiting, 1).number)
    assert [number for number in taken if number < late] == list(range(late))


# -- between projects --------------------------------------------------------------------------------------------------


def test_a_newcomer_of_another_project_gets_the_next_place():
    waiting = queue()
    for number in range(100):
        waiting.push(One(number, 1000, "flood"), 0, Room(1))
    for _ in range(10):
        take(waiting)
    waiting.push(One(100, 1000, "other"), 0, Room(1))
    assert take(waiting).number == 100


@pytest.mark.parametrize("weights", [{"a": 1, "b": 1}, {"a": 3, "b": 1}, {"a": 1, "b": 2, "c": 5}])
def test_places_go_by_weight(weights):
    waiting = queue()
    for number in range(900):
        name = list(weights)[number % len(weights)]
        waiting.push(One(number, 10_000, name, weights[name]), 0, Room(1))
    taken = [take(waiting).project for _ in range(120)]
    for name, weight in weights.items():
        assert taken.count(name) == pytest.approx(120 * weight / sum(weights.values()), abs=len(weights))


def test_who_waited_for_nothing_saves_nothing_up():
    waiting = queue()
    for number in range(100):
        waiting.push(One(number, 10_000, "a"), 0, Room(1))
    for _ in range(50):
        take(waiting)
    for number in range(100, 120):
        waiting.push(One(number, 10_000, "b"), 0, Room(1))
    taken = [take(waiting).project for _ in range(20)]
    assert 9 <= taken.count("b") <= 11


def test_who_comes_alone_again_and_again_gets_no_more_than_a_share():
    waiting = queue()
    for number in range(100):
        waiting.push(One(number, 10_000, "a"), 0, Room(1))
    taken = []
    for number in range(100, 140):
        if "b" not in {line for line in waiting._lines if waiting._lines[line].queue}:
            waiting.push(One(number, 10_000, "b"), 0, Room(1))
        taken.append(take(waiting).project)
    assert 18 <= taken.count("b") <= 22


def test_over_the_bound_the_flood_loses_its_own_last():
    waiting = queue(waiting=10)
    for number in range(10):
        assert waiting.push(One(number, 1000, "flood"), 0, Room(1)) == []
    assert [gone.number for gone in waiting.push(One(10, 1000, "other"), 0, Room(1))] == [9]
    assert [gone.number for gone in waiting.push(One(11, 1000, "flood"), 0, Room(1))] == [11]
    assert sorted(order(waiting)) == [*range(9), 10]


def test_a_flood_makes_no_other_late():
    waiting = queue(held_ms=100, wait_ms=60_000)
    for number in range(50):
        waiting.push(One(number, 500, "flood"), 0, Room(1))
    take(waiting)
    assert waiting.push(One(50, 500, "other"), 0, Room(1)) == []
    assert take(waiting).number == 50


def test_a_project_that_has_its_share_is_passed_over():
    waiting = queue()
    waiting.push(One(0, 100, "full"), 0, Room(1))
    waiting.push(One(1, 200, "other"), 0, Room(1))
    assert take(waiting, may=lambda project, weight: project != "full").number == 1
    assert take(waiting, may=lambda project, weight: project != "full") is None
    assert take(waiting).number == 0


def test_projects_that_do_not_wait_are_forgotten():
    waiting = queue(waiting=10_000)
    for number in range(1000):
        waiting.push(One(number, 1000, f"p{number}"), 0, Room(1))
        take(waiting)
    assert len(waiting._lines) <= 2


# -- where more come than can be served --------------------------------------------------------------------------------


def test_a_place_may_be_kept_for_one_in_time_but_not_for_ever():
    waiting = queue()
    push(waiting, 0, 0, now_ms=1)
    for _ in range(EVERY - 1):
        assert waiting.take(NS_PER_MS, lambda project, weight: True, keeps=True) is None
        waiting.passed("")
    assert waiting.take(NS_PER_MS, lambda project, weight: True, keeps=True).number == 0


def test_predictions_that_were_too_good_make_the_next_ones_stricter_for_a_while():
    waiting = queue(held_ms=100)
    for number in range(4):
        push(waiting, number, 500)  # the last would have its place in time by a little
    push(waiting, 4, 10_000, now_ms=600)  # it did not come to that
    assert [push(waiting, number, 600 + 150, now_ms=600) for number in (5,)] == [[]]
    assert order(waiting, now_ms=600)[0] == 4  # so 100 ms are not believed
    waiting = queue(held_ms=100)
    for number in range(4):
        push(waiting, number, 500)
    push(waiting, 4, 10_000, now_ms=20_000)
    push(waiting, 5, 20_000 + 150, now_ms=20_000 + 15_000)
    assert take(waiting, now_ms=20_000) is not None


def test_no_more_of_the_late_are_let_in_while_one_has_waited_for_too_long():
    waiting = queue(held_ms=1, wait_ms=1000)
    push(waiting, 0, 500)
    assert push(waiting, 1, 0, now_ms=1400) == []
    assert push(waiting, 2, 0, now_ms=1600) == [2]
