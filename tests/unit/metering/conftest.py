import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from antiphon.core.usage import Dimension, Quantity
from antiphon.metering.entry import Entry
from antiphon.metering.ledger import Ledger

SESSION = str(uuid.UUID(int=1))

MakeEntry = Callable[..., Entry]


@pytest.fixture
def make_entry() -> MakeEntry:
    def make(sequence: int = 0, amount: int = 1_000, **fields: object) -> Entry:
        values: dict[str, object] = {
            "project": "default",
            "key_id": "k1",
            "session": SESSION,
            "sequence": sequence,
            "at_unix_ms": 1_767_225_600_000,
            "surface": "deepgram",
            "model": "moonshine-tiny-en",
            "quantity": Quantity(Dimension.STT_AUDIO_MS, amount),
            "feature": "live",
        }
        return Entry(**(values | fields))  # type: ignore[arg-type]

    return make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[Ledger]:
    opened = Ledger(path)
    yield opened
    await opened.close()
