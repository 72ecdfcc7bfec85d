"""What the pages for operators say of names and defaults is what the code says."""

import re
from pathlib import Path

import msgspec
import pytest

from antiphon.config import AtOnce, Limits
from antiphon.logs import FIELDS
from antiphon.observe.metrics import METRICS

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
SERIES = {metric.series: metric for metric in METRICS.values()}
OF_PROMETHEUS = {"le", "job"}


def rows(heading):
    """The cells of the table of a section, without their backquotes."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_every_log_field_is_described_once():
    named = [name for name, _ in rows("Logs")]
    assert sorted(named) == sorted({*FIELDS, "at", "level", "message", "error", "where"})


def test_every_limit_is_listed_with_its_default():
    fields = {field.name: field.default for field in msgspec.structs.fields(Limits) if field.type is not AtOnce}
    assert {name: int(default) for name, default, _ in rows("Limits")} == fields


EXPRESSIONS = re.findall(r"expr: (?:>\n)?((?:.+\n)(?: {10}\S.*\n)*)", PAGE)


def test_there_are_alerts():
    assert len(EXPRESSIONS) > 10


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_alerts_use_labels_that_their_metrics_have(expression):
    """That the metrics exist is checked of all pages, in test_metrics.py."""
    names = {re.sub("_bucket$", "", name) for name in re.findall(r"antiphon_[a-z_]+", expression)}
    allowed = {label for name in names for label in SERIES[name].labels} | OF_PROMETHEUS
    used = set(re.findall(r"(\w+)=~?\"", expression))
    used |= {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
    assert used <= allowed
