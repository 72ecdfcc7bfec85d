import asyncio

import pytest
import uvicorn
from uvicorn.server import ServerState

from antiphon.transports.bounds import HEAD_S, MAX_HEAD_BYTES, UNREAD_S, HttpProtocol, WebSocketProtocol

HANDSHAKE = (
    b"GET /v1/listen HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
PING = b"\x89\x80\x00\x00\x00\x00"


class Peer(asyncio.Transport):
    """A transport that keeps what is written; `unread` bytes of it lie in the buffer."""

    def __init__(self):
        super().__init__()
        self.written = b""
        self.unread = 0
        self.aborted = self.closed = False
        self.protocol = None

    def write(self, data):
        self.written += data

    def get_write_buffer_size(self):
        return self.unread

    def set_protocol(self, protocol):
        self.protocol = protocol

    def get_protocol(self):
        return self.protocol

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    def abort(self):
        self.aborted = True

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


async def answer(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 413, "headers": []})
        await send({"type": "http.response.body", "body": b""})
    else:
        await receive()
        if (b"x-refuse", b"me") in scope["headers"]:
            await send({"type": "websocket.http.response.start", "status": 429, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"full"})
            return
        await send({"type": "websocket.accept"})
        await receive()


@pytest.fixture
async def peer():
    peer = Peer()
    config = uvicorn.Config(
        answer, http=HttpProtocol, ws=WebSocketProtocol, ws_max_size=1 << 20, log_config=None, lifespan="off"
    )
    config.load()
    peer.protocol = HttpProtocol(config, ServerState(), {})
    peer.protocol.connection_made(peer)
    yield peer
    peer.protocol.connection_lost(None)


def ticks(peer, seconds):
    """How many seconds until the connection is cut, if it is."""
    for second in range(1, seconds + 1):
        peer.protocol.tick()
        if peer.aborted:
            return second
    return None


async def test_one_who_says_nothing_is_cut(peer):
    assert ticks(peer, 60) == HEAD_S


async def test_one_who_drips_a_head_is_cut(peer):
    for _ in range(HEAD_S - 1):
        peer.protocol.data_received(b"G" if not peer.protocol._in_head else b"E")
        peer.protocol.tick()
    assert not peer.aborted
    peer.protocol.tick()
    assert peer.aborted


async def test_one_who_waits_for_an_answer_is_not_cut(peer):
    peer.protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert ticks(peer, 60) is None


async def test_the_rest_of_a_body_that_was_answered_is_not_waited_for(peer):
    peer.protocol.data_received(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nx")
    await asyncio.sleep(0)
    assert b"413" in peer.written
    assert ticks(peer, 60) == HEAD_S


async def test_a_head_without_end_is_refused(peer):
    peer.protocol.data_received(b"GET / HTTP/1.1\r\nX: ")
    for _ in range(MAX_HEAD_BYTES // 1000 + 1):
        assert not peer.closed
        peer.protocol.data_received(bytes(b"x" * 1000))
    assert peer.closed
    assert b" 431 " in peer.written


async def test_a_long_body_is_not_a_long_head(peer):
    peer.protocol.data_received(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(10):
        peer.protocol.data_received(bytes(100_000))
    assert not peer.closed


async def test_one_who_reads_nothing_is_cut_and_one_who_reads_slowly_not(peer):
    peer.protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
    peer.unread = 100_000
    for _ in range(3 * UNREAD_S):
        peer.unread -= 1
        peer.protocol.tick()
    assert not peer.aborted
    assert ticks(peer, 60) == UNREAD_S


async def test_a_handshake_that_the_library_does_not_take_is_refused(peer):
    peer.protocol.data_received(HANDSHAKE.replace(b"Host: h", b"Host: " + b"h" * 10_000))
    assert peer.closed
    assert b" 431 " in peer.written


async def test_a_refused_handshake_is_no_defect(peer, caplog):
    peer.protocol.data_received(HANDSHAKE.replace(b"Host: h", b"Host: h\r\nX-Refuse: me"))
    for _ in range(3):
        await asyncio.sleep(0)
    assert peer.closed
    assert peer.written.startswith(b"HTTP/1.1 429 ")
    assert peer.written.endswith(b"full")
    assert caplog.records == []


async def test_a_message_that_is_too_large_is_read_to_its_end(peer):
    peer.protocol.data_received(HANDSHAKE)
    await asyncio.sleep(0)
    peer.protocol.data_received(b"\x82\xff\x00\x00\x00\x00\x7f\xff\xff\xff")
    assert b"\x03\xf1" in peer.written[-130:]  # 1009
    said, timer = len(peer.written), peer.protocol.close_timer
    assert timer is not None
    for _ in range(3):
        peer.protocol.data_received(bytes(100_000))
    await asyncio.sleep(0)
    assert not peer.closed
    assert len(peer.written) == said
    assert peer.protocol.close_timer is timer  # or one who sends on would never be closed


async def test_pongs_are_not_kept_for_one_who_does_not_read(peer):
    peer.protocol.data_received(HANDSHAKE)
    await asyncio.sleep(0)
    assert b" 101 " in peer.written
    assert isinstance(peer.protocol, WebSocketProtocol)
    before = len(peer.written)
    peer.protocol.data_received(PING)
    assert len(peer.written) == before + 2
    peer.protocol.pause_writing()
    peer.protocol.data_received(PING * 1000)
    assert len(peer.written) == before + 2
    peer.protocol.resume_writing()
    peer.protocol.data_received(PING)
    assert len(peer.written) == before + 4
    assert ticks(peer, 60) is None


@pytest.mark.parametrize(("path", "taken"), [(b"/v1/listen?large", True), (b"/v1/other", False)])
async def test_a_message_may_be_larger_where_its_protocol_needs_it(peer, monkeypatch, path, taken):
    monkeypatch.setattr(WebSocketProtocol, "larger", {"/v1/listen": 1 << 22})
    peer.protocol.data_received(HANDSHAKE.replace(b"/v1/listen", path))
    await asyncio.sleep(0)
    peer.protocol.data_received(b"\x82\xff" + (1 << 21).to_bytes(8, "big") + bytes(4) + bytes(1 << 21))
    assert (peer.protocol.conn.close_sent is None) is taken
