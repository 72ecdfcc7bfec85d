"""Requests that are framed to do harm, over real sockets: what stands around a body is bounded and becomes no header,
and what two readers could take for two things is taken by none.
"""

import asyncio
import contextlib

import pytest
from callers import closed_as_found, failures, resident_mb, socket_of

from serving import API_KEY, LIGHT, served

pytestmark = pytest.mark.xdist_group("faults")
KEY = f"Authorization: Bearer {API_KEY}\r\n"
CHUNKED = "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
WEB_SOCKET = (
    "GET /v1/listen HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{KEY}"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory, models):
    with served(tmp_path_factory.mktemp("data"), models, LIGHT) as server:
        yield server
    assert failures(server, API_KEY) == set()


@pytest.fixture(autouse=True)
async def nothing_left(server):
    before = resident_mb(server.pid)
    async with closed_as_found(server):
        yield
    assert resident_mb(server.pid) < before + 60


async def answered(server, *parts):
    """What comes back, until the server ends the connection or a second passes."""
    reader, writer = await socket_of(server)
    told = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        for part in parts:
            writer.write(part.encode("latin-1"))
            await writer.drain()
        while True:
            async with asyncio.timeout(1):
                some = await reader.read(65_536)
            if not some:
                break
            told += some
    writer.close()
    return told.decode("latin-1")


@pytest.mark.parametrize(
    "begin", ["GET /v1/models?{} HTTP/1.1\r\nHost: h\r\n", WEB_SOCKET.replace("listen", "listen?{}")]
)
async def test_a_query_has_a_bounded_number_of_parameters(server, begin):
    few, many = [await answered(server, begin.format("a&" * count), "\r\n") for count in (200, 5000)]
    assert many.startswith("HTTP/1.1 400 ")
    assert "more than 256 parameters" in many
    assert "parameters" not in few.partition("\r\n\r\n")[0]
    assert "more than 256" not in few


async def test_a_trailer_is_no_header(server):
    unnamed = await answered(server, f"{CHUNKED}\r\n2\r\n{{}}\r\n0\r\n{KEY}\r\n")
    assert unnamed.startswith("HTTP/1.1 401 ")
    named = await answered(server, f"{CHUNKED}{KEY}\r\n2\r\n{{}}\r\n0\r\nAuthorization: Bearer wrong\r\n\r\n")
    assert named.startswith("HTTP/1.1 400 ")
    assert "invalid_request_error" in named  # the body was read, and is no request


@pytest.mark.parametrize("key", [KEY, ""])
@pytest.mark.parametrize(
    ("begin", "again"),
    [
        ("1\r\n{\r\n0\r\n", "X-Trailer: of some length\r\n"),
        ("1\r\n{\r\n0\r\nX: ", "y" * 1000),
        ("1;", "extension=" + "y" * 1000),
        ("1\r\n{\r\n", "0" * 1000),
    ],
    ids=["trailers", "trailer", "extension", "size"],
)
async def test_what_frames_a_body_is_bounded(server, key, begin, again):
    reader, writer = await socket_of(server)
    writer.write(f"{CHUNKED}{key}\r\n{begin}".encode())
    piece = (again * (100_000 // len(again))).encode()
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 30_000_000 and not reader.at_eof():
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
            await asyncio.sleep(0)
        await reader.read()
    writer.close()
    assert sent < 10_000_000  # what the sockets' buffers hold, and a little


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", 200),
        ("GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", 200),
        ("GET /healthz HTTP/1.0\r\n\r\n", 200),
        ("GET /healthz HTTP/1.1\r\n\r\n", 400),  # RFC 9112 section 3.2
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (f"GET /v1/models HTTP/1.1\r\nHost: h\r\n{KEY}\r\n", 200),
        (f"GET /v1/models HTTP/1.1\r\nHost: h\r\n{KEY}{KEY}\r\n", 400),
        (f"GET /v1/models HTTP/1.1\r\nHost: h\r\n{KEY}Authorization: Bearer other\r\n\r\n", 400),
        (f"GET /{'x' * 20_000} HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        ("GET / HTTP/1.1\r\nHost: h\r\n" + "X: y\r\n" * 300 + "\r\n", 431),
        (f"{CHUNKED}{KEY}Content-Length: 5\r\n\r\n0\r\n\r\n", 400),
        (f"{CHUNKED}{KEY}Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        ("GET /healthz HTTP/1.1\r\nHost: h\r\nX: a\r\n folded\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 41\r\n\r\n"
            "GET /healthz HTTP/1.1\r\nHost: smuggled\r\n\r\n",
            404,
        ),
        (f"{WEB_SOCKET}\r\n", 400),  # no such model
        (f"{WEB_SOCKET}Sec-WebSocket-Protocol: token, \xc3\xa9\r\n\r\n", 400),
        (WEB_SOCKET.replace(": 13", ": 1\xb3") + "\r\n", 400),
        (WEB_SOCKET.replace("Host: h\r\n", "") + "\r\n", 400),
        (f"{WEB_SOCKET}{KEY}\r\n", 400),
        (f"{WEB_SOCKET}Content-Length: 3\r\n\r\nabc", 400),
    ],
)
async def test_each_request_is_answered_once(server, request_, status):
    told = await answered(server, request_)
    assert told.startswith(f"HTTP/1.1 {status} ")
    assert told.count("HTTP/1.1 ") == 1


async def test_requests_that_wait_for_an_answer_are_not_gathered(server):
    """Each is answered; those that are not read yet stay with the sender."""
    reader, writer = await socket_of(server)
    request = "GET /healthz HTTP/1.1\r\nHost: h\r\n{}\r\n"
    writer.write((request.format("") * 200 + request.format("Connection: close\r\n")).encode())
    async with asyncio.timeout(60):
        told = await reader.read()
    writer.close()
    assert told.count(b"HTTP/1.1 200") == 201


async def test_one_who_leaves_with_requests_waiting_leaves_nothing_behind(server):
    """The request that is under way hears of it, too."""
    _, writer = await socket_of(server)
    head = f"POST /v1/listen HTTP/1.1\r\nHost: h\r\n{KEY}Content-Length: 1000\r\n\r\n"
    writer.write(head.encode() + bytes(1000) + head.encode() * 3)
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.transport.abort()
