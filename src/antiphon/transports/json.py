"""HTTP for language and embedding models: a JSON object in, an answer or an event stream out.

The key is checked before the body is read, and the body is bounded while it is. What came at once from the engine
leaves at once. A caller who hangs up ends the work inside the engine.
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterable
from contextlib import aclosing

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from antiphon.core.errors import AntiphonError, CapacityError, RequestTimeout, TooLarge
from antiphon.core.events import Failed
from antiphon.core.identity import Principal
from antiphon.core.identity import Scope as Permission
from antiphon.core.ports import Clock, JsonEndpoint, LanguageSurface
from antiphon.core.wire import Head, Keep, Opening, Step, Wire
from antiphon.metering.ledger import Claim
from antiphon.session.generation import Generation
from antiphon.session.sessions import Sessions
from antiphon.transports.http import (
    BODY_PATIENCE_S,
    SEND_TIMEOUT_S,
    SLOWEST_BYTES_PER_S,
    Uploads,
    answer,
    defect,
    disconnected,
)
from antiphon.transports.opening import opening_of

log = logging.getLogger(__name__)


class JsonRoute:
    """An ASGI app: a vendor's endpoint that takes a JSON object."""

    def __init__(
        self, surface: str, endpoint: JsonEndpoint, sessions: Sessions, clock: Clock, uploads: Uploads
    ) -> None:
        self._surface = surface
        self._endpoint = endpoint
        self._sessions = sessions
        self._clock = clock
        self._uploads = uploads
        self._max_bytes = min(endpoint.max_body_bytes, uploads.each_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opening = opening_of(scope)
        body = bytearray()
        try:
            principal = self._sessions.authenticate(self._endpoint.credential(opening), Permission.GENERATE)
            await self._read(opening, receive, body)
            asked = self._endpoint.negotiate(opening, bytes(body))
            spec, keeping = await self._sessions.keeper.begin(principal.project, asked)
            claim = await self._claim(principal, opening, body)
            generation = self._sessions.generate(principal, self._surface, opening.request_id, spec, claim, keeping)
        except ClientDisconnect:
            return
        except Exception as error:
            refused = error if isinstance(error, AntiphonError) else defect(error, opening)
            self._sessions.refused(self._surface, refused)
            await answer(self._endpoint.refuse(opening, refused))(scope, receive, send)
        else:
            converse = self._detach if asked.background else self._converse
            await converse(generation, asked.surface, receive, send)
        finally:
            self._uploads.held -= len(body)

    async def _read(self, opening: Opening, receive: Receive, body: bytearray) -> None:
        """The body into `body`, and `body` into what is held."""
        too_large = TooLarge(f"The body is larger than {self._max_bytes} bytes.")
        declared = opening.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise too_large
        begun = asyncio.get_running_loop().time()
        while True:
            try:
                async with asyncio.timeout_at(begun + BODY_PATIENCE_S + len(body) / SLOWEST_BYTES_PER_S):
                    message = await receive()
            except TimeoutError:
                raise RequestTimeout("The body arrives too slowly.") from None
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            body += chunk
            self._uploads.held += len(chunk)
            if len(body) > self._max_bytes:
                raise too_large
            if self._uploads.held > self._uploads.all_bytes:
                raise CapacityError("Too much is being uploaded at once.", retry_after_s=5)
            if not message.get("more_body", False):
                return

    async def _claim(self, principal: Principal, opening: Opening, body: bytearray) -> Claim | None:
        if "idempotency-key" not in opening.headers:
            return None
        hashed = hashlib.sha256(repr((opening.path, opening.query)).encode())
        hashed.update(body)
        return await self._sessions.claim(principal, opening, hashed.hexdigest())

    async def _converse(self, generation: Generation, surface: LanguageSurface, receive: Receive, send: Send) -> None:
        """Send what the generation says. A caller who hangs up ends it."""
        telling = asyncio.create_task(self._tell(generation, surface, send), name=f"tell {generation.id}")
        leaving = asyncio.create_task(disconnected(receive), name=f"leave {generation.id}")
        try:
            await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            delivered = telling.done() and not telling.cancelled() and telling.exception() is None
            if telling.done() and not delivered and not isinstance(telling.exception(), TimeoutError):
                log.error("request failed", exc_info=telling.exception(), extra={"session": generation.id})
            telling.cancel()
            leaving.cancel()
            try:
                await asyncio.gather(telling, leaving, return_exceptions=True)
            finally:
                await generation.close(delivered)

    async def _detach(self, generation: Generation, surface: LanguageSurface, receive: Receive, send: Send) -> None:
        """The generation goes on whether the caller stays or not."""
        try:
            sends = await self._sessions.keeper.detach(generation, surface)
        except AntiphonError as error:
            sends = surface.emit(Failed(error), self._clock.now_ns()).sends
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await _send(sends, True, send)

    async def _tell(self, generation: Generation, surface: LanguageSurface, send: Send) -> None:
        """Raises `TimeoutError` where the caller does not read."""
        async with aclosing(generation.events()) as produced:
            async for events in produced:
                now_ns = self._clock.now_ns()
                sends: list[Wire] = []
                closed = False
                for event in events:
                    step = surface.emit(event, now_ns)
                    if step.keep is not None:
                        step = await self._kept(generation, surface, step, step.keep)
                    closed = closed or step.close is not None
                    sends += step.sends
                if sends or closed:
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await _send(sends, closed, send)

    async def _kept(self, generation: Generation, surface: LanguageSurface, step: Step, keep: Keep) -> Step:
        """The step, once what it wants kept is kept; where that fails, what the surface says to that."""
        try:
            await generation.keep(keep)
        except AntiphonError as error:
            generation.fail(error)
            return surface.emit(Failed(error), self._clock.now_ns())
        return step


async def _send(messages: Iterable[Wire], closed: bool, send: Send) -> None:
    """What came at once leaves at once."""
    body = bytearray()
    for message in messages:
        if isinstance(message, Head):
            await send(_start(message))
        else:
            body += message.encode() if isinstance(message, str) else message
    await send({"type": "http.response.body", "body": bytes(body), "more_body": not closed})


def _start(head: Head) -> Message:
    headers = [(name.encode(), value.encode()) for name, value in head.headers]
    return {"type": "http.response.start", "status": head.status, "headers": headers}
