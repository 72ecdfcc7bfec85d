"""HTTP for language and embedding models: a JSON object in, an answer or an event stream out.

The key is checked before the body is read, and the body is bounded while it is. What came at once from the engine
leaves at once. A caller who hangs up ends the work inside the engine. An answer that breaks off is left without its
end, on which a server closes the connection.
"""

import asyncio
import hashlib
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from antiphon.core.errors import AntiphonError, InternalError
from antiphon.core.events import Failed
from antiphon.core.identity import Principal
from antiphon.core.identity import Scope as Permission
from antiphon.core.ports import AnswerSurface, Clock, JsonEndpoint
from antiphon.core.wire import BROKEN_OFF, Close, Head, Keep, Opening, Step, Wire
from antiphon.metering.ledger import Claim
from antiphon.session.generation import Generation
from antiphon.session.retries import TRY
from antiphon.session.sessions import Answering, Sessions
from antiphon.transports.http import SEND_TIMEOUT_S, answer, defect, disconnected
from antiphon.transports.opening import opening_of
from antiphon.transports.uploads import Uploads


class JsonRoute:
    """An ASGI app: a vendor's endpoint that takes a JSON object."""

    def __init__(
        self,
        surface: str,
        endpoint: JsonEndpoint,
        sessions: Sessions,
        clock: Clock,
        uploads: Uploads,
        permission: Permission,
    ) -> None:
        self._surface = surface
        self._permission = permission
        self._endpoint = endpoint
        self._sessions = sessions
        self._clock = clock
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opening = opening_of(scope)
        size = 0
        try:
            principal = self._sessions.authenticate(self._endpoint.credential(opening), self._permission)
            body = await self._uploads.read(opening, receive, self._endpoint.max_body_bytes)
            size = len(body)
            asked = self._endpoint.negotiate(opening, body)
            spec, keeping = await self._sessions.keeper.begin(principal.project, asked)
            claim = await self._claim(principal, opening, body)
            del body  # for as long as the answer takes, what was asked for is held once
            generation = self._sessions.answer(principal, self._surface, opening.request_id, spec, claim, keeping)
            if asked.background and isinstance(generation, Generation):
                told = await self._sessions.keeper.detach(generation, asked.surface)
        except ClientDisconnect:
            return
        except Exception as error:
            refused = error if isinstance(error, AntiphonError) else defect(error, opening)
            self._sessions.refused(self._surface, refused)
            await answer(self._endpoint.refuse(opening, refused))(scope, receive, send)
        else:
            reply = _Reply(send)
            try:
                if asked.background:
                    await reply.say(told, last=True)
                else:
                    await self._converse(generation, asked.surface, receive, reply)
            except TimeoutError:
                return  # the caller does not read
            except Exception as error:
                failure = defect(error, opening)
                if not reply.begun:
                    await answer(self._endpoint.refuse(opening, failure))(scope, receive, send)
        finally:
            self._uploads.held -= size

    async def _claim(self, principal: Principal, opening: Opening, body: bytes) -> Claim | None:
        if "idempotency-key" not in opening.headers and TRY not in opening.headers:
            return None
        hashed = hashlib.sha256(repr((opening.path, opening.query)).encode())
        hashed.update(body)
        return await self._sessions.claim(principal, opening, hashed.hexdigest())

    async def _converse(
        self, generation: Answering, surface: AnswerSurface[Any], receive: Receive, reply: "_Reply"
    ) -> None:
        """Send what the generation says. A caller who hangs up ends it. Raises what goes wrong in the surface."""
        try:
            async with asyncio.timeout(None) as leash:
                leaving = asyncio.create_task(_leave(receive, reply, leash), name=f"leave {generation.id}")
                try:
                    await self._tell(generation, surface, reply)
                finally:
                    leaving.cancel()
        except TimeoutError:
            if not leash.expired():
                raise
        finally:
            if reply.ended:
                generation.end(delivered=True)
            else:
                await generation.close(delivered=False)

    async def _tell(self, generation: Answering, surface: AnswerSurface[Any], reply: "_Reply") -> None:
        """Raises `TimeoutError` where the caller does not read."""
        async with aclosing(generation.events()) as produced:
            async for events in produced:
                if reply.ended:
                    continue  # as with what follows on an answer that could not be kept
                now_ns = self._clock.now_ns()
                sends: list[Wire] = []
                close: Close | None = None
                for event in events:
                    step = surface.emit(event, now_ns)
                    if step.keep is not None:
                        step = await self._kept(generation, surface, step, step.keep)
                    sends += step.sends
                    close = step.close
                    if close is not None:
                        break
                last = close is not None and close != BROKEN_OFF
                if sends or last:
                    await reply.say(sends, last)
                if close == BROKEN_OFF:
                    return
        if not reply.ended:
            raise InternalError("A surface did not end its answer.")

    async def _kept(self, generation: Answering, surface: AnswerSurface[Any], step: Step, keep: Keep) -> Step:
        """The step, once what it wants kept is kept; where that fails, what the surface says to that."""
        try:
            await generation.keep(keep)
        except AntiphonError as error:
            generation.fail(error)
            return surface.emit(Failed(error), self._clock.now_ns())
        return step


class _Reply:
    """An HTTP answer while it is sent. `begun` and `ended` say how far it is."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False
        self.ended = False

    async def say(self, messages: Iterable[Wire], last: bool) -> None:
        """What came at once leaves at once; an answer that came whole says its length. Raises `TimeoutError` where the
        caller does not read.
        """
        head: Head | None = None
        body = bytearray()
        for message in messages:
            if isinstance(message, Head):
                head = message
            else:
                body += message.encode() if isinstance(message, str) else message
        async with asyncio.timeout(SEND_TIMEOUT_S):
            if head:
                self.begun = True
                length = (("content-length", str(len(body))),) if last else ()
                await self._send(_start(head.status, head.headers + length))
            await self._send({"type": "http.response.body", "body": bytes(body), "more_body": not last})
        self.ended = last


async def _leave(receive: Receive, reply: _Reply, leash: asyncio.Timeout) -> None:
    """Ends what the leash holds when the caller has gone. Some servers say so at the end of the answer, too; the engine
    may then still have to come to its own.
    """
    await disconnected(receive)
    if not reply.ended:
        leash.reschedule(0)


def _start(status: int, headers: tuple[tuple[str, str], ...]) -> Message:
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}
