import asyncio

import pytest
import uvicorn
from hpack import Encoder
from uvicorn.server import ServerState

from antiphon.transports.bounds import HEAD_S, UNREAD_S
from antiphon.transports.frames import MAX_CONTROL_FRAMES, LargeMessages, WebSocketProtocol
from antiphon.transports.http1 import MAX_HEAD_BYTES, HttpProtocol
from antiphon.transports.http2 import Http2Protocol
from antiphon.transports.http2_frames import PREFACE
from http2_peer import CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, SETTINGS, frame

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
        self.aborted = self.closed = self.paused = False
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
        self.paused = True

    def resume_reading(self):
        self.paused = False


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


def connected(app=answer):
    peer = Peer()
    config = uvicorn.Config(
        app, http=HttpProtocol, ws=WebSocketProtocol, ws_max_size=1 << 20, log_config=None, lifespan="off"
    )
    config.load()
    peer.protocol = HttpProtocol(config, ServerState(), {})
    peer.protocol.connection_made(peer)
    return peer


@pytest.fixture
async def peer():
    peer = connected()
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
    peer.protocol.data_received(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert ticks(peer, 60) is None


async def test_a_caller_whose_large_body_has_come_is_seen_to_leave(peer):
    size = 1 << 20
    peer.protocol.data_received(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
    peer.protocol.data_received(bytes(size - 1))
    while peer.protocol._unparsed:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert peer.paused  # nobody has taken any of it yet
    peer.protocol.data_received(bytes(1))
    assert not peer.paused


async def test_the_rest_of_a_body_that_was_answered_is_not_waited_for(peer):
    peer.protocol.data_received(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nx")
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
    peer.protocol.data_received(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(10):
        peer.protocol.data_received(bytes(100_000))
    assert not peer.closed


async def test_one_who_reads_nothing_is_cut_and_one_who_reads_slowly_not(peer):
    peer.protocol.data_received(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
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
    peer.protocol.data_received(PING * 50)
    assert len(peer.written) == before + 2
    peer.protocol.resume_writing()
    peer.protocol.data_received(PING)
    assert len(peer.written) == before + 4
    assert ticks(peer, 60) is None


@pytest.mark.parametrize(
    ("path", "taken"), [(b"/v1/listen?large", True), (b"//v1/listen/", True), (b"/v1/other", False)]
)
async def test_a_message_may_be_larger_where_its_protocol_needs_it(peer, monkeypatch, path, taken):
    monkeypatch.setattr(WebSocketProtocol, "larger", {"/v1/listen": 1 << 22})
    peer.protocol.data_received(HANDSHAKE.replace(b"/v1/listen", path))
    await asyncio.sleep(0)
    peer.protocol.data_received(b"\x82\xff" + (1 << 21).to_bytes(8, "big") + bytes(4) + bytes(1 << 21))
    assert (peer.protocol.conn.close_sent is None) is taken


async def test_large_messages_are_bounded_in_all(monkeypatch):
    """While they arrive, wait, and are processed."""
    mb = 1 << 20
    large, processed = LargeMessages(most_bytes=4 * mb), asyncio.Event()
    monkeypatch.setattr(WebSocketProtocol, "large", large)
    monkeypatch.setattr(WebSocketProtocol, "larger", {"/v1/listen": 4 * mb})

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            await processed.wait()

    async def send(peer, data):
        peer.protocol.data_received(data)
        await quiet(peer)

    one, other, third = peers = [connected(app) for _ in range(3)]
    for peer in peers:
        peer.protocol.data_received(HANDSHAKE)
    await asyncio.sleep(0.01)
    await send(one, b"\x82\xff" + (3 * mb).to_bytes(8) + bytes(4) + bytes(3 * mb))
    await send(other, b"\x02\xff" + (2 * mb).to_bytes(8) + bytes(4) + bytes(2 * mb))
    assert large.held_bytes == 3 * mb
    assert one.protocol.conn.close_sent is other.protocol.conn.close_sent is None
    await send(third, b"\x82\xff" + (4 * mb).to_bytes(8) + bytes(4) + bytes(3 * mb))
    assert third.protocol.conn.close_sent.code == 1013
    third.protocol.connection_lost(None)
    processed.set()
    await asyncio.sleep(0.01)
    assert large.held_bytes == mb
    for peer in (one, other):
        peer.protocol.connection_lost(None)
    assert large.held_bytes == 0


# -- in turns ----------------------------------------------------------------------------------------------------------


async def quiet(peer):
    """Until nothing is left to parse."""
    for _ in range(2000):
        if not peer.protocol._unparsed:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it is never parsed")


async def test_one_read_full_of_tiny_frames_is_parsed_in_turns(peer):
    peer.protocol.data_received(HANDSHAKE)
    await asyncio.sleep(0)
    peer.protocol.data_received(b"\x02\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 40_000)
    assert peer.protocol._unparsed  # not all in one go
    assert peer.protocol.read_paused
    await quiet(peer)
    assert b"\x03\xf1A message has at most 1000 fragments." in peer.written


@pytest.mark.parametrize("frame", [PING, b"\x8a\x80\0\0\0\0"])
async def test_control_frames_are_counted_by_the_second(peer, frame):
    peer.protocol.data_received(HANDSHAKE)
    await asyncio.sleep(0)
    for _ in range(5):
        peer.protocol.data_received(frame * MAX_CONTROL_FRAMES)
        peer.protocol.tick()
    assert b"\x03\xf0" not in peer.written
    peer.protocol.data_received(frame * (MAX_CONTROL_FRAMES + 1))
    assert b"\x03\xf0More than 100 control frames came in a second." in peer.written
    said = len(peer.written)
    peer.protocol.data_received(frame)
    assert len(peer.written) == said


async def test_messages_are_not_read_further_than_some_ahead(peer):
    over = asyncio.Event()

    async def accept(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await over.wait()

    peer.protocol.config.loaded_app = accept
    peer.protocol.data_received(HANDSHAKE)
    for _ in range(3):
        await asyncio.sleep(0)
    messages = b"".join(b"\x82\x81\0\0\0\0%c" % (n % 256) for n in range(2000))
    peer.protocol.data_received(messages)
    assert peer.protocol.queue.qsize() < 300
    told = b""
    for _ in range(2000):
        async with asyncio.timeout(60):
            told += (await peer.protocol.receive())["bytes"]
    assert told == bytes(n % 256 for n in range(2000))
    assert not peer.protocol.read_paused
    over.set()


async def test_a_trailer_is_no_header(peer):
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    peer.protocol.data_received(head + b"1\r\nx\r\n0\r\nAuthorization: Bearer k\r\n\r\n")
    assert [name for name, _ in peer.protocol.scope["headers"]] == [b"host", b"transfer-encoding"]


CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("begin", [b"1\r\nx\r\n0\r\nX: ", b"1;x=", b"1\r\nx\r\n0\r\n"])
async def test_what_frames_a_body_is_bounded(peer, begin):
    peer.protocol.data_received(CHUNKED + begin)
    piece = b"y" * 1000 if begin != b"1\r\nx\r\n0\r\n" else b"X: y\r\n" * 160
    for _ in range(MAX_HEAD_BYTES // len(piece) + 1):
        assert not peer.closed
        peer.protocol.data_received(piece)
    assert peer.closed


async def test_a_body_of_many_small_chunks_is_not_its_framing(peer):
    peer.protocol.data_received(CHUNKED)
    for _ in range(50):
        peer.protocol.data_received(b"1\r\nx\r\n" * 1000)
        await quiet(peer)
    assert not peer.closed


async def test_one_who_leaves_is_missed_by_the_request_that_runs(peer):
    gone = asyncio.Event()

    async def wait(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    peer.protocol.app = wait
    peer.protocol.data_received(b"POST / HTTP/1.1\r\nHost: h\r\n\r\n" * 3)
    await asyncio.sleep(0)
    peer.protocol.connection_lost(None)
    async with asyncio.timeout(60):
        await gone.wait()
    peer.protocol.parser = None


async def streams(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for piece in (b"data: a\n\n", b"", b"data: b\n\n"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\n", b"9\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n0\r\n\r\n"),
        (b"GET / HTTP/1.0\r\n", b"data: a\n\ndata: b\n\n"),
        (b"HEAD / HTTP/1.0\r\n", b""),
    ],
)
async def test_only_clients_that_know_chunks_get_them(peer, head, body):
    peer.protocol.app = streams
    peer.protocol.data_received(head + b"\r\n")
    await asyncio.sleep(0.01)
    answer_head, _, rest = peer.written.partition(b"\r\n\r\n")
    assert rest == body
    assert (b"transfer-encoding: chunked" in answer_head) == head.endswith(b"Host: h\r\n")
    assert peer.closed == (b"HTTP/1.0" in head)
    assert (b"connection: close" in answer_head) == (b"HTTP/1.0" in head)


JAVA = (
    b"POST /a?b HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nHost: h\r\nHTTP2-Settings: AAEAAEAAAAI\r\n"
    b"Upgrade: h2c\r\nX-Own: \xe9\r\n"
)
BODIES = (b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")


@pytest.mark.parametrize("piece", [1, 7, 1000])
@pytest.mark.parametrize("body", BODIES)
async def test_a_request_that_would_rather_change_the_protocol_is_answered(peer, monkeypatch, body, piece):
    """Twice, as clients keep the connection."""
    asked = []

    async def app(scope, receive, send):
        read = b""
        while (message := await receive())["type"] == "http.request":
            read += message["body"]
            if not message["more_body"]:
                break
        asked.append((scope["method"], scope["path"], scope["query_string"], dict(scope["headers"])[b"x-own"], read))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    peer.protocol.app = app
    for count in (1, 2):
        for at in range(0, len(JAVA + body), piece):
            peer.protocol.data_received((JAVA + body)[at : at + piece])
        for _ in range(20):
            await asyncio.sleep(0)
        assert asked == [("POST", "/a", b"b", b"\xe9", b"abc")] * count
    assert peer.written.count(b"HTTP/1.1 200 ") == 2
    assert not peer.closed


async def test_what_follows_on_such_a_request_is_the_next_one(peer):
    peer.protocol.data_received((JAVA + BODIES[0]) * 2)
    await asyncio.sleep(0.01)
    assert peer.written.count(b"HTTP/1.1 413 ") == 2


@pytest.mark.parametrize(
    "head", [b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", JAVA.replace(b"h\r\n", b"a/b\r\n") + BODIES[0]]
)
async def test_a_tunnel_or_a_wrong_head_is_refused(peer, head):
    peer.protocol.data_received(head)
    await asyncio.sleep(0)
    assert peer.written.startswith(b"HTTP/1.1 400 ")
    assert peer.closed


@pytest.fixture
async def over_http2(peer):
    """Begin a POST over HTTP/2 that this application answers."""

    def begin(app):
        config = uvicorn.Config(app, log_config=None, lifespan="off")
        config.load()
        protocol = peer.protocol = Http2Protocol(config, ServerState(), {})
        protocol.connection_made(peer)
        head = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "h")]
        protocol.data_received(PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 1, Encoder().encode(head)))
        return protocol

    return begin


async def test_a_body_that_arrives_over_http2_is_not_cut(peer, over_http2):
    """Whenever one looks, a part of its next frame is there already; but a frame that does not arrive is cut."""

    async def app(scope, receive, send):
        await asyncio.Event().wait()

    protocol = over_http2(app)
    body = frame(DATA, 0, 1, bytes(1000)) * 60
    for at in range(0, 2 * HEAD_S * 1500, 1500):
        protocol.data_received(body[at : at + 1500])
        await asyncio.sleep(0)
        protocol.tick()
    assert not peer.aborted
    assert ticks(peer, 60) == HEAD_S


async def test_an_answer_ends_although_its_window_was_taken_back(peer, over_http2):
    go = asyncio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"said", "more_body": True})
        await go.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    protocol = over_http2(app)
    await asyncio.sleep(0.01)
    protocol.data_received(frame(SETTINGS, 0, 0, b"\0\4" + bytes(4)))  # INITIAL_WINDOW_SIZE 0: it is -4 now
    go.set()
    await asyncio.sleep(0.01)
    assert peer.written.endswith(frame(DATA, END_STREAM, 1, b""))


@pytest.mark.parametrize("window", [0, 1 << 20])
async def test_a_connection_on_which_nothing_can_be_sent_ends_and_one_with_a_slow_stream_goes_on(
    peer, over_http2, window
):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(100_000)})

    protocol = over_http2(app)
    protocol.data_received(frame(SETTINGS, 0, 0, b"\0\4" + window.to_bytes(4)))  # INITIAL_WINDOW_SIZE of streams
    await asyncio.sleep(0.01)
    for _ in range(UNREAD_S):
        assert not peer.closed
        protocol.tick()
    assert frame(RST_STREAM, 0, 1, CANCEL.to_bytes(4)) in peer.written
    assert peer.closed is bool(window)
