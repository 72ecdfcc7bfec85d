import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig import steady

from antiphon.scheduler.policy import BatchLimits, WorkKind, schedule

MS = 1_000_000
NOW = 1_000_000 * MS
ONE = {"acme": 0.0}
LIMITS = BatchLimits(rows=4, urgent_ms=80, late_ms=120, elastic_ms=40, brief_ms=9, length_ratio=3, short_ms=1000)


@dataclass(frozen=True)
class Item:
    key: int
    kind: WorkKind
    deadline_ns: int
    audio_ms: int
    new_audio_ms: int
    project: str = "acme"
    weight: int = 1

    @property
    def size(self) -> float:
        return self.audio_ms


def item(key: int, kind: WorkKind, due_ms: float, audio_ms: int = 1000, project: str = "acme", weight: int = 1) -> Item:
    """Due that long from now."""
    return Item(key, kind, NOW + int(due_ms * MS), audio_ms, audio_ms, project, weight)


def ten_a_second(batch) -> float:
    return 10 * sum(i.audio_ms for i in batch) / 1000


def keys(waiting, free=2, kept=1, predict=ten_a_second, limits=LIMITS, had=ONE) -> list[int]:
    return [i.key for i in schedule(NOW, waiting, free, kept, predict, limits, had)]


def test_nothing_runs_where_nothing_waits_or_no_worker_is_free():
    assert keys([]) == []
    assert keys([item(1, WorkKind.FINAL, 0)], free=0) == []


def test_finals_and_firsts_run_earliest_deadline_first():
    waiting = [item(1, WorkKind.FINAL, 300), item(2, WorkKind.FIRST, 200), item(3, WorkKind.FINAL, 100)]
    assert keys(waiting) == [3, 2, 1]


def test_what_is_urgent_runs_before_any_refresh_or_recording_however_long_those_have_waited():
    waiting = [item(1, WorkKind.REFRESH, -9000), item(2, WorkKind.RECORDING, -90_000), item(3, WorkKind.FINAL, 5000)]
    assert keys(waiting) == [3]


def test_a_first_interim_that_is_late_is_elastic_and_a_final_never_is():
    late_first, late_final, first = item(1, WorkKind.FIRST, -1), item(2, WorkKind.FINAL, -1), item(3, WorkKind.FIRST, 1)
    assert keys([late_first, first]) == [3]
    assert keys([late_first, late_final]) == [2]
    assert keys([late_first], free=1) == []
    assert keys([late_first], free=2) == [1]


def test_a_first_interim_that_is_due_right_now_is_late():
    assert keys([item(1, WorkKind.FIRST, 0)], free=1) == []


def test_elastic_work_leaves_the_kept_workers_alone_unless_it_is_brief():
    long = [item(1, WorkKind.REFRESH, 500), item(2, WorkKind.RECORDING, 400)]
    brief = [item(3, WorkKind.REFRESH, 600, audio_ms=400), item(4, WorkKind.REFRESH, 700, audio_ms=400)]
    assert keys(long, free=1, kept=1) == []
    assert keys(long, free=2, kept=1) == [2, 1]
    assert keys(long, free=1, kept=0) == [2, 1]
    assert keys(long + brief, free=1, kept=1) == [3, 4]
    brief.append(item(5, WorkKind.REFRESH, 550, audio_ms=400))  # a third makes the batch too long to be brief
    assert keys(long + brief, free=1, kept=1) == [5, 3]


def test_elastic_work_runs_earliest_deadline_first_so_a_recording_is_not_forgotten():
    waiting = [item(1, WorkKind.REFRESH, 300), item(2, WorkKind.RECORDING, 100), item(3, WorkKind.REFRESH, 200)]
    assert keys(waiting) == [2, 3, 1]


def test_a_tie_goes_to_the_final_and_then_to_who_came_first():
    waiting = [item(1, WorkKind.FIRST, 100), item(3, WorkKind.FINAL, 100), item(2, WorkKind.FINAL, 100)]
    assert keys(waiting) == [2, 3, 1]


def test_a_batch_has_at_most_so_many_rows():
    assert keys([item(n, WorkKind.FINAL, n + 500) for n in range(9)]) == [0, 1, 2, 3]


