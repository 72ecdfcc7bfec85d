"""The table of metrics: what the server exports, what the reference says, and what other pages name."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from antiphon.core.exports import ExportStatus
from antiphon.observe.exports import Exports
from antiphon.observe.metrics import LABELS, METRICS, reference
from antiphon.observe.observer import Observer
from antiphon.pools.breaker import State
from antiphon.pools.pool import BackendStats, PoolStats
from antiphon.routes import GRPC_ROUTES, JOB_KINDS, ROUTES
from antiphon.scheduler.policy import WorkKind
from antiphon.slo.objectives import Objectives
from antiphon.testing import FakeClock

DOCS = Path(__file__).parents[3] / "docs"
NAMES = {
    f"{metric.series}{suffix}"
    for metric in METRICS.values()
    for suffix in (("", "_bucket", "_sum", "_count") if metric.type == "histogram" else ("",))
}


class Engine:
    running = rss_bytes = cache_bytes = cache_used_bytes = restarts = stuck = up = 1


class Connections(list):
    refused = dropped = 1


@pytest.fixture
def exported():
    """What a server exports that has everything, by the names of the table."""
    load = SimpleNamespace(waiting={kind.name.lower(): 0 for kind in WorkKind}, live=0, stream_share=0.0)
    observer = Observer(Objectives(), FakeClock())
    observer.watch_recogniser("a", lambda: load)
    observer.watch_pool("m", lambda: PoolStats((BackendStats("a", State.CLOSED, 1, 1, 1, 1),), 1, 1, 1, 1))
    observer.watch_engine("e", Engine)
    observer.watch_connections(Connections())
    observer.watch_jobs(
        SimpleNamespace(running=1, items=1, gave_way=1, ended={("b", "done"): 1}, outcomes={("b", True): 1})
    )
    status = ExportStatus(target="t", position=1)
    observer.watch_exports([SimpleNamespace(name="t", status=status, outcomes={"taken": 1})])
    return {family.name: family for family in observer.registry.collect() if not family.name.endswith("_created")}


def test_every_metric_of_the_table_is_exported_as_it_says_and_no_other(exported):
    types = {name: family.type for name, family in exported.items()}
    assert types == {name: metric.type for name, metric in METRICS.items()}
    assert {name: family.documentation for name, family in exported.items()} == {
        name: metric.help for name, metric in METRICS.items()
    }


def test_the_reference_is_made_from_the_table():
    assert (DOCS / "metrics.md").read_text() == reference(), "run `make docs`"


def test_every_label_is_described():
    assert set(LABELS) == {label for metric in METRICS.values() for label in metric.labels}


def test_every_vendor_and_kind_of_job_is_described():
    assert all(f"`{surface}`" in LABELS["surface"] for surface in {row.surface for row in (*ROUTES, *GRPC_ROUTES)})
    assert all(f"`{job}`" in LABELS["job"] for job in JOB_KINDS)


def test_no_usage_is_younger_than_now():
    """The clock may have been put back since it was counted."""
    clock = FakeClock()
    for oldest_ms, age_s in ((None, 0), (clock.unix_ms() - 1500, 1.5), (clock.unix_ms() + 5000, 0)):
        status = ExportStatus(target="t", position=1, oldest_waiting_unix_ms=oldest_ms)
        found = Exports([SimpleNamespace(name="t", status=status, outcomes={})], clock).collect()
        samples = {sample.name: sample.value for metric in found for sample in metric.samples}
        assert samples["antiphon_export_oldest_seconds"] == age_s


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda path: path.stem)
def test_pages_name_no_metric_that_there_is_not(page):
    found = set(re.findall(r"\bantiphon_[a-z_]+\b", page.read_text()))
    assert {name for name in found if not name.endswith("_created")} <= NAMES
