"""`antiphon evidence`, on a data directory without a server."""

import asyncio
import json
import sqlite3
from base64 import b64decode
from contextlib import closing
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from antiphon.cli import app
from antiphon.core import merkle
from antiphon.core.audit import Action, AuditRecord, Outcome
from antiphon.core.errors import CallerError
from antiphon.core.identity import Scope
from antiphon.stores.sqlite.audit import SqliteTrail
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.trust.checkpoint import open_signer, parse, parse_verifier
from antiphon.trust.control import Control
from antiphon.trust.evidence.controls import FRAMEWORKS
from antiphon.trust.evidence.facts import parse_period
from antiphon.trust.notary import Notary, Outside

SECRET = "a-secret-of-32-characters-or-more"
SETTINGS = f"""
api_key = "{SECRET}"
region = "eu-de"
[audit]
origin = "example.com/log"
webhook = "https://user:{SECRET}@audit.example/path?token={SECRET}"
[profiles]
projects = {{ acme = "hipaa" }}
[models]
big = {{ engines = ["far"] }}
[engines.far]
kind = "openai"
server = "vllm"
url = "http://user:{SECRET}@far.example/v1"
model = "m"
region = "us-east"
processor = "acme-gpu"
agreements = ["dpa", {{ name = "baa", until = 2026-12-30 }}]
"""


