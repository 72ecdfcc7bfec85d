"""HTTP/2 as h2spec asks for it, under the ids of its cases: what is wrong ends the stream or the connection by the
right code, what is unusual is taken.
"""

from collections.abc import Callable, Iterator

import pytest

from antiphon.models import Store
from http2_peer import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITISED,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WHOLE,
    WINDOW_UPDATE,
    Frame,
    Peer,
    frame,
)
from serving import LIGHT, Server, served

Act = Callable[[Peer], object]
POST = ("POST", "/v1/chat/completions")
MAX_WINDOW = 2**31 - 1
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT, INITIAL_WINDOW, MAX_FRAME = 1, 2, 3, 4, 5


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("data"), models, LIGHT) as server:
        yield server


def sends(*frames: bytes) -> Act:
    return lambda peer: peer.raw(b"".join(frames))


def asked(more: Callable[[Peer], bytes], flags: int = WHOLE, stream: int = 1) -> Act:
    """A request of which the test says the block."""
    return lambda peer: peer.send(HEADERS, flags, stream, more(peer))


def begun(*frames: bytes) -> Act:
    """Frames behind a request that goes on."""

    def act(peer: Peer) -> None:
        peer.send(HEADERS, END_HEADERS, 1, peer.block(*POST))
        peer.raw(b"".join(frames))

    return act


def half_closed(*make: Callable[[Peer], bytes]) -> Act:
    """Frames behind a whole request."""

    def act(peer: Peer) -> None:
        peer.raw(frame(HEADERS, WHOLE, 1, peer.block()) + b"".join(each(peer) for each in make))

    return act


def was_reset(*make: Callable[[Peer], bytes]) -> Act:
    def act(peer: Peer) -> None:
        block = peer.block(*POST)
        peer.raw(frame(HEADERS, END_HEADERS, 1, block) + frame(RST_STREAM, 0, 1, (8).to_bytes(4)))
        peer.raw(b"".join(each(peer) for each in make))

    return act


def closed(*make: Callable[[Peer], bytes]) -> Act:
    def act(peer: Peer) -> None:
        peer.ask()
        peer.answer()
        peer.raw(b"".join(each(peer) for each in make))

    return act


def fields(*pairs: tuple[str, str], leave: str = "", twice: str = "", **changed: str) -> Act:
    """A request with these fields behind the usual ones, without one, or with one that is there again."""

    def act(peer: Peer) -> None:
        usual = {":method": "GET", ":scheme": "http", ":path": "/healthz", ":authority": peer.host}
        usual |= {f":{name}": value for name, value in changed.items()}
        listed = [(name, value) for name, value in usual.items() if name != f":{leave}"]
        listed += [(f":{twice}", usual[f":{twice}"])] if twice else []
        peer.send(HEADERS, WHOLE, 1, peer.encode([*listed, *pairs]))

    return act


def plain(data: bytes) -> Callable[[Peer], bytes]:
    return lambda peer: data


def block_then(*frames: bytes) -> Act:
    """An unfinished block of headers."""
    return lambda peer: peer.raw(frame(HEADERS, END_STREAM, 1, peer.block()) + b"".join(frames))


def continued(peer: Peer, *parts: bytes, end: bool = True) -> bytes:
    last = len(parts) - 1
    return b"".join(
        frame(
            CONTINUATION if n else HEADERS,
            (END_HEADERS if n == last and end else 0) | (0 if n else END_STREAM),
            1,
            part,
        )
        for n, part in enumerate(parts)
    )


def after_headers(peer: Peer) -> None:
    block = peer.block()
    peer.raw(frame(HEADERS, WHOLE, 1, block) + frame(CONTINUATION, END_HEADERS, 1, b""))


def after_continuation(peer: Peer) -> None:
    block = peer.block()
    peer.raw(continued(peer, block[:5], block[5:]) + frame(CONTINUATION, END_HEADERS, 1, b""))


def trailers(peer: Peer) -> None:
    peer.send(HEADERS, END_HEADERS, 1, peer.block(*POST))
    peer.send(HEADERS, WHOLE, 1, peer.encode([(":method", "GET")]))


