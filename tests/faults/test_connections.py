"""Callers who do wrong, over real sockets, against the real server: each gets its end, and nobody else notices."""

import asyncio
import contextlib
import difflib
import json
import random
import signal
import socket
import sqlite3

import pytest
from callers import (
    chunks,
    converse,
    failures,
    held,
    http,
    left_as_found,
    metric,
    resident_mb,
    socket_of,
    stream,
    transcribe,
    transcript,
    until,
    words,
)
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from serving import API_KEY, SPEECH, Server, served, start

pytestmark = pytest.mark.xdist_group("faults")
POOL = 8  # threads of asyncio's own, which come when they are needed and stay
RAW = "&encoding=linear16&sample_rate=16000"


@pytest.fixture(scope="module")
def server(tmp_path_factory, models):
    with served(tmp_path_factory.mktemp("data"), models, SPEECH) as server:
        yield server
    assert failures(server, API_KEY) <= {"Invalid UTF-8 sequence received from client."}  # uvicorn's


def understood(messages):
    """Whether a stream of `speech` got its words and its proper end."""
    said = ["ever", "tried", "ever", "failed", "no", "matter", "try", "again", "fail", "again", "fail", "better"]
    right = difflib.SequenceMatcher(None, words(transcript(messages)), said).ratio() > 0.8
    return right and messages[-1]["type"] == "Metadata"


@pytest.fixture
async def nothing_left(server):
    """Afterwards no session, descriptor or thread is left."""
    async with http(server) as session:
        await held(session)
        async with left_as_found(server, session, POOL, 30):
            yield


# -- those who are slow ------------------------------------------------------------------------------------------------


async def cut_off(reader, writer):
    """Waits for the server to end a connection."""
    try:
        while await reader.read(65_536):
            pass
    except ConnectionError:
        pass
    writer.close()


async def silent_stream(server):
    async with stream(server) as live:
        assert json.loads(await live.recv())["variant"] == "NET-0001"
        with pytest.raises(ConnectionClosed):
            await live.recv()
        assert (live.close_code, live.close_reason[:8]) == (1011, "NET-0001")


async def silent_connection(server):
    await cut_off(*await socket_of(server))


async def half_a_handshake(server):
    reader, writer = await socket_of(server)
    writer.write(b"GET /v1/listen HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    await cut_off(reader, writer)


async def drip(writer):
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.5)


async def dripping_head(server):
    reader, writer = await socket_of(server)
    writer.write(b"GET / HTTP/1.1\r\nX: ")
    dripping = asyncio.create_task(drip(writer))
    await cut_off(reader, writer)
    dripping.cancel()


async def dripping_body(server):
    reader, writer = await socket_of(server)
    head = f"POST /v1/listen HTTP/1.1\r\nHost: h\r\nAuthorization: Token {API_KEY}\r\nContent-Length: 1000000\r\n\r\n"
    writer.write(head.encode())
    dripping = asyncio.create_task(drip(writer))
    answer = await reader.readuntil(b"}")
    dripping.cancel()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"err_code":"SLOW_UPLOAD"' in answer
    writer.close()


async def flood(server, opening, message):
    """Sends what is answered, and never reads, until it is cut off."""
    loop = asyncio.get_running_loop()
    host, port = server.base_url.removeprefix("http://").split(":")
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        await loop.sock_connect(deaf, (host, int(port)))
        await loop.sock_sendall(deaf, opening)
        await asyncio.sleep(0.5)
        try:
            while True:
                await loop.sock_sendall(deaf, message * 100)
        except ConnectionError:
            pass


async def deaf_stream(server):
    opening = (
        "GET /v1/listen?encoding=linear16&sample_rate=16000 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Authorization: Token {API_KEY}\r\n\r\n"
    )
    configure = b'{"type": "Configure", "features": {}}'
    await flood(server, opening.encode(), bytes((0x81, 0x80 | len(configure), 0, 0, 0, 0)) + configure)


async def deaf_caller(server):
    await flood(server, b"", b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n")


async def test_the_slow_get_their_end_and_nobody_else_notices(server, nothing_left, speech):
    before_mb = resident_mb(server.pid)
    bad = (silent_stream, silent_connection, half_a_handshake, dripping_head, dripping_body, deaf_stream, deaf_caller)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for caller in bad * 2:
            group.create_task(caller(server))
        good = group.create_task(converse(server, speech))
    assert understood(good.result())
    assert resident_mb(server.pid) < before_mb + 100


# -- those who are wrong -----------------------------------------------------------------------------------------------


async def fate(server, *messages, query=""):
    """The last message and the close of a stream that says that."""
    async with stream(server, query) as live:
        told = [None]
        try:
            for message in messages:
                await live.send(message)
            while True:
                told.append(await live.recv())
        except ConnectionClosed as closed:
            frame = closed.rcvd
        return told[-1], frame.code, frame.reason


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        (bytes(1_100_000), 1009, ""),
        ([bytes(300_000)] * 4, 1009, ""),  # in fragments
        ("not JSON", 1008, "A text message"),
        ('{"type": "Nonsense"}', 1008, "A text message"),
        ('{"type": ["CloseStream"]}', 1008, "A text message"),
        ("[" * 100_000, 1008, "A text message"),
        ([b"\xff", b"\xfe"], 1000, ""),  # binary, so audio; the end is said below
    ],
)
async def test_a_message_that_is_wrong(server, nothing_left, message, code, reason):
    _, got, why = await fate(server, message, *(['{"type": "CloseStream"}'] if code == 1000 else []))
    assert got == code
    assert reason in why


async def test_text_that_is_none(server, nothing_left):
    async with stream(server) as live:
        await live.send(b"\xff\xff", text=True)
        with pytest.raises(ConnectionClosed) as closed:
            await live.recv()
    assert closed.value.rcvd.code == 1007


