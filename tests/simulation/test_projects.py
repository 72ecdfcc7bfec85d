"""Several projects on one recogniser: what one does is felt by nobody else. Two workers, about 150 streams' worth."""

from functools import cache

import pytest
from simulator import Law, Simulation, percentile

from antiphon.core.units import NS_PER_MS
from antiphon.scheduler.policy import WorkKind

pytestmark = pytest.mark.xdist_group("simulation")  # one worker, for tests share what was simulated
LAW = Law(5.0, 8.0, 6.0)
SECOND = 1000 * NS_PER_MS


@cache
def flood(fair: bool = True) -> Simulation:
    """Three times what there is room for, from one project, and ten streams of another. Nobody is refused."""
    simulation = Simulation(LAW, chunk_ms=200)
    many, few = ("many", "few") if fair else ("", "")
    for _ in range(450):
        simulation.call(8, project=many)
    for _ in range(10):
        simulation.call(8, at_ns=2 * SECOND, project=few)
    simulation.run()
    return simulation


def test_a_flood_makes_its_own_project_late_and_no_other():
    simulation = flood()
    assert simulation.goodput(project="many") < 0.3
    assert simulation.goodput(project="few") >= 0.9
    assert percentile([m.final_ms for m in simulation.measured(project="few")], 0.95) <= 800


def test_without_projects_everybody_would_be_late():
    simulation = flood(fair=False)
    late = [m for c in simulation.callers[-10:] for _, m in c.measured]
    assert sum(m.final_ms <= 800 for m in late) / len(late) < 0.5


def test_two_that_flood_share_by_weight():
    rows = dict.fromkeys(("heavy", "light"), 0)

    def observe(now_ns, batch) -> None:
        for work in batch.works:
            if 3 * SECOND < now_ns < 9 * SECOND and work.kind in (WorkKind.FINAL, WorkKind.FIRST):
                rows[work.project] += work.audio_ms

    simulation = Simulation(LAW, chunk_ms=200, observe=observe)
    simulation.weights = {"heavy": 3, "light": 1}
    for project in ("heavy", "light"):
        for _ in range(250):
            simulation.call(10, project=project)
    simulation.run(until_ns=9 * SECOND)
    assert 2.4 < rows["heavy"] / rows["light"] < 3.6


def test_two_that_fit_keep_their_objectives_both():
    simulation = Simulation(LAW)
    for n in range(120):
        simulation.call(12, project=f"project {n % 2}")
    simulation.run()
    assert simulation.goodput() >= 0.97


@pytest.mark.parametrize("weight", [1, 3])
def test_recordings_share_by_project_however_many_each_brings(weight):
    simulation = Simulation(LAW)
    simulation.weights = {"few": weight}
    for _ in range(31):
        simulation.upload(300, project="many")
    simulation.upload(300, project="few")
    simulation.run(until_ns=5 * SECOND)
    heard_ms = dict.fromkeys(("many", "few"), 0)
    for caller in simulation.callers:
        heard_ms[caller.call.project] += caller.finals[-1].end_ms if caller.finals else 0
    # One alone cannot use half of it, because so few of its finals may wait at once.
    assert heard_ms["few"] > 3 * heard_ms["many"] / 31
    assert heard_ms["many"] > 2 * heard_ms["few"]


@cache
def silent(speak: bool) -> Simulation:
    """As many streams of one project as are let in, silent for 30 s, and then they all `speak`; others come."""
    simulation = Simulation(LAW, chunk_ms=200)
    for n in range(2000):
        simulation.call(10 if speak else 0.1, at_ns=n * SECOND // 100, admitted=True, project="idle", silent_s=30)
    for n in range(20):
        simulation.call(8, at_ns=21 * SECOND + n * SECOND // 20, admitted=True, project="early")
        simulation.call(8, at_ns=36 * SECOND + n * SECOND // 20, admitted=True, project="late")
    simulation.run()
    return simulation


def test_silent_streams_shut_nobody_out():
    simulation = silent(speak=False)
    assert simulation.refusals["idle"] > 100  # there are as many as it can get
    assert simulation.most_live > 300
    assert simulation.refusals["early"] == 0
    assert simulation.goodput(project="early") >= 0.95


def test_where_they_all_speak_at_once_those_who_are_there_are_served_and_others_still_let_in():
    simulation = silent(speak=True)
    assert simulation.refusals["early"] == 0
    assert simulation.goodput(project="early") >= 0.9
    assert simulation.goodput(project="idle") < 0.7
    assert simulation.refusals["late"] == 0
    assert simulation.goodput(project="late") >= 0.9


def test_a_burst_of_openings_is_counted_as_it_comes():
    simulation = Simulation(LAW, chunk_ms=200)
    for n in range(40):
        simulation.call(15, at_ns=n * SECOND // 20, admitted=True)
    for _ in range(400):
        simulation.call(10, at_ns=4 * SECOND, admitted=True)
    simulation.run()
    assert simulation.refused > 200
    assert simulation.goodput() >= 0.95


@cache
def crowd(times: float) -> Simulation:
    """Callers for 25 s, 10 s each, so many times what there is room for, and 15 s of half of it."""
    simulation = Simulation(LAW, chunk_ms=200)
    for start_s, seconds, load in ((0, 25, times), (25, 15, 0.5)):
        count = int(load * 12 * seconds)
        for n in range(count):
            simulation.call(10, at_ns=start_s * SECOND + n * seconds * SECOND // count, admitted=True)
    simulation.run()
    return simulation


def good(simulation, **span) -> int:
    measured = simulation.measured(**span)
    return round(len(measured) * simulation.goodput(**span))


def test_at_five_times_the_load_as_much_comes_in_time_as_at_the_best():
    until = {"until_ns": 25 * SECOND}
    best = max(good(crowd(times), **until) for times in (0.8, 1.0, 1.5))
    assert good(crowd(5.0), **until) >= 0.9 * best
    assert crowd(5.0).goodput(**until) >= 0.95
    assert crowd(5.0).refused > 900


def test_five_seconds_after_the_crowd_everything_is_as_before():
    after = {"since_ns": 30 * SECOND}
    assert crowd(5.0).goodput(**after) >= 0.97
