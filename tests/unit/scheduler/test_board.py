from dataclasses import replace

import pytest
from rig import MS, TIMING

from antiphon.core.ports import EngineCall
from antiphon.core.speech import StreamSpec
from antiphon.scheduler.board import DOUBT_MS, MEMORY_MS, WaitingRoom
from antiphon.scheduler.cost import CostModel
from antiphon.scheduler.policy import BatchLimits, WorkKind
from antiphon.scheduler.stream import Stream
from antiphon.scheduler.work import Work

LIMITS = BatchLimits(rows=4, urgent_ms=1000, elastic_ms=1000, brief_ms=0)
SECOND = 1000 * MS


def room(workers: int = 2, prior: tuple[float, float, float] = (10, 0, 0)) -> WaitingRoom:
    return WaitingRoom(workers, LIMITS, CostModel(prior))


def put(board: WaitingRoom, kind: WorkKind, due_ms: int = 1000, stream: Stream | None = None) -> Work:
    stream = stream or Stream(StreamSpec(), board, lambda heard: None, None, TIMING)
    work = Work(stream, kind, 0, 16_000, due_ms * MS, (), 0)
    board.put(work)
    return work


def test_a_taken_batch_waits_no_more_and_keeps_its_worker_busy_until_it_is_done():
    board = room(workers=1)
    works = [put(board, WorkKind.FINAL, n) for n in range(6)]
    batch = board.take(0)
    assert batch.works == tuple(works[:4])
    assert batch.predicted_ms == 10
    assert (len(board), board.free) == (2, 0)
    assert board.take(0) is None
    board.done(batch, 10)
    assert board.take(0).works == tuple(works[4:])
    assert (len(board), board.take(0)) == (0, None)


def test_what_was_put_first_goes_first_where_all_else_is_equal():
    board = room()
    works = [put(board, WorkKind.FINAL) for _ in range(4)]
    assert board.take(0).works == tuple(works)


def test_dropped_work_is_not_run_and_may_be_dropped_again():
    board = room()
    first, second = put(board, WorkKind.FINAL), put(board, WorkKind.FINAL)
    board.drop(first)
    board.drop(first)
    assert board.take(0).works == (second,)


def test_a_stream_that_is_forgotten_takes_its_work_along():
    board = room()
    gone = put(board, WorkKind.FINAL)
    put(board, WorkKind.REFRESH, stream=gone.stream)
    stays = put(board, WorkKind.FINAL)
    board.forget(gone.stream)
    assert board.take(0).works == (stays,)


def test_one_worker_is_kept_for_what_is_urgent_while_there_are_live_streams():
    board = room()
    board.live = 1
    for _ in range(8):
        put(board, WorkKind.RECORDING)
    assert len(board.take(0).works) == 4
    assert board.take(0) is None
    urgent = put(board, WorkKind.FINAL)
    assert board.take(0).works == (urgent,)


@pytest.mark.parametrize(("workers", "live"), [(2, 0), (1, 1)])
def test_no_worker_is_kept_without_live_streams_or_where_there_is_only_one(workers, live):
    board = room(workers=workers)
    board.live = live
    for _ in range(4 * workers):
        put(board, WorkKind.RECORDING)
    for _ in range(workers):
        assert board.take(0) is not None
    assert board.free == 0


def test_it_counts_what_waits_by_kind():
    board = room()
    for kind in (WorkKind.FINAL, WorkKind.FINAL, WorkKind.REFRESH):
        put(board, kind)
    assert board.counts() == {WorkKind.FINAL: 2, WorkKind.FIRST: 0, WorkKind.REFRESH: 1, WorkKind.RECORDING: 0}


def test_the_time_a_batch_took_is_learnt_unless_it_failed():
    board = room()
    before = board._cost.weights
    put(board, WorkKind.FINAL)
    board.done(board.take(0), None)
    assert board._cost.weights == before
    put(board, WorkKind.FINAL)
    board.done(board.take(0), 50)
    assert board._cost.weights != before
    assert board.free == 2


def learn_nothing(board: WaitingRoom) -> None:
    """What is typical stays as it is, and everything is believed."""
    board._cost.learn = lambda *_: None
    board._cost.believed_ms = lambda batch, took_ms: took_ms


def run(board: WaitingRoom, seconds: int, ms_a_second: float, kind: WorkKind = WorkKind.FINAL, start: int = 0) -> None:
    """Streams in which somebody speaks, whose work of that kind takes so many milliseconds a second, all together."""
    streams = [Stream(StreamSpec(), board, lambda heard: None, None, TIMING) for _ in range(board.live)]
    for second in range(start, start + seconds):
        for stream in streams:
            board.drop(put(board, WorkKind.REFRESH, stream=stream))
        put(board, kind, stream=streams[0])
        board.done(board.take((second + 1) * SECOND), ms_a_second)
    for stream in streams:
        board.forget(stream)


def test_a_stream_s_share_is_typical_at_first_and_then_as_measured():
    board = room(prior=(10.0, 0.0, 0.0))
    learn_nothing(board)
    typical = (2.5 + 2.5 + 2.5) / 5000
    assert board.stream_share() == typical
    board.live = 10
    run(board, 3600, ms_a_second=10 * 10)  # a hundredth of a worker each
    assert board.stream_share() == pytest.approx(0.01, rel=0.05)