def many_streams(peer: Peer) -> None:
    block = [peer.block(*POST) for _ in range(140)]
    peer.raw(b"".join(frame(HEADERS, END_HEADERS, 2 * n + 1, each) for n, each in enumerate(block)))


def content_length(*pieces: bytes) -> Act:
    def act(peer: Peer) -> None:
        peer.send(HEADERS, END_HEADERS, 1, peer.block(*POST, more=[("content-length", "1")]))
        for n, piece in enumerate(pieces, 1):
            peer.send(DATA, END_STREAM if n == len(pieces) else 0, 1, piece)

    return act


def priority_of(itself: int) -> bytes:
    return itself.to_bytes(4) + b"\x10"


def increments(*each: int, stream: int = 0) -> bytes:
    return b"".join(frame(WINDOW_UPDATE, 0, stream, n.to_bytes(4)) for n in each)


SETTING = {
    name: frame(SETTINGS, 0, 0, key.to_bytes(2) + value.to_bytes(4))
    for name, key, value in (
        ("push", ENABLE_PUSH, 2),
        ("window", INITIAL_WINDOW, 2**31),
        ("small", MAX_FRAME, 16_383),
        ("large", MAX_FRAME, 16_777_216),
    )
}
_DATA, _MORE = frame(DATA, END_STREAM, 1, b"x"), frame(CONTINUATION, END_HEADERS, 1, b"")
_AGAIN: Callable[[Peer], bytes] = lambda peer: frame(HEADERS, WHOLE, 1, peer.block())  # noqa: E731

