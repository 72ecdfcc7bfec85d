import asyncio
import sqlite3
import uuid

import pytest

from antiphon.core.errors import CallerError, Conflict, InternalError, LedgerUnavailable
from antiphon.metering import ledger as ledger_module
from antiphon.metering.entry import Kind
from antiphon.metering.ledger import IDEMPOTENCY_RETENTION_MS, MAX_WAITING_ENTRIES, Ledger
from antiphon.metering.tables import COLUMNS, from_row

OTHER_SESSION = str(uuid.UUID(int=2))


def read(path):
    with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as connection:
        rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM entries ORDER BY position").fetchall()
    connection.close()
    return [from_row(row) for row in rows]


def execute(path, statement):
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute(statement)
    finally:
        connection.close()


async def until_healthy(ledger):
    async with asyncio.timeout(5):
        while True:
            try:
                return await ledger.flush()
            except LedgerUnavailable:
                await asyncio.sleep(0.001)


async def test_entries_are_there_when_append_returns(ledger, path, make_entry):
    await ledger.append([make_entry(0), make_entry(1, channel=1)])
    await ledger.append([make_entry(2)])
    assert read(path) == [make_entry(0), make_entry(1, channel=1), make_entry(2)]


async def test_appends_that_wait_together_share_a_commit(ledger, path, make_entry, monkeypatch):
    commits = []
    real = ledger_module._commit
    monkeypatch.setattr(
        ledger_module, "_commit", lambda connection, group: commits.append(len(group)) or real(connection, group)
    )
    await asyncio.gather(*(ledger.append([make_entry(number)]) for number in range(200)))
    assert sum(commits) == 200
    assert len(commits) < 20
    assert [entry.sequence for entry in read(path)] == list(range(200))


async def test_the_same_entry_again_is_not_an_error(ledger, path, make_entry):
    await ledger.append([make_entry(0)])
    await ledger.append([make_entry(0), make_entry(1)])
    assert read(path) == [make_entry(0), make_entry(1)]


async def test_another_entry_under_a_taken_key_is_refused_whole_and_alone(ledger, path, make_entry):
    await ledger.append([make_entry(0)])
    refused, taken = await asyncio.gather(
        ledger.append([make_entry(1), make_entry(0, amount=999)]),
        ledger.append([make_entry(0, session=OTHER_SESSION)]),
        return_exceptions=True,
    )
    assert isinstance(refused, Conflict)
    assert taken is None
    assert read(path) == [make_entry(0), make_entry(0, session=OTHER_SESSION)]


async def test_one_append_cannot_hold_one_key_twice(ledger, path, make_entry):
    with pytest.raises(Conflict):
        await ledger.append([make_entry(0), make_entry(0)])
    assert read(path) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET amount = 0",
        "DELETE FROM entries",
        "INSERT OR REPLACE INTO entries SELECT * FROM entries",
        f"REPLACE INTO entries SELECT 99, {', '.join(COLUMNS)} FROM entries",
    ],
)
async def test_nobody_can_change_an_entry(ledger, path, make_entry, statement):
    await ledger.append([make_entry(0)])
    await ledger.close()
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        execute(path, statement)
    assert read(path) == [make_entry(0)]


async def test_a_second_server_is_refused_and_a_later_one_is_not(ledger, path, make_entry):
    with pytest.raises(LedgerUnavailable, match="another server"):
        Ledger(path)
    await ledger.append([make_entry(0)])
    await ledger.close()
    again = Ledger(path)
    await again.close()
    assert read(path)[0] == make_entry(0)


async def test_a_ledger_of_another_version_is_refused_and_let_go(ledger, path):
    await ledger.close()
    execute(path, "PRAGMA user_version=99")
    with pytest.raises(InternalError, match="version 99"):
        Ledger(path)
    execute(path, "PRAGMA user_version=1")
    await Ledger(path).close()


async def test_the_next_server_closes_what_a_dead_one_left_open(ledger, path, make_entry):
    await ledger.append([make_entry(0), make_entry(1, at_unix_ms=1_767_225_600_500)])
    done = [
        make_entry(0, session=OTHER_SESSION),
        make_entry(1, session=OTHER_SESSION, amount=0, kind=Kind.COMPLETED),
    ]
    await ledger.append(done)
    await ledger.close()
    for _ in range(2):  # the second start finds nothing left to close
        again = Ledger(path)
        await again.close()
        abandoned = make_entry(2, amount=0, at_unix_ms=1_767_225_600_500, kind=Kind.ABANDONED)
        assert read(path)[4:] == [abandoned]