def test_silent_streams_do_not_count_in_the_share():
    board = room()
    learn_nothing(board)
    board.live = 10
    run(board, 600, ms_a_second=10 * 100)
    share = board.stream_share()
    board.live = 1000
    board.take(700 * SECOND)
    assert board.stream_share() == share


def test_a_time_in_which_nobody_looks_is_no_time_of_speech():
    board = room()
    learn_nothing(board)
    board.live = 10
    run(board, 600, ms_a_second=10 * 100)
    before = board.stream_share()
    for _ in range(10):
        put(board, WorkKind.FIRST)
    board.take(600 * SECOND)
    board.take(4200 * SECOND)
    assert board.stream_share() == pytest.approx(before, rel=0.05)


def test_who_wanted_nothing_for_a_while_is_silent():
    board = room()
    board.take(0)
    work, recording = put(board, WorkKind.FIRST), put(board, WorkKind.RECORDING, stream=recorded(board))
    assert board.speaking(work.stream)
    board.take(0)
    assert not board.speaking(recording.stream)
    board.take(9 * SECOND)
    assert board.speaking(work.stream)
    board.take(11 * SECOND)
    assert not board.speaking(work.stream)
    board.drop(put(board, WorkKind.FIRST, stream=work.stream))
    assert board.speaking(work.stream)
    board.forget(work.stream)
    assert not board.speaking(work.stream)


def test_the_time_before_the_first_look_is_no_stream_s():
    board = room()
    learn_nothing(board)
    board.live = 10
    run(board, 60, ms_a_second=10 * 100, start=10_000_000)
    assert board.stream_share() == pytest.approx(0.1, rel=0.15)


def recorded(board: WaitingRoom, project: str = "") -> Stream:
    return Stream(StreamSpec(live=False), board, lambda heard: None, None, TIMING, EngineCall("", project=project))


def test_projects_take_turns_where_not_all_can_be_in_time():
    board = room(workers=1)
    crowd = [put(board, WorkKind.RECORDING, stream=recorded(board, "many")) for _ in range(40)]
    few = [put(board, WorkKind.RECORDING, stream=recorded(board, "few")) for _ in range(4)]
    ran = []
    for n in range(4):
        batch = board.take((2000 + 10 * n) * MS)
        ran += batch.works
        board.done(batch, 10)
    assert set(ran[:8]) == {*few, *crowd[:4]}
    assert ran[8:] == crowd[4:12]


def test_a_project_that_waits_is_not_forgotten_however_long():
    board = room(workers=1)
    board.take(0)
    waiting = [put(board, WorkKind.RECORDING, stream=recorded(board, "one")) for _ in range(9)]
    busy = board.take(0)
    for second in range(1, 40):
        board.drop(put(board, WorkKind.RECORDING, stream=recorded(board, "two")))
        assert board.take(second * SECOND) is None
    assert set(board._projects) == {"one", "two"}
    board.done(busy, 10)
    assert set(board.take(41 * SECOND).works) <= set(waiting)
    assert set(board._projects) == {"one"} | ({"two"} & set(board._projects))


def test_elastic_work_is_no_part_of_the_share():
    board = room()
    learn_nothing(board)
    board.live = 1
    typical = board.stream_share()
    for kind in (WorkKind.REFRESH, WorkKind.RECORDING):
        run(board, 10, ms_a_second=500, kind=kind)
    assert board.stream_share() == typical


def test_one_slow_first_call_does_not_make_the_share_the_whole_machine():
    board = room()
    learn_nothing(board)
    board.live = 1
    put(board, WorkKind.FINAL)
    board.done(board.take(100 * MS), 300)
    assert board.stream_share() < 300 / DOUBT_MS + 0.01


def test_what_waited_for_its_engine_to_start_again_does_not_count_in_the_share():
    board = room()
    board.live = 1
    run(board, 60, ms_a_second=20)
    before = board.stream_share()
    for second in (60, 61):
        put(board, WorkKind.FINAL)
        board.done(board.take((second + 1) * SECOND), 15_000)
    assert board.stream_share() < 2 * before


def test_the_share_follows_a_change_after_a_while():
    board = room()
    learn_nothing(board)
    board.live = 10
    run(board, 600, ms_a_second=10 * 100)
    assert board.stream_share() == pytest.approx(0.1, rel=0.05)
    run(board, 1200, ms_a_second=10 * 10, start=600)
    assert board.stream_share() < 0.03
    assert board._live_ms <= MEMORY_MS


def test_at_saturation_no_more_streams_fit():
    board = room()
    learn_nothing(board)
    board.live = 50
    run(board, 600, ms_a_second=2 * 1000)  # two workers, busy all the time
    assert 2 / board.stream_share() == pytest.approx(50, rel=0.05)


def test_limits_are_the_policy_s():
    board = WaitingRoom(2, replace(LIMITS, rows=1), CostModel())
    for _ in range(2):
        put(board, WorkKind.FINAL)
    assert len(board.take(0).works) == 1
