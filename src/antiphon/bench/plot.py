"""The picture of a run: latency percentiles against the number of streams, with the objectives as lines."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.bench.measure import FINAL_OBJECTIVE_MS, TTFB_OBJECTIVE_MS, Level, Percentiles
from antiphon.core.errors import CallerError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#1f5fa8", "#c8553d", "#3c8d5a", "#7a4fa3")
# Which percentile is drawn how: the 95th, which the objectives speak of, stands out.
_LINES = (("P50", ":", 1.2), ("P95", "-", 2.2), ("P99", "--", 1.2))


def draw(runs: Mapping[str, Sequence[Level]], path: Path) -> None:
    """Writes the picture, in the format that the file's ending names; one colour for each run.

    Raises `CallerError` where matplotlib is missing or cannot write that file.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise CallerError("--plot needs matplotlib: pip install 'antiphon[bench]'") from error
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _panel(left, "STT TTFB: first sample of speech to first text", runs, lambda level: level.ttfb, TTFB_OBJECTIVE_MS)
    _panel(right, "STT final: last sample of speech to final", runs, lambda level: level.final, FINAL_OBJECTIVE_MS)
    try:
        figure.savefig(path, dpi=160)
    except (OSError, ValueError) as error:
        raise CallerError(f"{path}: {error}") from error


def _panel(
    axes: "Axes", title: str, runs: Mapping[str, Sequence[Level]], pick: Callable[[Level], Percentiles], objective: int
) -> None:
    for (name, levels), colour in zip(runs.items(), _COLOURS * len(runs), strict=False):
        streams = [level.streams for level in levels]
        for label, style, width in _LINES:
            values = [getattr(pick(level), label.lower()) or float("nan") for level in levels]
            legend = f"{name} {label}" if len(runs) > 1 else label
            axes.plot(streams, values, style, color=colour, linewidth=width, marker="o", markersize=3.5, label=legend)
    axes.axhline(objective, color="black", linewidth=1, alpha=0.6)
    axes.annotate(
        f"objective: P95 ≤ {objective} ms",
        (0.01, objective),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
        fontsize=8,
    )
    counts = sorted({level.streams for levels in runs.values() for level in levels})
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    slowest = max((pick(level).p99 or 0 for levels in runs.values() for level in levels), default=0)
    if slowest > 4 * objective:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:.0f}")
        axes.yaxis.set_minor_formatter("{x:.0f}")
    else:
        axes.set_ylim(0, max(slowest, objective) * 1.15)
    axes.set_xlabel("real-time streams")
    axes.set_ylabel("milliseconds")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False)
