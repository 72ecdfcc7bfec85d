"""Amazon's surface against its wire scripts, byte by byte."""

from pathlib import Path

import pytest
from amazon_script import Player

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.wire"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path) -> None:
    script = path.read_text()
    assert Player().play(script) == script
