"""What the scheduler does below, near and beyond what its engine can do. Two workers, about 150 streams' worth."""

from itertools import pairwise

import pytest
from simulator import Law, Simulation, percentile

from antiphon.core.units import NS_PER_MS
from antiphon.scheduler.policy import WorkKind

LAW = Law(5.0, 8.0, 6.0)
SECOND = 1000 * NS_PER_MS


def live(streams: int, seconds: float = 15, recordings: int = 0, **settings) -> Simulation:
    simulation = Simulation(LAW, **settings)
    for _ in range(streams):
        simulation.call(seconds)
    for _ in range(recordings):
        simulation.upload(120)
    return simulation


def finals_ms(simulation: Simulation, **span) -> list[float]:
    return [m.final_ms for m in simulation.measured(**span)]


@pytest.fixture(scope="module")
def below() -> Simulation:
    simulation = live(60)
    simulation.run()
    return simulation


def check_that_all_was_said(simulation: Simulation) -> None:
    """Every stream came to its end, every final once and in order."""
    assert len(simulation.board) == 0
    assert simulation.board.free == simulation.board.workers
    for caller in simulation.callers:
        assert caller.drained_ns is not None
        assert caller.stream.pending == 0
        for earlier, later in pairwise(caller.finals):
            assert earlier.end_ms <= later.start_ms


def test_below_capacity_every_objective_is_kept_and_interims_come_often(below):
    check_that_all_was_said(below)
    assert below.goodput() >= 0.99
    assert percentile([m.ttfb_ms for m in below.measured()], 0.95) <= 300
    assert percentile(finals_ms(below), 0.95) <= 450  # the endpoint's silence and a chunk
    assert below.interims_an_utterance() > 4


def test_near_capacity_interims_come_less_often_and_finals_are_not_late(below):
    near = live(130)
    near.run()
    check_that_all_was_said(near)
    assert near.interims_an_utterance() < 0.7 * below.interims_an_utterance()
    assert near.goodput() >= 0.97
    assert percentile(finals_ms(near), 0.99) <= 800
    urgent = near.busy_ns[WorkKind.FINAL] + near.busy_ns[WorkKind.FIRST]
    assert near.busy_ns[WorkKind.REFRESH] < urgent


@pytest.mark.parametrize("streams", [500, pytest.param(2000, marks=pytest.mark.long)])
def test_thousands_of_streams_on_an_engine_that_can_do_it(streams):
    many = Simulation(Law(*(each * 2000 / streams for each in (0.3, 0.45, 0.35))), chunk_ms=200)
    for _ in range(streams):
        many.call(4)
    many.run()
    check_that_all_was_said(many)
    assert many.most_live == streams
    assert many.goodput() >= 0.99
    assert min(len(c.finals) for c in many.callers) >= 1


@pytest.fixture(scope="module")
def overload() -> tuple[Simulation, list[str]]:
    """Twice the capacity, and nobody is refused."""
    broken: list[str] = []

    def observe(now_ns, batch) -> None:
        finals = [w.deadline_ns for w in simulation.board._waiting if w.kind is WorkKind.FINAL]
        first = batch.works[0]
        if finals and (first.kind in (WorkKind.REFRESH, WorkKind.RECORDING) or min(finals) < first.deadline_ns):
            broken.append(f"{first.kind} at {now_ns}")

    simulation = live(300, seconds=10, chunk_ms=200, observe=observe)
    simulation.run()
    return simulation, broken


def test_at_twice_the_capacity_finals_are_served_in_the_order_of_their_deadlines_before_all_else(overload):
    simulation, broken = overload
    check_that_all_was_said(simulation)
    assert broken == []
    assert percentile(finals_ms(simulation), 0.5) > 800  # it is overload indeed
    assert simulation.rows[WorkKind.REFRESH] < 0.2 * simulation.rows[WorkKind.FINAL]


