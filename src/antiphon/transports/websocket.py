"""WebSocket (RFC 6455) as a carrier. Close codes are those of its section 7.4.1 and of IANA's list."""

import asyncio
from collections.abc import Sequence

from starlette.types import Message, Receive, Scope, Send

from antiphon.core.errors import InternalError
from antiphon.core.ports import Clock
from antiphon.core.routing import DialogueRow
from antiphon.core.wire import Close, Head, Wire
from antiphon.session.door import Door
from antiphon.transports.connection import Gone
from antiphon.transports.dialogues import Dialogues
from antiphon.transports.opening import opening_of
from antiphon.transports.uploads import Uploads

SEND_TIMEOUT_S = 10.0


class WebSocket:
    """One connection over ASGI."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._accepted = False
        self._over = False

    async def accept(self, headers: Sequence[tuple[str, str]], subprotocol: str | None) -> None:
        await self._connect()
        encoded = [(name.encode(), value.encode()) for name, value in headers]
        await self._put({"type": "websocket.accept", "subprotocol": subprotocol, "headers": encoded})
        self._accepted = True

    async def receive(self) -> str | bytes:
        message = await self._receive()
        if message["type"] != "websocket.receive":
            self._over = True
            raise Gone
        data: bytes | None = message.get("bytes")
        if data is not None:
            return data
        text: str = message["text"]
        return text

    async def send(self, sends: Sequence[Wire]) -> None:
        if not self._accepted:
            await self._deny(sends)
            return
        for message in sends:
            if isinstance(message, Head):
                raise InternalError("an HTTP head on a WebSocket")
            await self._put_in_time(
                {"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message}
            )

    async def close(self, close: Close) -> None:
        if self._over:
            return
        try:
            await self._put_in_time({"type": "websocket.close", "code": close.code, "reason": close.reason})
        finally:
            self._over = True

    async def _deny(self, sends: Sequence[Wire]) -> None:
        """Send an HTTP answer in place of the connection."""
        await self._connect()
        head, *body = sends
        assert isinstance(head, Head)
        joined = b"".join(piece.encode() if isinstance(piece, str) else bytes(piece) for piece in body)  # type: ignore[arg-type]
        headers = [(name.encode(), value.encode("latin-1")) for name, value in head.headers]
        headers.append((b"content-length", str(len(joined)).encode()))
        await self._put({"type": "websocket.http.response.start", "status": head.status, "headers": headers})
        await self._put({"type": "websocket.http.response.body", "body": joined})
        self._over = True

    async def _connect(self) -> None:
        """Read the connect message, which ASGI requires before the answer."""
        await self._receive()

    async def _put_in_time(self, message: Message) -> None:
        """Send with a time limit for each message, so that a slow reader can still take many, one after the other."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._put(message)
        except TimeoutError:
            raise Gone from None

    async def _put(self, message: Message) -> None:
        if self._over:
            raise Gone
        try:
            await self._send(message)
        except (OSError, RuntimeError):
            self._over = True
            raise Gone from None


class DialogueRoute:
    """An ASGI app for a vendor's dialogue over WebSockets."""

    def __init__(self, row: DialogueRow, door: Door, clock: Clock, uploads: Uploads) -> None:
        self._dialogues = Dialogues(row, door, clock, uploads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._dialogues.serve(WebSocket(receive, send), opening_of(scope))
