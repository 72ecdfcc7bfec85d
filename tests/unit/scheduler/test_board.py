from dataclasses import replace

import pytest
from rig import MS, TIMING

from antiphon.scheduler.board import DOUBT_MS, MEMORY_MS, WaitingRoom
from antiphon.scheduler.cost import CostModel
from antiphon.scheduler.policy import Kind, Limits
from antiphon.scheduler.specs import StreamSpec
from antiphon.scheduler.stream import Stream
from antiphon.scheduler.work import Work

LIMITS = Limits(rows=4, urgent_ms=1000, elastic_ms=1000, brief_ms=0)
SECOND = 1000 * MS


def room(workers: int = 2, prior: tuple[float, float, float] = (10, 0, 0)) -> WaitingRoom:
    return WaitingRoom(workers, LIMITS, CostModel(prior))


def put(board: WaitingRoom, kind: Kind, due_ms: int = 1000, stream: Stream | None = None) -> Work:
    stream = stream or Stream(StreamSpec(), board, lambda heard: None, None, TIMING)
    work = Work(stream, kind, 0, 16_000, due_ms * MS, (), 0)
    board.put(work)
    return work


def test_a_taken_batch_waits_no_more_and_keeps_its_worker_busy_until_it_is_done():
    board = room(workers=1)
    works = [put(board, Kind.FINAL, n) for n in range(6)]
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
    works = [put(board, Kind.FINAL) for _ in range(4)]
    assert board.take(0).works == tuple(works)


def test_dropped_work_is_not_run_and_may_be_dropped_again():
    board = room()
    first, second = put(board, Kind.FINAL), put(board, Kind.FINAL)
    board.drop(first)
    board.drop(first)
    assert board.take(0).works == (second,)


def test_a_stream_that_is_forgotten_takes_its_work_along():
    board = room()
    gone = put(board, Kind.FINAL)
    put(board, Kind.REFRESH, stream=gone.stream)
    stays = put(board, Kind.FINAL)
    board.forget(gone.stream)
    assert board.take(0).works == (stays,)


def test_one_worker_is_kept_for_what_is_urgent_while_there_are_live_streams():
    board = room()
    board.live = 1
    for _ in range(8):
        put(board, Kind.RECORDING)
    assert len(board.take(0).works) == 4
    assert board.take(0) is None
    urgent = put(board, Kind.FINAL)
    assert board.take(0).works == (urgent,)


@pytest.mark.parametrize(("workers", "live"), [(2, 0), (1, 1)])
def test_no_worker_is_kept_without_live_streams_or_where_there_is_only_one(workers, live):
    board = room(workers=workers)
    board.live = live
    for _ in range(4 * workers):
        put(board, Kind.RECORDING)
    for _ in range(workers):
        assert board.take(0) is not None
    assert board.free == 0


def test_it_counts_what_waits_by_kind():
    board = room()
    for kind in (Kind.FINAL, Kind.FINAL, Kind.REFRESH):
        put(board, kind)
    assert board.counts() == {Kind.FINAL: 2, Kind.FIRST: 0, Kind.REFRESH: 1, Kind.RECORDING: 0}


def test_the_time_a_batch_took_is_learnt_unless_it_failed():
    board = room()
    before = board._cost.weights
    put(board, Kind.FINAL)
    board.done(board.take(0), None)
    assert board._cost.weights == before
    put(board, Kind.FINAL)
    board.done(board.take(0), 50)
    assert board._cost.weights != before
    assert board.free == 2


def run(board: WaitingRoom, seconds: int, ms_a_second: float, kind: Kind = Kind.FINAL, start: int = 0) -> None:
    """Streams whose work of that kind takes that many milliseconds a second, all of them together."""
    for second in range(start, start + seconds):
        put(board, kind)
        board.done(board.take((second + 1) * SECOND), ms_a_second)


def test_a_stream_s_share_is_typical_at_first_and_then_as_measured():
    board = room(prior=(10.0, 0.0, 0.0))
    board._cost.learn = lambda *_: None  # what is typical stays as it is
    typical = (2.5 + 2.5 + 2.5) / 5000
    assert board.stream_share() == typical
    board.live = 10
    run(board, 3600, ms_a_second=10 * 10)  # a hundredth of a worker each
    assert board.stream_share() == pytest.approx(0.01, rel=0.05)


def test_silent_streams_do_not_make_the_share_less_than_typical():
    board = room()
    board.live = 100
    typical = board.stream_share()
    board.take(3600 * SECOND)
    assert board.stream_share() == typical


def test_elastic_work_is_no_part_of_the_share():
    board = room()
    board._cost.learn = lambda *_: None
    board.live = 1
    typical = board.stream_share()
    for kind in (Kind.REFRESH, Kind.RECORDING):
        run(board, 10, ms_a_second=500, kind=kind)
    assert board.stream_share() == typical


def test_one_slow_first_call_does_not_make_the_share_the_whole_machine():
    board = room()
    board._cost.learn = lambda *_: None
    board.live = 1
    put(board, Kind.FINAL)
    board.done(board.take(100 * MS), 300)
    assert board.stream_share() < 300 / DOUBT_MS + 0.01


def test_the_share_follows_a_change_after_a_while():
    board = room()
    board._cost.learn = lambda *_: None
    board.live = 10
    run(board, 600, ms_a_second=10 * 100)
    assert board.stream_share() == pytest.approx(0.1, rel=0.05)
    run(board, 1200, ms_a_second=10 * 10, start=600)
    assert board.stream_share() < 0.03
    assert board._live_ms <= MEMORY_MS


def test_at_saturation_no_more_streams_fit():
    board = room()
    board._cost.learn = lambda *_: None
    board.live = 50
    run(board, 600, ms_a_second=2 * 1000)  # two workers, busy all the time
    assert 2 / board.stream_share() == pytest.approx(50, rel=0.05)


def test_limits_are_the_policy_s():
    board = WaitingRoom(2, replace(LIMITS, rows=1), CostModel())
    for _ in range(2):
        put(board, Kind.FINAL)
    assert len(board.take(0).works) == 1
