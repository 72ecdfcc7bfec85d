import asyncio
import json
from functools import partial

import pytest
from typer.testing import CliRunner
from vaults import open_vault

from antiphon.cli import app
from antiphon.cli.keys import parse_duration_ms
from antiphon.core.entry import Entry
from antiphon.core.errors import CallerError, InternalError, NotFound
from antiphon.core.identity import USUAL_SCOPES, Scope
from antiphon.core.policy import Marking
from antiphon.core.usage import Dimension, Quantity
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.testing import FakeClock
from antiphon.trust.auth import KeyRing
from antiphon.trust.pairs import MASTER_NAME, Pairs


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments, catch=False):
        return CliRunner().invoke(app, arguments, catch_exceptions=catch)

    return call


def ring(tmp_path):
    return KeyRing(SqliteDirectory(tmp_path / "data"), FakeClock())


def test_a_key_is_printed_alone_works_and_is_revoked(run, tmp_path):
    made = run("keys", "create", "--name", "[bold]ci", "--scope", "usage", "--scope", "admin", "--expires", "30d")
    assert made.exit_code == 0
    secret = made.stdout.strip()
    principal = ring(tmp_path).authenticate(secret, Scope.USAGE)
    assert (principal.project, principal.scopes) == ("default", {Scope.USAGE, Scope.ADMIN})
    assert principal.key_id in made.stderr
    assert secret not in made.stderr

    listed = run("keys", "list").stdout
    assert principal.key_id in listed
    assert "[bold]ci" in listed
    assert "valid until" in listed
    assert secret not in listed

    assert run("keys", "revoke", principal.key_id).exit_code == 0
    assert not ring(tmp_path).holds(principal.key_id)
    assert "revoked" in run("keys", "list").stdout


def test_a_key_that_outlasts_the_calendar_is_listed(run):
    assert run("keys", "create", "--expires", "999999w").exit_code == 0
    assert "valid until 9999-12-31" in run("keys", "list").stdout


def test_a_webhooks_secret_is_printed_alone_and_once(run, tmp_path):
    made = run("webhooks", "create", "https://x.example/hook", "--name", "ours")
    assert made.exit_code == 0
    secret = made.stdout.strip()
    (webhook,) = ring(tmp_path).webhooks("default")
    assert webhook.secret == secret
    assert webhook.id in made.stderr
    listed = run("webhooks", "list").stdout
    assert "https://x.example/hook" in listed
    assert secret not in listed
    assert run("webhooks", "delete", webhook.id).exit_code == 0
    assert ring(tmp_path).webhooks("default") == []
    assert run("webhooks", "create", "x.example", catch=True).exit_code == 1


def test_a_pair_of_a_key_is_shown_as_often_as_it_is_asked_for(run, tmp_path):
    secret = run("keys", "create").stdout.strip()
    principal = ring(tmp_path).authenticate(secret, None)
    shown = run("keys", "pair", principal.key_id).stdout
    values = dict(line.split("=") for line in shown.splitlines())
    assert values["AWS_ACCESS_KEY_ID"] == f"ant_{principal.key_id}"
    assert Pairs(tmp_path / "data", open_vault(tmp_path / "data")).find(values["AWS_ACCESS_KEY_ID"]) == (
        principal.key_id,
        values["AWS_SECRET_ACCESS_KEY"],
    )
    assert run("keys", "pair", principal.key_id).stdout == shown
    with pytest.raises(NotFound):
        run("keys", "pair", "00000000")
    (tmp_path / "data" / MASTER_NAME).write_bytes(b"")
    with pytest.raises(InternalError, match="damaged"):
        Pairs(tmp_path / "data", open_vault(tmp_path / "data")).find(values["AWS_ACCESS_KEY_ID"])


def test_a_key_may_use_every_model_unless_something_else_is_asked_for(run, tmp_path):
    secret = run("keys", "create").stdout.strip()
    assert ring(tmp_path).authenticate(secret, Scope.TRANSCRIBE).scopes == USUAL_SCOPES


def test_projects_own_keys(run):
    run("projects", "create", "acme", "--name", "Acme Inc.")
    run("keys", "create", "--project", "acme", "--name", "theirs")
    run("keys", "create", "--name", "ours")
    assert "Acme Inc." in run("projects", "list").stdout
    assert "theirs" in run("keys", "list", "--project", "acme").stdout
    assert "ours" not in run("keys", "list", "--project", "acme").stdout


def test_a_project_is_told_what_to_keep(run, tmp_path):
    run("projects", "create", "acme", "--keep-answers", "90m")
    assert "90m" in run("projects", "list").stdout
    assert "30d" in run("projects", "set", "acme", "--keep-answers", "720h").stdout
    assert ring(tmp_path).policy("acme").keep_answers_s == 30 * 86_400
    assert "none" in run("projects", "set", "acme", "--keep-answers", "none").stdout
    assert ring(tmp_path).policy("acme").keep_answers_s == 0
    assert isinstance(run("projects", "set", "acme", "--keep-answers", "some", catch=True).exception, CallerError)


def test_a_project_is_told_how_to_mark_speech(run, tmp_path):
    run("projects", "create", "acme", "--keep-answers", "90m")
    assert "marked" not in run("projects", "list").stdout  # as every project
    assert "signed" in run("projects", "set", "acme", "--marking", "signed").stdout
    assert ring(tmp_path).policy("acme").marking is Marking.SIGNED
    assert ring(tmp_path).policy("acme").keep_answers_s == 5_400
    assert run("projects", "set", "acme", "--marking", "none").exit_code == 2


