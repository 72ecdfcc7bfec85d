"""What tests of several rooms begin with."""

import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from antiphon.core.entry import Entry
from antiphon.core.usage import Dimension, Quantity
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.testing import FakeClock
from antiphon.trust.control import Control
from session_house import House

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
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def directory(tmp_path: Path) -> SqliteDirectory:
    return SqliteDirectory(tmp_path)


@pytest.fixture
def control(directory: SqliteDirectory) -> Control:
    return Control(directory)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """Sessions on fakes; at the end what waits in them may go on."""
    house = House()
    await house.runner.start()
    yield house
    await house.close()
