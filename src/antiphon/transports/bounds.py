"""uvicorn's protocols, with the bounds that it leaves open.

A request's head must come within `HEAD_S` and `MAX_HEAD_BYTES`; who does not read what is sent for `UNREAD_S` is cut
off, which closing alone would not do: it waits for the peer. The server calls `tick` once a second.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

HEAD_S = 15
MAX_HEAD_BYTES = 64 * 1024
UNREAD_S = 15
LINGER_S = 2.0

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Bounded(ABC):
    """What both have in common."""

    transport: asyncio.Transport
    _unread_bytes = 0
    _unread_s = 0
    _headless_s = 0

    @property
    @abstractmethod
    def headless(self) -> bool:
        """Whether the head of a request is waited for."""

    def tick(self) -> None:
        unread_bytes = self.transport.get_write_buffer_size()
        self._unread_s = self._unread_s + 1 if unread_bytes and unread_bytes >= self._unread_bytes else 0
        self._unread_bytes = unread_bytes
        self._headless_s = self._headless_s + 1 if self.headless else 0
        if self._unread_s >= UNREAD_S or self._headless_s >= HEAD_S:
            self.transport.abort()


class HttpProtocol(_Bounded, HttpToolsProtocol):
    """HTTP/1.1."""

    _in_head = False
    _head_bytes = 0

    @property
    def headless(self) -> bool:
        """Also true while the rest of a body comes whose request was answered already."""
        return self.cycle is None or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        continued = self._in_head
        super().data_received(data)
        if continued and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        protocol = self.transport.get_protocol()
        # The WebSocket library, more strict about heads, says nothing of one that it does not take.
        if isinstance(protocol, WebSocketProtocol) and protocol.headless:
            self.transport.write(_TOO_LARGE)
            self.transport.close()


class WebSocketProtocol(_Bounded, WebSocketsSansIOProtocol):
    """WebSocket. `larger` is how many bytes a message may have on a path where that is more than elsewhere."""

    larger: ClassVar[Mapping[str, int]] = {}

    @property
    def headless(self) -> bool:
        return not self.handshake_initiated

    def handle_connect(self, event: Request) -> None:
        self.conn.max_message_size = self.larger.get(event.path.partition("?")[0], self.conn.max_message_size)
        super().handle_connect(event)

    def data_received(self, data: bytes) -> None:
        if self.conn.parser_exc is None:
            super().data_received(data)

    def handle_parser_exception(self) -> None:
        """Of a message that is too large, or no WebSocket. What still comes of it is read and dropped for a while:
        closing under it would take from the peer the frame that says why.
        """
        sent = self.conn.close_sent
        assert sent is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": sent.code, "reason": sent.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.close)

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # or a refusal would be logged as a defect

    def handle_ping(self) -> None:
        """A caller who sends pings and reads no pongs would fill the memory with them."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()
