from dataclasses import replace
from pathlib import Path

import pytest

from antiphon.bench.generations import OBJECTIVES, ChatLevel
from antiphon.bench.generations import level as chat_level
from antiphon.bench.measure import Level, Load, Percentiles, level
from antiphon.bench.plot import draw, draw_chat
from antiphon.core.errors import CallerError


def levels(scale: float) -> list[Level]:
    empty = level([], 0, Load(1.0, 0.1))
    figures = Percentiles(100 * scale, 200 * scale, 300 * scale)
    measured = [replace(empty, streams=count, ttfb=figures, final=figures) for count in (1, 8, 64)]
    return [*measured, replace(empty, streams=128)]


def test_draws_a_picture_also_of_levels_without_figures_and_of_two_runs(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw({"ours": levels(1)}, tmp_path / "one.png")
    draw({"ours": levels(1), "peer": levels(40)}, tmp_path / "two.png")
    one, two = (tmp_path / "one.png").read_bytes(), (tmp_path / "two.png").read_bytes()
    assert one.startswith(b"\x89PNG")
    assert two.startswith(b"\x89PNG")
    assert one != two


def test_an_ending_that_is_no_picture_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(CallerError, match=r"picture\.docx"):
        draw({"ours": levels(1)}, tmp_path / "picture.docx")


def chat_levels(*, rate: bool) -> list[ChatLevel]:
    empty = chat_level([], Load(1.0, 0.1), OBJECTIVES, concurrency=1, rate=None)
    figures = Percentiles(0.0, 200.0, 3000.0)
    loads = [{"concurrency": None, "rate": load} if rate else {"concurrency": round(load)} for load in (1.0, 8.0, 64.0)]
    measured = [replace(empty, ttft=figures, total=figures, tokens_per_s=100.0, **load) for load in loads]
    return [*measured, replace(empty, concurrency=128)]


def test_draws_language_levels_by_concurrency_and_by_rate(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_chat({"ours": chat_levels(rate=False)}, OBJECTIVES, tmp_path / "one.png")
    draw_chat({"ours": chat_levels(rate=True)}, OBJECTIVES, tmp_path / "two.png")
    one, two = (tmp_path / "one.png").read_bytes(), (tmp_path / "two.png").read_bytes()
    assert one.startswith(b"\x89PNG")
    assert two.startswith(b"\x89PNG")
    assert one != two
