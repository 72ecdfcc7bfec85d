"""HTTP/2 (RFC 9113) on the server's event loop, by `h2`: over TLS if negotiated, on a plain port if the client begins
with it.

Each request goes to the same application as over HTTP/1.1, with the same bounds. The window of a stream is given back
as its body is read; that of the connection at once, so that an unread stream does not block the others: memory is
bounded by the number of streams and their windows. Frames are read in turns, as in `bounds.py`.
"""

import asyncio
import logging
import time
import uuid
from contextlib import suppress
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error, ProtocolError
from h2.settings import SettingCodes, Settings
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from antiphon.transports.bounds import HEAD_S, TURN_S, UNREAD_S
from antiphon.transports.connections import Connections, always_served, full
from antiphon.transports.http1 import (
    HEAD_TOO_LARGE,
    MAX_FIELDS,
    MAX_TARGET_BYTES,
    SURPLUS_HEAD_S,
    TARGET_TOO_LONG,
    HttpProtocol,
    refusal_body,
    wrong_head,
)
from antiphon.transports.http2_frames import MAX_BLOCK_BYTES, MAX_FRAME_BYTES, PREFACE, Flood, Frames, Kind, WrongSize
from antiphon.transports.http2_stream import Fields, Http2Stream

MAX_STREAMS = 128  # at once, of one connection
MAX_TASKS = 2 * MAX_STREAMS  # including those of reset streams that are not done yet
WINDOW_BYTES = 64 * 1024 - 1  # of a stream: two seconds of audio
CONNECTION_WINDOW_BYTES = 1 << 20
MAX_CLOSED = 1024  # remembered streams, to distinguish late frames from invalid ones
SETTINGS = {
    SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
    SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
    SettingCodes.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
    SettingCodes.MAX_HEADER_LIST_SIZE: MAX_BLOCK_BYTES,
}
IDLE_S = 60  # without a stream
LINGER_S = 2.0  # for the end of a request whose answer is complete

_GOAWAY = (8).to_bytes(3) + bytes((Kind.GOAWAY, 0)) + bytes(4)

log = logging.getLogger(__name__)


class _State(H2Connection):
    MAX_CLOSED_STREAMS = MAX_CLOSED


