"""What operators see of pools."""

from antiphon.scheduler.breaker import State
from antiphon.session.observe import Observer
from antiphon.session.pool import BackendStats, PoolStats
from antiphon.slo.objectives import Objectives
from antiphon.testing import FakeClock


def test_pools_are_asked_when_metrics_are_read():
    observer = Observer(Objectives(), lambda: None, FakeClock())
    stats = PoolStats((), 0, 0, 0)
    observer.watch_pool("m", lambda: stats)
    backends = (BackendStats("a", State.CLOSED, 3, 10, 8, 2), BackendStats("b", State.HALF_OPEN, 1, 5, 4, 3))
    stats = PoolStats(backends, waiting=7, shed=9, retried=11)

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