@pytest.mark.parametrize(("kind", "rows"), [(WorkKind.FINAL, 4), (WorkKind.REFRESH, 2)])
def test_a_batch_stays_within_its_time(kind, rows):
    assert len(keys([item(n, kind, 5000, audio_ms=2000) for n in range(10)])) == rows


def test_a_late_final_makes_room_for_more_so_as_to_catch_up():
    waiting = [item(n, WorkKind.FINAL, 5000 if n else -1, audio_ms=4000) for n in range(5)]
    assert keys(waiting) == [0, 1, 2]
    assert keys(waiting[1:]) == [1, 2]


def test_an_item_longer_than_the_bound_still_runs_alone():
    assert keys([item(1, WorkKind.REFRESH, 10, audio_ms=15_000), item(2, WorkKind.REFRESH, 20, audio_ms=15_000)]) == [1]


def test_rows_are_of_like_length_and_short_ones_are_all_alike():
    waiting = [
        item(1, WorkKind.FINAL, 501, audio_ms=100),
        item(2, WorkKind.FINAL, 502, audio_ms=3001),
        item(3, WorkKind.FINAL, 503, audio_ms=3000),
        item(4, WorkKind.FINAL, 504, audio_ms=900),
    ]
    assert keys(waiting) == [1, 3, 4]


def test_one_that_does_not_fit_does_not_keep_the_next_from_fitting():
    waiting = [
        item(1, WorkKind.FINAL, 501, 3000),
        item(2, WorkKind.FINAL, 502, 6000),
        item(3, WorkKind.FINAL, 503, 2000),
    ]
    assert keys(waiting) == [1, 3]


def test_no_row_joins_that_would_make_one_late_that_is_in_time():
    waiting = [item(1, WorkKind.FIRST, 25), item(2, WorkKind.FINAL, 500), item(3, WorkKind.FINAL, 501)]
    assert keys(waiting) == [1, 2]


def test_a_row_that_is_late_anyway_does_not_keep_others_out():
    waiting = [
        item(1, WorkKind.FINAL, -300),
        item(2, WorkKind.FINAL, 25),
        item(3, WorkKind.FINAL, 30),
        item(4, WorkKind.FINAL, 500),
    ]
    assert keys(waiting) == [1, 2]
    assert keys(waiting[:1] + waiting[3:]) == [1, 4]


items = st.lists(
    st.builds(
        lambda kind, due_ms, audio_ms, new: (kind, due_ms, audio_ms, min(new, audio_ms)),
        st.sampled_from(WorkKind),
        st.integers(-2000, 2000),
        st.integers(1, 15_000),
        st.integers(0, 15_000),
    ),
    max_size=40,
).map(lambda given: [Item(key, k, NOW + due * MS, audio, new) for key, (k, due, audio, new) in enumerate(given)])


def order(item: Item) -> tuple[int, int, int]:
    return item.deadline_ns, item.kind, item.key


def learnt(batch) -> float:
    return 6 + 6 * sum(i.audio_ms for i in batch) / 1000 + 10 * max(i.new_audio_ms for i in batch) / 1000


@steady
@given(items, st.integers(0, 3), st.integers(0, 2), st.integers(1, 16))
def test_whatever_waits_the_choice_keeps_the_rules(waiting, free, kept, rows):
    limits = BatchLimits(rows=rows)
    batch = schedule(NOW, waiting, free, kept, learnt, limits, ONE)
    urgent = [i for i in waiting if i.kind is WorkKind.FINAL or (i.kind is WorkKind.FIRST and i.deadline_ns > NOW)]
    if not batch:
        brief = any(learnt([i]) <= limits.brief_ms for i in sorted(waiting, key=order)[: limits.look * rows])
        assert not waiting or free == 0 or (not urgent and free <= kept and not brief)
        return
    assert free > 0
    assert len({i.key for i in batch}) == len(batch) <= rows
    assert all(i in waiting for i in batch)
    candidates = urgent or waiting
    assert all(i in candidates for i in batch)
    bound_ms = limits.urgent_ms if urgent else limits.elastic_ms
    if any(i.deadline_ns < NOW for i in urgent):
        bound_ms = limits.late_ms
    if not urgent and all(i.kind is WorkKind.RECORDING for i in waiting):
        bound_ms = limits.recording_ms
    if not urgent and free <= kept:
        bound_ms = limits.brief_ms
        candidates = [i for i in waiting if learnt([i]) <= bound_ms]
    assert min(candidates, key=order) is batch[0]
    took_ms = learnt(batch)
    if len(batch) > 1:
        assert took_ms <= bound_ms
        lengths = [max(limits.short_ms, i.audio_ms) for i in batch]
        assert max(lengths) <= limits.length_ratio * min(lengths)
    for n, row in enumerate(batch):
        left_ms = (row.deadline_ns - NOW) / MS
        assert left_ms >= took_ms or left_ms < learnt(batch[: n + 1])