def at(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


class Place:
    def __init__(self, path):
        self.path = path
        (path / "antiphon.toml").write_text(SETTINGS)
        control = Control(SqliteDirectory(path))
        control.create_project("acme", "Acme", at("2026-01-01"))
        self.key = control.create_key("acme", "bot", [Scope.TRANSCRIBE], at("2025-01-02"))[0]
        self.idle = control.create_key("acme", "idle", [Scope.ADMIN], at("2026-10-02"), at("2026-12-01"))[0]
        self.gone = control.create_key("acme", "gone", [Scope.SPEAK], at("2026-01-02"))[0]
        control.revoke_key(self.gone.id, at("2026-02-02"))

    def records(self):
        key = self.key.id
        refused = AuditRecord(at("2026-10-05"), Action.ACCESS, Outcome.REFUSED, "", "", "/v1/listen", "unauthenticated")
        return [
            AuditRecord(at("2026-09-30"), Action.ACCESS, Outcome.ALLOWED, key, "acme", "/v1/listen"),
            AuditRecord(at("2026-10-01"), Action.ACCESS, Outcome.ALLOWED, key, "acme", "/v1/listen"),
            AuditRecord(at("2026-10-04"), Action.ACCESS, Outcome.ALLOWED, key, "acme", "/v1/listen"),
            refused._replace(address="192.0.2.0/24"),
            refused._replace(address="192.0.2.0/24", counts=(("times", 41),), at_unix_ms=at("2026-10-06")),
            AuditRecord(at("2026-10-07"), Action.ACCESS, Outcome.REFUSED, key, "acme", "/v1/speak", "forbidden"),
            AuditRecord(
                at("2026-10-08"), Action.POLICY_CHANGE, Outcome.DONE, "cli:0", "acme", "acme", "weight: 1 -> 2"
            ),
            AuditRecord(at("2026-10-09"), Action.ANSWER_DELETE, Outcome.DONE, key, "acme", "resp_1"),
            AuditRecord(at("2026-10-10"), Action.ANSWER_READ, Outcome.DONE, key, "acme", "resp_2"),
            AuditRecord(at("2026-10-11"), Action.SERVER_START, Outcome.DONE, "server", "", "s1", "version 1"),
            AuditRecord(at("2027-01-01"), Action.ANSWER_DELETE, Outcome.DONE, key, "acme", "resp_3"),
        ]

    async def fill(self):
        ledger = SqliteLedger(self.path / "ledger.db", "a")
        for record in self.records():
            ledger.record(record)
        await ledger.flush()
        signer = open_signer(self.path, "example.com/log")
        await Notary(SqliteTrail(self.path / "ledger.db"), signer, self.path, Outside(), None, None).sign()
        await ledger.close()

    def evidence(self, *more, framework="soc2", period="2026-Q4"):
        out = self.path / "out" / framework
        arguments = ("evidence", "--period", period, "--framework", framework, "--out", str(out))
        config = ("--config", str(self.path / "antiphon.toml"))
        return CliRunner().invoke(app, (*arguments, *config, *more), catch_exceptions=False), out


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_DATA_DIR", str(tmp_path))
    made = Place(tmp_path)
    asyncio.run(made.fill())
    return made


def read(folder, name):
    return json.loads((folder / name).read_text())


def lines(folder, name):
    return [json.loads(line)["record"] for line in (folder / name).read_text().splitlines()]


def test_nobody_else_reads_the_folder(place):
    folder = place.path / "out" / "soc2"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    _, out = place.evidence()
    assert out.stat().st_mode & 0o777 == 0o700


def test_the_records_of_the_period_are_sorted_into_files(place):
    run, out = place.evidence()
    assert "9 records of 2026-Q4" in run.stdout
    assert [each["object"] for each in lines(out, "changes.jsonl")] == ["acme"]
    assert [each["object"] for each in lines(out, "erasures.jsonl")] == ["resp_1"]
    assert [each["object"] for each in lines(out, "reads.jsonl")] == ["resp_2"]
    assert [each["action"] for each in lines(out, "events.jsonl")] == ["server.start"]
    (failed,) = read(out, "failed-sign-ins.json")
    assert (failed["source"], failed["times"], failed["first"][:10], failed["last"][:10]) == (
        *("192.0.2.0/24", 42, "2026-10-05", "2026-10-06"),
    )
    assert [(each["key"], each["reason"]) for each in read(out, "refusals.json")] == [(place.key.id, "forbidden")]


def test_access_is_ready_to_be_reviewed(place):
    _, out = place.evidence()
    keys = {each["name"]: each for each in read(out, "access-review.json")}
    assert set(keys) == {"bot", "idle"}
    assert (keys["bot"]["calls"], keys["bot"]["last_used"]) == (2, "2026-10-04T00:00:00Z")
    assert keys["bot"]["remarks"] == ["has no end", "older than 365 days"]
    assert keys["idle"]["calls"] == 0
    assert place.idle.id in (out / "access-review.md").read_text()


def test_deletions_are_proved_against_the_signed_checkpoint(place):
    _, out = place.evidence()
    checkpoint = parse((out / "checkpoint.txt").read_text())
    assert parse_verifier((out / "audit-key.txt").read_text().strip()).holds(checkpoint)
    proofs = read(out, "proof.json")
    erased = json.loads((out / "erasures.jsonl").read_text())
    assert set(proofs["records"]) == {"1", str(erased["number"]), "9"}
    proof = proofs["records"][str(erased["number"])]
    assert proof["leaf"] == erased["leaf"]
    hashes = [b64decode(each) for each in proof["proof"]]
    assert merkle.includes(bytes.fromhex(proof["leaf"]), erased["number"], checkpoint.size, hashes, checkpoint.root)
    assert not merkle.includes(bytes(32), erased["number"], checkpoint.size, hashes, checkpoint.root)


def test_no_secret_is_in_any_file(place):
    _, out = place.evidence()
    for file in out.iterdir():
        assert SECRET not in file.read_text(), file
    shown = read(out, "configuration.json")
    assert shown["api_key"] == "(set)"
    assert shown["engines"]["far"]["url"] == "http://far.example/v1"
    assert shown["audit"]["webhook"] == "https://audit.example/path"


def test_processors_and_policies_are_what_is_in_force(place):
    _, out = place.evidence()
    found = {each["setting"]: each for each in read(out, "processors.json")}
    assert found["engines.far"]["agreements"] == {"dpa": None, "baa": "2026-12-30"}
    assert found["engines.far"]["retention"] == "retention not known"
    assert not found["audit.webhook"]["content"]
    assert read(out, "policies.json")["acme"]["profile"] == "hipaa"
    assert read(out, "policies.json")["acme"]["policy"]["agreements"] == "baa"


def test_an_agreement_that_ends_before_the_period_does_is_a_control_that_is_not_met(place, monkeypatch):
    monkeypatch.setattr("antiphon.cli.evidence.time.time_ns", lambda: at("2027-02-01") * 1_000_000)
    run, out = place.evidence(framework="hipaa")
    assert run.exit_code == 1
    controls = {each["reference"]: each for each in read(out, "controls.json")}
    assert controls["164.308(b), 164.314(a)"]["status"] == "not met"
    assert controls["164.308(b), 164.314(a)"]["finding"].endswith("without: engines.far.")
    assert controls["164.316(b)(2)(i)"]["status"] == "shown"
    assert controls["164.312(a)(2)(iv)"]["status"] == "shown"
    assert controls["164.310"]["status"] == "the operator's to show"
    assert controls["164.312(b)"]["status"] == "shown"


def test_a_log_that_was_changed_is_not_hidden(place):
    with closing(sqlite3.connect(place.path / "ledger.db")) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        changed = "CAST(replace(CAST(body AS TEXT), 'resp_1', 'resp_9') AS BLOB)"
        connection.execute(f"UPDATE audit SET body = {changed} WHERE number = 7")
    run, out = place.evidence()
    assert run.exit_code == 1
    assert "could not be verified: record 7 was changed" in (out / "README.md").read_text()


@pytest.mark.parametrize("framework", list(FRAMEWORKS))
def test_every_framework_has_its_controls(place, framework):
    _, out = place.evidence(framework=framework)
    controls = read(out, "controls.json")
    assert len({each["reference"] for each in controls}) == len(controls) == len(FRAMEWORKS[framework][1])
    files = {file.name for file in out.iterdir()}
    for each in controls:
        assert set(each["files"]) <= files
        assert each["finding"]
        assert each["operator"] or each["files"]
    assert "# Evidence: " in (out / "README.md").read_text()


def test_test_results_are_in_it_by_control_or_it_says_that_there_are_none(place, tmp_path_factory):
    file = tmp_path_factory.mktemp("results") / "unit.xml"
    file.write_text('<testsuite><testcase classname="tests.test_auth" name="test_a"/></testsuite>')
    _, out = place.evidence("--results", str(file))
    assert "1 passed, 0 failed, 0 skipped" in (out / "test-results.md").read_text()
    assert read(out, "test-results.json")["files"][0]["name"] == "unit.xml"


def test_a_folder_that_has_something_in_it_is_left_alone(place):
    place.evidence()
    with pytest.raises(CallerError, match="is not empty"):
        place.evidence()


def test_that_evidence_was_made_is_recorded(place):
    place.evidence()
    _, changes = SqliteDirectory(place.path).changes()
    assert changes[-1].record.reason == "evidence soc2, 2026-Q4"


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("2026", "2026-01-01", "2027-01-01"),
        ("2026-Q4", "2026-10-01", "2027-01-01"),
        ("2026-02", "2026-02-01", "2026-03-01"),
    ],
)
def test_periods(text, since, until):
    found = parse_period(text)
    assert (found.since_ms, found.until_ms) == (at(since), at(until))


@pytest.mark.parametrize("text", ["", "Q4", "2026-Q5", "2026-13", "26-Q1", "2026-4"])
def test_what_is_no_period(text):
    with pytest.raises(CallerError):
        parse_period(text)
