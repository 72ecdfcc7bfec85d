"""What operators see of pools and of embedded engines."""

from dataclasses import dataclass

from antiphon.observe.observer import Observer
from antiphon.pools.breaker import State
from antiphon.pools.pool import BackendStats, PoolStats
from antiphon.slo.objectives import Objectives
from antiphon.testing import FakeClock


def test_pools_are_asked_when_metrics_are_read():
    observer = Observer(Objectives(), FakeClock())
    stats = PoolStats((), 0, 0, 0, 0)
    observer.watch_pool("m", lambda: stats)
    backends = (BackendStats("a", State.CLOSED, 3, 10, 8, 2), BackendStats("b", State.HALF_OPEN, 1, 5, 4, 3))
    stats = PoolStats(backends, waiting=7, shed=9, retried=11, hedged=13)

    def value(name, **labels):
        return observer.registry.get_sample_value(name, {"model": "m", **labels})

    assert value("antiphon_backend_outstanding", backend="a") == 3
    assert value("antiphon_backend_requests_total", backend="a") == 10
    assert value("antiphon_backend_sticky_total", backend="b") == 4
    assert value("antiphon_backend_failures_total", backend="b") == 3
    states = {state: value("antiphon_backend_state", backend="b", state=state.value) for state in State}
    assert states == {State.CLOSED: 0, State.OPEN: 0, State.HALF_OPEN: 1}
    assert (value("antiphon_queue_length"), value("antiphon_queue_shed_total")) == (7, 9)
    assert value("antiphon_retries_total") == 11
    assert value("antiphon_hedges_total") == 13


@dataclass(frozen=True)
class Engine:
    running: int = 3
    rss_bytes: int = 500
    cache_bytes: int = 100
    cache_used_bytes: int = 40
    restarts: int = 2
    stuck: int = 1
    up: bool = True


def test_engines_are_asked_too():
    observer = Observer(Objectives(), FakeClock())
    observer.watch_engine("e", Engine)
    names = ("running", "resident_bytes", "cache_bytes", "cache_used_bytes", "restarts_total", "stuck_total", "up")
    values = [observer.registry.get_sample_value(f"antiphon_engine_{name}", {"engine": "e"}) for name in names]
    assert values == [3, 500, 100, 40, 2, 1, 1]


def test_engines_that_cannot_be_asked_are_named():
    observer = Observer(Objectives(), FakeClock())
    observer.watch_engine("well", Engine)
    assert observer.trouble() is None
    observer.watch_engine("ill", lambda: Engine(up=False))
    assert observer.trouble() == "being started again: ill"
