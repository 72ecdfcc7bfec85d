"""Connections by the thousand, over real sockets, where descriptors are few: health, metrics and administration are
answered all the same, and so is whoever speaks.
"""

import asyncio
import contextlib

import pytest
from callers import closed_as_found, descriptors, failures, http, metric, socket_of

from serving import API_KEY, LIGHT, served

pytestmark = pytest.mark.xdist_group("faults")
DESCRIPTORS = 300
MOST = DESCRIPTORS // 2  # the others are kept back
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory, models):
    with served(tmp_path_factory.mktemp("data"), models, LIGHT, DESCRIPTORS) as server:
        yield server
    assert failures(server, API_KEY) == set()


@pytest.fixture(autouse=True)
async def nothing_left(server):
    async with closed_as_found(server, 40):
        yield


@contextlib.asynccontextmanager
async def crowd(server, count, said):
    """So many connections that say something, and then no more."""
    writers = []
    for _ in range(count):
        _, writer = await socket_of(server)
        writer.write(said)
        writers.append(writer)
    await asyncio.sleep(0.3)
    yield
    for writer in writers:
        writer.transport.abort()


async def answer(server, request):
    reader, writer = await socket_of(server)
    writer.write(request)
    async with asyncio.timeout(10):
        told = await reader.read()
    writer.close()
    return told


async def served_all(server):
    """Operators are."""
    for _ in range(5):
        assert (await answer(server, HEALTH)).startswith(b"HTTP/1.1 200 ")
    async with http(server) as session, session.get("/admin/v1/keys") as response:
        assert response.status == 200
    assert descriptors(server.pid) < DESCRIPTORS - 20


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"POST /admin/v1/keys HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{",
        b"GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n",
    ],
    ids=["silent", "unnamed", "kept alive"],
)
async def test_who_does_nothing_gives_way(server, said):
    async with crowd(server, 2 * DESCRIPTORS, said):
        await served_all(server)
        models = f"GET /v1/models HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {API_KEY}\r\n\r\n"
        assert (await answer(server, models.encode())).startswith(b"HTTP/1.1 200 ")


async def test_where_all_are_busy_the_others_are_told_and_operators_are_served(server):
    busy = f"POST /v1/listen HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {API_KEY}\r\nContent-Length: 1000\r\n\r\n"
    async with crowd(server, MOST, busy.encode()), crowd(server, DESCRIPTORS, b""):
        await served_all(server)
        told = await answer(server, b"GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5\r\n" in told
        async with http(server) as session:
            assert await metric(session, "antiphon_connections_refused_total") > 0
    async with http(server) as session:
        assert await metric(session, "antiphon_connections_open") <= MOST + 64


async def test_metrics_and_the_document_are_not_for_whom_a_proxy_passed_on(server):
    for path in ("/metrics", "/admin/v1/openapi.json"):
        head = f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
        assert (await answer(server, f"{head}\r\n".encode())).startswith(b"HTTP/1.1 200 ")
        passed_on = f"{head}X-Forwarded-For: 203.0.113.1\r\n"
        assert (await answer(server, f"{passed_on}\r\n".encode())).startswith(b"HTTP/1.1 401 ")
        named = f"{passed_on}Authorization: Bearer {API_KEY}\r\n\r\n"
        assert (await answer(server, named.encode())).startswith(b"HTTP/1.1 200 ")
