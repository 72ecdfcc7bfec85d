from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console, Group
from typer.testing import CliRunner

from antiphon.bench.generations import OBJECTIVES, ChatLevel
from antiphon.bench.measure import Level, Load, Percentiles, level
from antiphon.bench.protocols.line import Target
from antiphon.cli.bench import WIDTH, app, chat_table, parse_counts, read_report, report, table
from antiphon.core.errors import CallerError


def test_numbers_of_streams_are_read_in_order() -> None:
    assert parse_counts("8, 1,64") == [8, 1, 64]


@pytest.mark.parametrize("text", ["", "0", "1,", "a", "-1", "1,99999", "1.5", "²", "1" * 5000])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(CallerError, match="--streams"):
        parse_counts(text)


def test_a_clip_that_is_not_there_is_said(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["stt", "--audio", str(tmp_path / "missing.wav")])
    assert isinstance(result.exception, CallerError)
    assert "missing.wav" in result.exception.message


def test_a_run_is_written_without_the_key_and_read_back(tmp_path: Path) -> None:
    levels = [level([], 3, Load(1.0, 0.1))]
    path = tmp_path / "run.json"
    path.write_bytes(report(Target("ws://there", "secret"), [], 60, levels))
    assert b"secret" not in path.read_bytes()
    assert read_report(path) == {"ws://there, run": levels}  # beside a new run against the same server


@pytest.mark.parametrize("content", [b"", b"{}", b'{"url":"x","levels":[{}]}'])
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(CallerError, match=r"run\.json"):
        read_report(path)


SLOW = Percentiles(10234, 20345, 30456)


def streams(count: int) -> Level:
    own = {"server_cpu_percent": 187.5, "server_rtf": 0.0123, "server_rss_mb": 2345.6, "server_mb_per_stream": 1.25}
    figures = {"goodput": 0.9876, "wer": 0.0543, "reference_words": 9, "speech_share": 0.5, "lag": 1.234}
    return Level(
        count, 12, 3, 45678, 910, SLOW, SLOW, SLOW, client_cpu_percent=99.9, late_ms_p99=12.34, **figures, **own
    )


def answers(count: int) -> ChatLevel:
    return ChatLevel(
        count, None, 1000, 12, 3, SLOW, SLOW, SLOW, 0.9, 1.0, 1.0, 9, 1234.5, 9, True, 1.0, 99.9, 12.34, 187.5, 2345.6
    )


@pytest.mark.parametrize("counts", [[1], [1, 8], [1, 8, 64, 256, 1024], [4096] * 9])
def test_what_is_printed_fits_80_columns_and_is_not_cut(counts: list[int]) -> None:
    for shown, heading in (
        (table([streams(count) for count in counts]), "stream"),
        (chat_table([answers(count) for count in counts], OBJECTIVES), "at once"),
    ):
        printed = _printed(shown)
        assert max(map(cell_len, printed.splitlines())) <= WIDTH
        assert "…" not in printed
        assert printed.count("10234 / 20345 / 30456") == 3 * len(counts)
        assert all(f"{count} {heading}" in printed for count in counts)


def _printed(shown: Group) -> str:
    console = Console(width=WIDTH)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()
