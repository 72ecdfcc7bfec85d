"""A ledger that is lost, while it is open and before: noticed, and not begun anew unasked."""

import asyncio
import os
import shutil
import sqlite3

import pytest
from files import mode

from antiphon.core.errors import InternalError, LedgerUnavailable
from antiphon.stores.sqlite import ledger as ledger_module
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.stores.sqlite.ledger_files import Owner

NEW, KNOWN, OTHER = Owner(7, had_ledger=False), Owner(7, had_ledger=True), Owner(8, had_ledger=False)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(ledger_module, "PROBE_INTERVAL_S", 0.001)
    monkeypatch.setattr(ledger_module, "LOOK_S", 0)


async def until(condition):
    async with asyncio.timeout(60):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


def replace(path):
    shutil.copy(path, f"{path}.new")
    os.rename(f"{path}.new", path)


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


HARMS = {
    "removed": lambda path: path.unlink(),
    "replaced": replace,
    "emptied": lambda path: os.truncate(path, 0),
    "cut short": cut,
}


@pytest.mark.parametrize("file", ["ledger.db", "ledger.db-wal"])
@pytest.mark.parametrize("harm", HARMS)
async def test_what_happens_to_its_files_is_noticed_by_who_appends(ledger, path, make_entry, file, harm, monkeypatch):
    monkeypatch.setattr(ledger, "_look", lambda: None)
    await ledger.append([make_entry(0)])
    HARMS[harm](path.with_name(file))
    with pytest.raises(LedgerUnavailable):
        await ledger.append([make_entry(1)])
    assert (ledger.healthy, ledger.trouble) == (False, f"{file} was {harm}")


@pytest.mark.parametrize("file", ["ledger.db", "ledger.db-wal"])
@pytest.mark.parametrize("harm", HARMS)
async def test_and_when_nobody_does(ledger, path, make_entry, file, harm):
    await ledger.append([make_entry(0)])
    assert ledger.trouble is None
    HARMS[harm](path.with_name(file))
    await until(lambda: not ledger.healthy)
    assert ledger.trouble == f"{file} was {harm}"


async def test_one_that_was_only_moved_away_is_gone_on_with(ledger, path, make_entry, caplog):
    await ledger.append([make_entry(0)])
    path.rename(path.with_suffix(".aside"))
    await until(lambda: not ledger.healthy)
    path.with_suffix(".aside").rename(path)
    await until(lambda: ledger.healthy)
    await ledger.append([make_entry(1)])
    told = [(record.getMessage(), getattr(record, "reason", None)) for record in caplog.records]
    assert told == [
        ("the ledger cannot store entries", "ledger.db was removed"),
        ("the ledger stores entries again", None),
    ]


async def test_folds_and_a_full_log_are_no_trouble(ledger, make_entry, monkeypatch):
    monkeypatch.setattr(ledger_module, "FOLD_AFTER_PAGES", 1)
    for number in range(50):
        await ledger.append([make_entry(number * 10 + n) for n in range(10)])
        assert ledger.healthy


async def test_another_servers_log_survives_the_end_of_one_that_lost_its_place(ledger, path, make_entry, tmp_path):
    """Closing the last connection removes the log by its name."""
    await ledger.append([make_entry(0)])
    (tmp_path / "aside").mkdir()
    for file in tmp_path.glob("ledger.db*"):
        file.rename(tmp_path / "aside" / file.name)
    other = sqlite3.connect(path)
    other.execute("PRAGMA journal_mode=WAL")
    other.execute("CREATE TABLE t (x)")
    await ledger.close()
    assert path.with_name("ledger.db-wal").exists()
    other.close()


async def test_its_files_are_private(ledger, tmp_path):
    modes = {file.name: mode(file) for file in tmp_path.glob("ledger.db*")}
    assert modes == dict.fromkeys(("ledger.db", "ledger.db-wal", "ledger.db-shm"), 0o600)


# -- before the start --------------------------------------------------------------------------------------------------


async def opened(path, owner):
    await SqliteLedger(path, "a", owner).close()


async def test_a_new_one_and_one_of_an_earlier_version_are_taken(path, make_entry):
    await opened(path, None)  # knows no directory
    await opened(path, NEW)
    await opened(path, KNOWN)


async def test_a_directory_that_did_not_come_to_know_its_ledger_does_at_the_next_start(path):
    await opened(path, NEW)
    await opened(path, NEW)
    await opened(path, KNOWN)


@pytest.mark.parametrize("left", [None, b""])
async def test_one_that_is_gone_or_empty_is_not_begun_anew(path, left):
    await opened(path, NEW)
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    with pytest.raises(InternalError, match=r"missing or empty.*--accept-loss"):
        SqliteLedger(path, "a", KNOWN)
    assert path.exists() == (left is not None)
    await opened(path, Owner(7, had_ledger=True, accept_loss=True))
    await opened(path, KNOWN)


async def test_another_directorys_is_refused(path):
    await opened(path, NEW)
    for owner in (OTHER, Owner(8, had_ledger=True)):
        with pytest.raises(InternalError, match=r"do not belong together.*--accept-loss"):
            SqliteLedger(path, "a", owner)
    await opened(path, Owner(8, had_ledger=True, accept_loss=True))
    with pytest.raises(InternalError, match="do not belong together"):
        SqliteLedger(path, "a", KNOWN)


async def test_one_without_a_directory_is_not_what_a_directory_had(path):
    await opened(path, None)
    with pytest.raises(InternalError, match="do not belong together"):
        SqliteLedger(path, "a", KNOWN)


async def test_a_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path):
    for path in (tmp_path / "nowhere" / "ledger.db", tmp_path / "file" / "ledger.db"):
        (tmp_path / "file").touch()
        with pytest.raises(LedgerUnavailable, match="cannot be opened"):
            SqliteLedger(path, "a")
