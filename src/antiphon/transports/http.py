"""HTTP: one request, one answer. The key is checked before the body is read, and the body is bounded while it is."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.responses import Response as HttpResponse
from starlette.types import Message, Receive, Scope, Send

from antiphon.core.errors import (
    AntiphonError,
    BadMedia,
    CallerError,
    InternalError,
)
from antiphon.core.events import Output
from antiphon.core.identity import Scope as Permission
from antiphon.core.ports import Clock, Surface, UnaryEndpoint
from antiphon.core.wire import Body, Head, Opening, Response, Url, Wire
from antiphon.session.session import Session
from antiphon.session.sessions import Sessions
from antiphon.transports.opening import opening_of
from antiphon.transports.uploads import Uploads

SEND_TIMEOUT_S = 30.0  # how long a caller may read nothing
PIECE_BYTES = 256 * 1024  # parsed at once
MAX_FIELDS = 64
MULTIPART_SLACK = 1 << 20  # boundaries and fields around the file

log = logging.getLogger(__name__)


def answer(response: Response) -> HttpResponse:
    """As Starlette sends it, with its length."""
    answer = HttpResponse(response.body, response.status)
    del answer.headers["content-length"]
    for name, value in response.headers:
        answer.headers.append(name, value)
    answer.headers["content-length"] = str(len(response.body))
    return answer


def defect(error: Exception, opening: Opening) -> InternalError:
    """What the caller is told of an error of ours, which is logged."""
    log.error("request failed", exc_info=error, extra={"session": opening.request_id})
    return InternalError("The server failed; this has been logged.")


class UnaryRoute:
    """An ASGI app: a vendor's endpoint that takes a whole recording."""

    def __init__(
        self, surface: str, endpoint: UnaryEndpoint, sessions: Sessions, clock: Clock, uploads: Uploads
    ) -> None:
        self._surface = surface
        self._endpoint = endpoint
        self._sessions = sessions
        self._clock = clock
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opening = opening_of(scope)
        size = 0
        try:
            principal = self._sessions.authenticate(self._endpoint.credential(opening), Permission.TRANSCRIBE)
            data = await self._uploads.read(opening, receive, self._endpoint.max_body_bytes, MULTIPART_SLACK)
            size = len(data)
            body = await _body(Headers(scope=scope), data)
            accepted = self._endpoint.negotiate(opening, body)
            fingerprint = await asyncio.to_thread(_fingerprint, opening, body)
            claim = await self._sessions.claim(principal, opening, fingerprint)
            session = self._sessions.transcribe(principal, self._surface, opening.request_id, accepted.spec, claim)
        except ClientDisconnect:
            return
        except Exception as error:
            refused = error if isinstance(error, AntiphonError) else defect(error, opening)
            self._sessions.refused(self._surface, refused)
            await answer(self._endpoint.refuse(opening, refused))(scope, receive, send)
        else:
            media = body.data if accepted.media is None else accepted.media
            await self._converse(session, accepted.surface, media, receive, send)
        finally:
            self._uploads.held -= size

    async def _converse(
        self, session: Session, surface: Surface[Output], media: bytes | Url, receive: Receive, send: Send
    ) -> None:
        """Send what the session says. A caller who hangs up ends it."""
        work = asyncio.create_task(session.play(media), name=f"play {session.id}")
        telling = asyncio.create_task(self._tell(session, surface, send), name=f"tell {session.id}")
        leaving = asyncio.create_task(disconnected(receive), name=f"leave {session.id}")
        tasks = (work, telling, leaving)
        try:
            await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            delivered = telling.done() and not telling.cancelled() and telling.exception() is None
            if telling.done() and not delivered and not isinstance(telling.exception(), TimeoutError):
                log.error("request failed", exc_info=telling.exception(), extra={"session": session.id})
            for task in tasks:
                task.cancel()
            try:
                await asyncio.gather(*tasks, return_exceptions=True)
            finally:
                await session.close(delivered)

    async def _tell(self, session: Session, surface: Surface[Output], send: Send) -> None:
        """Raises `TimeoutError` where the caller does not read."""
        async with aclosing(session.events()) as produced:
            async for events in produced:
                for message in (m for event in events for m in surface.emit(event, self._clock.now_ns()).sends):
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await send(_asgi(message))
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _asgi(message: Wire) -> Message:
    if isinstance(message, Head):
        headers = [(name.encode(), value.encode()) for name, value in message.headers]
        return {"type": "http.response.start", "status": message.status, "headers": headers}
    data = message.encode() if isinstance(message, str) else message
    return {"type": "http.response.body", "body": data, "more_body": True}


def _fingerprint(opening: Opening, body: Body) -> str:
    """Tells requests with one idempotency key apart."""
    hashed = hashlib.sha256(repr((opening.path, opening.query, body.fields)).encode())
    hashed.update(body.data)
    return hashed.hexdigest()


async def disconnected(receive: Receive) -> None:
    """Returns when the caller has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(headers: Headers, raw: bytes) -> Body:
    """The body as its content type says. Nothing of it touches the disk."""
    kind, parameters = parse_options_header(headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        return Body(data=raw, has_file=bool(raw))

    async def pieces() -> AsyncGenerator[bytes, None]:
        for at in range(0, len(raw), PIECE_BYTES):
            yield raw[at : at + PIECE_BYTES]
            await asyncio.sleep(0)  # a big form must not hold every live stream up

    parser = MultiPartParser(headers, pieces(), max_files=1, max_fields=MAX_FIELDS, max_part_size=MULTIPART_SLACK)
    parser.spool_max_size = len(raw) + 1
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise CallerError(f"The multipart body is malformed: {error.message}") from None
    try:
        # The parser takes an end in the middle of a part for the end of the form, and forgets that part.
        if b"--" + parameters[b"boundary"] + b"--" not in raw:
            raise CallerError("The multipart body is malformed: it ends before its last boundary.")
        fields = tuple((name, value) for name, value in form.multi_items() if isinstance(value, str))
        files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
        if not files:
            return Body(fields=fields)
        name, file = files[0]
        if name != "file":
            raise BadMedia("The audio belongs in the part named 'file'.", param=name[:64])
        return Body(await file.read(), fields, file.filename or "", has_file=True)
    finally:
        await form.close()
