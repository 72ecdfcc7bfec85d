"""HTTP: one request, one answer or a stream of it.

The credential is checked before the body is read, and the body is bounded while it is read. What the engine yields
together is sent together. A caller who disconnects ends the work. An answer that breaks off gets no end, so the server
closes the connection.
"""

import asyncio
import logging
from collections.abc import Iterable
from functools import partial
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response as HttpResponse
from starlette.types import Message, Receive, Scope, Send

from antiphon.calls.playing import playing
from antiphon.calls.relay import relay
from antiphon.core.errors import AntiphonError, InternalError
from antiphon.core.identity import Principal
from antiphon.core.ports import Clock
from antiphon.core.routing import CallRow, LookupRow
from antiphon.core.wire import BROKEN_OFF, REQUEST_ID, Body, Close, Head, Opening, Rest, Step, Wire
from antiphon.session.door import Door, defect
from antiphon.session.requests import OpenCall
from antiphon.transports.bounds import PRESENCE, Presence
from antiphon.transports.forms import read_body
from antiphon.transports.opening import opening_of
from antiphon.transports.uploads import Upload, Uploads

SEND_TIMEOUT_S = 30.0  # how long a caller may read nothing
MULTIPART_SLACK = 1 << 20  # boundaries and fields around the file
FILE = "file"  # the default name of a form's file part
LARGE_BYTES = 64 * 1024  # of an answer: more than fits into the server's buffers

log = logging.getLogger(__name__)


def answer(step: Step) -> HttpResponse:
    """Return a whole answer as a Starlette response, with its length."""
    head, *body = step.sends
    if not isinstance(head, Head):
        raise InternalError("An answer over HTTP without a head.")
    answer = HttpResponse(_joined(body), head.status)
    del answer.headers["content-length"]
    for name, value in head.headers:
        answer.headers.append(name, value)
    answer.headers["content-length"] = str(len(answer.body))
    return answer


