"""The plot of a run: latency percentiles against the load, with the objectives as lines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.bench.generations import ChatLevel, Objectives
from antiphon.bench.measure import FINAL_OBJECTIVE_MS, TTFB_OBJECTIVE_MS, Level, Percentiles
from antiphon.core.errors import CallerError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#1f5fa8", "#c8553d", "#3c8d5a", "#7a4fa3")
# How each percentile is drawn: the 95th, to which the objectives apply, stands out.
_LINES = (("P50", ":", 1.2), ("P95", "-", 2.2), ("P99", "--", 1.2))


@dataclass(frozen=True, slots=True)
class _Panel:
    """One set of axes: each run's percentiles, or single values, at each load."""

    title: str
    runs: Mapping[str, Sequence[tuple[float, Percentiles | float]]]
    objective: int | None = None
    x_label: str = "real-time streams"
    y_label: str = "milliseconds"


def draw(runs: Mapping[str, Sequence[Level]], path: Path) -> None:
    """Plot speech levels, one colour per run, in the format of the file's extension.

    Raises `CallerError` if matplotlib is missing or cannot write that file.
    """

    def picked(pick: Callable[[Level], Percentiles]) -> dict[str, list[tuple[float, Percentiles | float]]]:
        return {name: [(level.streams, pick(level)) for level in levels] for name, levels in runs.items()}

    panels = [
        _Panel("STT TTFB: first sample of speech to first text", picked(lambda level: level.ttfb), TTFB_OBJECTIVE_MS),
        _Panel("STT final: last sample of speech to final", picked(lambda level: level.final), FINAL_OBJECTIVE_MS),
    ]
    _draw(panels, 1, path)


def draw_chat(runs: Mapping[str, Sequence[ChatLevel]], objectives: Objectives, path: Path) -> None:
    """Plot language levels: three latencies and the tokens per second, against the load."""

    def picked(pick: Callable[[ChatLevel], Percentiles | float]) -> dict[str, list[tuple[float, Percentiles | float]]]:
        return {name: [(level.load, pick(level)) for level in levels] for name, levels in runs.items()}

    by_rate = any(level.rate is not None for levels in runs.values() for level in levels)
    x_label = "requests arriving a second" if by_rate else "requests at once"
    panels = [
        _Panel("TTFT: request to first token", picked(lambda level: level.ttft), objectives.ttft_ms, x_label),
        _Panel("TPOT: mean gap between tokens", picked(lambda level: level.tpot), objectives.tpot_ms, x_label),
        _Panel("End to end: request to last token", picked(lambda level: level.total), objectives.total_ms, x_label),
        _Panel("Output", picked(lambda level: level.tokens_per_s), None, x_label, "tokens a second"),
    ]
    _draw(panels, 2, path)


def _draw(panels: Sequence[_Panel], rows: int, path: Path) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise CallerError("--plot needs matplotlib: pip install 'antiphon[bench]'") from error
    figure = Figure(figsize=(11, 4.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(rows, 2).flat, panels, strict=True):
        _fill(axes, panel)
    try:
        figure.savefig(path, dpi=160)
    except (OSError, ValueError) as error:
        raise CallerError(f"{path}: {error}") from error


def _fill(axes: "Axes", panel: _Panel) -> None:
    highest = 0.0
    for (name, points), colour in zip(panel.runs.items(), _COLOURS * len(panel.runs), strict=False):
        loads = [load for load, _ in points]
        for label, style, width, values in _curves([value for _, value in points]):
            legend = " ".join(part for part in (name if len(panel.runs) > 1 else "", label) if part)
            axes.plot(loads, values, style, color=colour, linewidth=width, marker="o", markersize=3.5, label=legend)
            highest = max(highest, *(value for value in values if value == value), 0.0)
    if panel.objective is not None:
        _line(axes, panel.objective)
    counts = sorted({load for points in panel.runs.values() for load, _ in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [f"{count:g}" for count in counts])
    axes.minorticks_off()
    if panel.objective is not None and highest > 4 * panel.objective:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:.0f}")
        axes.yaxis.set_minor_formatter("{x:.0f}")
    else:
        axes.set_ylim(0, max(highest, panel.objective or 0, 1e-9) * 1.15)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.set_title(panel.title, fontsize=10)
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8, frameon=False)


def _curves(values: Sequence[Percentiles | float]) -> list[tuple[str, str, float, list[float]]]:
    """Return label, style, width and values of each line: one per percentile, or a single one without a label."""
    percentiles = [value for value in values if isinstance(value, Percentiles)]
    if not percentiles:
        return [("", "-", 2.2, [value for value in values if not isinstance(value, Percentiles)])]
    return [
        (label, style, width, [_number(getattr(value, label.lower())) for value in percentiles])
        for label, style, width in _LINES
    ]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _line(axes: "Axes", objective: int) -> None:
    axes.axhline(objective, color="black", linewidth=1, alpha=0.6)
    axes.annotate(
        f"objective: P95 ≤ {objective} ms",
        (0.01, objective),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
        fontsize=8,
    )
