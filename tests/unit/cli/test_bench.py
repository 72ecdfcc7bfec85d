from pathlib import Path

import pytest
from typer.testing import CliRunner

from antiphon.cli.bench import app, parse_counts
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
