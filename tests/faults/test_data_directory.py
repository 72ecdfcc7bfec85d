"""A data directory that is lost, shared, wide open, read-only or written by somebody else, under a real server."""

import asyncio
import os
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing, contextmanager

import pytest
from callers import http, pcm_of, rest_of, stream, transcribe, until

from antiphon.core.identity import Scope
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.trust.control import Control
from serving import API_KEY, LIGHT, SPEECH, Server, start

pytestmark = pytest.mark.xdist_group("faults")
RAW = "&encoding=linear16&sample_rate=16000"


@contextmanager
def served(data_dir, models, settings=LIGHT, *arguments, **environment):
    process, url = start(data_dir, models, settings, flags=("--offline", *arguments), **environment)
    try:
        yield Server(url, API_KEY, data_dir, process.pid)
    finally:
        process.terminate()
        assert process.wait(20) == 0


def antiphon(*arguments, **environment):
    """Exit code of a command, and the lines of ours in its standard error, where there is nothing of a defect."""
    command = [sys.executable, "-m", "antiphon", *map(str, arguments)]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, [line for line in done.stderr.splitlines() if line.startswith("antiphon: ")]


def refused(data_dir):
    """The one line with which a server does not start."""
    config = data_dir / "test.toml"
    code, said = antiphon("serve", "--port", 0, "--offline", "--config", config, "--data-dir", data_dir)
    assert (code, len(said)) == (1, 1), said
    return said[0]


async def answer(session, path, key=API_KEY):
    async with session.get(path, headers={"Authorization": f"Bearer {key}"}) as response:
        return response.status, await response.text()


async def unready(session, reason):
    """Within a second, `/readyz` says so; with some patience for a busy machine."""
    await until(lambda: says(session, 503, f"not ready: {reason}\n"), 3)


async def ready(session):
    await until(lambda: says(session, 200, "ready\n"), 3)


async def says(session, *expected):
    return await answer(session, "/readyz") == expected


async def test_a_ledger_that_is_gone_or_emptied_is_noticed_and_is_not_begun_anew_unasked(tmp_path, models, beckett):
    speech = pcm_of(beckett)[: 2 * 32_000]
    ledger, aside = tmp_path / "ledger.db", tmp_path / "aside.db"
    with served(tmp_path, models, SPEECH) as server:
        async with http(server) as session, stream(server) as live:
            assert (await transcribe(session, speech, RAW))[0] == 200
            ledger.rename(aside)
            await unready(session, "ledger.db was removed")
            assert (await transcribe(session, speech, RAW))[0] == 503
            assert (await rest_of(live))[-1]["type"] == "Error"
            aside.rename(ledger)
            await ready(session)
            assert (await transcribe(session, speech, RAW))[0] == 200
            shutil.copy(ledger, aside)
            ledger.unlink()
            aside.rename(ledger)
            await unready(session, "ledger.db was replaced")
            assert (await transcribe(session, speech, RAW))[0] == 503
    ledger.write_bytes(b"")
    assert "ledger.db is missing or empty" in refused(tmp_path)
    ledger.unlink()
    assert "ledger.db is missing or empty" in refused(tmp_path)
    assert not ledger.exists()
    with served(tmp_path, models, LIGHT, "--accept-loss"):
        pass
    with served(tmp_path, models):
        pass


async def test_keys_that_are_lost_let_nobody_in(tmp_path, models):
    control, aside = tmp_path / "control.db", tmp_path / "aside.db"
    with served(tmp_path, models) as server:
        async with http(server) as session:
            assert (await answer(session, "/v1/models"))[0] == 200
            control.rename(aside)
            await unready(session, "control.db was removed")
            assert (await answer(session, "/v1/models"))[0] == 503
            assert (await answer(session, "/admin/v1/keys"))[0] == 503
            assert not control.exists()  # and not begun anew
            SqliteDirectory(tmp_path)
            await unready(session, "control.db was replaced")
            aside.rename(control)
            await ready(session)
            assert (await answer(session, "/v1/models"))[0] == 200
            shutil.copy(control, aside)
            os.truncate(control, 0)
            await unready(session, "control.db was emptied")
            assert (await answer(session, "/v1/models"))[0] == 503
            (tmp_path / "answers.db").unlink()
            shutil.copyfile(aside, control)  # into the same file
            await unready(session, "answers.db was removed")
    control.unlink()
    assert "do not belong together" in refused(tmp_path)
    shutil.copy(aside, control)
    with served(tmp_path, models):
        pass


