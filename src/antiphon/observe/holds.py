"""Holds of the event loop: all tasks wait while one piece of work keeps it."""

import asyncio

from prometheus_client import CollectorRegistry

from antiphon.core.ports import Clock
from antiphon.core.units import NS_PER_S
from antiphon.observe import metrics

PERIOD_S = 0.05
LATELY_NS = 60 * NS_PER_S


class LoopHolds:
    """Measures how late a timer of `PERIOD_S` fires."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._clock = clock
        self._since_ns = clock.now_ns()
        self._longest_s = self._longest_before_s = 0.0
        self._seconds = metrics.histogram("antiphon_event_loop_hold_seconds", registry)
        metrics.gauge("antiphon_event_loop_hold_longest_seconds", registry).set_function(self.longest_s)

    async def watch(self) -> None:
        """Measure for ever."""
        while True:
            due_ns = self._clock.now_ns() + int(PERIOD_S * NS_PER_S)
            await asyncio.sleep(PERIOD_S)
            self.woke(due_ns)

    def woke(self, due_ns: int) -> None:
        """Count a timer that was due at `due_ns`."""
        now_ns = self._clock.now_ns()
        late_s = max(0, now_ns - due_ns) / NS_PER_S
        self._turn(now_ns)
        self._longest_s = max(self._longest_s, late_s)
        self._seconds.observe(late_s)

    def longest_s(self) -> float:
        """Return the longest hold of the last one to two minutes, in seconds."""
        self._turn(self._clock.now_ns())
        return max(self._longest_s, self._longest_before_s)

    def _turn(self, now_ns: int) -> None:
        if now_ns - self._since_ns >= LATELY_NS:
            self._longest_before_s = self._longest_s if now_ns - self._since_ns < 2 * LATELY_NS else 0.0
            self._longest_s, self._since_ns = 0.0, now_ns
