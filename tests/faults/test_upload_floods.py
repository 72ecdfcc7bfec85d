"""Bodies that never end, over real sockets: who sends one gets its end soon, and meanwhile everybody else is served."""

import asyncio
import json

import aiohttp
import pytest
from callers import closed_as_found, failures, resident_mb, socket_of

from serving import API_KEY, LIGHT, served

pytestmark = pytest.mark.xdist_group("faults")
MB = 1 << 20
SETTINGS = f"{LIGHT}[limits]\nupload_mb = 10\nuploads_mb = 44\nuploads_per_key_mb = 10\n"
FORM = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n--B--\r\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory, models):
    with served(tmp_path_factory.mktemp("data"), models, SETTINGS) as server:
        yield server
    assert failures(server, API_KEY) == set()


async def key_of(server, project):
    """A key of a new project."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with aiohttp.ClientSession(server.base_url, headers=headers) as session:
        async with session.post("/admin/v1/projects", json={"id": project}) as response:
            assert response.status in (201, 422), await response.text()
        async with session.post(
            "/admin/v1/keys", json={"project": project, "scopes": ["transcribe", "generate"]}
        ) as made:
            return (await made.json())["key"]


async def silent(server, key, size, path="/v1/listen"):
    """Sends so many bytes of a longer body, and then nothing: the answer."""
    reader, writer = await socket_of(server)
    length = 10 * MB if size else MB // 2
    head = f"POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n"
    writer.write(head.encode())
    for _ in range(size // MB):
        writer.write(bytes(MB))
        await writer.drain()
    try:
        return (await reader.readuntil(b"\r\n")).decode()
    finally:
        writer.transport.abort()


async def asked(server, key, body, path="/v1/chat/completions", kind="application/json"):
    headers = {"Authorization": f"Bearer {key}", "Content-Type": kind}
    async with asyncio.timeout(10), aiohttp.ClientSession(server.base_url, headers=headers) as session:
        response = await session.post(path, data=body)
        return response.status


async def silent_uploads(server):
    """No model is here, which is said of what was read whole; what found no room is answered with 429."""
    attacker, other = [await key_of(server, project) for project in ("attacker", "other")]
    small = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 100_000}]})
    floods = [asyncio.create_task(silent(server, attacker, 9 * MB)) for _ in range(6)]
    floods += [asyncio.create_task(silent(server, attacker, 0, "/v1/chat/completions")) for _ in range(20)]
    await asyncio.sleep(1)
    assert await asked(server, other, small) == 404
    assert await asked(server, attacker, small) == 404
    assert await asked(server, other, bytes(10 * MB), "/v1/listen?model=nova-3", "audio/wav") == 400
    answers = await asyncio.gather(*floods)
    assert [answer[9:12] for answer in answers[6:]] == ["408"] * 20
    assert sorted(answer[9:12] for answer in answers[:6]) == ["408"] * 2 + ["429"] * 4


async def one_who_drips(server):
    """Below the slowest pace, however long it lasts: it was waited for in proportion to what had come."""
    reader, writer = await socket_of(server)
    head = (
        f"POST /v1/listen HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {API_KEY}\r\nContent-Length: {10 * MB}\r\n\r\n"
    )
    writer.write(head.encode() + bytes(2 * MB))

    async def drip():
        while True:
            await asyncio.sleep(0.5)
            writer.write(bytes(2000))

    dripping = asyncio.create_task(drip())
    answer = await reader.readuntil(b"\r\n")
    dripping.cancel()
    writer.transport.abort()
    assert answer.startswith(b"HTTP/1.1 408 ")


async def an_administrator(server):
    """A body is read when the key is known, and must come."""

    async def answer(*headers):
        reader, writer = await socket_of(server)
        named = "".join(f"{header}\r\n" for header in ("Host: h", "Content-Length: 100", *headers))
        writer.write(f"POST /admin/v1/projects HTTP/1.1\r\n{named}\r\n{{".encode())
        told = await reader.readuntil(b"\r\n")
        writer.transport.abort()
        return told[9:12]

    async with asyncio.timeout(5):
        assert await answer() == b"401"
        assert await answer("Authorization: Bearer wrong") == b"401"
    assert await answer(f"Authorization: Bearer {API_KEY}", "Content-Type: application/json") == b"408"


async def test_the_slow_get_their_end_and_shut_nobody_out(server):
    """All at once, because each waits for as long as the server does."""
    async with closed_as_found(server), asyncio.timeout(60), asyncio.TaskGroup() as group:
        for slow in (silent_uploads, one_who_drips, an_administrator):
            group.create_task(slow(server))


async def test_a_form_is_held_once(server):
    """Each of four is 9 MB."""
    before = resident_mb(server.pid)
    kind = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "multipart/form-data; boundary=B"}
    async with aiohttp.ClientSession(server.base_url, headers=kind) as session:
        for _ in range(4):
            async with session.post("/v1/audio/transcriptions", data=FORM % bytes(9 * MB)) as response:
                assert response.status in (400, 404)
    assert resident_mb(server.pid) < before + 60
