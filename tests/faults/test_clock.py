"""A wall clock that is wrong, or set back under a real server."""

import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import aiohttp
import pytest
from callers import failures, pcm_of

from antiphon.core.identity import Scope
from antiphon.core.policy import Marking
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.trust.control import Control
from antiphon.trust.provenance import open_provenance
from serving import API_KEY, LIGHT, SPEECH, Server, start

pytestmark = pytest.mark.xdist_group("faults")
BOTH = """
[models]
"nova-3" = "moonshine-tiny-en"
piper = { engines = ["joe"] }
[engines.joe]
kind = "piper"
model = "en-us-joe-medium"
"""
LISTEN = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000"
HOUR_S = 3600


class Clock:
    """The wall clock of servers: `shift_s` from the true one, also while they run."""

    def __init__(self, library, folder):
        self.path = folder / "shift"
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_SHIFT_FILE": str(self.path)}
        self.shift(0)

    def shift(self, seconds):
        written = self.path.with_suffix(".new")
        written.write_text(str(seconds))
        written.replace(self.path)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler for the library that shifts the clock")
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    source = __file__.replace("test_clock.py", "clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def clock(library, tmp_path):
    return Clock(library, tmp_path)


@contextmanager
def served(tmp_path, models, settings, clock):
    process, url = start(tmp_path / "data", models, settings, **clock.environment)
    try:
        yield Server(url, API_KEY, tmp_path / "data", process.pid)
    finally:
        process.terminate()
        assert process.wait(20) == 0


async def ask(server, path, key=API_KEY, **more):
    headers = {"Authorization": f"Bearer {key}"} | more.pop("headers", {})
    method = "POST" if more else "GET"
    async with aiohttp.request(method, server.base_url + path, headers=headers, **more) as response:
        return response.status, await response.read()


async def test_a_clock_set_back_revives_neither_keys_nor_idempotency_keys(tmp_path, models, clock, beckett):
    first, second = pcm_of(beckett)[:32_000], pcm_of(beckett)[32_000:64_000]
    once = {"Idempotency-Key": "once"}
    with served(tmp_path, models, SPEECH, clock) as server:
        control = Control(SqliteDirectory(tmp_path / "data"))
        now_ms = time.time_ns() // 1_000_000
        _, short = control.create_key("default", "", [Scope.TRANSCRIBE], now_ms, now_ms + 12 * HOUR_S * 1000)
        _, longer = control.create_key("default", "", [Scope.TRANSCRIBE], now_ms, now_ms + 96 * HOUR_S * 1000)
        assert (await ask(server, "/v1/models", short))[0] == 200
        assert (await ask(server, LISTEN, data=first, headers=once))[0] == 200
        assert (await ask(server, LISTEN, data=second, headers=once))[0] == 422  # another request
        for hours, status in ((25, 401), (1, 401), (-48, 401)):
            clock.shift(hours * HOUR_S)
            assert (await ask(server, "/v1/models", short))[0] == status
            assert (await ask(server, "/v1/models", longer))[0] == 200
        assert (await ask(server, LISTEN, data=second, headers=once))[0] == 200  # a day is over
    assert failures(server) == set()

    with served(tmp_path, models, LIGHT, clock) as server:  # as far back as before it was made
        assert (await ask(server, "/v1/models", short))[0] == 401
        assert (await ask(server, "/v1/models", longer))[0] == 200


async def test_a_date_before_2000_breaks_nothing(tmp_path, models, clock, beckett):
    clock.shift(-(time.time_ns() // 1_000_000_000) + 86_400)  # 1970-01-02
    said = {"model": "piper", "voice": "joe", "input": "Good morning.", "response_format": "wav"}
    (tmp_path / "data").mkdir()
    Control(SqliteDirectory(tmp_path / "data")).change_project("default", 0, marking=Marking.SIGNED)
    open_provenance(tmp_path / "data")  # certificates of a better time
    with served(tmp_path, models, BOTH, clock) as server:
        status, heard = await ask(server, LISTEN, data=pcm_of(beckett)[:64_000])
        assert (status, b"transcript" in heard) == (200, True)
        status, spoken = await ask(server, "/v1/audio/speech", json=said)
        assert (status, b"C2PA" in spoken) == (200, True)
        status, used = await ask(server, "/admin/v1/usage")
        assert (status, b"1970-01-02" in used) == (200, True)
    assert failures(server) == set()
