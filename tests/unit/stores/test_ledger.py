import asyncio
import sqlite3
import uuid
from dataclasses import replace

import pytest

from antiphon.core.entry import EntryKind
from antiphon.core.errors import AlreadyAnswered, CallerError, Conflict, InternalError, LedgerUnavailable
from antiphon.core.stores import IDEMPOTENCY_RETENTION_MS
from antiphon.stores.sqlite import ledger as ledger_module
from antiphon.stores.sqlite.ledger import MAX_WAITING_ENTRIES, SqliteLedger
from antiphon.stores.sqlite.ledger_schema import COLUMNS, SCHEMA_VERSION, WRITTEN, from_row

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
    async with asyncio.timeout(60):
        while True:
            try:
                return await ledger.flush()
            except LedgerUnavailable:
                await asyncio.sleep(0.001)


async def test_entries_are_there_when_append_returns(ledger, path, make_entry):
    await ledger.append([make_entry(0), make_entry(1, channel=1)])
    await ledger.append([make_entry(2)])
    assert read(path) == [make_entry(0), make_entry(1, channel=1), make_entry(2)]


@pytest.fixture
def commits(monkeypatch):
    """How many appends each commit is for."""
    counts = []
    real = ledger_module.commit
    monkeypatch.setattr(
        ledger_module,
        "commit",
        lambda connection, group, *rest: counts.append(len(group)) or real(connection, group, *rest),
    )
    return counts


async def test_appends_that_wait_together_share_a_commit(ledger, path, make_entry, commits):
    await asyncio.gather(*(ledger.append([make_entry(number)]) for number in range(200)))
    assert sum(commits) == 200
    assert len(commits) < 20
    assert [entry.sequence for entry in read(path)] == list(range(200))


async def test_the_end_of_a_session_shares_the_commit_of_the_next_charge(ledger, make_entry, commits, monkeypatch):
    monkeypatch.setattr(ledger_module, "CLOSED_WITHIN_S", 60)
    monkeypatch.setattr(ledger_module, "PROBE_INTERVAL_S", 60)
    for number in range(20):
        await ledger.append([make_entry(2 * number)])
        end = asyncio.ensure_future(ledger.append([make_entry(2 * number + 1, 0, kind=EntryKind.COMPLETED)]))
        await asyncio.to_thread(ledger._thread.join, 0.001)  # the writer has its turn
    assert commits == [1] + 19 * [2]
    await ledger.flush()
    await end


async def test_the_end_of_a_session_that_nothing_follows_is_written_soon(ledger, path, make_entry, monkeypatch):
    monkeypatch.setattr(ledger_module, "PROBE_INTERVAL_S", 600)
    await ledger.append([make_entry(0)])
    async with asyncio.timeout(60):
        await ledger.append([make_entry(1, 0, kind=EntryKind.COMPLETED)])
    assert [entry.sequence for entry in read(path)] == [0, 1]


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
        f"REPLACE INTO entries SELECT 99, {', '.join(WRITTEN)} FROM entries",
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
        SqliteLedger(path, "a")
    await ledger.append([make_entry(0)])
    await ledger.close()
    again = SqliteLedger(path, "a")
    await again.close()
    assert read(path)[0] == make_entry(0)


async def test_a_ledger_of_another_version_is_refused_and_let_go(ledger, path):
    await ledger.close()
    execute(path, "PRAGMA user_version=99")
    with pytest.raises(InternalError, match="version 99"):
        SqliteLedger(path, "a")
    execute(path, f"PRAGMA user_version={SCHEMA_VERSION}")
    await SqliteLedger(path, "a").close()


async def test_the_next_server_closes_what_a_dead_one_left_open(ledger, path, make_entry):
    await ledger.append([make_entry(0), make_entry(1, at_unix_ms=1_767_225_600_500)])
    done = [
        make_entry(0, session=OTHER_SESSION),
        make_entry(1, session=OTHER_SESSION, amount=0, kind=EntryKind.COMPLETED),
    ]
    await ledger.append(done)
    await ledger.close()
    for _ in range(2):  # the second start finds nothing left to close
        again = SqliteLedger(path, "a")
        await again.close()
        abandoned = make_entry(2, amount=0, at_unix_ms=1_767_225_600_500, kind=EntryKind.ABANDONED)
        assert read(path)[4:] == [abandoned]


