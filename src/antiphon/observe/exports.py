"""What operators see of exports."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from antiphon.core.exports import ExportStatus
from antiphon.core.ports import Clock
from antiphon.observe.metrics import family


class ExportStats(Protocol):
    """One target: its status at the last look, and what became of attempts since the start."""

    @property
    def name(self) -> str: ...

    @property
    def status(self) -> ExportStatus | None: ...

    @property
    def outcomes(self) -> Mapping[str, int]: ...


class Exports(Collector):
    """All targets, asked when metrics are read."""

    def __init__(self, stats: Sequence[ExportStats], clock: Clock) -> None:
        self._stats = stats
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        attempts, position = family("antiphon_export_attempts"), family("antiphon_export_position")
        waiting, age = family("antiphon_export_waiting"), family("antiphon_export_oldest_seconds")
        gaps = family("antiphon_export_gaps")
        for each in self._stats:
            for outcome, count in each.outcomes.items():
                attempts.add_metric((each.name, outcome), count)
            if (status := each.status) is None:
                continue
            position.add_metric((each.name,), status.position)
            waiting.add_metric((each.name,), status.waiting)
            now_ms = self._clock.unix_ms()
            oldest_ms = now_ms if status.oldest_waiting_unix_ms is None else status.oldest_waiting_unix_ms
            age.add_metric((each.name,), max(0, now_ms - oldest_ms) / 1000)  # the clock may have been put back
            gaps.add_metric((each.name, "refused"), status.refused)
            gaps.add_metric((each.name, "unknown"), status.unknown)
        yield from (attempts, position, waiting, age, gaps)
