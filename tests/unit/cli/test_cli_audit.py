"""`antiphon audit`, on a data directory without a server."""

import asyncio
import json
import sqlite3
from contextlib import closing

import pytest

from antiphon.cli import main
from antiphon.core.audit import Action, AuditRecord, Outcome
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.trust.checkpoint import open_signer, parse
from antiphon.trust.notary import Notary, Outside


@pytest.fixture
def signed(tmp_path, monkeypatch):
    """A log of five records, of which four were signed for. The checkpoint."""
    monkeypatch.setenv("ANTIPHON_DATA_DIR", str(tmp_path))
    (tmp_path / "log.toml").write_text('[audit]\norigin = "example.com/log"\n')
    SqliteDirectory(tmp_path)

    async def fill():
        ledger = SqliteLedger(tmp_path / "ledger.db", "a")
        notary = Notary(
            ledger_trail(tmp_path), open_signer(tmp_path, "example.com/log"), tmp_path, Outside(), None, None
        )
        for number in range(4):
            ledger.record(AuditRecord(number, Action.ACCESS, Outcome.ALLOWED, f"k{number}", "acme", "/v1/listen"))
        await ledger.flush()
        checkpoint = await notary.sign()
        ledger.record(AuditRecord(4, Action.KEY_REVOKE, Outcome.DONE, "cli:0", "acme", "k1"))
        await ledger.close()
        return checkpoint

    return asyncio.run(fill())


def ledger_trail(tmp_path):
    from antiphon.stores.sqlite.audit import SqliteTrail

    return SqliteTrail(tmp_path / "ledger.db")


@pytest.fixture
def run(tmp_path, monkeypatch, capsysbinary):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["antiphon", "audit", *arguments, "--config", str(tmp_path / "log.toml")])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        said = capsysbinary.readouterr()
        return code, said.out.decode(), said.err.decode()

    return run


def test_a_log_is_verified_and_one_that_was_changed_is_not(signed, run, tmp_path):
    kept = tmp_path / "kept"
    kept.write_text(f"{signed.note()}\n{signed.note()}")
    assert run("verify")[:2] == (
        0,
        "5 records are whole.\n"
        "Without a checkpoint from outside, a log that was rewritten with the server's own key is not noticed.\n",
    )
    code, said, _ = run("verify", "--since", str(kept))
    assert (code, said.splitlines()[1]) == (0, "2 checkpoints from outside hold, the newest of 4 records.")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.execute("DROP TRIGGER audit_no_delete")
        connection.execute("DELETE FROM audit WHERE number = 3")
    code, _, said = run("verify")
    assert (code, said) == (1, "antiphon: record 3 is missing\n")


def test_a_log_is_exported_and_that_is_recorded(signed, run, tmp_path):
    _, said, _ = run("export")
    assert [json.loads(line)["record"]["action"] for line in said.splitlines()] == ["access"] * 4 + ["key.revoke"]
    _, said, _ = run("export", "--format", "ocsf", "--start", "3")
    assert [json.loads(line)["class_uid"] for line in said.splitlines()] == [6003, 3001]
    changes = SqliteDirectory(tmp_path).changes()[1]
    assert [(each.record.action, each.record.reason) for each in changes] == [
        (Action.AUDIT_EXPORT, "jsonl, from 0 to 5"), (Action.AUDIT_EXPORT, "ocsf, from 3 to 5")
    ]  # fmt: skip


def test_the_checkpoint_and_the_key_are_shown(signed, run):
    assert parse(run("checkpoint")[1]) == signed
    assert run("checkpoint", "--key")[1].startswith("example.com/log+")


def test_without_a_data_directory_nothing_is_made(run, tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_DATA_DIR", str(tmp_path / "nowhere"))
    (tmp_path / "log.toml").write_text("")
    code, _, said = run("verify")
    assert (code, "no projects and keys found" in said) == (1, True)
    assert not (tmp_path / "nowhere").exists()
