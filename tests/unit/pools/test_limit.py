"""How many generations may be before their first output, at engines of several kinds."""

from antiphon.core.units import NS_PER_MS
from antiphon.pools.limit import CALM_NS, LEAST, SHARED_NS, AdaptiveLimit, Pressure

MOST, TARGET_MS = 128, 200.0


def settled(first_ms, rounds=400, limit=None):
    """After rounds in which all that may start do, and take `first_ms(so many)`."""
    limit = limit or AdaptiveLimit(MOST)
    for _ in range(rounds):
        beside = limit.now
        for _ in range(beside):
            limit.learn(first_ms(beside), beside, TARGET_MS)
    return limit


def test_at_first_all_may_start():
    assert AdaptiveLimit(MOST).now == MOST


def test_where_each_one_more_makes_all_later_it_settles_where_first_outputs_are_in_time():
    assert 5 <= settled(lambda beside: 30.0 + 20.0 * beside).now <= 10


def test_where_it_takes_as_long_whatever_else_there_is_nobody_is_limited():
    assert settled(lambda beside: 3000.0).now == MOST
    assert settled(lambda beside: 20.0).now == MOST


def test_it_is_never_so_low_that_an_engine_has_nothing_to_do():
    limit = AdaptiveLimit(MOST)
    limit.learn(30.0, 1, TARGET_MS)
    for _ in range(100):
        limit.learn(5000.0, 50, TARGET_MS)
        assert limit.now >= LEAST
    assert AdaptiveLimit(2).now == 2
    small = AdaptiveLimit(2)
    small.learn(1.0, 1, TARGET_MS)
    small.learn(5000.0, 2, TARGET_MS)
    assert small.now == 2


def test_a_burst_is_answered_at_once_and_forgotten():
    limit = AdaptiveLimit(MOST)
    limit.learn(40.0, 1, TARGET_MS)
    for n in range(60):
        limit.learn(100.0 + 25 * n, 60, TARGET_MS)
    assert limit.now <= 10
    assert settled(lambda beside: 40.0, 60, limit).now == MOST


def test_one_that_is_late_alone_says_little():
    limit = AdaptiveLimit(MOST)
    for n in range(200):
        limit.learn(3000.0 if n % 10 == 0 else 40.0, 1, TARGET_MS)
    assert limit.now >= LEAST
    for _ in range(200):
        limit.learn(40.0, limit.now, TARGET_MS)
    assert limit.now == MOST


def test_before_anything_was_learnt_not_all_start_at_once():
    assert AdaptiveLimit(MOST, first=32).now == 32
    assert AdaptiveLimit(8, first=32).now == 8


def test_it_keeps_to_its_least():
    limit = AdaptiveLimit(MOST, least=16)
    for _ in range(500):
        limit.learn(5000.0, 100, TARGET_MS)
    assert limit.now == 16
    for _ in range(500):
        limit.learn(1.0, 100, TARGET_MS)
    assert limit.now == MOST


# -- pressure ----------------------------------------------------------------------------------------------------------


def pressed(came_each_100_ms, left_each_100_ms, seconds, pressure=None, begin_ms=0):
    pressure = pressure or Pressure()
    for ms in range(begin_ms, begin_ms + 1000 * seconds, 100):
        for _ in range(came_each_100_ms):
            pressure.note_arrival("a", ms * NS_PER_MS)
        for _ in range(left_each_100_ms):
            pressure.note_departure(ms * NS_PER_MS)
    return pressure


def test_where_as_many_leave_as_come_there_is_no_pressure():
    assert not pressed(10, 10, 10).on
    assert not pressed(0, 0, 10).on


def test_where_far_more_come_than_leave_there_is_within_two_seconds():
    assert pressed(4, 1, 2).on
    assert not pressed(1, 1, 3, pressed(4, 1, 2), 2000).on


def test_a_crowd_that_comes_at_once_is_no_pressure_once_it_is_there():
    pressure = Pressure()
    for _ in range(100):
        pressure.note_arrival("a", 0)
    pressure.note_departure(1500 * NS_PER_MS)
    pressure.note_departure(3000 * NS_PER_MS)
    assert not pressure.on


def test_after_a_refusal_there_is_for_a_while():
    pressure = Pressure()
    pressure.note_refusal(0)
    assert pressure.on
    assert pressure.refused_within(99, 100)
    assert not pressure.refused_within(100, 100)
    pressure.note_arrival("a", CALM_NS - 1)
    assert pressure.on
    pressure.note_arrival("a", CALM_NS)
    assert not pressure.on


def test_projects_share_a_model_s_pace_while_any_of_them_waits_for_tokens():
    pressure = Pressure()
    pressure.note_arrival("a", 0)
    pressure.note_arrival("b", 0)
    assert not pressure.shared  # what comes whole has no pace, so nothing would ever be learnt
    pressure.note_arrival("a", 0, gradual=True)
    assert pressure.shared
    pressure.note_arrival("b", SHARED_NS - 1)
    assert pressure.shared
    pressure.note_arrival("a", SHARED_NS)
    assert not pressure.shared
