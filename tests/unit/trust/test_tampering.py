"""Every tampering with an audit log is found from a checkpoint that was kept outside, by a program that imports nothing
of Antiphon, and by `antiphon audit verify`'s own.
"""

import ast
import importlib.util
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.core import merkle
from antiphon.core.audit import Action, AuditRecord, LoggedRecord, Outcome, canonical, export_line
from antiphon.core.errors import InternalError
from antiphon.stores.sqlite.audit import SqliteTrail
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.testing import FakeLedger
from antiphon.trust.checkpoint import Checkpoint, Signer
from antiphon.trust.notary import continues, hash_of
from antiphon.trust.verifying import Tampered, parse_all, verify

EXAMPLE = Path(__file__).parents[3] / "examples" / "verify_audit.py"
spec = importlib.util.spec_from_file_location("verify_audit", EXAMPLE)
verifier = importlib.util.module_from_spec(spec)
spec.loader.exec_module(verifier)

SIZE = 23
SIGNED = (9, 16, 23)
SIGNER = Signer("antiphon/a", Ed25519PrivateKey.from_private_bytes(bytes(32)))
EXAMPLES = settings(max_examples=int(os.environ.get("ANTIPHON_EXAMPLES", "50")), deadline=None)


def told(number, object="/v1/listen"):
    return AuditRecord(1_767_225_600_000 + number, Action.ACCESS, Outcome.ALLOWED, f"k{number}", "acme", object)


def lines_of(records):
    """As `antiphon audit export` writes them."""
    bodies = map(canonical, records)
    return [export_line(LoggedRecord(at, merkle.leaf_hash(body), body)) for at, body in enumerate(bodies)]


def root_of(records):
    edge = merkle.Edge()
    for record in records:
        edge.add(merkle.leaf_hash(canonical(record)))
    return edge.root


RECORDS = [told(number) for number in range(SIZE)]
LINES = lines_of(RECORDS)
HEADS = [SIGNER.sign(Checkpoint("antiphon/a", size, root_of(RECORDS[:size]))) for size in SIGNED]
CHECKPOINTS = "\n".join(head.note() for head in HEADS)


def check(tmp_path, export, checkpoints=CHECKPOINTS):
    log, kept = tmp_path / "log.jsonl", tmp_path / "kept"
    log.write_bytes(export)
    kept.write_text(checkpoints)
    roots = verifier.read_checkpoints([kept], verifier.Key(str(SIGNER.verifier)), [])
    return verifier.verify(verifier.read_export(log), roots)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tampering")


def found(folder, export, checkpoints=CHECKPOINTS):
    with pytest.raises((verifier.Tampered, ValueError)) as error:
        check(folder, export, checkpoints)
    return str(error.value)


def test_it_imports_nothing_of_ours():
    names = [
        name
        for statement in ast.walk(ast.parse(EXAMPLE.read_text()))
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for name in ([statement.module] if isinstance(statement, ast.ImportFrom) else [a.name for a in statement.names])
    ]
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names | {"cryptography"}


def test_a_log_that_is_whole_is_whole(folder):
    assert check(folder, b"".join(LINES)) == (SIZE, 0)
    assert check(folder, b"".join(LINES + lines_of([*RECORDS, told(99)])[SIZE:])) == (SIZE + 1, 0)


@EXAMPLES
@given(st.integers(0, sum(map(len, LINES)) - 1), st.integers(1, 255))
def test_a_byte_that_was_changed(folder, at, by):
    export = bytearray(b"".join(LINES))
    export[at] ^= by
    found(folder, bytes(export))


@EXAMPLES
@given(st.integers(0, SIZE - 1), st.integers(1, SIZE))
def test_records_that_were_deleted(folder, at, count):
    found(folder, b"".join(LINES[:at] + LINES[at + count :]))
    kept = RECORDS[:at] + RECORDS[at + count :]  # with numbers and hashes made to fit
    found(folder, b"".join(lines_of(kept)))


@EXAMPLES
@given(st.permutations(range(SIZE)).filter(lambda order: order != list(range(SIZE))))
def test_records_that_were_put_into_another_order(folder, order):
    found(folder, b"".join(LINES[at] for at in order))
    found(folder, b"".join(lines_of([RECORDS[at] for at in order])))


@EXAMPLES
@given(st.integers(0, SIZE - 1))
def test_a_record_that_was_added_or_replaced_with_all_hashes_made_to_fit(folder, at):
    found(folder, b"".join(lines_of([*RECORDS[:at], told(99), *RECORDS[at:]])))
    found(folder, b"".join(lines_of([*RECORDS[:at], told(at, "/v1/speak"), *RECORDS[at + 1 :]])))


@EXAMPLES
@given(st.integers(0, sum(map(len, LINES)) - 1))
def test_a_log_that_was_cut_or_put_back(folder, at):
    found(folder, b"".join(LINES)[:at])


