"""One request of HTTP/2 as a carrier: its body and its answer's are streams of bytes, both at once. A close has no
code; it is the end of the answer.
"""

import asyncio
from collections.abc import Sequence

from starlette.types import Message, Receive, Scope, Send

from antiphon.core.errors import CallerError, InternalError
from antiphon.core.ports import Clock
from antiphon.core.routing import DialogueRow
from antiphon.core.wire import Close, Head, Wire
from antiphon.session.door import Door
from antiphon.transports.connection import Gone
from antiphon.transports.dialogues import Dialogues
from antiphon.transports.http import answer
from antiphon.transports.opening import opening_of
from antiphon.transports.uploads import Uploads
from antiphon.transports.websocket import SEND_TIMEOUT_S


class Duplex:
    """One request over ASGI."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._accepted = False
        self._ended = self._over = False

    async def accept(self, headers: Sequence[tuple[str, str]], subprotocol: str | None) -> None:
        """Send the head at once: some clients send nothing before it."""
        await self._start(200, headers)
        self._accepted = True

    async def receive(self) -> bytes:
        """Return the next bytes of the body; empty, once, at its end."""
        while True:
            if self._ended:
                self._ended = False
                return b""
            message = await self._receive()
            if message["type"] != "http.request":
                self._over = True
                raise Gone
            self._ended = not message.get("more_body", False)
            body: bytes = message.get("body", b"")
            if body:
                return body

    async def send(self, sends: Sequence[Wire]) -> None:
        if not self._accepted:
            await self._deny(sends)
            return
        for message in sends:
            if isinstance(message, Head):
                raise InternalError("a second head of an answer")
            await self._body(message, more=True)

    async def close(self, close: Close) -> None:
        if not self._over:
            await self._body(b"", more=False)
            self._over = True

    async def _deny(self, sends: Sequence[Wire]) -> None:
        """Send a whole answer in place of the streams."""
        head, *body = sends
        assert isinstance(head, Head)
        joined = b"".join(piece.encode() if isinstance(piece, str) else bytes(piece) for piece in body)  # type: ignore[arg-type]
        await self._start(head.status, (*head.headers, ("content-length", str(len(joined)))))
        await self._body(joined, more=False)
        self._over = True

    async def _start(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        await self._put({"type": "http.response.start", "status": status, "headers": encoded})

    async def _body(self, data: str | bytes, *, more: bool) -> None:
        body = data.encode() if isinstance(data, str) else data
        await self._put({"type": "http.response.body", "body": body, "more_body": more})

    async def _put(self, message: Message) -> None:
        """Send in bounded time: a caller who does not read is disconnected."""
        if self._over:
            raise Gone
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._send(message)
        except TimeoutError:
            self._over = True
            raise Gone from None


class DuplexRoute:
    """An ASGI app for a vendor's dialogue over HTTP/2."""

    def __init__(self, row: DialogueRow, door: Door, clock: Clock, uploads: Uploads) -> None:
        self._row = row
        self._door = door
        self._dialogues = Dialogues(row, door, clock, uploads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opening = opening_of(scope)
        if scope["http_version"] != "2":
            error = CallerError("This is asked over HTTP/2, which carries both sides at once.")
            await answer(self._door.refuse(self._row, opening, error))(scope, receive, send)
            return
        await self._dialogues.serve(Duplex(receive, send), opening)
