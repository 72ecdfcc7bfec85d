"""Pages that name files of the project name those that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "antiphon"
NAMED = re.compile(r"`([a-z0-9_]+(?:/[a-z0-9_]+)*\.py)`")
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
OF_THE_READER = {"backup.py"}  # which a page tells to write


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_files_that_a_page_names_are_there(page):
    named = set(NAMED.findall(page.read_text())) - OF_THE_READER
    missing = [name for name in named if not (ROOT / name).exists() and not list(SOURCE.rglob(name))]
    assert not missing
