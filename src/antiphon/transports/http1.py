"""uvicorn's HTTP/1.1, with the bounds and refusals that it lacks.

A request's head has at most `MAX_HEAD_BYTES`, and so has the framing between and after the parts of a chunked body:
sizes, extensions, trailers. Trailers are dropped: they are not headers of the request (RFC 9110 section 6.5.1).
"""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from antiphon.transports.bounds import HEAD_S, PRESENCE, Bounded, Presence
from antiphon.transports.connections import FULL, Connections, always_served, full
from antiphon.transports.frames import WebSocketProtocol

MAX_HEAD_BYTES = 64 * 1024
MAX_TARGET_BYTES = 16 * 1024
MAX_FIELDS = 256
MAX_PARAMETERS = 256  # in a query: the caller is not authenticated yet
MAX_PIPELINED = 10  # early requests in a second, before the last answer; rare among clients
SURPLUS_HEAD_S = 3  # as `HEAD_S`, of a surplus connection

# Fields allowed once; with two, each reader could use a different one (RFC 9110 section 5.3).
_ONCE = frozenset((b"host", b"authorization", b"api-key", b"xi-api-key", b"content-type", b"idempotency-key"))
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:%\[\]-]*")  # RFC 9110 section 7.2
_OF_UPGRADES = frozenset((b"upgrade", b"http2-settings"))
_OF_HANDSHAKE = (b"connection", b"upgrade", b"origin", b"sec-websocket-")

HEAD_TOO_LARGE = (431, "The head of the request is too large.")
_FRAMING_TOO_LARGE = (400, "What stands between the parts of the body, or after it, is too large.")
TARGET_TOO_LONG = (414, f"The request target is longer than {MAX_TARGET_BYTES} bytes.")
_INVALID = (400, "Invalid HTTP request received.")


def wrong_head(target: bytes, fields: Sequence[tuple[bytes, bytes]], by_name: Mapping[bytes, bytes]) -> str | None:
    """Return why the head of a request is refused, in any version of HTTP, or `None`. `by_name` maps the names of
    the fields to their values.
    """
    if target.count(b"&") >= MAX_PARAMETERS:
        return f"The query has more than {MAX_PARAMETERS} parameters."
    if len(by_name) < len(fields):
        names = [name for name, _ in fields]
        if twice := next((name for name in _ONCE if names.count(name) > 1), None):
            return f"There is more than one {twice.decode()} field."
    host = by_name.get(b"host")
    if host and not _HOST.fullmatch(host):
        return "The Host field is invalid."
    return None if target.isascii() else "The request target has other characters than ASCII."


def refusal_body(why: str) -> bytes:
    """Return the body of a refusal. The vendor is not known here; most clients look for a message at this place."""
    error = {"message": why, "type": "invalid_request_error", "param": None, "code": "invalid_http"}
    return json.dumps({"error": error}).encode()


class _Flow(FlowControl):
    """Flow control that does not resume reading while it is `held`."""

    held = False

    def resume_reading(self) -> None:
        if not self.held:
            super().resume_reading()