def test_a_directory_is_one_servers_and_private_and_has_no_lock_to_delete(tmp_path, models):
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o755)
    (data_dir / "models").symlink_to(models.root)
    data_dir.chmod(0o755)
    SqliteDirectory(data_dir)
    (data_dir / "control.db").chmod(0o644)
    with served(data_dir, models):
        for lock in data_dir.glob("*.lock"):
            lock.unlink()
        assert "in use by another server" in refused(data_dir)
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        ours = {path.name: stat.S_IMODE(path.stat().st_mode) for path in data_dir.glob("*.db*")}
        assert set(ours) >= {"control.db", "ledger.db", "ledger.db-wal", "ledger.db-shm", "answers.db"}
        assert set(ours.values()) == {0o600}


@pytest.fixture(params=["ro", "size=4k"])
def unwritable(tmp_path, request):
    """On a read-only file system, and on a full one."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    options = f"{request.param},mode=700"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


COMMANDS = (
    *(("keys", "list"), ("keys", "create"), ("projects", "list"), ("projects", "create", "acme")),
    *(("usage",), ("models", "pull", "--offline", "silero-vad")),
)


async def commands(data_dir, tmp_path):
    """Each says in one line that the directory cannot be used, or what is not in it."""
    config = tmp_path / "light.toml"
    config.write_text(LIGHT)
    every = (*COMMANDS, ("serve", "--port", 0, "--config", config))
    say = (asyncio.to_thread(antiphon, *each, ANTIPHON_DATA_DIR=str(data_dir)) for each in every)
    for each, (code, said) in zip(every, await asyncio.gather(*say), strict=True):
        assert (code, len(said)) == (1, 1), said
        assert str(data_dir) in said[0] or each[0] == "models"


async def test_a_directory_that_cannot_be_written_is_one_line(unwritable, tmp_path):
    await commands(unwritable, tmp_path)


async def test_a_file_in_its_place_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    await commands(tmp_path / "file", tmp_path)


async def test_words_that_are_not_known_grant_nothing_and_break_nothing(tmp_path, models):
    with served(tmp_path, models) as server:
        control = Control(SqliteDirectory(tmp_path))
        now = time.time_ns() // 1_000_000
        _, kept = control.create_key("default", "", [Scope.TRANSCRIBE], now)
        later, strange = control.create_key("default", "", [Scope.ADMIN], now)
        with closing(sqlite3.connect(tmp_path / "control.db")) as connection, connection:
            connection.execute("UPDATE keys SET scopes = 'teleport generate' WHERE id = ?", (later.id,))
            connection.execute(
                """UPDATE projects SET policy = '{"marking": "holographic", "keep_answers_s": -1, "mood": 1}'"""
            )
            connection.execute("ALTER TABLE keys ADD COLUMN mood TEXT")
        async with http(server) as session:
            for key in (kept, strange, API_KEY):
                assert (await answer(session, "/v1/models", key))[0] == 200
            assert (await answer(session, "/admin/v1/keys", strange))[0] == 403
            assert (await answer(session, "/admin/v1/keys"))[0] == 200
            assert (await answer(session, "/admin/v1/projects"))[0] == 200
            control.revoke_key(later.id, now)

            async def gone():
                return (await answer(session, "/v1/models", strange))[0] == 401

            await until(gone, 2)
    with closing(sqlite3.connect(tmp_path / "control.db")) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    assert "schema version 99" in refused(tmp_path)


async def test_a_first_failure_of_the_management_api_is_not_kept(tmp_path, models):
    with served(tmp_path, models) as server:
        async with http(server) as session:
            assert (await answer(session, "/healthz"))[0] == 200  # and the connection stays open
            before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (5, hard_limit(server.pid)))
            status, said = await answer(session, "/admin/v1/keys")
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
            assert (status, '"internal_error"' in said) == (500, True)
            assert (await answer(session, "/admin/v1/keys"))[0] == 200


def hard_limit(pid):
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
