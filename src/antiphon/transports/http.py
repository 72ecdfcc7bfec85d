"""HTTP: one request, one answer. The key is checked before the body is read, and the body is bounded while it is."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response as HttpResponse
from starlette.types import Receive, Scope, Send

from antiphon.core.errors import AntiphonError, BadMedia, CallerError, CapacityError, RequestTimeout, TooLarge
from antiphon.core.identity import Scope as Permission
from antiphon.core.ports import Clock, ListEndpoint, Surface, UnaryEndpoint
from antiphon.core.wire import Body, Head, Response, Url
from antiphon.session.session import Session
from antiphon.session.sessions import Sessions
from antiphon.transports.opening import opening_of

BODY_SILENCE_S = 20.0  # how long a sender may pause
MAX_BYTES_IN_FLIGHT = 1 << 30  # bodies held in memory, all callers together
MAX_FIELDS = 64
MULTIPART_SLACK = 1 << 20  # boundaries and fields around the file

log = logging.getLogger(__name__)


def _answer(response: Response) -> HttpResponse:
    answer = HttpResponse(response.body, response.status)
    del answer.headers["content-length"]
    for name, value in response.headers:
        answer.headers.append(name, value)
    answer.headers["content-length"] = str(len(response.body))
    return answer


class ListRoute:
    """An ASGI app: a vendor's list of models."""

    def __init__(self, surface: str, endpoint: ListEndpoint, sessions: Sessions) -> None:
        self._surface = surface
        self._endpoint = endpoint
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opening = opening_of(scope)
        try:
            self._sessions.authenticate(self._endpoint.credential(opening), Permission.TRANSCRIBE)
            response = self._endpoint.answer(opening, self._sessions.models.cards())
        except AntiphonError as error:
            self._sessions.refused(self._surface, error)
            response = self._endpoint.refuse(opening, error)
        await _answer(response)(scope, receive, send)


class UnaryRoute:
    """An ASGI app: a vendor's endpoint that takes a whole recording."""

    def __init__(self, surface: str, endpoint: UnaryEndpoint, sessions: Sessions, clock: Clock) -> None:
        self._surface = surface
        self._endpoint = endpoint
        self._sessions = sessions
        self._clock = clock
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        opening = opening_of(scope)
        held = 0
        try:
            principal = self._sessions.authenticate(self._endpoint.credential(opening), Permission.TRANSCRIBE)
            raw = await self._read(request)
            held = len(raw)
            self._in_flight += held
            body = await _body(request.headers, raw)
            accepted = self._endpoint.negotiate(opening, body)
            fingerprint = hashlib.sha256(repr((opening.path, opening.query, body.fields)).encode() + body.data)
            claim = await self._sessions.claim(principal, opening, fingerprint.hexdigest())
            session = self._sessions.open(principal, self._surface, opening.request_id, accepted.spec, claim)
        except AntiphonError as error:
            self._sessions.refused(self._surface, error)
            await _answer(self._endpoint.refuse(opening, error))(scope, receive, send)
        except ClientDisconnect:
            pass
        else:
            media = body.data if accepted.media is None else accepted.media
            await self._converse(session, accepted.surface, media, receive, send)
        finally:
            self._in_flight -= held

    async def _read(self, request: Request) -> bytes:
        limit = self._endpoint.max_body_bytes + MULTIPART_SLACK
        too_large = TooLarge(f"The body is larger than {self._endpoint.max_body_bytes} bytes.")
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > limit:
            raise too_large
        data = bytearray()
        chunks = aiter(request.stream())
        try:
            while True:
                async with asyncio.timeout(BODY_SILENCE_S):
                    chunk = await anext(chunks)
                data += chunk
                if len(data) > limit:
                    raise too_large
                if self._in_flight + len(data) > MAX_BYTES_IN_FLIGHT:
                    raise CapacityError("Too much is being uploaded at once.", retry_after_s=5)
        except StopAsyncIteration:
            return bytes(data)
        except TimeoutError:
            raise RequestTimeout("The body stopped arriving.") from None

    async def _converse(
        self, session: Session, surface: Surface, media: bytes | Url, receive: Receive, send: Send
    ) -> None:
        """Send what the session says. A caller who hangs up ends it."""
        delivered = False
        work = asyncio.create_task(session.play(media), name=f"play {session.id}")
        telling = asyncio.create_task(self._tell(session, surface, send), name=f"tell {session.id}")
        leaving = asyncio.create_task(_disconnected(receive), name=f"leave {session.id}")
        tasks = (work, telling, leaving)
        try:
            await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                delivered = telling.exception() is None
                if error := telling.exception():
                    log.error("request failed", exc_info=error, extra={"session": session.id})
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.shield(session.close(delivered))

    async def _tell(self, session: Session, surface: Surface, send: Send) -> None:
        async for event in session.events():
            step = surface.emit(event, self._clock.now_ns())
            for message in step.sends:
                if isinstance(message, Head):
                    headers = [(name.encode(), value.encode()) for name, value in message.headers]
                    await send({"type": "http.response.start", "status": message.status, "headers": headers})
                else:
                    data = message.encode() if isinstance(message, str) else message
                    await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(headers: Headers, raw: bytes) -> Body:
    """The body as its content type says. Nothing of it touches the disk."""
    if not headers.get("content-type", "").startswith("multipart/form-data"):
        return Body(data=raw, has_file=bool(raw))

    async def stream() -> AsyncGenerator[bytes, None]:
        yield raw

    parser = MultiPartParser(headers, stream(), max_files=1, max_fields=MAX_FIELDS, max_part_size=MULTIPART_SLACK)
    parser.spool_max_size = len(raw) + 1
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        detail = error.message if isinstance(error, MultiPartException) else "no boundary"
        raise CallerError(f"The multipart body is malformed: {detail}") from None
    try:
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
