"""RFC 6455 by the cases of the Autobahn test suite, against an echo over the server's own WebSocket protocol."""

import asyncio
import logging
from collections.abc import AsyncIterator

import kosoku
import pytest
import uvicorn
import websockets

from antiphon.transports import frames
from antiphon.transports.frames import WebSocketProtocol
from antiphon.transports.http1 import HttpProtocol

# Compression is not offered, so these cases have nothing to test.
COMPRESSION = ["12.*", "13.*"]

# Both orders are allowed. A wrong frame fails the connection at once (section 7.1.7): an answer to a message that came
# just before it is not waited for.
ANSWER_NOT_WAITED_FOR = {"3.2", "3.3", "3.4", "4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5", "5.15"}
# Text is checked frame by frame. These send one frame in pieces and look for the close before the frame is complete.
CHECKED_WHEN_THE_FRAME_IS_COMPLETE = {"6.4.3", "6.4.4"}
NON_STRICT = ANSWER_NOT_WAITED_FOR | CHECKED_WHEN_THE_FRAME_IS_COMPLETE


async def echo(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        kind = "text" if message.get("text") is not None else "bytes"
        try:
            await send({"type": "websocket.send", kind: message[kind]})
        except RuntimeError:  # closed since; the transport of the server takes it for the end as well
            return


@pytest.fixture
async def address(monkeypatch) -> AsyncIterator[str]:
    for bound in ("MAX_FRAGMENTS", "FRAMES_AT_ONCE"):  # a case sends 4 MiB in fragments of 64 bytes
        monkeypatch.setattr(frames, bound, 1 << 17)
    settings = uvicorn.Config(
        echo,
        port=0,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=16 << 20,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
    )
    server = uvicorn.Server(settings)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    yield f"ws://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


async def test_every_case_passes_and_nothing_is_logged(address, caplog):
    caplog.set_level(logging.WARNING)
    results = await kosoku.run_fuzzingclient(address, exclude_cases=COMPRESSION, concurrency=16)
    assert len(results) > 300
    assert {each.case_id for each in results if each.behavior.value == "NON-STRICT"} <= NON_STRICT
    assert not caplog.records


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x81\x82\0\0\0\0\xc3\x28", 1007),
        (b"\x01\x82\0\0\0\0\xc3\x28", 1007),  # before the message ends
        (b"\x01\x81\0\0\0\0\xc3\x80\x81\0\0\0\0\x28", 1007),  # a character in two frames
        (b"\x81\x81\0\0\0\0\xff\x88\x82\0\0\0\0\x03\xe8", 1007),  # with a close behind it
        (b"\x01\x81\0\0\0\0a\x88\x82\0\0\0\0\x03\xe8", 1000),  # a close amid fragments
    ],
)
async def test_how_it_closes(address, sent, code):
    host, port = address.removeprefix("ws://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    writer.write(sent)
    first, length = await reader.readexactly(2)
    assert (first, int.from_bytes((await reader.readexactly(length))[:2])) == (0x88, code)
    writer.close()


async def test_a_character_may_be_split_between_frames(address):
    async with websockets.connect(address) as socket:
        await socket.send([b"h\xc3", b"\xa9", b""], text=True)
        assert await socket.recv() == "hé"