async def test_a_failed_commit_acknowledges_nothing_and_the_ledger_recovers(ledger, path, make_entry, monkeypatch):
    monkeypatch.setattr(ledger_module, "PROBE_INTERVAL_S", 0.001)
    real_commit, real_prove = ledger_module._commit, Ledger._prove

    def fail(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(ledger_module, "_commit", fail)
    monkeypatch.setattr(Ledger, "_prove", fail)
    with pytest.raises(LedgerUnavailable):
        await ledger.append([make_entry(0)])
    assert not ledger.healthy
    with pytest.raises(LedgerUnavailable):
        await ledger.append([make_entry(0)])
    with pytest.raises(LedgerUnavailable):
        await ledger.claim("default", "key", "body", OTHER_SESSION, 0)
    assert read(path) == []

    monkeypatch.setattr(ledger_module, "_commit", real_commit)
    monkeypatch.setattr(Ledger, "_prove", real_prove)
    await until_healthy(ledger)
    await ledger.append([make_entry(0)])
    assert read(path) == [make_entry(0)]


async def test_recovery_does_not_close_sessions_that_are_still_open(ledger, path, make_entry, monkeypatch):
    monkeypatch.setattr(ledger_module, "PROBE_INTERVAL_S", 0.001)
    await ledger.append([make_entry(0)])
    real = ledger_module._commit
    monkeypatch.setattr(ledger_module, "_commit", lambda *_: 1 / 0)
    with pytest.raises(LedgerUnavailable):
        await ledger.append([make_entry(1)])
    monkeypatch.setattr(ledger_module, "_commit", real)
    await until_healthy(ledger)
    await ledger.append([make_entry(1)])
    assert read(path) == [make_entry(0), make_entry(1)]


async def test_what_waits_is_bounded(ledger, make_entry):
    many = [make_entry(number) for number in range(MAX_WAITING_ENTRIES + 1)]
    with pytest.raises(LedgerUnavailable, match="waits"):
        await ledger.append(many)
    await ledger.append(many[:-1])
    assert ledger.healthy


async def test_a_cancelled_append_harms_nobody(ledger, path, make_entry):
    cancelled = asyncio.ensure_future(ledger.append([make_entry(0)]))
    await asyncio.sleep(0)
    cancelled.cancel()
    await ledger.append([make_entry(1)])
    assert make_entry(1) in read(path)


async def test_close_settles_what_waits_and_refuses_what_comes_later(ledger, path, make_entry):
    waiting = [asyncio.ensure_future(ledger.append([make_entry(number)])) for number in range(50)]
    await asyncio.sleep(0)
    await ledger.close()
    await asyncio.gather(*waiting)
    assert len(read(path)) == 50
    assert not ledger.healthy
    with pytest.raises(LedgerUnavailable):
        await ledger.append([make_entry(50)])


async def test_flush_returns_after_everything_before_it(ledger, path, make_entry):
    waiting = asyncio.ensure_future(ledger.append([make_entry(0)]))
    await asyncio.sleep(0)
    await ledger.flush()
    assert read(path) == [make_entry(0)]
    await waiting


async def test_the_log_is_folded_into_the_database(ledger, path, make_entry, monkeypatch):
    monkeypatch.setattr(ledger_module, "FOLD_AFTER_PAGES", 1)
    before = path.stat().st_size
    for number in range(0, 2_000, 500):
        await ledger.append([make_entry(number + offset) for offset in range(500)])
    await ledger.flush()
    assert path.stat().st_size > before


async def test_a_request_is_charged_once(ledger, path, make_entry):
    first = await ledger.claim("default", "retry", "body", make_entry().session, 1_000)
    assert first.replay_of is None
    await ledger.append([make_entry(0)], first)
    await ledger.append([make_entry(1)], first)
    second = await ledger.claim("default", "retry", "body", OTHER_SESSION, 2_000)
    assert second.replay_of == make_entry().session
    await ledger.append([make_entry(0, session=OTHER_SESSION)], second)
    assert read(path) == [make_entry(0), make_entry(1)]


async def test_of_two_at_once_one_is_charged(ledger, path, make_entry):
    claims = [
        await ledger.claim("default", "retry", "body", session, 1_000)
        for session in (make_entry().session, OTHER_SESSION)
    ]
    assert [claim.replay_of for claim in claims] == [None, None]
    await asyncio.gather(*(ledger.append([make_entry(0, session=claim.session)], claim) for claim in claims))
    assert len(read(path)) == 1


async def test_a_claim_without_an_entry_is_not_kept(ledger, make_entry):
    await ledger.claim("default", "retry", "body", make_entry().session, 1_000)
    second = await ledger.claim("default", "retry", "body", OTHER_SESSION, 2_000)
    assert second.replay_of is None


async def test_a_reused_key_with_another_request_is_refused(ledger, path, make_entry):
    claim = await ledger.claim("default", "retry", "body", make_entry().session, 1_000)
    late = await ledger.claim("default", "retry", "another", OTHER_SESSION, 1_000)
    await ledger.append([make_entry(0)], claim)
    with pytest.raises(Conflict):
        await ledger.claim("default", "retry", "another", OTHER_SESSION, 2_000)
    with pytest.raises(Conflict):
        await ledger.append([make_entry(0, session=OTHER_SESSION)], late)
    other_project = await ledger.claim("acme", "retry", "another", OTHER_SESSION, 2_000)
    assert other_project.replay_of is None
    assert read(path) == [make_entry(0)]


async def test_an_idempotency_key_is_bounded(ledger, make_entry):
    await ledger.claim("default", "k" * 255, "body", make_entry().session, 1_000)
    for wrong in ("", "k" * 256, "\ud800", "a\nb"):
        with pytest.raises(CallerError):
            await ledger.claim("default", wrong, "body", make_entry().session, 1_000)
    assert ledger.healthy


async def test_idempotency_keys_are_forgotten_in_time(ledger, path, make_entry):
    claim = await ledger.claim("default", "retry", "body", make_entry().session, 1_000)
    await ledger.append([make_entry(0)], claim)
    later = await ledger.claim("default", "retry", "another", OTHER_SESSION, 1_000 + IDEMPOTENCY_RETENTION_MS)
    assert later.replay_of is None
    await ledger.append([make_entry(0, session=OTHER_SESSION)], later)
    assert len(read(path)) == 2