async def test_a_container_that_is_none(server, nothing_left):
    headers = {"Authorization": f"Token {API_KEY}"}
    async with connect(server.ws_url + "/v1/listen?model=nova-3", additional_headers=headers) as live:
        await live.send(b"text where a container belongs" * 500)
        await live.send('{"type": "CloseStream"}')
        error = json.loads(await live.recv())
        with pytest.raises(ConnectionClosed) as closed:
            await live.recv()
    assert error["type"] == "Error"
    assert (closed.value.rcvd.code, closed.value.rcvd.reason[:9]) == (1008, "DATA-0000")


async def test_bodies_that_are_too_large(server, nothing_left):
    async def endless(megabytes):
        for _ in range(megabytes):
            yield bytes(1 << 20)

    async with http(server) as session:
        declared = {"Content-Length": str(1 << 30), "Connection": "close"}
        async with session.post("/v1/listen?model=nova-3", data=endless(1), headers=declared) as response:
            assert (response.status, (await response.json())["err_code"]) == (413, "PAYLOAD_TOO_LARGE")
    async with http(server) as session:
        kind = {"Content-Type": "multipart/form-data; boundary=B"}
        async with session.post("/v1/audio/transcriptions", data=endless(27), headers=kind) as response:
            assert response.status == 413
            assert (await response.json())["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX: " + b"x" * 400_000,
        b"GET /v1/listen HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nX: "
        + b"x" * 20_000
        + b"\r\n\r\n",
        b"\x16\x03\x01 not HTTP at all\r\n\r\n",
    ],
)
async def test_a_head_that_is_wrong(server, nothing_left, head):
    reader, writer = await socket_of(server)
    writer.write(head)
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):  # it was closed on while it still spoke
            assert (await reader.read(100)).startswith(b"HTTP/1.1 4")
        await cut_off(reader, writer)


# -- those who come and go ---------------------------------------------------------------------------------------------


async def passer_by(server, speech, chance):
    """Connects, speaks and vanishes, or does not, at any moment."""
    await asyncio.sleep(chance.uniform(0, 5))
    pcm = speech[: chance.randrange(1, 6) * 16_000]
    way = chance.choice(["cut", "cut", "close", "end", "post", "leave a post"])
    if way == "post":
        async with http(server) as session:
            assert (await transcribe(session, pcm, RAW))[0] in (200, 429)
    elif way == "leave a post":
        _, writer = await socket_of(server)
        head = f"POST /v1/listen?model=nova-3{RAW} HTTP/1.1\r\nHost: h\r\nAuthorization: Token {API_KEY}\r\n"
        whole = f"{head}Content-Length: {len(pcm)}\r\n\r\n".encode() + pcm
        writer.write(whole[: chance.randrange(1, len(whole) + 1)])
        await asyncio.sleep(chance.uniform(0, 0.3))
        writer.transport.abort()
    else:
        async with stream(server, "&interim_results=true") as live:
            for chunk in chunks(pcm)[: chance.randrange(50)]:
                await live.send(chunk)
                await asyncio.sleep(chance.uniform(0, 0.05))
            if way == "cut":
                live.transport.abort()
            elif way == "end":
                await live.send('{"type": "CloseStream"}')
                assert json.loads([message async for message in live][-1])["type"] == "Metadata"


async def crowd(server, speech, seed, count):
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        for n in range(count):
            group.create_task(admitted(passer_by(server, speech, random.Random(seed + n))))


async def admitted(call):
    """A crowd may be more than the server lets in."""
    try:
        await call
    except InvalidStatus as refused:
        if refused.response.status_code != 429:
            raise


async def test_a_crowd_that_comes_and_goes_leaves_nothing(server, nothing_left, speech):
    await crowd(server, speech, 1000, 200)  # what as many need at once is kept for the next ones
    before_mb = resident_mb(server.pid)
    good = asyncio.create_task(converse(server, speech))
    async with http(server) as session:
        await until(lambda: metric(session, "antiphon_streams_live"), 20)
    await crowd(server, speech, 0, 200)
    assert understood(await good)
    assert resident_mb(server.pid) < before_mb + 60


# -- the end -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
async def test_a_signal_drains(tmp_path, models, speech, two_cities, number):
    process, url = start(tmp_path, models, SPEECH)
    server = Server(url, API_KEY, tmp_path, process.pid)
    try:
        async with http(server) as session, stream(server) as live:
            for chunk in chunks(speech[: 3 * 32_000]):
                await live.send(chunk)
            posting = asyncio.create_task(transcribe(session, two_cities.read_bytes()))

            async def both_open():
                return await metric(session, "antiphon_sessions_open") == 2

            await until(both_open, 20)
            process.send_signal(number)
            messages = [json.loads(message) async for message in live]
            assert live.close_code == 1000
            status, answer = await posting
        assert await asyncio.to_thread(process.wait, 20) == 0
    finally:
        process.kill()
    assert messages[-1]["type"] == "Metadata"
    assert transcript(messages)
    assert status == 200
    assert "best of times" in answer["results"]["channels"][0]["alternatives"][0]["transcript"]
    assert messages[-1]["duration"] == 3
    with sqlite3.connect(tmp_path / "ledger.db") as ledger:
        total = dict(ledger.execute("SELECT feature, sum(amount) FROM entries GROUP BY feature"))
        ends = [kind for (kind,) in ledger.execute("SELECT kind FROM entries WHERE kind != 'usage'")]
    assert total["live"] == 3000
    assert total["recording"] == round(answer["metadata"]["duration"] * 1000)
    assert ends == ["completed", "completed"]