async def _send(step: Step, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a whole answer, and release its rest, whatever happens. A caller who does not read in time, or leaves, gets
    no end, and neither does one whose rest cannot be read.
    """
    rest = step.rest
    if rest is None:
        await answer(step)(scope, receive, send)
        return
    try:
        await Reply(send, scope.get(PRESENCE) or Presence()).send_whole(step, rest, scope["method"] == "HEAD")
    except OSError:
        return
    except AntiphonError as error:
        log.error("the rest of an answer cannot be read", exc_info=error, extra={"session": scope.get(REQUEST_ID)})
    finally:
        step.release()


async def _read(
    uploads: Uploads, most_bytes: int, form: str, opening: Opening, receive: Receive, principal: Principal
) -> tuple[Upload, bytes | Body]:
    """Read a body within the bounds of the route. `form` names the file part, if it is a form."""
    if not form:
        upload = await uploads.read(principal, opening, receive, most_bytes)
        return upload, upload.take()
    upload = await uploads.read(principal, opening, receive, most_bytes, MULTIPART_SLACK)
    try:
        return upload, await asyncio.to_thread(read_body, opening.headers.get("content-type", ""), upload.take(), form)
    except BaseException:
        upload.release()
        raise


class LookupRoute:
    """An ASGI app for a question that is answered at once."""

    def __init__(self, row: LookupRow, door: Door, uploads: Uploads) -> None:
        self._row = row
        self._door = door
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opening = opening_of(scope)

        async def read(principal: Principal) -> tuple[Upload, bytes | Body]:
            form = FILE if self._row.form else ""
            return await _read(self._uploads, self._row.max_body_bytes, form, opening, receive, principal)

        try:
            step = await self._door.look_up(self._row, opening, read)
        except ClientDisconnect:
            return
        except Exception as error:
            step = self._door.refuse(self._row, opening, error)
        await _send(step, scope, receive, send)


class CallRoute:
    """An ASGI app for a vendor's endpoint with one request."""

    def __init__(self, row: CallRow, door: Door, clock: Clock, uploads: Uploads) -> None:
        self._row = row
        self._door = door
        self._clock = clock
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opening = opening_of(scope)

        try:
            most_bytes = self._row.endpoint.max_body_bytes
            form = self._row.file if self._row.form else ""
            read = partial(_read, self._uploads, most_bytes, form, opening, receive)
            opened = await self._door.call(self._row, opening, read)
        except ClientDisconnect:
            return
        except Exception as error:
            opened = self._door.refuse(self._row, opening, error)
        if isinstance(opened, Step):
            await _send(opened, scope, receive, send)
            return
        reply = Reply(send, scope.get(PRESENCE) or Presence())
        try:
            await self._converse(opened, reply)
        except OSError:
            return  # the caller does not read in time, or has left
        except Exception as error:
            failure = defect(error, opening)
            if not reply.begun:
                await answer(self._row.endpoint.refuse(opening, failure))(scope, receive, send)
        finally:
            opened.held.release()

    async def _converse(self, opened: OpenCall, reply: "Reply") -> None:
        """Send the session's events. A caller who disconnects ends it. Raises the surface's exceptions."""
        session = opened.session
        try:
            async with playing(session, opened.media), asyncio.timeout(None) as leash:
                try:
                    reply.hold(leash)
                    await relay(session, opened.surface, self._clock, reply.send)
                finally:
                    reply.let_go()
            if not reply.ended and not reply.broken:
                raise InternalError("A surface did not end its answer.")
        except TimeoutError:
            if not leash.expired():
                raise
        finally:
            if reply.ended:
                session.end(delivered=True)
            else:
                await session.close(delivered=False)


class Reply:
    """An HTTP answer while it is sent. `begun`, `ended` and `broken` say how far it is."""

    def __init__(self, send: Send, presence: Presence) -> None:
        self._send = send
        self._presence = presence
        self.begun = False
        self.ended = False
        self.broken = False

    def hold(self, leash: asyncio.Timeout) -> None:
        """Expire the timeout `leash` when the caller leaves, unless the answer is complete: then the engine may still
        have to finish.
        """
        self._presence.on_gone = lambda: None if self.ended else leash.reschedule(0)
        if self._presence.gone:
            leash.reschedule(0)

    def let_go(self) -> None:
        self._presence.on_gone = None

    async def send(self, messages: Iterable[Wire], close: Close | None) -> None:
        """Send messages together; a whole answer gets its length. Raises `TimeoutError` if the caller does not read,
        `ConnectionResetError` if it left before everything was sent.
        """
        head: Head | None = None
        body = bytearray()
        for message in messages:
            if isinstance(message, Head):
                head = message
            else:
                body += message.encode() if isinstance(message, str) else message
        self.broken = close == BROKEN_OFF
        last = close is not None and not self.broken
        if not (head or body or last):
            return
        large = len(body) > LARGE_BYTES
        put: list[Message] = []
        if head:
            self.begun = True
            length = (("content-length", str(len(body))),) if last else ()
            put.append(_start(head.status, head.headers + length))
        if not large:
            put.append({"type": "http.response.body", "body": bytes(body), "more_body": not last})
        if put:
            await self._put(*put)
        if large:
            await self._put_body(bytes(body))
            if last:
                await self._end()
        if last and self._presence.gone:
            raise ConnectionResetError
        self.ended = last

    async def send_whole(self, step: Step, rest: Rest, only_head: bool) -> None:
        """Send a whole answer and its rest. Raises as `send` does, and as `Rest.read`."""
        head, *sends = step.sends
        assert isinstance(head, Head)
        body = _joined(sends)
        length = len(body) + rest.left_bytes
        await self._put(_start(head.status, (*head.headers, ("content-length", str(length)))))
        while body and not only_head:
            await self._put_body(body)
            body = await rest.read() if rest.left_bytes else b""
        await self._end()

    async def _put_body(self, body: bytes) -> None:
        """Send a part of the body, as fast as the caller reads. Raises as `send` does."""
        for at in range(0, len(body), LARGE_BYTES):
            if self._presence.gone:
                raise ConnectionResetError
            # Over HTTP/2 a piece is sent when the caller has opened a window for it, not when it is in a buffer.
            await self._put({"type": "http.response.body", "body": body[at : at + LARGE_BYTES], "more_body": True})
            await asyncio.sleep(0)  # otherwise the event loop has not begun to write, and would not wait

    async def _end(self) -> None:
        """Wait until the caller has read most of it, or is disconnected by the server. Only then it is sent."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _put(self, *messages: Message) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            for message in messages:
                await self._send(message)


def _start(status: int, headers: tuple[tuple[str, str], ...]) -> Message:
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}


def _joined(pieces: Iterable[Any]) -> bytes:
    return b"".join(piece.encode() if isinstance(piece, str) else piece for piece in pieces)
