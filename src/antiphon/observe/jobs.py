"""What operators see of jobs."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from antiphon.observe.metrics import family


class JobStats(Protocol):
    """How many jobs and items run; since the start, how many items gave way, how jobs ended by kind and state, and how
    many items of each kind were answered well or not.
    """

    @property
    def running(self) -> int: ...

    @property
    def items(self) -> int: ...

    @property
    def gave_way(self) -> int: ...

    @property
    def ended(self) -> Mapping[tuple[str, str], int]: ...

    @property
    def outcomes(self) -> Mapping[tuple[str, bool], int]: ...


class Jobs(Collector):
    """The metrics of one server's jobs."""

    def __init__(self, stats: JobStats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        for name, value in (
            ("antiphon_jobs_running", stats.running),
            ("antiphon_items_running", stats.items),
            ("antiphon_items_gave_way", stats.gave_way),
        ):
            metric = family(name)
            metric.add_metric((), value)
            yield metric
        jobs, items = family("antiphon_jobs"), family("antiphon_items")
        for (kind, state), count in stats.ended.items():
            jobs.add_metric((kind, state), count)
        for (kind, good), count in stats.outcomes.items():
            items.add_metric((kind, str(good).lower()), count)
        yield jobs
        yield items