def test_a_project_is_given_a_weight(run, tmp_path):
    run("projects", "create", "acme", "--weight", "3")
    assert ring(tmp_path).policy("acme").weight == 3
    assert "5" in run("projects", "set", "acme", "--weight", "5").stdout
    assert ring(tmp_path).policy("acme").weight == 5
    assert isinstance(run("projects", "set", "acme", "--weight", "0", catch=True).exception, CallerError)


def test_mistakes_are_errors(run):
    assert isinstance(run("keys", "revoke", "nobody", catch=True).exception, NotFound)
    assert isinstance(run("keys", "create", "--project", "nobody", catch=True).exception, NotFound)
    assert isinstance(run("keys", "create", "--expires", "soon", catch=True).exception, CallerError)
    assert run("keys", "create", "--scope", "everything").exit_code == 2


def test_durations():
    assert [parse_duration_ms(text) for text in ("90m", "12h", "30d", "4w")] == [
        5_400_000,
        43_200_000,
        2_592_000_000,
        2_419_200_000,
    ]
    for text in ("", "30", "d", "-1d", "0d", "1.5h", "1y", "99999999d"):
        with pytest.raises(CallerError):
            parse_duration_ms(text)


@pytest.fixture
async def used(tmp_path):
    (tmp_path / "data").mkdir()
    ledger = SqliteLedger(tmp_path / "data" / "ledger.db", "a")
    await ledger.append(
        [
            Entry(
                project="default",
                key_id=key_id,
                session="00000000-0000-0000-0000-000000000001",
                sequence=sequence,
                at_unix_ms=1_767_225_600_000,
                surface="openai",
                model="m",
                quantity=Quantity(Dimension.STT_AUDIO_MS, 1_234),
            )
            for sequence, key_id in enumerate(("k1", "k1", "k2"))
        ]
    )
    yield ledger
    await ledger.close()


async def test_usage_beside_a_running_server(run, used):
    run = partial(asyncio.to_thread, run)
    answer = json.loads((await run("usage", "--by", "day,key", "--format", "json")).stdout)
    assert [(row["day"], row["key"], row["amount"]) for row in answer] == [
        ("2026-01-01", "k1", 2_468),
        ("2026-01-01", "k2", 1_234),
    ]
    assert "2,468" in (await run("usage", "--by", "key")).stdout
    assert json.loads((await run("usage", "--until", "2026-01-01", "--format", "json")).stdout) == []
    assert json.loads((await run("usage", "--project", "acme", "--format", "json")).stdout) == []


async def test_usage_without_a_server(run, used):
    await used.close()
    shown = await asyncio.to_thread(run, "usage", "--by", "key", "--format", "csv")
    assert shown.stdout.splitlines()[1] == "k1,stt.audio_ms,2468,1,0"


def test_usage_before_the_first_start_says_so(run):
    assert "no ledger" in str(run("usage", catch=True).exception)


@pytest.mark.parametrize(
    "command", [("usage", "--project", "acme", "--tag", "a"), ("usage",), ("keys", "list"), ("projects", "list")]
)
def test_what_only_reads_makes_nothing(run, tmp_path, command):
    shown = run(*command, catch=True)
    assert shown.exit_code == 1
    assert "found at" in shown.exception.message
    assert not any(tmp_path.iterdir())


def test_a_key_with_a_role_and_limits_is_made_limited_anew_and_shown(run, tmp_path):
    made = run("keys", "create", "--role", "developer", "--network", "192.0.2.0/24", "--model", "gpt-*")
    principal = ring(tmp_path).authenticate(made.stdout.strip(), Scope.KEYS)
    assert principal.models == ("gpt-*",)
    assert "networks: 192.0.2.0/24; models: gpt-*; surfaces: any" in run("keys", "list").stdout
    assert run("keys", "limit", principal.key_id, "--surface", "openai").exit_code == 0
    assert "surfaces: openai" in run("keys", "list").stdout
    assert ring(tmp_path).models(principal.key_id) == ()
    with pytest.raises(CallerError, match="is not a network"):
        run("keys", "create", "--network", "here")


def test_a_key_is_rotated_and_its_last_use_shown(run, tmp_path):
    secret = run("keys", "create", "--name", "bot").stdout.strip()
    principal = ring(tmp_path).authenticate(secret, None)
    rotated = run("keys", "rotate", principal.key_id, "--overlap", "2h")
    new = ring(tmp_path).authenticate(rotated.stdout.strip(), None)
    assert new.scopes == principal.scopes
    assert f"Key {principal.key_id} is valid until" in rotated.stderr
    (tmp_path / "data" / "key-uses").write_text(json.dumps({new.key_id: 1_700_000_000_000}))
    lines = {line.split()[0]: line for line in run("keys", "list").stdout.splitlines() if "bot" in line}
    assert "2023-11-14 22:13Z" in lines[new.key_id]
    assert "valid until" in lines[principal.key_id]
    assert run("keys", "rotate", new.key_id, "--overlap", "none").exit_code == 0
    with pytest.raises(CallerError, match="revoked or has expired"):
        run("keys", "rotate", new.key_id)
