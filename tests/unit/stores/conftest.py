from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.stores.sqlite.ledger import SqliteLedger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[SqliteLedger]:
    opened = SqliteLedger(path, "a")
    yield opened
    await opened.close()
