"""`antiphon budgets`, in a data directory."""

import asyncio
import json
import time
import uuid

import pytest
from typer.testing import CliRunner

from antiphon.cli import app
from antiphon.core.audit import Action
from antiphon.core.entry import Entry, EntryKind
from antiphon.core.errors import CallerError
from antiphon.core.usage import Dimension, Quantity
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.stores.sqlite.ledger import SqliteLedger

BOOK = """
book = "list"
version = "1"
currency = "EUR"
from = 2024-01-01
rounding = { mode = "half_up", per = "session" }
[[price]]
id = "stt"
dimension = "stt.audio_ms"
amount = "0.06"
per = "minute"
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "list.toml").write_text(BOOK)
    config = tmp_path / "antiphon.toml"
    config.write_text(f'[pricing]\nbooks = ["{tmp_path}/list.toml"]\n')

    def call(*arguments):
        made = CliRunner().invoke(app, (*arguments, "--config", str(config)), catch_exceptions=True)
        return made.stdout if made.exit_code == 0 else made.exception

    call("projects", "create", "acme")
    return call


def use(tmp_path, *lengths_ms, ago_ms=0, project="acme"):
    ledger = SqliteLedger(tmp_path / "ledger.db", "a")
    for ms in lengths_ms:
        fields = {"project": project, "key_id": "K1", "session": str(uuid.uuid4()), "surface": "deepgram"}
        fields |= {"model": "tiny", "feature": "live", "at_unix_ms": int(time.time() * 1000) - ago_ms}
        used = Entry(**fields, sequence=0, quantity=Quantity(Dimension.STT_AUDIO_MS, ms))
        ended = Entry(**fields, sequence=1, quantity=Quantity(Dimension.STT_AUDIO_MS, 0), kind=EntryKind.COMPLETED)
        asyncio.run(ledger.append([used, ended]))
    ledger.stop()


def policy(tmp_path):
    return SqliteDirectory(tmp_path).view().projects["acme"].policy


def test_budgets_are_set_shown_and_removed(run, tmp_path):
    said = run("budgets", "set", "monthly", "money", "50", "month", "--project", "acme")
    assert said == "Project acme: monthly money 50.00 month\n"
    run("budgets", "set", "minutes", "audio_ms", "60000", "day", "--project", "acme", "--key", "K1", "--soft")
    assert policy(tmp_path).budgets == "monthly money 50.00 month\nminutes audio_ms 60000 day soft key=K1"
    use(tmp_path, 30_000, 45_000)
    monthly, minutes = json.loads(run("budgets", "show", "--project", "acme", "--json"))
    assert (monthly["currency"], monthly["used"], monthly["left"]) == ("EUR", 75_000_000, 49_925_000_000)
    assert (minutes["key"], minutes["used"], minutes["left"], minutes["hard"]) == ("K1", 75_000, 0, False)
    shown = run("budgets", "show", "--project", "acme")
    assert "49.925" in shown
    assert "monthly (EUR)" in shown
    assert (
        run("budgets", "remove", "minutes", "--project", "acme") == "The budget minutes of project acme is removed.\n"
    )
    assert policy(tmp_path).budgets == "monthly money 50.00 month"
    assert "no budget" in str(run("budgets", "remove", "minutes", "--project", "acme"))


def test_credit_counts_from_its_grant_on(run, tmp_path):
    use(tmp_path, 30_000, ago_ms=1_000)
    run("budgets", "set", "credit", "money", "1", "once", "--project", "acme", "--until", "2099-01-01")
    use(tmp_path, 45_000)
    (credit,) = json.loads(run("budgets", "show", "--project", "acme", "--json"))
    assert (credit["used"], credit["left"]) == (45_000_000, 955_000_000)
    before = policy(tmp_path).budgets
    run("budgets", "set", "credit", "money", "2", "once", "--project", "acme", "--until", "2099-01-01")
    assert policy(tmp_path).budgets == before.replace("1.00", "2.00")  # and still from the same time on


@pytest.mark.parametrize(
    "words",
    [
        ("set", "m", "money", "0.0000000001", "month"),
        ("set", "M", "money", "1", "month"),
        ("set", "m", "money", "1", "month", "--from", "2026-01-01"),
        ("set", "m", "money", "1", "once", "--until", "2000-01-01"),
        ("limit", "--calls", "many"),
    ],
)
def test_what_makes_no_sense_is_refused(run, tmp_path, words):
    assert isinstance(run("budgets", *words, "--project", "acme"), Exception)
    assert policy(tmp_path).budgets == policy(tmp_path).limits == ""


def test_limits_are_set_one_by_one_and_taken_away(run, tmp_path):
    run("budgets", "limit", "--project", "acme", "--requests-per-minute", "60", "--calls", "3")
    run("budgets", "limit", "--project", "acme", "--key", "K1", "--calls", "2")
    run("budgets", "limit", "--project", "acme", "--calls", "none", "--live-streams", "4")
    assert policy(tmp_path).limits == "requests_per_minute=60 live_streams=4\nkey=K1 calls=2"
    assert "limits: key=K1 calls=2" in run("budgets", "show", "--project", "acme")
    run("budgets", "limit", "--project", "acme", "--key", "K1", "--calls", "none")
    assert policy(tmp_path).limits == "requests_per_minute=60 live_streams=4"


def test_each_change_is_recorded(run, tmp_path):
    run("budgets", "set", "monthly", "money", "50", "month", "--project", "acme")
    run("budgets", "set", "monthly", "money", "80", "month", "--project", "acme")
    run("budgets", "limit", "--project", "acme", "--key", "K1", "--calls", "2")
    changes = [
        each.record for each in SqliteDirectory(tmp_path).changes()[1] if each.record.action is Action.BUDGET_CHANGE
    ]
    assert [(each.object, each.reason) for each in changes] == [
        ("monthly", "none -> monthly money 50.00 month"),
        ("monthly", "monthly money 50.00 month -> monthly money 80.00 month"),
        ("limits of K1", "none -> key=K1 calls=2"),
    ]
    assert {each.actor.partition(":")[0] for each in changes} == {"cli"}


def test_budgets_of_an_organisation_count_all_its_projects(run, tmp_path):
    run("projects", "create", "beta", "--organisation", "group")
    run("projects", "set", "acme", "--organisation", "group")
    said = run("budgets", "set", "all", "money", "50", "month", "--organisation", "group")
    assert said == "Organisation group: all money 50.00 month\n"
    use(tmp_path, 30_000, 45_000)
    use(tmp_path, 5_000, project="beta")
    (state,) = json.loads(run("budgets", "show", "--organisation", "group", "--json"))
    assert (state["currency"], state["used"], state["project"]) == ("EUR", 80_000_000, "")
    assert run("budgets", "limit", "--organisation", "group", "--calls", "2") == "Organisation group: calls=2\n"
    assert "limits: calls=2" in (shown := run("budgets", "show", "--organisation", "group"))
    assert "organisation" in shown
    assert run("budgets", "remove", "all", "--organisation", "group").endswith("of organisation group is removed.\n")
    with pytest.raises(CallerError, match="either"):
        raise run("budgets", "show")
    with pytest.raises(CallerError, match="not of a key"):
        raise run("budgets", "set", "one", "money", "5", "month", "--organisation", "group", "--key", "K1")
    records = [each.record for each in SqliteDirectory(tmp_path).changes()[1]]
    assert [each.object for each in records if each.action is Action.BUDGET_CHANGE] == [
        "all of organisation group",
        "limits of all projects of organisation group",
        "all of organisation group",
    ]