async def test_a_server_closes_only_what_it_left_open_itself(path, make_entry):
    """Whichever starts first, and however often: what one settles is not taken from another."""
    ledger = SqliteLedger(path, "a")
    await ledger.append([make_entry(0)])
    await ledger.note([(make_entry(channel=1), 4)])
    await ledger.close()
    for _ in range(2):
        other = SqliteLedger(path, "b")
        await other.append([make_entry(0, session=str(uuid.uuid4()))])
        await other.close()
    assert [entry.kind for entry in read(path) if entry.session == make_entry().session] == [EntryKind.USAGE]
    for _ in range(2):
        await SqliteLedger(path, "a").close()
    ours = [(entry.kind, entry.quantity.amount) for entry in read(path) if entry.session == make_entry().session]
    assert ours == [(EntryKind.USAGE, 1_000), (EntryKind.USAGE, 4), (EntryKind.ABANDONED, 0)]
    assert sum(entry.kind is EntryKind.ABANDONED for entry in read(path)) == 2  # and the first of b's, by b


async def test_a_failed_commit_acknowledges_nothing_and_the_ledger_recovers(ledger, path, make_entry, monkeypatch):
    monkeypatch.setattr(ledger_module, "PROBE_INTERVAL_S", 0.001)
    real_commit, real_prove = ledger_module.commit, SqliteLedger._prove

    def fail(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(ledger_module, "commit", fail)
    monkeypatch.setattr(SqliteLedger, "_prove", fail)
    with pytest.raises(LedgerUnavailable):
        await ledger.append([make_entry(0)])
    assert not ledger.healthy
    with pytest.raises(LedgerUnavailable):
        await ledger.append([make_entry(0)])
    with pytest.raises(LedgerUnavailable):
        await ledger.claim("default", "key", "body", OTHER_SESSION, 0)
    assert read(path) == []

    monkeypatch.setattr(ledger_module, "commit", real_commit)
    monkeypatch.setattr(SqliteLedger, "_prove", real_prove)
    await until_healthy(ledger)
    await ledger.append([make_entry(0)])
    assert read(path) == [make_entry(0)]


async def test_recovery_does_not_close_sessions_that_are_still_open(ledger, path, make_entry, monkeypatch):
    monkeypatch.setattr(ledger_module, "PROBE_INTERVAL_S", 0.001)
    await ledger.append([make_entry(0)])
    real = ledger_module.commit
    monkeypatch.setattr(ledger_module, "commit", lambda *_: 1 / 0)
    with pytest.raises(LedgerUnavailable):
        await ledger.append([make_entry(1)])
    monkeypatch.setattr(ledger_module, "commit", real)
    await until_healthy(ledger)
    await ledger.append([make_entry(1)])
    assert read(path) == [make_entry(0), make_entry(1)]


async def test_what_waits_is_bounded(ledger, make_entry):
    many = [make_entry(number) for number in range(MAX_WAITING_ENTRIES + 1)]
    with pytest.raises(LedgerUnavailable, match="is waiting"):
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
    entries = [make_entry(0, session=claim.session) for claim in claims]
    settled = await asyncio.gather(
        *(ledger.append([entry], claim) for entry, claim in zip(entries, claims, strict=True)), return_exceptions=True
    )
    assert [type(each) for each in settled] == [type(None), AlreadyAnswered]
    assert read(path) == entries[:1]


async def test_what_arrived_is_not_given_again(ledger, make_entry):
    claim = await ledger.claim("default", "retry", "body", make_entry().session, 1_000)
    await ledger.append([make_entry(0), make_entry(1, 0, kind=EntryKind.COMPLETED)], claim)
    with pytest.raises(AlreadyAnswered) as refused:
        await ledger.claim("default", "retry", "body", OTHER_SESSION, 2_000)
    assert refused.value.session == make_entry().session


@pytest.mark.parametrize("closed", [True, False])
async def test_what_may_not_have_arrived_is_given_again_once(path, make_entry, closed):
    """Also by the next server, and where the one before died in between."""
    ledger = SqliteLedger(path, "a")
    claim = await ledger.claim("default", "retry", "body", make_entry().session, 1_000)
    await ledger.append([make_entry(0)], claim)
    if closed:
        await ledger.append([make_entry(1, 0, kind=EntryKind.ABANDONED)], claim)
    await ledger.close()
    ledger = SqliteLedger(path, "a")
    ids = [str(uuid.UUID(int=n)) for n in (7, 8, 9)]
    again, beside, late = [await ledger.claim("default", "retry", "body", id, 2_000) for id in ids]
    assert {each.replay_of for each in (again, beside, late)} == {make_entry().session}
    for number in (0, 1):
        await ledger.append([make_entry(number, session=again.session)], again)
    with pytest.raises(AlreadyAnswered):
        await ledger.append([make_entry(0, session=beside.session)], beside)
    await ledger.close()
    ledger = SqliteLedger(path, "a")
    with pytest.raises(AlreadyAnswered):
        await ledger.claim("default", "retry", "body", OTHER_SESSION, 2_000)
    await ledger.close()
    assert [entry.kind for entry in read(path)] == [EntryKind.USAGE, EntryKind.ABANDONED]


async def test_a_stream_that_broke_off_gives_its_key_to_the_next(ledger, path, make_entry):
    for number, session in enumerate((make_entry().session, OTHER_SESSION)):
        claim = await ledger.claim("default", "retry", "body", session, 1_000 + number)
        assert claim.replay_of is None
        end = EntryKind.COMPLETED if number else EntryKind.ABANDONED
        new = [make_entry(0, session=session), make_entry(1, 0, session=session, kind=end)]
        await ledger.append([replace(entry, feature="stream") for entry in new], claim)
    with pytest.raises(AlreadyAnswered) as refused:
        await ledger.claim("default", "retry", "body", str(uuid.UUID(int=9)), 2_000)
    assert refused.value.session == OTHER_SESSION
    assert len(read(path)) == 4


# -- what is noted -----------------------------------------------------------------------------------------------------


async def test_what_was_noted_is_an_entry_when_its_server_has_died(path, make_entry):
    ledger = SqliteLedger(path, "a")
    await ledger.append([make_entry(0)])
    await ledger.note([(make_entry(channel=1), 3), (make_entry(channel=2), 5)])
    await ledger.note([(make_entry(channel=1), 4), (make_entry(0, session=OTHER_SESSION), 7)])
    assert read(path) == [make_entry(0)]
    await ledger.close()
    for _ in range(2):
        await SqliteLedger(path, "a").close()
    found = {entry.key: (entry.kind, entry.channel, entry.quantity.amount) for entry in read(path)}
    ours, theirs = make_entry().session, OTHER_SESSION
    assert found == {
        ("default", ours, 0): (EntryKind.USAGE, 0, 1_000),
        ("default", ours, 1): (EntryKind.USAGE, 1, 4),
        ("default", ours, 2): (EntryKind.USAGE, 2, 5),
        ("default", ours, 3): (EntryKind.ABANDONED, found["default", ours, 3][1], 0),
        ("default", theirs, 0): (EntryKind.USAGE, 0, 7),
        ("default", theirs, 1): (EntryKind.ABANDONED, 0, 0),
    }


async def test_an_entry_stands_in_place_of_what_its_session_noted(path, make_entry):
    ledger = SqliteLedger(path, "a")
    await ledger.note([(make_entry(), 3), (make_entry(session=OTHER_SESSION), 7)])
    await asyncio.gather(ledger.note([(make_entry(), 4)]), ledger.append([make_entry(0, 4)]))
    await ledger.append([make_entry(1, 0, kind=EntryKind.COMPLETED)])
    await ledger.close()
    await SqliteLedger(path, "a").close()
    assert [entry.quantity.amount for entry in read(path) if entry.session == make_entry().session] == [4, 0]
    assert [entry.quantity.amount for entry in read(path) if entry.session == OTHER_SESSION] == [7, 0]


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