class Http2Protocol(asyncio.Protocol):
    """An HTTP/2 connection, constructed as uvicorn constructs a protocol. `places` are the server's connections."""

    places: ClassVar[Connections] = Connections(most=1 << 20, per_address=1 << 20)

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        self._loop: asyncio.AbstractEventLoop = _loop or asyncio.get_running_loop()
        self._config = config
        self._server = server_state
        self._app_state = app_state
        self._state = _State(H2Configuration(client_side=False, header_encoding=None))
        self._state.local_settings = Settings(client=False, initial_values=dict(SETTINGS))
        self._frames = Frames()
        self._streams: dict[int, Http2Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writable = asyncio.Event()
        self._writable.set()
        self._next_turn: asyncio.Handle | None = None
        self._surplus = self._leaving = False
        self._idle_s = self._amid_s = self._unread_s = self._unread_bytes = 0

    # -- the transport's -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._server.connections.add(self)  # type: ignore[arg-type]  # it needs only what is here
        client, server = (transport.get_extra_info(name) for name in ("peername", "sockname"))
        self._client, self._address = (tuple(each[:2]) if each else None for each in (client, server))
        self._scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._surplus = not self.places.enter(transport, str(client[0]) if client else "")
        self._state.initiate_connection()
        self._state.increment_flow_control_window(CONNECTION_WINDOW_BYTES - 65_535)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.places.leave(self.transport)
        self._server.connections.discard(self)
        if self._next_turn is not None:
            self._next_turn.cancel()
        self._writable.set()
        for stream in tuple(self._streams.values()):
            self._drop(stream)

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        if self._next_turn is None:
            self._take_turn()

    def pause_writing(self) -> None:
        """Stop reading from a peer that does not read: answers to its frames would pile up."""
        self._writable.clear()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable.set()
        if self._next_turn is None:
            self.transport.resume_reading()

    # -- uvicorn's -----------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Check the bounds, once a second."""
        unread = self.transport.get_write_buffer_size()
        self._unread_s = self._unread_s + 1 if unread and unread >= self._unread_bytes else 0
        self._unread_bytes = unread
        self._amid_s = self._amid_s + 1 if self._frames.tick() and self._next_turn is None else 0
        head_s = SURPLUS_HEAD_S if self._surplus else HEAD_S
        if self._unread_s >= UNREAD_S or self._amid_s >= head_s:
            self.transport.abort()
            return
        for stream in tuple(self._streams.values()):
            stream.stalled_s = 0 if stream.may_send.is_set() else stream.stalled_s + 1
            if stream.stalled_s >= UNREAD_S:
                self._reset(stream, ErrorCodes.CANCEL)
                if self._state.outbound_flow_control_window <= 0:
                    self.shutdown()  # no stream can send: some clients count nothing of a stream that they left
        self._idle_s = 0 if self._streams else self._idle_s + 1
        if self._idle_s >= (IDLE_S if self._state.highest_inbound_stream_id else head_s):
            self.shutdown()

    def shutdown(self) -> None:
        """Accept no more streams, and close when the open ones have ended."""
        if not self._leaving:
            self._leaving = True
            last = self._state.highest_inbound_stream_id
            # By hand: after its own GOAWAY `h2` would stop, but open streams must continue.
            self.transport.write(_GOAWAY + last.to_bytes(4) + bytes(4))
        if not self._streams:
            self.transport.close()

    # -- what the peer says --------------------------------------------------------------------------------------------

    def _take_turn(self) -> None:
        """Process frames for a while, before other tasks run. An invalid frame ends the connection with an error
        code.
        """
        self._next_turn = None
        ends = time.monotonic() + TURN_S
        try:
            while (frame := self._frames.take()) is not None and not self.transport.is_closing():
                for event in self._state.receive_data(frame):
                    self._on(event)
                if time.monotonic() >= ends:
                    self._next_turn = self._loop.call_soon(self._take_turn)
                    self.transport.pause_reading()
                    break
        except Flood as error:
            log.info("an HTTP/2 connection was ended", extra={"reason": str(error)})
            self._state.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._end()
        except WrongSize:
            self._state.close_connection(ErrorCodes.FRAME_SIZE_ERROR)
            self._end()
        except (H2Error, ValueError) as error:  # fields that cannot be read
            if not isinstance(error, ProtocolError):
                self._state.close_connection(ErrorCodes.PROTOCOL_ERROR)
            self._end()
        else:
            self._flush()
            if self._next_turn is None and self._writable.is_set():
                self.transport.resume_reading()

    def _end(self) -> None:
        self._flush()
        self.transport.close()

    def _on(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self._open(event.stream_id, event.headers)
            case DataReceived():
                length = event.flow_controlled_length
                if length:
                    self._state.increment_flow_control_window(length)
                if stream := self._streams.get(event.stream_id):
                    stream.put(event.data, length)
            case StreamEnded():
                if stream := self._streams.get(event.stream_id):
                    stream.end()
                    if stream.answered:
                        self._forget(stream)
            case StreamReset():
                if stream := self._streams.get(event.stream_id):
                    self._drop(stream)
            case WindowUpdated() | RemoteSettingsChanged():
                self._wake(getattr(event, "stream_id", 0) or 0)
            case ConnectionTerminated():
                self._end()

    def _wake(self, id: int) -> None:
        """Wake the stream that waits for a window; without an id, all."""
        waiting = self._streams.values() if not id else filter(None, (self._streams.get(id),))
        for stream in waiting:
            stream.may_send.set()

    def _open(self, id: int, fields: Fields) -> None:
        if self._leaving or len(self._tasks) >= MAX_TASKS:
            self._state.reset_stream(id, ErrorCodes.REFUSED_STREAM)
            return
        scope, app = self._scope(fields)
        stream = Http2Stream(self, id, scope)
        if not self._streams:
            self.places.busy(self.transport)
        self._streams[id] = stream
        self._server.total_requests += 1
        task = self._loop.create_task(stream.run(app))
        for tasks in (self._tasks, self._server.tasks):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def _scope(self, fields: Fields) -> tuple[Scope, ASGIApp]:
        """Return the request's scope, and the application that answers it."""
        pseudo = {name: value for name, value in fields if name.startswith(b":")}
        headers = [(name, value) for name, value in fields if not name.startswith(b":")]
        if b":authority" in pseudo:  # `h2` has compared it with any `host`
            headers = [(b"host", pseudo[b":authority"]), *((n, v) for n, v in headers if n != b"host")]
        target = pseudo.get(b":path", b"")
        path, _, query = target.partition(b"?")
        scope: Scope = {
            "type": "http",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.3"},
            "http_version": "2",
            "server": self._address,
            "client": self._client,
            "scheme": self._scheme,
            "method": pseudo[b":method"].decode("latin-1"),
            "root_path": self._config.root_path,
            "path": unquote_to_bytes(path).decode("utf-8", "replace"),
            "raw_path": path,
            "query_string": query,
            "headers": headers,
            "state": self._app_state.copy(),
        }
        if len(target) > MAX_TARGET_BYTES:
            return scope, _refusal(*TARGET_TOO_LONG)
        if len(fields) > MAX_FIELDS:
            return scope, _refusal(*HEAD_TOO_LARGE)
        wrong = (
            "There are no tunnels here." if scope["method"] == "CONNECT" else wrong_head(target, headers, dict(headers))
        )
        if wrong:
            return scope, _refusal(400, wrong)
        if self._surplus and not always_served(scope["path"]):
            return scope, full
        return scope, self._config.loaded_app

    # -- what streams say ----------------------------------------------------------------------------------------------

    def send_head(self, id: int, fields: Fields, end: bool) -> None:
        if self._sends(id):
            self._state.send_headers(id, fields, end_stream=end)
            self._flush()

    async def send_body(self, stream: Http2Stream, data: bytes, end: bool) -> None:
        rest = memoryview(data)
        while self._sends(stream.id):
            await self._writable.wait()
            if not self._sends(stream.id):
                return
            if not rest:  # the end alone needs no window, which may even be negative (RFC 9113 section 6.9.2)
                self._state.end_stream(stream.id)
                self._flush()
                return
            room = min(self._state.local_flow_control_window(stream.id), self._state.max_outbound_frame_size)
            if room > 0:
                piece, rest = rest[:room], rest[room:]
                stream.stalled_s = 0
                self._state.send_data(stream.id, bytes(piece), end_stream=end and not rest)
                self._flush()
                if not rest:
                    return
            else:
                stream.may_send.clear()
                await stream.may_send.wait()

    def give_back(self, id: int, length: int) -> None:
        stream = self._streams.get(id)
        if length and stream is not None and not stream.ended and self._sends(id):
            self._state.increment_flow_control_window(length, id)
            self._flush()

    def finish(self, stream: Http2Stream, broken: bool) -> None:
        """End an answered stream. A peer that has not sent its whole request gets a while for it, then is told to
        stop.
        """
        if self._streams.get(stream.id) is not stream:
            return
        if broken:
            self._reset(stream, ErrorCodes.INTERNAL_ERROR)
        elif stream.ended:
            self._forget(stream)
        else:
            self._loop.call_later(LINGER_S, self._reset, stream, ErrorCodes.NO_ERROR)

    def _sends(self, id: int) -> bool:
        return id in self._streams and not self.transport.is_closing()

    def _reset(self, stream: Http2Stream, code: ErrorCodes) -> None:
        if self._streams.get(stream.id) is stream:
            if not self.transport.is_closing():
                with suppress(H2Error):
                    self._state.reset_stream(stream.id, code)
                self._flush()
            self._drop(stream)

    def _drop(self, stream: Http2Stream) -> None:
        self._forget(stream)
        stream.leave()

    def _forget(self, stream: Http2Stream) -> None:
        self._streams.pop(stream.id, None)
        if not self._streams:
            self.places.idle(self.transport)
            if self._leaving:
                self.transport.close()

    def _flush(self) -> None:
        data = self._state.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)


def _refusal(status: int, why: str) -> ASGIApp:
    """Return an application that sends this refusal."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        body = refusal_body(why)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", str(uuid.uuid4()).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return refuse


class EitherProtocol(HttpProtocol):
    """A connection on a plain port: HTTP/1.1, or HTTP/2 if it begins with that (RFC 9113 section 3.3)."""

    http2: ClassVar[type[Http2Protocol]] = Http2Protocol
    _early: bytes | None = b""

    def data_received(self, data: bytes) -> None:
        if self._early is None:
            super().data_received(data)
            return
        early = self._early + data
        if early.startswith(PREFACE):
            self.connections.discard(self)
            self.places.leave(self.transport)
            switch(self.http2(self.config, self.server_state, self.app_state, self.loop), self.transport)
            self.transport.get_protocol().data_received(early)  # type: ignore[attr-defined]
        elif PREFACE.startswith(early):
            self._early = early
        else:
            self._early = None
            super().data_received(early)


def switch(protocol: Http2Protocol, transport: asyncio.Transport) -> None:
    """Pass the connection to that protocol."""
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