# What is wrong: what the connection or the stream may be ended by, beside a plain close.
WRONG: dict[str, tuple[Act, tuple[int, ...]]] = {
    "http2/4.2/2": (begun(frame(DATA, 0, 1, bytes(16_385))), (FRAME_SIZE_ERROR,)),
    "http2/4.2/3": (sends(frame(HEADERS, WHOLE, 1, bytes(16_385))), (FRAME_SIZE_ERROR,)),
    "http2/4.3/1": (sends(frame(HEADERS, WHOLE, 1, b"\x40")), (COMPRESSION_ERROR, PROTOCOL_ERROR)),
    "http2/4.3/2": (block_then(frame(PRIORITY, 0, 1, priority_of(0))), (PROTOCOL_ERROR,)),
    "http2/4.3/3": (block_then(frame(HEADERS, WHOLE, 3, b"\x82")), (PROTOCOL_ERROR,)),
    "http2/5.1/1": (sends(_DATA), (PROTOCOL_ERROR, STREAM_CLOSED)),
    "http2/5.1/2": (sends(frame(RST_STREAM, 0, 1, bytes(4))), (PROTOCOL_ERROR,)),
    "http2/5.1/3": (sends(increments(100, stream=1)), (PROTOCOL_ERROR,)),
    "http2/5.1/4": (sends(_MORE), (PROTOCOL_ERROR,)),
    "http2/5.1/5": (half_closed(plain(_DATA)), (STREAM_CLOSED,)),
    "http2/5.1/6": (half_closed(_AGAIN), (STREAM_CLOSED,)),
    "http2/5.1/7": (half_closed(plain(_MORE)), (STREAM_CLOSED, PROTOCOL_ERROR)),
    "http2/5.1/8": (was_reset(plain(_DATA)), (STREAM_CLOSED,)),
    "http2/5.1/9": (was_reset(_AGAIN), (STREAM_CLOSED,)),
    "http2/5.1/10": (was_reset(plain(_MORE)), (STREAM_CLOSED, PROTOCOL_ERROR)),
    "http2/5.1/11": (closed(plain(_DATA)), (STREAM_CLOSED,)),
    "http2/5.1/12": (closed(_AGAIN), (STREAM_CLOSED,)),
    "http2/5.1/13": (closed(plain(_MORE)), (STREAM_CLOSED, PROTOCOL_ERROR)),
    "http2/5.1.1/1": (asked(lambda peer: peer.block(), stream=2), (PROTOCOL_ERROR,)),
    "http2/5.1.1/2": (
        lambda peer: [peer.ask(5), peer.ask(3)],
        (PROTOCOL_ERROR,),
    ),
    "http2/5.1.2/1": (many_streams, (PROTOCOL_ERROR, REFUSED_STREAM)),
    "http2/5.3.1/1": (
        asked(lambda peer: priority_of(1) + peer.block(), WHOLE | PRIORITISED),
        (PROTOCOL_ERROR,),
    ),
    "http2/5.3.1/2": (sends(frame(PRIORITY, 0, 2, priority_of(2))), (PROTOCOL_ERROR,)),
    "http2/5.4.1/1": (sends(frame(PING, 0, 3, bytes(8))), (PROTOCOL_ERROR,)),
    "http2/5.4.1/2": (sends(frame(PING, 0, 3, bytes(8))), (PROTOCOL_ERROR,)),
    "http2/5.5/2": (block_then(frame(22, 0, 0, bytes(8))), (PROTOCOL_ERROR,)),
    "http2/6.1/1": (sends(frame(DATA, END_STREAM, 0, b"x")), (PROTOCOL_ERROR,)),
    "http2/6.1/2": (half_closed(plain(_DATA)), (STREAM_CLOSED,)),
    "http2/6.1/3": (begun(frame(DATA, END_STREAM | PADDED, 1, b"\x09x")), (PROTOCOL_ERROR,)),
    "http2/6.2/1": (block_then(frame(PRIORITY, 0, 1, priority_of(0))), (PROTOCOL_ERROR,)),
    "http2/6.2/2": (block_then(frame(HEADERS, WHOLE, 3, b"\x82")), (PROTOCOL_ERROR,)),
    "http2/6.2/3": (sends(frame(HEADERS, WHOLE, 0, b"\x82")), (PROTOCOL_ERROR,)),
    "http2/6.2/4": (asked(lambda peer: b"\xff" + peer.block(), WHOLE | PADDED), (PROTOCOL_ERROR,)),
    "http2/6.3/1": (sends(frame(PRIORITY, 0, 0, priority_of(1))), (PROTOCOL_ERROR,)),
    "http2/6.3/2": (begun(frame(PRIORITY, 0, 1, bytes(4))), (FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    "http2/6.4/1": (sends(frame(RST_STREAM, 0, 0, bytes(4))), (PROTOCOL_ERROR,)),
    "http2/6.4/2": (sends(frame(RST_STREAM, 0, 1, bytes(4))), (PROTOCOL_ERROR,)),
    "http2/6.4/3": (begun(frame(RST_STREAM, 0, 1, bytes(3))), (FRAME_SIZE_ERROR,)),
    "http2/6.5/1": (sends(frame(SETTINGS, ACK, 0, bytes(6))), (FRAME_SIZE_ERROR,)),
    "http2/6.5/2": (sends(frame(SETTINGS, 0, 1, bytes(6))), (PROTOCOL_ERROR,)),
    "http2/6.5/3": (sends(frame(SETTINGS, 0, 0, bytes(3))), (FRAME_SIZE_ERROR,)),
    "http2/6.5.2/1": (sends(SETTING["push"]), (PROTOCOL_ERROR,)),
    "http2/6.5.2/2": (sends(SETTING["window"]), (FLOW_CONTROL_ERROR,)),
    "http2/6.5.2/3": (sends(SETTING["small"]), (PROTOCOL_ERROR,)),
    "http2/6.5.2/4": (sends(SETTING["large"]), (PROTOCOL_ERROR,)),
    "http2/6.7/3": (sends(frame(PING, 0, 1, bytes(8))), (PROTOCOL_ERROR,)),
    "http2/6.7/4": (sends(frame(PING, 0, 0, bytes(6))), (FRAME_SIZE_ERROR,)),
    "http2/6.8/1": (sends(frame(GOAWAY, 0, 1, bytes(8))), (PROTOCOL_ERROR,)),
    "http2/6.9/1": (sends(increments(0)), (PROTOCOL_ERROR,)),
    "http2/6.9/2": (begun(increments(0, stream=1)), (PROTOCOL_ERROR,)),
    "http2/6.9/3": (sends(frame(WINDOW_UPDATE, 0, 0, bytes(3))), (FRAME_SIZE_ERROR,)),
    "http2/6.9.1/2": (sends(increments(MAX_WINDOW, MAX_WINDOW)), (FLOW_CONTROL_ERROR,)),
    "http2/6.9.1/3": (begun(increments(MAX_WINDOW, MAX_WINDOW, stream=1)), (FLOW_CONTROL_ERROR,)),
    "http2/6.9.2/3": (sends(SETTING["window"]), (FLOW_CONTROL_ERROR,)),
    "http2/6.10/2": (block_then(frame(CONTINUATION, 0, 1, b""), _DATA), (PROTOCOL_ERROR,)),
    "http2/6.10/3": (block_then(frame(CONTINUATION, END_HEADERS, 0, b"")), (PROTOCOL_ERROR,)),
    "http2/6.10/4": (after_headers, (PROTOCOL_ERROR,)),
    "http2/6.10/5": (after_continuation, (PROTOCOL_ERROR,)),
    "http2/6.10/6": (begun(frame(DATA, 0, 1, b"x"), _MORE), (PROTOCOL_ERROR,)),
    "http2/7/1": (sends(frame(GOAWAY, 0, 0, bytes(4) + (0xFF).to_bytes(4))), ()),  # who goes is let go
    "http2/8.1/1": (
        lambda peer: [peer.send(HEADERS, END_HEADERS, 1, peer.block(*POST)) for _ in range(2)],
        (PROTOCOL_ERROR,),
    ),
    "http2/8.1.2/1": (fields(("X-Upper", "1")), (PROTOCOL_ERROR,)),
    "http2/8.1.2.1/1": (fields((":test", "1")), (PROTOCOL_ERROR,)),
    "http2/8.1.2.1/2": (fields((":status", "200")), (PROTOCOL_ERROR,)),
    "http2/8.1.2.1/3": (trailers, (PROTOCOL_ERROR,)),
    "http2/8.1.2.1/4": (fields(("x", "1"), (":path", "/")), (PROTOCOL_ERROR,)),
    "http2/8.1.2.2/1": (fields(("connection", "keep-alive")), (PROTOCOL_ERROR,)),
    "http2/8.1.2.2/2": (fields(("te", "trailers, deflate")), (PROTOCOL_ERROR,)),
    "http2/8.1.2.3/1": (fields(path=""), (PROTOCOL_ERROR,)),
    "http2/8.1.2.3/2": (fields(leave="method"), (PROTOCOL_ERROR,)),
    "http2/8.1.2.3/3": (fields(leave="scheme"), (PROTOCOL_ERROR,)),
    "http2/8.1.2.3/4": (fields(leave="path"), (PROTOCOL_ERROR,)),
    "http2/8.1.2.3/5": (fields(twice="method"), (PROTOCOL_ERROR,)),
    "http2/8.1.2.3/6": (fields(twice="scheme"), (PROTOCOL_ERROR,)),
    "http2/8.1.2.3/7": (fields(twice="path"), (PROTOCOL_ERROR,)),
    "http2/8.1.2.6/1": (content_length(b"test"), (PROTOCOL_ERROR,)),
    "http2/8.1.2.6/2": (content_length(b"te", b"st"), (PROTOCOL_ERROR,)),
    "http2/8.2/1": (sends(frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4))), (PROTOCOL_ERROR,)),
    "hpack/2.3.3/1": (asked(lambda peer: peer.block() + b"\xc6"), (COMPRESSION_ERROR, PROTOCOL_ERROR)),
    "hpack/2.3.3/2": (asked(lambda peer: peer.block() + b"\x7f\x07\x01x"), (COMPRESSION_ERROR, PROTOCOL_ERROR)),
    "hpack/4.2/1": (asked(lambda peer: peer.block() + b"\x3f\xe1\x1f"), (COMPRESSION_ERROR, PROTOCOL_ERROR)),
    "hpack/5.2/1": (asked(lambda peer: peer.block() + b"\x40\x82\x1f\xff\x01x"), (COMPRESSION_ERROR, PROTOCOL_ERROR)),
    "hpack/5.2/2": (asked(lambda peer: peer.block() + b"\x40\x81\x00\x01x"), (COMPRESSION_ERROR, PROTOCOL_ERROR)),
    "hpack/5.2/3": (
        asked(lambda peer: peer.block() + b"\x40\x84\xff\xff\xff\xff\x01x"),
        (COMPRESSION_ERROR, PROTOCOL_ERROR),
    ),
    "hpack/6.1/1": (asked(lambda peer: peer.block() + b"\x80"), (COMPRESSION_ERROR, PROTOCOL_ERROR)),
    "hpack/6.3/1": (asked(lambda peer: b"\x3f\xe2\x1f" + peer.block()), (COMPRESSION_ERROR, PROTOCOL_ERROR)),
}
# What h2spec counts as an error of the stream: its reset is enough.
OF_STREAM = frozenset(("5.1/5", "5.1/6", "5.1/8", "5.1/9", "5.1/11", "5.1/12", "5.1.2/1", "6.1/2", "6.3/2", "6.9/2"))


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong(light: Server, case: str) -> None:
    act, codes = WRONG[case]
    with Peer(light.base_url) as peer:
        act(peer)
        section = case.removeprefix("http2/")
        ended = peer.ended(stream=section in OF_STREAM or section.startswith(("6.9.1", "8.1")))
        assert ended is None or ended in codes