def test_at_twice_the_capacity_nobody_starves(overload):
    simulation, _ = overload
    for second in range(3, 10):
        waits = finals_ms(simulation, since_ns=second * SECOND, until_ns=(second + 1) * SECOND)
        # Some come early, to fill a batch with rows of like length; nobody comes much later than the rest.
        assert max(waits) < 2 * max(800, percentile(waits, 0.5)), second
    assert {len(c.finals) > 0 for c in simulation.callers} == {True}


def test_at_twice_the_capacity_queues_are_bounded_for_each_stream(overload):
    simulation, _ = overload
    assert max(c.most_pending for c in simulation.callers) <= 9
    # Each stream waits with its finals, at most one interim, and not with everything it ever wanted.
    assert simulation.most_waiting <= 300 * 10


def crowd(admitted: bool) -> Simulation:
    """Twenty callers a second, 15 s each: twice what there is room for, for a while."""
    simulation = Simulation(LAW, chunk_ms=200)
    for n in range(20 * 20):
        simulation.call(15, at_ns=n * SECOND // 20, admitted=admitted)
    simulation.run()
    check_that_all_was_said(simulation)
    return simulation


def test_where_admission_is_in_force_those_who_are_let_in_keep_their_objectives():
    simulation = crowd(admitted=True)
    assert simulation.refused > 20 * 20 // 4
    assert simulation.most_live > 60  # and as many as can be are let in
    assert simulation.goodput() >= 0.98
    assert percentile(finals_ms(simulation), 0.98) <= 800


def test_without_admission_everybody_would_be_late():
    assert crowd(admitted=False).goodput() < 0.8


def test_after_a_burst_beyond_capacity_it_recovers():
    simulation = live(60, seconds=25, chunk_ms=200)
    for _ in range(200):
        simulation.call(4, at_ns=5 * SECOND)
    simulation.run()
    check_that_all_was_said(simulation)
    assert max(finals_ms(simulation, since_ns=5 * SECOND, until_ns=15 * SECOND)) > 800
    assert max(finals_ms(simulation, since_ns=20 * SECOND)) <= 800
    assert simulation.goodput(since_ns=20 * SECOND) >= 0.99


def test_recordings_do_not_hurt_live_streams_and_get_on_themselves(below):
    simulation = live(60, recordings=10)
    simulation.run(until_ns=14 * SECOND)
    heard_ms = [c.finals[-1].end_ms if c.finals else 0 for c in simulation.callers if not c.spec.live]
    assert min(heard_ms) > 0
    assert sum(heard_ms) > 14_000 * 5  # five times as fast as they play, next to sixty streams
    assert max(heard_ms) - min(heard_ms) < 60_000  # and none is left behind
    simulation.run()
    check_that_all_was_said(simulation)
    assert simulation.goodput() >= 0.99
    assert percentile(finals_ms(simulation), 0.95) <= percentile(finals_ms(below), 0.95) + 100
    assert simulation.interims_an_utterance() > 0.4 * below.interims_an_utterance()


def test_recordings_alone_use_all_workers():
    simulation = live(0, recordings=8)
    simulation.run()
    check_that_all_was_said(simulation)
    busy = sum(simulation.busy_ns.values()) / (simulation.board.workers * simulation.now_ns)
    assert busy > 0.9


def test_no_single_stream_starves_over_a_long_run():
    simulation = live(100, seconds=20, chunk_ms=200)
    simulation.run()
    check_that_all_was_said(simulation)
    worst = [max(m.final_ms for _, m in c.measured) for c in simulation.callers]
    assert max(worst) <= 800
    rates = [len(c.interims_ns) / len(c.measured) for c in simulation.callers]
    assert min(rates) > 0.3 * max(rates)


def test_one_seed_gives_one_history():
    one, two = live(10, seconds=5), live(10, seconds=5)
    one.run()
    two.run()
    assert [c.finals for c in one.callers] == [c.finals for c in two.callers]
    assert [c.measured for c in one.callers] == [c.measured for c in two.callers]
