from pathlib import Path

import pytest
from typer.testing import CliRunner

from antiphon.bench.client import Target
from antiphon.bench.measure import Load, level
from antiphon.cli.bench import app, parse_counts, read_report, report
from antiphon.core.errors import CallerError


def test_numbers_of_streams_are_read_in_order() -> None:
    assert parse_counts("8, 1,64") == [8, 1, 64]


@pytest.mark.parametrize("text", ["", "0", "1,", "a", "-1", "1,99999", "1.5", "²"])
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
    assert read_report(path) == {"ws://there": levels}


@pytest.mark.parametrize("content", [b"", b"{}", b'{"url":"x","levels":[{}]}'])
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(CallerError, match=r"run\.json"):
        read_report(path)
