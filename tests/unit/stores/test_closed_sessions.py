"""Sessions as bills need them: the ledger in a file and the one in memory say the same, and what they should."""

import random
import uuid

import pytest

from antiphon.core.entry import EntryKind, Reference
from antiphon.core.errors import CallerError, Conflict, InternalError
from antiphon.core.stores import IssuedStatement
from antiphon.core.usage import LooseEnds, SessionQuery, Settled
from antiphon.stores.sqlite import sessions as stored
from antiphon.stores.sqlite.bills import SqliteBills
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.stores.sqlite.usage import SqliteUsage
from antiphon.testing import FakeBills, FakeLedger

START = 1_767_225_600_000
SESSIONS = [str(uuid.UUID(int=number)) for number in range(1, 30)]
KINDS = (EntryKind.USAGE, EntryKind.USAGE, EntryKind.USAGE, EntryKind.CORRECTION, EntryKind.COMPLETED)


@pytest.fixture(params=["sqlite", "fake"])
async def ledger(request, tmp_path):
    made = SqliteLedger(tmp_path / "ledger.db", "a") if request.param == "sqlite" else FakeLedger()
    yield made
    await made.close()


def query(ledger, since=0, until=100, known=100, **more):
    times = {"since_unix_ms": START + since, "until_unix_ms": START + until, "known_unix_ms": START + known}
    return SessionQuery(project="acme", head=more.pop("head", None) or ledger.head(), **times, **more)


class Writer:
    def __init__(self, make_entry):
        self.make_entry = make_entry

    def __call__(self, session, sequence, amount, at, kind=EntryKind.USAGE, corrects=None, **fields):
        fields |= {"project": fields.get("project", "acme"), "session": session, "at_unix_ms": START + at}
        if kind in (EntryKind.COMPLETED, EntryKind.ABANDONED):
            amount = 0
        return self.make_entry(sequence, amount, kind=kind, corrects=corrects, **fields)


@pytest.fixture
def entry(make_entry):
    return Writer(make_entry)


async def test_entries_that_are_alike_come_summed_up_and_one_by_one_if_asked(ledger, entry):
    one, other = SESSIONS[:2]
    await ledger.append(
        [
            entry(one, 0, 5, 1),
            entry(one, 1, 6, 2),
            entry(one, 2, 7, 3, channel=1),
            entry(one, 3, -2, 4, EntryKind.CORRECTION, Reference(one, 1)),
            entry(one, 4, 0, 5, EntryKind.ABANDONED),
            entry(other, 0, -3, 6, EntryKind.CORRECTION, Reference(one, 0)),
            entry(other, 0, 9, 6, project="other"),
        ]
    )
    (session,) = ledger.sessions(query(ledger))
    assert (session.session, session.closed_unix_ms - START, session.abandoned) == (one, 5, True)
    assert [(c.sequence, c.last, c.entries, c.at_unix_ms - START, c.amount, c.corrects) for c in session.charges] == [
        (0, 1, 2, 1, 11, None),
        (2, 2, 1, 3, 7, None),
        (3, 3, 1, 4, -2, 1),
        (0, 0, 1, 6, -3, 0),
    ]
    (session,) = ledger.sessions(query(ledger, by_entry=True))
    assert [c.amount for c in session.charges] == [5, 6, 7, -2, -3]


async def test_what_was_not_known_yet_is_left_out(ledger, entry):
    one, other = SESSIONS[:2]
    await ledger.append([entry(one, 0, 5, 1), entry(one, 1, 0, 2, EntryKind.COMPLETED)])
    head = ledger.head()
    await ledger.append([entry(other, 0, -3, 50, EntryKind.CORRECTION, Reference(one, 0))])
    for options in ({"known": 50}, {"head": head}):
        (session,) = ledger.sessions(query(ledger, **options))
        assert [c.amount for c in session.charges] == [5]
    (session,) = ledger.sessions(query(ledger))
    assert [c.amount for c in session.charges] == [5, -3]


async def test_loose_ends_are_sessions_that_were_reopened_or_are_open(ledger, entry):
    reopened, open_, closed, corrected = SESSIONS[:4]
    await ledger.append(
        [
            entry(reopened, 0, 5, 1),
            entry(reopened, 1, 0, 2, EntryKind.COMPLETED),
            entry(corrected, 0, 5, 1),
            entry(corrected, 1, 0, 3, EntryKind.COMPLETED),
            entry(closed, 0, 5, 4),
            entry(open_, 0, 5, 11),
            entry(open_, 1, 0, 25, EntryKind.COMPLETED),
            entry(closed, 1, 0, 12, EntryKind.COMPLETED),
            entry(reopened, 2, 5, 13),
            entry(SESSIONS[9], 0, -1, 14, EntryKind.CORRECTION, Reference(corrected, 0)),
        ]
    )
    ends = ledger.loose_ends(query(ledger, since=10, until=20))
    assert ends == LooseEnds({reopened: START + 2, corrected: START + 3}, 1)
    assert ledger.loose_ends(query(ledger, since=20, until=30)) == LooseEnds({}, 0)


