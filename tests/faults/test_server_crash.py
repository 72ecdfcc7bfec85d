"""A server that dies, or whose disk is full, under load: what callers received is in the ledger, once.

`ANTIPHON_KILLS` sets how often the ledger's own tests kill; a server, which takes seconds to start, is killed once for
25 of those.
"""

import asyncio
import contextlib
import json
import os
import random
import shutil
import subprocess
import uuid
from collections import Counter

import aiohttp
import pytest
from callers import chunks, http, rest_of, rows, stream, transcribe, until
from websockets.exceptions import WebSocketException

from antiphon.bench.protocols.line import Broken, Refused, Target
from antiphon.bench.protocols.table import PROTOCOLS
from antiphon.core.audio import samples_to_ms
from antiphon.core.errors import EngineError
from serving import API_KEY, SPEECH, Server, free_port, start

pytestmark = pytest.mark.xdist_group("faults")
KILLS = max(2, int(os.environ.get("ANTIPHON_KILLS", "20")) // 25)
RAW = "&encoding=linear16&sample_rate=16000"
GONE = (OSError, EOFError, aiohttp.ClientError, WebSocketException, Broken, EngineError)  # a caller's view of a death


class Callers:
    """A few live streams and recordings at a time, which remember what they were told."""

    def __init__(self, speech):
        self.speech = speech
        self.recording = speech[: 3 * 32_000]
        self.heard_ms = {}  # of each live session, up to where finals were received
        self.told = Counter()  # results by what brought them, of this server
        self.lines = {"amazon": [], "google": []}  # the same of those over HTTP/2 and gRPC, which have no name here
        self.asked = Counter()  # how often each idempotency key was sent
        self.asking = set()  # those that are under way
        self.answered = set()
        self.server = None
        self.grpc_port = free_port()
        names = "".join(f'"{PROTOCOLS[name].model}" = "moonshine-tiny-en"\n' for name in ("deepgram", *self.lines))
        self.settings = f"[grpc]\nport = {self.grpc_port}\n[models]\n{names}[engines]\n"

    async def all_told(self):
        """Whether something came by each way."""
        return all(self.told[name] for name in ("deepgram", "answers", *self.lines))

    async def load(self):
        lines = (self.line(name) for name in self.lines)
        await asyncio.gather(*(self.live() for _ in range(4)), *(self.post() for _ in range(3)), *lines)

    async def live(self):
        with contextlib.suppress(*GONE):
            while True:
                async with stream(self.server) as socket:
                    speaking = asyncio.create_task(self.speak(socket))
                    async for message in socket:
                        told = json.loads(message)
                        if told.get("is_final"):
                            session = told["metadata"]["request_id"]
                            self.heard_ms[session] = round((told["start"] + told["duration"]) * 1000)
                            self.told["deepgram"] += 1
                    speaking.cancel()

    async def line(self, name):
        """Live streams of that protocol, one after the other."""
        url = f"grpc://127.0.0.1:{self.grpc_port}" if name == "google" else self.server.base_url
        protocol = PROTOCOLS[name]
        with contextlib.suppress(*GONE):
            while True:
                line = protocol.line(Target(url, API_KEY, protocol.model, protocol=name), None)
                try:
                    await line.open()
                    speaking = asyncio.create_task(self.say(line))
                    heard_ms = self.lines[name]
                    heard_ms.append(0)
                    at = len(heard_ms) - 1
                    async for result in line.results():
                        if result.final:
                            heard_ms[at] = samples_to_ms(result.window.end)
                            self.told[name] += 1
                    await speaking
                except Refused:
                    await asyncio.sleep(0.1)
                finally:
                    await line.close()

    async def say(self, line):
        with contextlib.suppress(*GONE):
            for chunk in chunks(self.speech):
                await line.send(chunk)
                await asyncio.sleep(0.01)
            await line.finish()

    async def speak(self, socket):
        with contextlib.suppress(*GONE):
            for chunk in chunks(self.speech):
                await socket.send(chunk)
                await asyncio.sleep(0.01)
            await socket.send('{"type": "CloseStream"}')

    async def post(self):
        """A request without an answer is sent again, with the same key, as soon as there is a server."""
        with contextlib.suppress(*GONE):
            async with http(self.server) as session:
                while True:
                    key = next((key for key in self.unanswered() if key not in self.asking), None) or str(uuid.uuid4())
                    self.asking.add(key)
                    try:
                        await self.ask(session, key)
                    finally:
                        self.asking.discard(key)

    def unanswered(self):
        return [key for key in self.asked if key not in self.answered]

    async def ask(self, session, key):
        self.asked[key] += 1
        headers = {"Idempotency-Key": key}
        async with session.post("/v1/listen?model=nova-3" + RAW, data=self.recording, headers=headers) as response:
            await response.read()
            assert response.status in (200, 429)
            if response.status == 200:
                self.answered.add(key)
                self.told["answers"] += 1


async def test_a_server_killed_under_load_loses_and_repeats_nothing(tmp_path, models, speech):
    chance = random.Random(7)
    callers = Callers(speech)
    path = tmp_path / "ledger.db"
    for _ in range(KILLS):
        process, url = start(tmp_path, models, callers.settings)
        callers.server = Server(url, API_KEY, tmp_path, process.pid)
        callers.told.clear()
        loading = asyncio.create_task(callers.load())
        await until(callers.all_told, 60)
        await asyncio.sleep(chance.uniform(0, 2))
        process.kill()
        process.wait()
        await loading
    assert len(callers.heard_ms) >= KILLS
    assert len(callers.answered) >= KILLS

    process, url = start(tmp_path, models, callers.settings)
    try:
        callers.server = Server(url, API_KEY, tmp_path, process.pid)
        async with http(callers.server) as session:
            for key in callers.unanswered():
                await callers.ask(session, key)
    finally:
        process.terminate()
    assert process.wait(20) == 0
    assert not callers.unanswered()

    usage = dict(rows(path, "SELECT session, sum(amount) FROM entries WHERE feature = 'live' GROUP BY session"))
    lost = {session: ms for session, ms in callers.heard_ms.items() if usage.get(session, 0) < ms}
    assert not lost
    for name, heard_ms in callers.lines.items():
        assert len(heard_ms) >= KILLS
        charged = f"SELECT sum(amount) FROM entries WHERE feature = 'live' AND surface = '{name}' GROUP BY session"
        charged_ms = sorted((ms for (ms,) in rows(path, charged)), reverse=True)
        # Each has entries of its own that are as much as was heard.
        assert all(told <= noted for told, noted in zip(sorted(heard_ms, reverse=True), charged_ms, strict=False))
        assert len([ms for ms in heard_ms if ms]) <= len(charged_ms)
    recorded = rows(path, "SELECT sum(amount) FROM entries WHERE feature = 'recording'")[0][0]
    assert recorded == len(callers.asked) * 3000  # however often each was asked for
    assert rows(path, "SELECT count(*) FROM entries GROUP BY project, session, sequence HAVING count(*) > 1") == []
    ends = rows(path, "SELECT sum(kind IN ('completed', 'abandoned')) FROM entries GROUP BY session")
    assert set(ends) == {(1,)}


# -- a full disk -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False).returncode
    ):
        pytest.skip("needs the right to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    """Leaves not one block."""
    with contextlib.suppress(OSError), (folder / "filler").open("ab", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


async def ready(session):
    async with session.get("/readyz") as response:
        return response.status == 200


async def test_a_full_disk_stops_billable_work_until_there_is_room(small_disk, models, speech):
    process, url = start(small_disk, models, SPEECH)
    server = Server(url, API_KEY, small_disk, process.pid)
    recording = speech[: 3 * 32_000]
    try:
        async with http(server) as session, stream(server) as live:
            assert (await transcribe(session, recording, RAW))[0] == 200
            fill(small_disk)
            delivered, status, answer = 1, 200, None
            while status == 200 and delivered < 500:
                status, answer = await transcribe(session, recording, RAW)
                delivered += status == 200
            assert (status, answer["err_code"]) == (503, "INTERNAL_SERVER_ERROR")
            assert not await ready(session)

            # A stream that was open is ended; nothing of it was final.
            told = await rest_of(live)
            assert (told[-1]["type"], live.close_code) == ("Error", 1011)
            assert not [message for message in told if message.get("is_final")]

            (small_disk / "filler").unlink()
            await until(lambda: ready(session), 10)
            assert (await transcribe(session, recording, RAW))[0] == 200
            delivered += 1
    finally:
        process.terminate()
        code = process.wait(20)
    assert code == 0
    assert rows(small_disk / "ledger.db", "SELECT sum(amount) FROM entries") == [(delivered * 3000,)]
