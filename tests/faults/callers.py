"""Callers of a real server, good and bad, for the tests of faults."""

import asyncio
import contextlib
import json
import random
import re
import sqlite3
import wave
from pathlib import Path

import aiohttp
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

CHUNK_MS = 100
LISTEN = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000"


def pcm_of(wav):
    with wave.open(str(wav)) as reader:
        assert (reader.getframerate(), reader.getnchannels()) == (16_000, 1)
        return reader.readframes(reader.getnframes())


def chunks(pcm, ms=CHUNK_MS):
    return [pcm[at : at + ms * 32] for at in range(0, len(pcm), ms * 32)]


def words(text):
    return re.sub(r"[^a-z' ]", "", text.lower()).split()


def stream(server, query="", **options):
    """A live stream, as a context manager."""
    headers = {"Authorization": f"Token {server.api_key}"}
    return connect(server.ws_url + LISTEN + query, additional_headers=headers, compression=None, **options)


async def converse(server, pcm, pace=1.0, query="&interim_results=true"):
    """What a well-behaved caller is told; audio goes out at `pace` times real time."""
    async with stream(server, query) as socket:

        async def speak():
            begun = asyncio.get_running_loop().time()
            for n, chunk in enumerate(chunks(pcm)):
                await asyncio.sleep(max(0.0, begun + n * CHUNK_MS / 1000 / pace - asyncio.get_running_loop().time()))
                await socket.send(chunk)
            await socket.send('{"type": "CloseStream"}')

        speaking = asyncio.create_task(speak())
        messages = [json.loads(message) async for message in socket]
        await speaking
    return messages


async def rest_of(socket):
    """Every message that still comes."""
    messages = []
    with contextlib.suppress(ConnectionClosed):
        async for message in socket:
            messages.append(json.loads(message))  # noqa: PERF401
    return messages


def transcript(messages):
    return " ".join(m["channel"]["alternatives"][0]["transcript"] for m in messages if m.get("is_final"))


@contextlib.asynccontextmanager
async def http(server):
    headers = {"Authorization": f"Bearer {server.api_key}"}
    async with aiohttp.ClientSession(server.base_url, headers=headers) as session:
        yield session


async def transcribe(session, data, query=""):
    """Status and answer of a recording."""
    async with session.post("/v1/listen?model=nova-3" + query, data=data) as response:
        return response.status, json.loads(await response.read())


async def metric(session, name):
    """The sum over all labels."""
    async with session.get("/metrics") as response:
        text = await response.text()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}[ {{]", line))


def socket_of(server):
    host, port = server.base_url.removeprefix("http://").split(":")
    return asyncio.open_connection(host, int(port))


def children(pid):
    """The processes that a server started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


HELD = (
    "antiphon_sessions_open",
    "antiphon_streams_live",
    "antiphon_backend_outstanding",
    "antiphon_queue_length",
    "antiphon_engine_running",
    "antiphon_engine_cache_used_bytes",
)


async def held(session):
    """What is held for callers, by name. Raises `AssertionError` for a metric that there is not."""
    async with session.get("/metrics") as response:
        text = await response.text()
    assert all(f"# TYPE {name} " in text for name in HELD), text
    return {name: value for name in HELD if (value := await metric(session, name))}


def descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid):
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def resident_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) // 1024


async def until(condition, seconds):
    """Polls; the last value it had."""
    async with asyncio.timeout(seconds):
        while True:
            if value := await condition():
                return value
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def left_as_found(server, session, pool, seconds):
    """So many seconds after the end of this nothing is held, and no descriptor is left, nor a thread beyond `pool`."""
    before = descriptors(server.pid), threads(server.pid)
    yield

    async def settled():
        fewer = descriptors(server.pid) <= before[0] and threads(server.pid) <= before[1] + pool
        return fewer and not await held(session)

    try:
        await until(settled, seconds)
    except TimeoutError:
        after = descriptors(server.pid), threads(server.pid), await held(session)
        raise AssertionError(f"{before} before, {after} after") from None


@contextlib.asynccontextmanager
async def closed_as_found(server, seconds=20):
    """So many seconds after the end of this no descriptor is left, and no session; of servers without engines, too."""
    async with http(server) as session:
        await metric(session, "antiphon_connections_open")
        before = descriptors(server.pid)
        yield

        async def settled():
            return descriptors(server.pid) <= before and not await metric(session, "antiphon_sessions_open")

        await until(settled, seconds)


async def crowd(caller, server, seed, count):
    """So many callers at once, each with chances of its own."""
    async with asyncio.timeout(300), asyncio.TaskGroup() as group:
        for n in range(count):
            group.create_task(caller(server, random.Random(seed + n)))


def rows(path, query):
    """What a query finds in a ledger, which is whole."""
    with contextlib.closing(sqlite3.connect(path)) as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return ledger.execute(query).fetchall()


def failures(server, *never):
    """What the server logged as errors. Of `never` nothing stands in its log."""
    log = (server.data_dir / "log").read_text()
    assert not [text for text in never if text in log]
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return {line["message"] for line in lines if line["level"] == "error"}
