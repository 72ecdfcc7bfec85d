"""WebSocket: one connection, one surface, one session.

Two tasks and a timer share the connection: what the caller says goes through the surface to the session, what the
session says goes through the surface to the caller, and the surface's own deadline is kept. Whichever ends first ends
all. Every send is bounded in time: a caller who does not read is cut off.
"""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

from starlette.responses import Response as HttpResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from antiphon.core.errors import AntiphonError, InternalError, RequestTimeout
from antiphon.core.events import AllSpoken, Closed, Failed
from antiphon.core.identity import Scope as Permission
from antiphon.core.ports import Accepted, Clock, LateEndpoint, LiveEndpoint, Surface
from antiphon.core.wire import Head, Opening, Step
from antiphon.session.sessions import Live, Sessions
from antiphon.transports.opening import opening_of

SEND_TIMEOUT_S = 10.0
FIRST_MESSAGE_S = 10.0  # of a caller who has not said who it is
IDLE_CHECK_S = 1.0

log = logging.getLogger(__name__)


class LiveRoute:
    """An ASGI app: a vendor's WebSocket endpoint."""

    def __init__(
        self, surface: str, endpoint: LiveEndpoint, sessions: Sessions, clock: Clock, permission: Permission
    ) -> None:
        self._surface = surface
        self._permission = permission
        self._endpoint = endpoint
        self._sessions = sessions
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        opening = opening_of(scope)
        secret = self._endpoint.credential(opening)
        if secret is None and isinstance(self._endpoint, LateEndpoint):
            await self._answer_late(self._endpoint, websocket, opening)
            return
        try:
            principal, settled = self._sessions.admit(self._surface, secret, self._permission)
            accepted = self._endpoint.negotiate(replace(opening, settled=settled))
            session = self._sessions.open(principal, self._surface, opening.request_id, accepted.spec)
        except Exception as error:
            await self._deny(websocket, opening, error)
            return
        connection = Connection(websocket, accepted.surface, session, self._clock)
        try:
            await _accept(websocket, accepted)
            await connection.run()
        finally:
            await session.close(connection.delivered)

    async def _answer_late(self, endpoint: LateEndpoint, websocket: WebSocket, opening: Opening) -> None:
        """A caller who has not said yet who it is: nothing is opened until its first message, which must come soon."""
        try:
            accepted = endpoint.negotiate(opening)
        except Exception as error:
            await self._deny(websocket, opening, error)
            return
        await _accept(websocket, accepted)
        try:
            async with asyncio.timeout(FIRST_MESSAGE_S):
                first = await _receive(websocket)
            principal, _ = self._sessions.admit(self._surface, endpoint.credential_in(first), self._permission)
            session = self._sessions.open(principal, self._surface, opening.request_id, accepted.spec)
        except _Over:
            return
        except Exception as error:
            failed = RequestTimeout("No message came.") if isinstance(error, TimeoutError) else error
            refused = self._refused(failed, opening)
            with suppress(_Over):
                await _say(websocket, accepted.surface.emit(Failed(refused), self._clock.now_ns()))
            return
        connection = Connection(websocket, accepted.surface, session, self._clock)
        try:
            await connection.run(first)
        finally:
            await session.close(connection.delivered)

    async def _deny(self, websocket: WebSocket, opening: Opening, error: Exception) -> None:
        refusal = self._endpoint.refuse(opening, self._refused(error, opening))
        await websocket.receive()  # the connect message; ASGI wants it read before the answer
        await websocket.send_denial_response(HttpResponse(refusal.body, refusal.status, dict(refusal.headers)))

    def _refused(self, error: Exception, opening: Opening) -> AntiphonError:
        refused = error if isinstance(error, AntiphonError) else _defect(error, opening.request_id)
        self._sessions.refused(self._surface, refused)
        return refused


async def _accept(websocket: WebSocket, accepted: Accepted[Any]) -> None:
    headers = [(name.encode(), value.encode()) for name, value in accepted.headers]
    await websocket.accept(accepted.subprotocol, headers)


async def _receive(websocket: WebSocket) -> str | bytes:
    """The caller's next message. Raises `_Over` where it has gone."""
    try:
        message = await websocket.receive()
    except (WebSocketDisconnect, RuntimeError):
        raise _Over from None
    if message["type"] == "websocket.disconnect":
        raise _Over
    data: bytes | None = message.get("bytes")
    if data is not None:
        return data
    text: str = message["text"]
    return text


async def _say(websocket: WebSocket, step: Step) -> None:
    """Raises `_Over` where the caller has gone, or does not read."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            for message in step.sends:
                if isinstance(message, str):
                    await websocket.send_text(message)
                elif isinstance(message, Head):
                    raise InternalError("an HTTP head on a WebSocket")
                else:
                    await websocket.send_bytes(message)
            if step.close:
                await websocket.close(step.close.code, step.close.reason)
    except (TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
        raise _Over from None


def _defect(error: BaseException, session: str) -> InternalError:
    log.error("connection failed", exc_info=error, extra={"session": session})
    return InternalError("The server failed; this has been logged.")


class _Over(Exception):
    """The connection has ended."""


class Connection:
    """An accepted WebSocket. `delivered` is true once everything the session said was sent."""

    def __init__(self, websocket: WebSocket, surface: Surface[Any], session: Live, clock: Clock) -> None:
        self.delivered = False
        self._websocket = websocket
        self._surface = surface
        self._session = session
        self._clock = clock
        self._sending = asyncio.Lock()

    async def run(self, first: str | bytes | None = None) -> None:
        """`first` is the message that was read already."""
        parts: tuple[Coroutine[Any, Any, None], ...] = (self._hear(first), self._tell(), self._keep_time())
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error and not isinstance(error, _Over):
                    failed = Failed(_defect(error, self._session.id))
                    with suppress(_Over):
                        await self._send(self._surface.emit(failed, self._clock.now_ns()))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hear(self, first: str | bytes | None) -> None:
        payload = first
        while True:
            if payload is not None:
                await self._take(self._surface.receive(payload, self._clock.now_ns()))
            payload = await _receive(self._websocket)

    async def _tell(self) -> None:
        async with aclosing(self._session.events()) as produced:
            async for events in produced:
                for event in events:
                    await self._send(self._surface.emit(event, self._clock.now_ns()))
                    self.delivered = isinstance(event, Closed | AllSpoken)
        raise _Over

    async def _keep_time(self) -> None:
        while True:
            deadline_ns = self._surface.deadline_ns()
            now_ns = self._clock.now_ns()
            if deadline_ns is not None and deadline_ns <= now_ns:
                await self._take(self._surface.expire(now_ns))
                continue
            wait_s = IDLE_CHECK_S if deadline_ns is None else (deadline_ns - now_ns) / 1e9
            await asyncio.sleep(min(IDLE_CHECK_S, wait_s))

    async def _take(self, step: Step) -> None:
        for given in step.inputs:
            await self._session.feed(given)
        if step.sends or step.close:
            await self._send(step)
        if step.close:
            raise _Over

    async def _send(self, step: Step) -> None:
        async with self._sending:
            await _say(self._websocket, step)
