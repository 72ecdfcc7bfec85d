from prometheus_client import CollectorRegistry, generate_latest

from antiphon.core.units import NS_PER_S
from antiphon.observe.holds import LoopHolds
from antiphon.testing import FakeClock


def test_the_longest_hold_of_late_is_told():
    clock, registry = FakeClock(), CollectorRegistry()
    holds = LoopHolds(registry, clock)
    holds.woke(clock.now_ns() + 5)  # early
    assert holds.longest_s() == 0
    holds.woke(clock.now_ns() - 3 * NS_PER_S)
    holds.woke(clock.now_ns() - 1 * NS_PER_S)
    assert holds.longest_s() == 3
    told = generate_latest(registry).decode()
    assert "antiphon_event_loop_hold_longest_seconds 3.0" in told
    assert 'antiphon_event_loop_hold_seconds_bucket{le="1.0"} 2.0' in told
    clock.advance_ms(61_000)
    assert holds.longest_s() == 3
    clock.advance_ms(61_000)
    assert holds.longest_s() == 0
    holds.woke(clock.now_ns() - 1 * NS_PER_S)
    clock.advance_ms(500_000)
    assert holds.longest_s() == 0