@pytest.mark.parametrize("preface", [b"INVALID CONNECTION PREFACE\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"])
def test_http2_3_5_2(light: Server, preface: bytes) -> None:
    with Peer(light.base_url, greets=False) as peer:
        peer.raw(preface)
        assert peer.drain()


def quoted(peer: Peer) -> None:
    """Some requests with everything that HPACK has."""
    table = [("x-new", "1"), ("x-new", "1"), ("cookie", "a=b")]
    for n in range(3):
        peer.ask(2 * n + 1, more=table)
        assert peer.answer(2 * n + 1).status == 200


def literal(first: int, name: bytes) -> bytes:
    return bytes((first, len(name))) + name + b"\x01x"


TAKEN: dict[str, Act] = {
    "http2/3.5/1": lambda peer: None,
    "generic/1/1": lambda peer: None,
    "http2/4.1/1": sends(frame(22, 0, 0, bytes(8))),
    "http2/4.1/2": sends(frame(PING, 0x16, 0, bytes(8))),
    "http2/4.1/3": sends(frame(PING, 0, 0x80000000, bytes(8))),
    "http2/5.5/1": sends(frame(22, 0, 0, bytes(8))),
    "http2/6.5.2/5": sends(frame(SETTINGS, 0, 0, (0xFF).to_bytes(2) + bytes(4))),
    "http2/7/2": begun(frame(RST_STREAM, 0, 1, (0xFF).to_bytes(4))),
    "generic/2/1": sends(frame(PRIORITY, 0, 1, priority_of(0))),
    "generic/2/2": half_closed(plain(increments(100, stream=1))),
    "generic/2/3": half_closed(plain(frame(PRIORITY, 0, 1, priority_of(0)))),
    "generic/2/4": half_closed(plain(frame(RST_STREAM, 0, 1, (8).to_bytes(4)))),
    "generic/2/5": closed(plain(frame(PRIORITY, 0, 1, priority_of(0)))),
    "generic/3.3/1": sends(frame(PRIORITY, 0, 1, bytes(4) + b"\x00")),
    "generic/3.3/2": sends(frame(PRIORITY, 0, 1, bytes(4) + b"\xff")),
    "generic/3.3/3": sends(frame(PRIORITY, 0, 7, priority_of(99))),
    "generic/3.3/4": sends(frame(PRIORITY, 0, 1, (0x80000000 | 5).to_bytes(4) + b"\x10")),
    "generic/3.3/5": sends(frame(PRIORITY, 0, 9, priority_of(0))),
    "generic/3.4/1": begun(frame(RST_STREAM, 0, 1, (8).to_bytes(4))),
    "generic/3.8/1": sends(frame(GOAWAY, 0, 0, bytes(8))),
    "generic/3.9/1": sends(increments(1)),
    "generic/3.9/2": begun(increments(1, stream=1)),
    "a table that is used again": quoted,
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_taken(light: Server, case: str) -> None:
    with Peer(light.base_url) as peer:
        TAKEN[case](peer)
        peer.ask(7)
        assert peer.answer(7).body == b"ok\n"


# Fields in every representation of HPACK (RFC 7541, section 6): one of the static table; then added to the dynamic
# table, not added, and never to be added, each by a name of the static table and a new one, plain and Huffman-coded.
KEY, VALUE = b"\x88" + bytes.fromhex("25a849e95ba97d7f"), b"\x89" + bytes.fromhex("25a849e95bb8e8b4bf")
REPRESENTATIONS = (
    b"\x90",
    *(b"\x7a\x01x", b"\x7a" + VALUE, literal(0x40, b"x-indexed"), b"\x40" + KEY + VALUE),
    *(b"\x0f\x2b\x01x", b"\x0f\x2b" + VALUE, literal(0x00, b"x-not-indexed"), b"\x00" + KEY + VALUE),
    *(b"\x1f\x2b\x01x", b"\x1f\x2b" + VALUE, literal(0x10, b"x-never-indexed"), b"\x10" + KEY + VALUE),
)

# Requests of every form, and what the answer's status is.
REQUESTS: dict[str, tuple[Act, int]] = {
    "generic/4/1": (lambda peer: peer.ask(), 200),
    "generic/4/2": (lambda peer: peer.ask(method="HEAD"), 200),
    "generic/4/3": (begun(frame(DATA, END_STREAM, 1, b"test")), 401),
    "generic/4/4": (
        lambda peer: [
            peer.send(HEADERS, END_HEADERS, 1, peer.block(*POST)),
            peer.send(DATA, 0, 1, b"test"),
            peer.send(HEADERS, WHOLE, 1, peer.encode([("x-test", "ok")])),
        ],
        401,
    ),
    "generic/3.1/1": (begun(frame(DATA, END_STREAM, 1, b"test")), 401),
    "generic/3.1/2": (begun(*(frame(DATA, END_STREAM * (n == 2), 1, b"test") for n in range(3))), 401),
    "generic/3.1/3": (begun(frame(DATA, END_STREAM | PADDED, 1, b"\x06test" + bytes(6))), 401),
    "generic/3.2/1": (asked(lambda peer: peer.block()), 200),
    "generic/3.2/2": (asked(lambda peer: b"\x06" + peer.block() + bytes(6), WHOLE | PADDED), 200),
    "generic/3.2/3": (asked(lambda peer: priority_of(0) + peer.block(), WHOLE | PRIORITISED), 200),
    "generic/3.10/1": (lambda peer: peer.raw(continued(peer, *_cut(peer.block(), 2))), 200),
    "generic/3.10/2": (lambda peer: peer.raw(continued(peer, *_cut(peer.block(), 3))), 200),
    "http2/6.10/1": (lambda peer: peer.raw(continued(peer, *_cut(peer.block(), 3))), 200),
    "http2/4.2/1": (begun(frame(DATA, END_STREAM, 1, bytes(16_384))), 401),
    **{
        f"generic/5/{number}": (asked(lambda peer, field=field: peer.block() + field), 200)  # type: ignore[misc]
        for number, field in enumerate(REPRESENTATIONS, 1)
    },
    "generic/5/14": (asked(lambda peer: b"\x20" + peer.block()), 200),
    "generic/5/15": (asked(lambda peer: b"\x20\x3f\xe1\x1f" + peer.block()), 200),
}


def _cut(block: bytes, parts: int) -> list[bytes]:
    size = len(block) // parts + 1
    return [block[n : n + size] for n in range(0, len(block), size)]


@pytest.mark.parametrize("case", REQUESTS)
def test_requests(light: Server, case: str) -> None:
    act, status = REQUESTS[case]
    with Peer(light.base_url) as peer:
        act(peer)
        assert peer.answer().status == status


@pytest.mark.parametrize("case", ["generic/3.7/1", "http2/6.7/1"])
def test_pings_are_answered(light: Server, case: str) -> None:
    with Peer(light.base_url) as peer:
        peer.send(PING, 0, 0, b"h2spec\0\0")
        assert peer.next(PING) == peer_frame(PING, ACK, b"h2spec\0\0")


def test_http2_6_7_2_answers_to_pings_are_not(light: Server) -> None:
    with Peer(light.base_url) as peer:
        peer.send(PING, ACK, 0, b"invalid\0")
        peer.send(PING, 0, 0, b"h2spec\0\0")
        assert peer.next(PING) == peer_frame(PING, ACK, b"h2spec\0\0")


@pytest.mark.parametrize("case", ["generic/3.5/1", "http2/6.5.3/2"])
def test_settings_are_acknowledged(light: Server, case: str) -> None:
    with Peer(light.base_url) as peer:
        assert peer.next(SETTINGS).flags == ACK
        peer.settings([(INITIAL_WINDOW, 100)])
        assert peer.next(SETTINGS).flags == ACK


def test_http2_6_5_3_1_the_last_of_several_values_counts(light: Server) -> None:
    with Peer(light.base_url, [(INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)]) as peer:
        peer.ask()
        assert len(peer.next(DATA).payload) == 1


def test_http2_6_9_1_1_one_byte_where_the_window_is_one(light: Server) -> None:
    with Peer(light.base_url, [(INITIAL_WINDOW, 1)]) as peer:
        peer.ask()
        assert len(peer.next(DATA).payload) == 1
        with pytest.raises(TimeoutError):
            peer.read(0.3)
        peer.raw(increments(100, stream=1))
        assert peer.next(DATA).payload == b"k\n"


def test_http2_6_9_2_1_a_window_that_opens_later(light: Server) -> None:
    with Peer(light.base_url, [(INITIAL_WINDOW, 0)]) as peer:
        peer.ask()
        peer.next(HEADERS)
        peer.settings([(INITIAL_WINDOW, 1)])
        assert len(peer.next(DATA).payload) == 1


def test_http2_6_9_2_2_a_window_below_nothing(light: Server) -> None:
    with Peer(light.base_url, [(INITIAL_WINDOW, 2)]) as peer:
        peer.ask()
        assert len(peer.next(DATA).payload) == 2
        peer.settings([(INITIAL_WINDOW, 0)])
        peer.raw(increments(2, stream=1))
        _silent(peer)
        peer.raw(increments(1, stream=1))
        assert len(peer.next(DATA).payload) == 1


def _silent(peer: Peer) -> None:
    """Nothing but what is still on its way."""
    try:
        while (found := peer.read(0.3)) is not None:
            assert found.kind != DATA
    except TimeoutError:
        return
    raise AssertionError("the connection was closed")


def peer_frame(kind: int, flags: int, payload: bytes) -> Frame:
    return Frame(kind, flags, 0, payload)


# How many cases h2spec has of each section.
CASES: dict[str, dict[str, int]] = {
    "generic": {
        "1": 1,
        "2": 5,
        "3.1": 3,
        "3.2": 3,
        "3.3": 5,
        "3.4": 1,
        "3.5": 1,
        "3.7": 1,
        "3.8": 1,
        "3.9": 2,
        "3.10": 2,
        "4": 4,
        "5": 15,
    },
    "http2": {
        "3.5": 2,
        "4.1": 3,
        "4.2": 3,
        "4.3": 3,
        "5.1": 13,
        "5.1.1": 2,
        "5.1.2": 1,
        "5.3.1": 2,
        "5.4.1": 2,
        "5.5": 2,
        "6.1": 3,
        "6.2": 4,
        "6.3": 2,
        "6.4": 3,
        "6.5": 3,
        "6.5.2": 5,
        "6.5.3": 2,
        "6.7": 4,
        "6.8": 1,
        "6.9": 3,
        "6.9.1": 3,
        "6.9.2": 3,
        "6.10": 6,
        "7": 2,
        "8.1": 1,
        "8.1.2": 1,
        "8.1.2.1": 4,
        "8.1.2.2": 2,
        "8.1.2.3": 7,
        "8.1.2.6": 2,
        "8.2": 1,
    },
    "hpack": {"2.3.3": 2, "4.2": 1, "5.2": 3, "6.1": 1, "6.3": 1},
}
BY_THEMSELVES = {
    *("http2/3.5/2", "http2/6.5.3/1", "http2/6.5.3/2", "http2/6.7/1", "http2/6.7/2"),
    *("http2/6.9.1/1", "http2/6.9.2/1", "http2/6.9.2/2", "generic/3.5/1", "generic/3.7/1"),
}


def test_every_case_is_here() -> None:
    wanted = {
        f"{part}/{section}/{number}"
        for part, sections in CASES.items()
        for section, count in sections.items()
        for number in range(1, count + 1)
    }
    assert len(wanted) == 147
    assert {case for case in WRONG | TAKEN | REQUESTS if "/" in case} | BY_THEMSELVES == wanted
