"""`antiphon statement`, `compare-plans` and `prices`, in a data directory."""

import asyncio
import csv
import io
import json
import uuid

import pytest
from typer.testing import CliRunner

from antiphon.cli import app
from antiphon.core.entry import Entry, EntryKind
from antiphon.core.usage import Dimension, Quantity
from antiphon.stores.sqlite.ledger import SqliteLedger

NOVEMBER = 1_730_419_200_000  # of 2024, which is over
BOOK = """
book = "list"
version = "1"
currency = "EUR"
from = 2024-01-01
rounding = { mode = "half_up", per = "session" }

[[price]]
id = "stt-live-with-a-name-that-is-rather-long"
dimension = "stt.audio_ms"
amount = "123456.789"
per = "minute"
"""
COSTS = BOOK.replace('"list"', '"costs"\nrole = "costs"').replace("123456.789", "0.01")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "list.toml").write_text(BOOK)
    (tmp_path / "costs.toml").write_text(COSTS)
    config = tmp_path / "antiphon.toml"
    config.write_text(f'[pricing]\nbooks = ["{tmp_path}/list.toml", "{tmp_path}/costs.toml"]\n')

    def call(*arguments):
        return CliRunner().invoke(app, arguments, catch_exceptions=True)

    call.config = ("--config", str(config))
    return call


@pytest.fixture
def usage(tmp_path):
    ledger = SqliteLedger(tmp_path / "ledger.db", "a")
    entries = []
    for number, (dimension, amount) in enumerate(((Dimension.STT_AUDIO_MS, 61_234), (Dimension.TTS_CHARACTERS, 7))):
        fields = {"project": "acme", "key_id": "k", "session": str(uuid.UUID(int=number)), "surface": "deepgram"}
        fields |= {"model": "moonshine-tiny-en-of-some-version", "feature": "live", "at_unix_ms": NOVEMBER}
        entries.append(Entry(**fields, sequence=0, quantity=Quantity(dimension, amount)))
        entries.append(Entry(**fields, sequence=1, quantity=Quantity(dimension, 0), kind=EntryKind.COMPLETED))
    asyncio.run(ledger.append(entries))
    ledger.stop()


def statement(run, *options):
    return run("statement", "--project", "acme", "--period", "2024-11", *run.config, *options)


@pytest.mark.parametrize("options", [(), ("--margin",)])
def test_a_statement_fits_eighty_columns_and_names_what_has_no_price(run, usage, options):
    said = statement(run, *options)
    assert said.exit_code == 0, said.exception
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert "125995.883627100" in said.stdout
    assert "1 lines have no price" in said.stdout


def test_json_and_csv_are_the_same_each_time(run, usage):
    first, again = statement(run, "--json"), statement(run, "--json")
    assert first.stdout == again.stdout
    said = json.loads(first.stdout)
    assert (said["total_nano"], said["unrated_lines"], said["currency"]) == (125_995_883_627_100, 1, "EUR")
    rows = list(csv.DictReader(io.StringIO(statement(run, "--csv").stdout)))
    assert int(rows[-1]["amount_nano"]) == sum(int(row["amount_nano"]) for row in rows[:-1]) == said["total_nano"]
    detail = list(csv.DictReader(io.StringIO(statement(run, "--csv", "--detail").stdout)))
    assert {row["session"] for row in detail} == {str(uuid.UUID(int=number)) for number in range(2)}
    assert len(json.loads(statement(run, "--json", "--detail").stdout)) == 2


def test_a_statement_is_issued_once_and_whole(run, usage, tmp_path):
    unpriced = statement(run, "--issue")
    assert "no price" in str(unpriced.exception)
    with (tmp_path / "list.toml").open("a") as file:
        file.write('\n[[price]]\nid = "tts"\ndimension = "tts.characters"\namount = 1\nper = 1\n')
    changed = statement(run)
    assert "has rated usage with other contents" in str(changed.exception)
    (tmp_path / "list.toml").write_text((tmp_path / "list.toml").read_text().replace('version = "1"', 'version = "2"'))
    issued = statement(run, "--issue")
    assert "(issued)" in issued.stdout
    assert statement(run).stdout == issued.stdout
    assert "has been issued" in str(statement(run, "--issue").exception)


def test_drafts_are_tried_without_being_remembered(run, usage, tmp_path):
    draft = tmp_path / "draft.toml"
    for amount in ("1", "2"):
        draft.write_text(BOOK.replace("123456.789", amount))
        said = run("statement", "--project", "acme", "--period", "2024-11", "--book", str(draft), "--json")
        assert json.loads(said.stdout)["total"] == f"{61_234 * int(amount) / 60_000:.9f}"
    assert not (tmp_path / "bills.db").exists()


def test_plans_are_compared_by_the_examples_and_own_books(run, usage, tmp_path):
    said = run("compare-plans", "--period", "2024-11", "--book", str(tmp_path / "list.toml"))
    assert said.exit_code == 0, said.exception
    assert max(map(len, said.stdout.splitlines())) <= 80
    asked = run("compare-plans", "--period", "2024-11", "--json")
    plans = {plan["book"]: plan for plan in json.loads(asked.stdout)}
    assert plans["deepgram"]["amount"] == "0.007956667"
    assert plans["deepgram"]["without_price"] == {"tts.characters": 7}
    assert plans["amazon"]["amount"] == "0.000000000"  # within the free minutes
    assert plans["elevenlabs"]["amount"] == "0.000400000"


def test_books_are_checked_shown_and_imported(run, tmp_path):
    good = run("prices", "check", str(tmp_path / "list.toml"))
    assert "list 1, 1 prices in EUR" in good.stdout
    (tmp_path / "bad.toml").write_text(BOOK.replace("EUR", "euro"))
    bad = run("prices", "check", str(tmp_path / "bad.toml"), str(tmp_path / "list.toml"))
    assert (bad.exit_code, bad.stdout) == (1, good.stdout)
    assert f"{tmp_path}/bad.toml:4: currency" in bad.stderr
    table = tmp_path / "table.json"
    table.write_text('{"m": {"mode": "chat", "input_cost_per_token": 1e-6, "odd_cost": 1}}')
    imported = run("prices", "import", str(table), "--currency", "EUR")
    (tmp_path / "imported.toml").write_text(imported.stdout)
    assert run("prices", "check", str(tmp_path / "imported.toml")).exit_code == 0
    assert "m: incomplete, without odd_cost" in imported.stderr
    listed = run("prices", "examples")
    assert "amazon" in listed.stdout
    assert run("prices", "examples", "amazon").stdout.startswith("# Amazon")
    assert "not found" in str(run("prices", "examples", "nobody").exception)


def test_without_a_book_it_says_where_to_read(run, usage):
    said = run("statement", "--project", "acme", "--period", "2024-11")
    assert "docs/billing.md" in str(said.exception)