async def test_what_came_after_a_period_was_settled_counts_from_its_end_on(ledger, entry):
    on_time, late = SESSIONS[:2]
    await ledger.append([entry(on_time, 0, 5, 1), entry(on_time, 1, 0, 2, EntryKind.COMPLETED)])
    settled = (Settled(ledger.head(), START + 10),)
    await ledger.append(
        [
            entry(late, 0, 7, 3),
            entry(late, 1, 0, 4, EntryKind.COMPLETED),
            entry(SESSIONS[5], 0, -1, 5, EntryKind.CORRECTION, Reference(on_time, 0)),
        ]
    )
    first = query(ledger, until=10, known=10, settled=settled)
    assert [[c.amount for c in s.charges] for s in ledger.sessions(first)] == [[5]]
    second = query(ledger, since=10, until=20, known=20, settled=settled)
    assert [(s.session, s.closed_unix_ms - START) for s in ledger.sessions(second)] == [(late, 10)]
    assert ledger.loose_ends(second) == LooseEnds({on_time: START + 2}, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_both_ledgers_say_the_same(tmp_path, entry, seed, monkeypatch):
    monkeypatch.setattr(stored, "SESSIONS_AT_ONCE", 3)
    chance = random.Random(seed)
    file, memory = SqliteLedger(tmp_path / "ledger.db", "a"), FakeLedger()
    settled, sequences = [], dict.fromkeys(SESSIONS, 0)
    for step in range(60):
        session = chance.choice(SESSIONS)
        sequence = sequences[session]
        kind = chance.choice(KINDS) if sequence else EntryKind.USAGE
        sequences[session] += 1
        other = chance.choice((session, chance.choice(SESSIONS)))
        corrects = Reference(other, chance.randrange(3)) if kind is EntryKind.CORRECTION else None
        more = {"model": chance.choice("ab"), "channel": chance.randrange(2)}
        at = step - 5 * (kind is EntryKind.CORRECTION) + 5
        written = [entry(session, sequence, chance.randrange(9), at, kind, corrects, **more)]
        await file.append(written)
        await memory.append(written)
        if step in (20, 40):
            settled.append(Settled(memory.head(), START + step))
    try:
        for since, until, known in ((0, 20, 20), (20, 40, 40), (0, 20, 60), (40, 60, 60), (0, 60, 60)):
            for options in ({}, {"settled": tuple(settled)}, {"settled": tuple(settled[:1]), "by_entry": True}):
                asked = query(memory, since, until, known, **options)
                found = [
                    [(s, sorted(s.charges, key=repr)) for s in ledger.sessions(asked)] for ledger in (file, memory)
                ]
                assert [(s.session, s.closed_unix_ms, c) for s, c in found[0]] == [
                    (s.session, s.closed_unix_ms, c) for s, c in found[1]
                ]
                assert file.loose_ends(asked) == memory.loose_ends(asked)
    finally:
        await file.close()


async def test_a_ledger_that_is_not_there_and_a_cursor_that_is_none_are_said(tmp_path, ledger):
    usage = SqliteUsage(tmp_path / "none.db")
    asked = SessionQuery(project="a", since_unix_ms=0, until_unix_ms=1, known_unix_ms=1, head="0")
    for read in (lambda: list(usage.sessions(asked)), lambda: usage.loose_ends(asked), usage.head):
        with pytest.raises(InternalError):
            read()
    if isinstance(ledger, SqliteLedger):
        with pytest.raises(CallerError):
            list(ledger.sessions(query(ledger, head="x")))


# -- bills -------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "fake"])
def bills(request, tmp_path):
    return SqliteBills(tmp_path / "bills.db") if request.param == "sqlite" else FakeBills()


def issued(since, until, project="acme"):
    return IssuedStatement(project, since, until, "7", "USD", 10**24, "ab", START)


def test_a_version_of_a_book_has_one_content(bills):
    bills.pin("list", "1", "ab", START)
    bills.pin("list", "1", "ab", START + 1)
    bills.pin("list", "2", "cd", START)
    with pytest.raises(Conflict, match="version 1 of the price book list"):
        bills.pin("list", "1", "cd", START)


def test_statements_are_issued_in_order_and_once(bills):
    assert bills.issued("acme") == []
    bills.issue(issued(0, 10))
    bills.issue(issued(10, 20))
    bills.issue(issued(0, 10, "other"))
    for again in (issued(0, 10), issued(10, 20), issued(-10, 0)):
        with pytest.raises(Conflict):
            bills.issue(again)
    assert bills.issued("acme") == [issued(0, 10), issued(10, 20)]


def test_a_file_that_is_no_database_is_said(tmp_path):
    (tmp_path / "bills.db").write_text("no database, by far" * 100)
    with pytest.raises(InternalError):
        SqliteBills(tmp_path / "bills.db").issued("acme")