def test_ten_thousand_that_wait_are_looked_through_in_bounded_work():
    # The most urgent one is short and all others are long, so nothing joins it however far one looks.
    waiting = [item(n, WorkKind.FINAL, 500 + (n * 7919) % 10_000, 14_000 if n else 500) for n in range(10_000)]
    asked = 0

    def predict(batch) -> float:
        nonlocal asked
        asked += 1
        assert len(batch) <= LIMITS.rows
        return learnt(batch)

    begun = time.process_time()
    batch = keys(waiting, predict=predict)
    assert time.process_time() - begun < 0.25
    assert asked <= LIMITS.rows * LIMITS.look
    assert batch == [0]


# -- several projects --------------------------------------------------------------------------------------------------

TWO = {"many": 0.0, "few": 0.0}


def crowd(kind: WorkKind, due_ms: float, count: int = 12) -> list[Item]:
    return [item(n, kind, due_ms, project="many") for n in range(count)]


def test_while_all_can_be_in_time_projects_make_no_difference():
    waiting = [*crowd(WorkKind.FINAL, 400), item(50, WorkKind.FINAL, 410, project="few")]
    assert keys(waiting, had=TWO) == keys(waiting) == [0, 1, 2, 3]


def test_a_crowd_that_cannot_be_in_time_holds_nobody_else_up():
    waiting = [
        *crowd(WorkKind.FINAL, 40),
        item(50, WorkKind.FINAL, 400, project="few"),
        item(51, WorkKind.FIRST, 90, project="few"),
    ]
    assert keys(waiting, had=TWO) == [0, 51, 1, 50]
    assert keys(waiting, had={"many": 5000.0, "few": 0.0}) == [51, 50, 0, 1]


@pytest.mark.parametrize("kind", [WorkKind.REFRESH, WorkKind.RECORDING])
def test_elastic_work_takes_turns_too(kind):
    waiting = [*crowd(kind, -40), item(50, kind, -30, project="few"), item(51, kind, -20, project="few")]
    assert keys(waiting, had=TWO) == [0, 50, 1, 51]


def test_recordings_take_turns_before_they_are_late():
    waiting = [*crowd(WorkKind.RECORDING, 9000), item(50, WorkKind.RECORDING, 9900, project="few")]
    assert keys(waiting, had=TWO) == [0, 50, 1, 2]


def test_recordings_stay_behind_what_live_streams_want_sooner():
    waiting = [
        *crowd(WorkKind.RECORDING, 9000),
        *(item(50 + n, WorkKind.REFRESH, 500, project="few") for n in range(3)),
    ]
    assert keys(waiting, had=TWO) == [50, 51, 52, 0]


def test_what_is_late_makes_no_batch_longer_where_others_may_come():
    waiting = [item(n, WorkKind.FINAL, 5000 if n else -1, audio_ms=4000, project="many") for n in range(5)]
    assert keys(waiting, had={"many": 0.0}) == [0, 1, 2]
    assert keys(waiting, had=TWO) == [0, 1]


@steady
@given(items, st.integers(1, 3), st.integers(0, 2), st.integers(1, 16))
def test_the_choice_of_one_project_is_the_same_whatever_it_had(waiting, free, kept, rows):
    limits = BatchLimits(rows=rows)
    batches = [schedule(NOW, waiting, free, kept, learnt, limits, {"acme": had}) for had in (0.0, 1e9)]
    assert batches[0] == batches[1]
