"""A ledger of an earlier version: what it holds, and who closes what was left open in it."""

import sqlite3
import uuid
from contextlib import closing

import pytest

from antiphon.core.entry import EntryKind
from antiphon.core.usage import By, UsageQuery
from antiphon.stores import open_server_stores
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.stores.sqlite.ledger_schema import COLUMNS, MIGRATIONS, to_row
from antiphon.stores.sqlite.usage import SqliteUsage
from antiphon.testing import FakeClock
from antiphon.trust.control import Control

RUNNING = MIGRATIONS[1][0]
IDS = [str(uuid.UUID(int=number)) for number in range(1, 5)]


def first(path, *entries, running=True):
    """A ledger of version 1, with or without the table that some have."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in (*MIGRATIONS[0], *[RUNNING] * running, "PRAGMA user_version=1", "PRAGMA journal_mode=WAL"):
            connection.execute(statement)
        marks = ", ".join("?" * len(COLUMNS))
        rows = [to_row(entry, "")[: len(COLUMNS)] for entry in entries]
        connection.executemany(f"INSERT INTO entries ({', '.join(COLUMNS)}) VALUES ({marks})", rows)


async def entries(path):
    return [(each.server, each.entry) for each in await SqliteUsage(path).read()]


@pytest.mark.parametrize("running", [True, False])
async def test_a_ledger_of_before_is_taken_and_its_entries_have_no_server(path, make_entry, running):
    done = [make_entry(0), make_entry(1, amount=0, kind=EntryKind.COMPLETED)]
    first(path, *done, running=running)
    ledger = SqliteLedger(path, "a")
    await ledger.note([(make_entry(session=IDS[1]), 4)])
    await ledger.append([make_entry(0, session=IDS[2])])
    assert await entries(path) == [*(("", each) for each in done), ("a", make_entry(0, session=IDS[2]))]
    await ledger.close()


async def test_a_ledger_of_before_is_read_as_it_is(path, make_entry):
    first(path, make_entry(0))
    (total,) = await SqliteUsage(path).totals(UsageQuery(by=(By.PROJECT,)))
    assert total.amount == 1_000
    assert await entries(path) == [("", make_entry(0))]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


async def test_whoever_has_the_lock_closes_what_was_left_open_before_servers_had_ids(path, make_entry):
    first(
        path, make_entry(0), make_entry(0, session=IDS[1]), make_entry(1, 0, session=IDS[1], kind=EntryKind.COMPLETED)
    )
    for server in ("a", "b"):
        await SqliteLedger(path, server).close()
    assert (await entries(path))[3:] == [("a", make_entry(1, 0, kind=EntryKind.ABANDONED))]


async def test_a_mark_of_before_is_kept_to(path, make_entry):
    """What lies before it was settled once, and is not looked at again."""
    first(path, make_entry(0))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO marks VALUES ('recovered', 1)")
    await SqliteLedger(path, "a").close()
    assert await entries(path) == [("", make_entry(0))]


async def test_tags_of_before_are_hashed_once_and_leave_the_files(tmp_path, make_entry):
    """Also what was noted; the entries are then as append-only as they were."""
    path = tmp_path / "ledger.db"
    told, other = "patient=Jane Roe +1 415-555-0100", "Roe"
    first(path, make_entry(0, project="acme", tags=(told, other)), make_entry(0, project="default"))
    directory = SqliteDirectory(tmp_path)
    Control(directory).create_project("acme", "", 1)
    for _ in range(2):
        stores = open_server_stores(tmp_path, "a", FakeClock())
        await stores.answers.close()
        await stores.ledger.close()
    labels = Control(directory).labels("acme", told)[1], Control(directory).labels("acme", other)[1]
    assert labels[0].startswith("patient=")
    assert "Jane" not in labels[0]
    assert [each.entry.tags for each in await SqliteUsage(path).read()][:2] == [labels, ()]
    for file in tmp_path.glob("ledger.db*"):
        assert b"Roe" not in file.read_bytes()
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("UPDATE entries SET tags = '[]'")
