"""Floods of tiny frames on WebSockets, over real sockets: who sends them is told and closed, or read more slowly, and
nobody else waits for them. A file that is sent as fast as it goes, in small messages, is taken all the same.
"""

import asyncio
import contextlib
import socket
import struct

import pytest
import pytest_asyncio
from callers import LISTEN, chunks, closed_as_found, converse, failures, http, metric, pcm_of, socket_of

from serving import API_KEY, SPEECH, served

pytestmark = pytest.mark.xdist_group("faults")
BEGIN = (
    f"GET {LISTEN} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer {API_KEY}\r\n\r\n"
)
TEXT, BINARY, PING, PONG = 0x81, 0x82, 0x89, 0x8A
LONGEST_S = 1.5  # that anybody waits on a busy machine; before these bounds it was 4 to 7 s, for each second of a flood


def frame(first, data=b""):
    """`first` is the first byte; the mask is zero."""
    size = bytes([0x80 | len(data)]) if len(data) < 126 else struct.pack("!BH", 0xFE, len(data))
    return bytes([first]) + size + bytes(4) + data


@pytest.fixture(scope="module")
def server(tmp_path_factory, models):
    with served(tmp_path_factory.mktemp("data"), models, SPEECH) as server:
        yield server
    assert failures(server, API_KEY) == set()


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def nothing_left(server):
    """Looked at once, after all floods: a connection that is read slowly is seen to have ended when it does not answer
    a ping, which comes after 20 s.
    """
    async with closed_as_found(server, seconds=40):
        yield


async def flood(server, begin, message, seconds):
    """What comes back of a stream that sends as much as is taken, and how many bytes that was."""
    reader, writer = await socket_of(server)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    writer.write(BEGIN.encode())
    await reader.readuntil(b"\r\n\r\n")
    writer.write(begin)
    told, sent, blob = b"", 0, message * (16_384 // len(message))

    async def hear():
        nonlocal told
        with contextlib.suppress(ConnectionError):
            while some := await reader.read(65_536):
                told = told[-10_000:] + some

    hearing = asyncio.create_task(hear())
    ends = asyncio.get_running_loop().time() + seconds
    with contextlib.suppress(ConnectionError, TimeoutError):
        while asyncio.get_running_loop().time() < ends and not hearing.done():
            writer.write(blob)
            async with asyncio.timeout_at(ends):
                await writer.drain()
            sent += len(blob)
    writer.transport.abort()
    await hearing
    return told, sent


async def longest_wait(server, seconds):
    """Of a caller who asks for something again and again."""
    longest, ends = 0.0, asyncio.get_running_loop().time() + seconds
    while (begun := asyncio.get_running_loop().time()) < ends:
        reader, writer = await socket_of(server)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        longest = max(longest, asyncio.get_running_loop().time() - begun)
        await asyncio.sleep(0.02)
    return longest


# What is read more slowly takes long to its end: the two of that kind come at once, and first.
@pytest.mark.parametrize(
    ("begin", "messages", "why"),
    [
        (b"", [frame(TEXT, b'{"type":"KeepAlive"}'), frame(BINARY, bytes(2))], None),
        (frame(0x02), [frame(0x00)], b"\x03\xf1A message has at most"),
        (b"", [frame(PING)], b"\x03\xf0More than 100 control frames"),
        (b"", [frame(PONG)], b"\x03\xf0More than 100 control frames"),
    ],
    ids=["keep-alives and audio", "continuations", "pings", "pongs"],
)
async def test_a_flood_is_felt_by_nobody_else(server, begin, messages, why):
    floods = [asyncio.create_task(flood(server, begin, message, 3)) for message in messages * 3]
    waited = await longest_wait(server, 3)
    for told, sent in [await each for each in floods]:
        if why:
            assert why in told
        else:
            assert b"\x88" not in told[-2:]
            assert sent < 8_000_000  # what the sockets' buffers hold, and a little
    assert waited < LONGEST_S
    async with http(server) as session:
        assert await metric(session, "antiphon_event_loop_hold_longest_seconds") < LONGEST_S


async def test_a_file_may_come_as_fast_as_it_goes_in_small_messages(server, beckett):
    """And one that takes its time beside it is heard meanwhile; both have pings, too."""
    pcm = pcm_of(beckett)
    reader, writer = await socket_of(server)
    writer.write(BEGIN.encode())
    await reader.readuntil(b"\r\n\r\n")
    beside = asyncio.create_task(converse(server, pcm, pace=3.0))
    for piece in chunks(pcm, 20):
        writer.write(frame(BINARY, piece[:640]) if len(piece) > 125 else frame(BINARY, piece))
    writer.write(frame(PING) * 20)
    writer.write(frame(TEXT, b'{"type": "CloseStream"}'))
    told = b""
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            while some := await reader.read(65_536):
                told += some
                if b'"Metadata"' in told:
                    break
    writer.close()
    assert b'"type":"Metadata"' in told.replace(b" ", b"")
    assert b"better" in told.lower()
    assert (await beside)[-1]["type"] == "Metadata"
