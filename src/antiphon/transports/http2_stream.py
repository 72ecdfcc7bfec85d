"""One stream of HTTP/2 over ASGI: a request whose body may arrive while the answer is sent.

Received bytes are held until the application reads them; only then the peer may send more.
"""

import asyncio
import logging
from collections.abc import Sequence
from email.utils import formatdate
from typing import Protocol

from starlette.types import ASGIApp, Message, Scope

from antiphon.transports.bounds import PRESENCE, Presence

# Fields of a connection, which have no meaning here (RFC 9113 section 8.2.2).
_OF_CONNECTIONS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))

log = logging.getLogger(__name__)

Fields = Sequence[tuple[bytes, bytes]]


class Connection(Protocol):
    """What a stream needs of its connection. Nothing here raises: for a stream that has ended, nothing is sent."""

    def send_head(self, id: int, fields: Fields, end: bool) -> None: ...

    async def send_body(self, stream: "Http2Stream", data: bytes, end: bool) -> None:
        """Send the data. Returns when the transport has all of it, or the stream is over."""

    def give_back(self, id: int, length: int) -> None:
        """Allow the peer to send that much more."""

    def finish(self, stream: "Http2Stream", broken: bool) -> None:
        """End a stream that the application is done with; reset it if `broken`."""


class Http2Stream:
    """One stream. `may_send` is clear while the answer waits for the peer to open a window, since `stalled_s`."""

    def __init__(self, connection: Connection, id: int, scope: Scope) -> None:
        self.id = id
        self.gone = False  # the peer left, or the stream is over
        self.ended = False  # all of the request is there
        self.answered = False  # all of the answer is sent
        self.stalled_s = 0
        self.may_send = asyncio.Event()
        self.may_send.set()
        self._connection = connection
        self._scope = scope
        self._presence = scope[PRESENCE] = Presence()
        self._body = bytearray()  # unread
        self._length = 0  # of its frames
        self._end_read = False
        self._arrived = asyncio.Event()
        self._begun = False

    # -- from the connection -------------------------------------------------------------------------------------------

    def put(self, data: bytes, length: int) -> None:
        """Add to the body; `length` includes padding."""
        if self.answered:
            return  # nobody will read it
        self._body += data
        self._length += length
        self._arrived.set()

    def end(self) -> None:
        self.ended = True
        self._arrived.set()

    def leave(self) -> None:
        """End receiving and sending."""
        self.gone = True
        self._arrived.set()
        self.may_send.set()
        if not self.answered:
            self._presence.leave()

    async def run(self, app: ASGIApp) -> None:
        """Run the application to its end."""
        broken = True
        try:
            await app(self._scope, self.receive, self.send)
            broken = not self.answered
        except Exception as error:
            log.error("request failed", exc_info=error)
            if not self._begun:
                self._connection.send_head(self.id, [(b":status", b"500")], end=True)
                broken = False
        finally:
            self._connection.finish(self, broken)

    # -- to the application --------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        while True:
            if self._length and not self.gone:
                data, length = bytes(self._body), self._length
                self._forget_body()
                self._connection.give_back(self.id, length)
                self._end_read = self.ended
                return {"type": "http.request", "body": data, "more_body": not self._end_read}
            if self.gone or self.answered:
                return {"type": "http.disconnect"}
            if self.ended and not self._end_read:
                self._end_read = True
                return {"type": "http.request", "body": b"", "more_body": False}
            self._arrived.clear()
            await self._arrived.wait()

    async def send(self, message: Message) -> None:
        if self.gone or self.answered:
            return
        if message["type"] == "http.response.start":
            self._begun = True
            fields = [(name.lower(), value) for name, value in message.get("headers", ())]
            if all(name != b"date" for name, _ in fields):
                fields.append((b"date", formatdate(usegmt=True).encode()))
            kept = [field for field in fields if field[0] not in _OF_CONNECTIONS]
            self._connection.send_head(self.id, [(b":status", str(message["status"]).encode()), *kept], end=False)
            return
        end = not message.get("more_body", False)
        body = b"" if self._scope["method"] == "HEAD" else message.get("body", b"")
        if body or end:
            await self._connection.send_body(self, body, end)
        if end and not self.gone:
            self.answered = True
            self._forget_body()
            self._arrived.set()

    def _forget_body(self) -> None:
        self._body.clear()
        self._length = 0
