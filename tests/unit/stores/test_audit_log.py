"""The audit log in the ledger's files: append-only, in the ledger's transactions, whole after failures and restarts."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from antiphon.core import merkle
from antiphon.core.audit import Action, AuditRecord, Outcome, canonical
from antiphon.core.errors import InternalError, LedgerUnavailable
from antiphon.stores.sqlite import ledger as ledger_module
from antiphon.stores.sqlite.audit import SqliteTrail
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.stores.sqlite.ledger_schema import MIGRATIONS

NOW = 1_767_225_600_000


def told(number):
    return AuditRecord(NOW + number, Action.ACCESS, Outcome.ALLOWED, f"k{number}")


async def root(path, size):
    return merkle.fold(await SqliteTrail(path).hashes(merkle.subtrees((0, size))))


def expected(size):
    edge = merkle.Edge()
    for number in range(size):
        edge.add(merkle.leaf_hash(canonical(told(number))))
    return edge.root


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET body = x'00' WHERE number = 1",
        "UPDATE audit SET body = NULL WHERE number = 1",
        "UPDATE audit SET body = NULL, project = '', action = '', at_unix_ms = 1 WHERE number = 1",
        "DELETE FROM audit WHERE number = 2",
        "UPDATE audit SET body = NULL, project = '', action = '', hashes = x'00' WHERE number = 1",
        "INSERT OR REPLACE INTO audit VALUES (1, 1, '', '', x'00', x'00')",
        "INSERT INTO audit VALUES (7, 1, '', '', x'00', x'00')",
    ],
)
async def test_nobody_changes_what_is_there(ledger, path, statement):
    for number in range(3):
        ledger.record(told(number))
    await ledger.close()
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)


async def test_records_share_the_transaction_of_what_is_appended(ledger, path, make_entry, monkeypatch):
    commits = []
    real = ledger_module.commit
    monkeypatch.setattr(ledger_module, "commit", lambda *given: commits.append(len(given[-1])) or real(*given))
    for number in range(100):
        ledger.record(told(number))
        await ledger.append([make_entry(number)])
    assert len(commits) <= 101  # one that was under way when the first came
    assert sum(commits) == 100
    assert await root(path, 100) == expected(100)


async def test_a_log_goes_on_where_it_ended(ledger, path):
    for number in range(5):
        ledger.record(told(number))
    await ledger.close()
    again = SqliteLedger(path, "a")
    for number in range(5, 12):
        again.record(told(number))
    await again.close()
    assert await root(path, 12) == expected(12)


class FailsToCommit:
    """A connection whose next commit fails."""

    def __init__(self, connection):
        self._connection, self._fails = connection, True

    def execute(self, statement, *values):
        if statement == "COMMIT" and self._fails:
            self._fails = False
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(statement, *values)

    def __getattr__(self, name):
        return getattr(self._connection, name)


async def test_what_could_not_be_written_is_written_once_when_it_can_be(ledger, path, make_entry):
    ledger.record(told(0))
    await ledger.flush()
    ledger._connection = FailsToCommit(ledger._connection)
    ledger.record(told(1))
    with pytest.raises(LedgerUnavailable):
        await ledger.append([make_entry(0)])
    assert ledger.trouble
    ledger.record(told(2))
    async with asyncio.timeout(60):
        while ledger.trouble:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await ledger.flush()
    assert await SqliteTrail(path).size() == 3
    assert await root(path, 3) == expected(3)


async def test_what_waits_is_bounded(ledger, monkeypatch):
    monkeypatch.setattr(ledger_module, "MAX_RECORDS", 3)
    for number in range(3):
        ledger.record(told(number))
    with pytest.raises(LedgerUnavailable):
        ledger.record(told(3))


async def test_a_ledger_of_before_has_an_empty_log_and_gets_one(path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.create_function("labels", 2, lambda project, tags: tags)
        for statements in MIGRATIONS[:3]:
            for statement in statements:
                connection.execute(statement)
        connection.execute("PRAGMA user_version=3")
    trail = SqliteTrail(path)
    assert (await trail.size(), await trail.logged(0)) == (0, [])
    ledger = SqliteLedger(path, "a")
    ledger.record(told(0))
    await ledger.close()
    assert await trail.size() == 1


async def test_hashes_that_are_missing_are_noticed(ledger, path):
    for number in range(3):
        ledger.record(told(number))
    await ledger.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TRIGGER audit_no_delete")
        connection.execute("DELETE FROM audit WHERE number < 2")
    with pytest.raises(InternalError, match="tampered"):
        SqliteLedger(path, "a")
    with pytest.raises(InternalError, match="tampered"):
        await SqliteTrail(path).hashes([(0, 0)])
