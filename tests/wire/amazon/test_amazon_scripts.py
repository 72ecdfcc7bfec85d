"""Amazon's surface against its wire scripts, byte by byte."""

from pathlib import Path

import pytest
from amazon_script import Player

from antiphon.surfaces.amazon.parameters import TABLE

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "surfaces" / "amazon.md"
SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.wire"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path) -> None:
    script = path.read_text()
    assert Player().play(script) == script


def test_every_option_is_documented_as_it_is() -> None:
    page = DOCUMENTATION.read_text()
    for option in TABLE:
        assert f"| `{option.name}` | {option.use} | {option.how} |" in page