@EXAMPLES
@given(st.integers(0, SIZE - 1), st.sampled_from(SIGNED))
def test_a_fork_that_the_servers_own_key_signed(folder, at, size):
    """Who has the server has its key: what was kept outside tells."""
    forged = [*RECORDS[:at], told(at, "/v1/speak"), *RECORDS[at + 1 :]]
    mine = SIGNER.sign(Checkpoint("antiphon/a", size, root_of(forged[:size]))).note()
    if at < size:
        assert "fork" in found(folder, b"".join(LINES), f"{CHECKPOINTS}\n{mine}")
    found(folder, b"".join(lines_of(forged)), f"{CHECKPOINTS}\n{mine}")


@EXAMPLES
@given(st.integers(0, len(CHECKPOINTS.encode()) - 1), st.integers(1, 255))
def test_a_checkpoint_that_was_changed_is_none(folder, at, by):
    """Its blank lines apart, which say nothing; and unless it is whole and one byte of another."""
    kept = bytearray(CHECKPOINTS.encode())
    kept[at] ^= by
    text = kept.decode("utf-8", "replace")
    if text.split() != CHECKPOINTS.split():
        found(folder, b"".join(LINES), text)


def test_what_was_dropped_before_its_time(folder):
    dropped = [
        export_line(LoggedRecord(at, merkle.leaf_hash(canonical(record)), None)) for at, record in enumerate(RECORDS)
    ]
    assert check(folder, b"".join(dropped[:4] + LINES[4:])) == (SIZE, 4)
    assert "dropped" in found(folder, b"".join(LINES[:4] + dropped[4:5] + LINES[5:]))


# -- the database, and our own -----------------------------------------------------------------------------------------

DATABASE = [
    "UPDATE audit SET body = CAST(replace(CAST(body AS TEXT), 'k3', 'k4') AS BLOB) WHERE number = 3",
    "UPDATE audit SET body = NULL WHERE number = 3",
    "DELETE FROM audit WHERE number = 3",
    "DELETE FROM audit WHERE number >= 20",
    "UPDATE audit SET hashes = CAST(substr(hashes, 1, 32) || zeroblob(32) AS BLOB) WHERE number = 1",
    "UPDATE audit SET hashes = substr(hashes, 1, 32) WHERE number = 3",
    "UPDATE audit SET hashes = zeroblob(32) WHERE number = 22",
    "UPDATE audit SET number = -number - 1; UPDATE audit SET number = 22 + number + 1;",
    "DELETE FROM audit",
]


async def database(tmp_path, *statements):
    """A ledger with the records, to which somebody did that."""
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path, "a")
    for record in RECORDS:
        ledger.record(record)
    await ledger.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.executescript(statement)
    return path


@pytest.mark.parametrize("statement", DATABASE)
async def test_a_database_that_was_changed(tmp_path, statement):
    path = await database(tmp_path, statement)
    with pytest.raises(InternalError):
        await verify(SqliteTrail(path), HEADS, SIGNER.verifier)
    (tmp_path / "kept").write_text(CHECKPOINTS)
    roots = verifier.read_checkpoints([tmp_path / "kept"], verifier.Key(str(SIGNER.verifier)), [])
    with pytest.raises(verifier.Tampered):
        verifier.verify(verifier.read_database(path), roots)


async def test_a_database_that_is_whole(tmp_path):
    path = await database(tmp_path)
    assert (await verify(SqliteTrail(path), HEADS, SIGNER.verifier)).size == SIZE
    (tmp_path / "kept").write_text(CHECKPOINTS)
    roots = verifier.read_checkpoints([tmp_path / "kept"], verifier.Key(str(SIGNER.verifier)), [])
    assert verifier.verify(verifier.read_database(path), roots) == (SIZE, 0)


def test_it_says_so_and_how_it_went(tmp_path):
    (tmp_path / "kept").write_text(CHECKPOINTS)
    for lines, code, said in ((LINES, 0, "23 records, as they were signed for"), (LINES[1:], 1, "NOT WHOLE: line 1")):
        (tmp_path / "log").write_bytes(b"".join(lines))
        key = ("--key", str(SIGNER.verifier), "--checkpoints", str(tmp_path / "kept"))
        done = subprocess.run([sys.executable, EXAMPLE, tmp_path / "log", *key], capture_output=True, text=True)
        assert (done.returncode, said in done.stdout + done.stderr) == (code, True)


async def test_our_own_finds_a_fork_and_a_foreign_signature():
    ledger = FakeLedger()
    for record in RECORDS:
        ledger.record(record)
    forked = SIGNER.sign(Checkpoint("antiphon/a", 9, bytes(32)))
    other = Signer("antiphon/a", Ed25519PrivateKey.generate())
    for heads, key in (([*HEADS, forked], SIGNER.verifier), (HEADS, other.verifier), ([forked], SIGNER.verifier)):
        with pytest.raises(Tampered):
            await verify(ledger, heads, key)
    assert not await continues(ledger, forked, SIZE, await hash_of(ledger, (0, SIZE)))
    assert all([await continues(ledger, head, SIZE, await hash_of(ledger, (0, SIZE))) for head in HEADS])


def test_checkpoints_are_read_one_behind_the_other():
    assert parse_all(CHECKPOINTS) == HEADS
    assert parse_all("") == []
    with pytest.raises(ValueError):  # noqa: PT011
        parse_all(CHECKPOINTS.replace("antiphon/a\n9", "antiphon/a\nnine"))