class _Unchunked:
    """The application for a client of HTTP/1.0, which knows no chunks: an answer without a length ends with the
    connection (RFC 9112 section 6.1). uvicorn would send chunks, which such a client takes for content.
    """

    def __init__(self, app: Any, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        sized = False

        async def unchunked(message: Any) -> None:
            nonlocal sized
            if message["type"] == "http.response.start":
                sized = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
                if not sized:
                    self._cycle.chunked_encoding = False
            elif not sized:
                self._cycle.expected_content_length = len(message.get("body", b""))  # that uvicorn finds no fault
            await send(message)

        await self._app(scope, receive, unchunked)


class HttpProtocol(Bounded, HttpToolsProtocol):
    """An HTTP/1.1 connection. `places` are the server's connections."""

    places: ClassVar[Connections] = Connections(most=1 << 20, per_address=1 << 20)
    piece_bytes = 4 * 1024
    flow: _Flow
    _in_head = False
    _framing_bytes = 0  # since the head began, or since the last byte of a body
    _running: RequestResponseCycle | None = None
    _refusal: tuple[int, str] | None = None
    _surplus = False
    _ignores_upgrade = False  # until the request is parsed again
    _pipelined = 0  # in this second

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.flow = _Flow(transport)
        self._surplus = not self.places.enter(transport, self.client[0] if self.client else "")
        self.head_s = SURPLUS_HEAD_S if self._surplus else HEAD_S

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify all requests of the connection; uvicorn notifies only the last."""
        self.places.leave(self.transport)
        self.forget_unparsed()
        for cycle in (self._running, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
                presence = cycle.scope.get(PRESENCE)
                if isinstance(presence, Presence):  # it has begun
                    presence.leave()
        super().connection_lost(exc)

    # -- in turns ------------------------------------------------------------------------------------------------------

    @property
    def headless(self) -> bool:
        """Whether no request is in progress; also while the rest of an answered request's body arrives."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def may_parse(self) -> bool:
        """Whether to parse. Requests sent before the last answer wait unread, after many of them until the next
        second.
        """
        return not self.pipeline and self._pipelined <= MAX_PIPELINED

    def tick(self) -> None:
        if self._pipelined:
            self._pipelined = 0
            self.parse_soon()
        super().tick()

    def hold_reading(self) -> None:
        self.flow.held = True
        self.flow.pause_reading()

    def go_on_reading(self) -> None:
        self.flow.held = False
        cycle = self.cycle
        if cycle is None or (not self.pipeline and (len(cycle.body) <= HIGH_WATER_LIMIT or not cycle.more_body)):
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        self.places.idle(self.transport)
        super().on_response_complete()
        self._pipelined += bool(self._unparsed)
        self.parse_soon()

    def parse(self, piece: bytes) -> None:
        """Parse as uvicorn's `data_received`, which would log each refused request."""
        self._unset_keepalive_if_required()
        self._framing_bytes += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(piece[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._refusal or _INVALID)
        else:
            if self._framing_bytes > MAX_HEAD_BYTES:
                self._refuse(HEAD_TOO_LARGE if self._in_head else _FRAMING_TOO_LARGE)

    # -- what the parser finds -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._in_head, self._framing_bytes = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_TARGET_BYTES:
            self._give_up(TARGET_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a field as uvicorn does, but only in a head."""
        if not self._in_head:
            return
        if len(self.headers) >= MAX_FIELDS:
            self._give_up(HEAD_TOO_LARGE)
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if wrong := self._wrong():
            self._give_up((400, wrong))
        self._in_head, self._framing_bytes = False, 0
        if self.parser.should_upgrade() and not self._should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._ignores_upgrade = True  # the request follows without it
            return
        if self._surplus:
            self.app = self.config.loaded_app if always_served(self.url.decode()) else full
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._framing_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Resume reading after the body, even if much of it is unread, to notice when the caller leaves."""
        if self._ignores_upgrade:
            return
        self._framing_bytes = 0
        super().on_message_complete()
        self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start the application. The connection is not reused if an announced body may never come (RFC 9110 section
        10.1.1), or if another protocol than HTTP may follow an upgrade request.
        """
        if self._surplus or cycle.waiting_for_100_continue or self.parser.should_upgrade():
            cycle.keep_alive = False
        cycle.scope[PRESENCE] = Presence()  # type: ignore[literal-required]
        self._running = cycle
        self.places.busy(self.transport)
        super()._start_asgi_task(cycle, _Unchunked(app, cycle) if cycle.scope["http_version"] == "1.0" else app)

    def _wrong(self) -> str | None:
        """Return why the head is refused, or `None`."""
        version = self.parser.get_http_version()
        by_name: dict[bytes, bytes] = dict(self.headers)
        if wrong := wrong_head(self.url, self.headers, by_name):
            return wrong
        if b"host" not in by_name and version == "1.1":
            return "There is no Host field."  # RFC 9112 section 3.2
        if not self.parser.should_upgrade() or not self._should_upgrade():
            return None
        has_body = b"transfer-encoding" in by_name or by_name.get(b"content-length", b"0").strip(b"0") != b""
        if has_body:
            return "A WebSocket is opened without a body."
        if self.parser.get_method() != b"GET" or version != "1.1":
            return "A WebSocket is opened by GET and HTTP/1.1."
        if any(name.startswith(_OF_HANDSHAKE) and not value.isascii() for name, value in self.headers):
            return "A field of the handshake has other characters than ASCII."
        if self.cycle is not None and not self.cycle.response_complete:
            return "A WebSocket is opened when all answers before it are complete."
        return None

    # -- refusals ------------------------------------------------------------------------------------------------------

    def _give_up(self, refusal: tuple[int, str]) -> None:
        """Leave the parser, which then accepts nothing more."""
        self._refusal = refusal
        raise ValueError(refusal[1])

    def _refuse(self, refusal: tuple[int, str]) -> None:
        """End the connection, with the reason unless another answer is being sent."""
        self.forget_unparsed()
        if self.cycle is None or self.cycle.response_complete or self._may_answer(self.cycle):
            self._say(*refusal)
        self.transport.close()

    def _may_answer(self, cycle: RequestResponseCycle) -> bool:
        return cycle is self._running and not cycle.response_started and not self._in_head

    def _say(self, status: int, why: str) -> None:
        body = refusal_body(why)
        head = b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % (len(body), str(uuid.uuid4()).encode()) + body)

    # -- other protocols -----------------------------------------------------------------------------------------------

    def _upgrade(self, rest: bytes) -> None:
        """Open a WebSocket, or ignore the upgrade. `rest` was received after the head."""
        if self._ignores_upgrade:
            self._ignores_upgrade = False
            self._parse_without_upgrade(rest)
            return
        if not self._should_upgrade():
            return  # a tunnel, which is refused
        if self._surplus:
            self.forget_unparsed()
            self.transport.write(FULL)
            self.transport.close()
            return
        self.places.busy(self.transport)
        self.handle_websocket_upgrade()

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Parse a request as if it did not ask for a protocol that is not offered (RFC 9110 section 7.8): the parser
        would leave its body to that protocol. Java's own client asks for HTTP/2 in each of its requests.
        """
        version = self.parser.get_http_version().encode()
        head = [b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = (token.strip() for token in value.split(b","))
                value = b", ".join(token for token in tokens if token.lower() not in _OF_UPGRADES)
            if name not in _OF_UPGRADES:
                head.append(b"%b: %b\r\n" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn
        self.parse(b"".join(head) + b"\r\n" + rest)

    def handle_websocket_upgrade(self) -> None:
        self.forget_unparsed()
        super().handle_websocket_upgrade()
        protocol = self.transport.get_protocol()
        # The WebSocket library is stricter about heads, and does not report those it refuses.
        if isinstance(protocol, WebSocketProtocol) and protocol.headless:
            self._say(*HEAD_TOO_LARGE)
            self.transport.close()
