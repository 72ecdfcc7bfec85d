"""`antiphon subjects` and the erasure of a project, in the data directory of a server that does not run."""

import asyncio
import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from antiphon.cli import app
from antiphon.cli import subjects as command
from antiphon.core.errors import AntiphonError, CallerError, NotFound
from antiphon.core.wire import Keep
from antiphon.storage.directory import lock_directory
from antiphon.stores import open_server_stores
from antiphon.testing import FakeClock

JANE = "jane.roe@example.org"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPHON_DATA_DIR", str(tmp_path / "data"))

    def call(*arguments, catch=False, input=None):
        return CliRunner().invoke(app, arguments, catch_exceptions=catch, input=input)

    return call


async def keep(path: Path) -> None:
    clock = FakeClock()
    clock.unix_ms = lambda: 2_000_000_000_000
    stores = open_server_stores(path, "a", clock)
    pseudonym = stores.sealer.pseudonym("acme", JANE)
    for id, subjects in (("r1", (pseudonym,)), ("r2", ())):
        await stores.answers.put("acme", Keep(id, b'{"said": "yes"}', (), subjects), 86_400)
    for store in (stores.jobs, stores.passing, stores.answers, stores.ledger):
        await store.close()


def test_a_person_is_exported_and_erased_and_then_the_project(run, tmp_path):
    run("projects", "create", "acme", "--keep-answers", "520w")
    asyncio.run(keep(tmp_path / "data"))
    lines = [json.loads(line) for line in run("subjects", "export", JANE, "--project", "acme").stdout.splitlines()]
    assert [line["kind"] for line in lines] == ["export", "answer", "end"]
    assert run("subjects", "erase", JANE, "--project", "acme", catch=True, input="n\n").exit_code == 1
    certificate = json.loads(run("subjects", "erase", JANE, "--project", "acme", "--yes").stdout)
    assert certificate["erased"]["answers"] == 1
    assert certificate["record"]["actor"].startswith("cli:")
    records = [json.loads(line) for line in run("audit", "export").stdout.splitlines()]
    logged = records[certificate["log"]["number"]]
    assert (logged["leaf"], logged["record"]) == (certificate["log"]["leaf"], certificate["record"])
    assert json.loads(run("projects", "erase", "acme", "--yes").stdout)["erased"]["answers"] == 1
    actions = [json.loads(line)["record"]["action"] for line in run("audit", "export").stdout.splitlines()]
    assert {"content_keys.destroy", "project.erase"} <= set(actions)
    assert run("projects", "rotate-key", "acme").exit_code == 0
    with pytest.raises(NotFound):
        run("subjects", "erase", JANE, "--project", "nowhere", "--yes")


def test_the_master_key_is_checked_and_changed(run, tmp_path):
    assert isinstance(run("master-key", "check", catch=True).exception, NotFound)
    run("projects", "create", "acme", "--keep-answers", "520w")
    asyncio.run(keep(tmp_path / "data"))
    assert run("master-key", "check").exit_code == 0
    assert run("master-key", "change", str(tmp_path / "new.key")).exit_code == 0
    assert isinstance(run("master-key", "check", catch=True).exception, CallerError)
    config = tmp_path / "config.toml"
    config.write_text(f'[encryption]\nkey_file = "{tmp_path / "new.key"}"\n')
    assert str(tmp_path / "new.key") in run("master-key", "check", "--config", str(config)).stdout
    lines = run("subjects", "export", JANE, "--project", "acme", "--config", str(config)).stdout.splitlines()
    assert json.loads(lines[-1])["counts"]["answers"] == 1


def test_beside_a_running_server_it_is_refused_with_what_to_do(run, tmp_path):
    run("projects", "create", "acme")
    held = lock_directory(tmp_path / "data")
    with pytest.raises(CallerError, match="--url"):
        run("subjects", "erase", JANE, "--project", "acme", "--yes")
    assert held


def test_a_server_that_does_not_answer_in_time_is_said(run, monkeypatch):
    monkeypatch.setattr(command, "ANSWER_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(AntiphonError, match="does not answer: TimeoutError"):
            run("subjects", "export", JANE, "--url", url, "--api-key", "key")
