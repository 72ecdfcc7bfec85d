"""Endpoints for other services' requests, authenticated by a signature over the body in a header, without a key."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from antiphon.core.errors import AntiphonError, RequestTimeout, TooLarge

BODY_S = 15.0
AT_ONCE = 8  # bodies that arrive; above this, the longest waiting is dropped: whoever sends one is not known yet


class Hook:
    """An endpoint whose `receive` gets a body and its signature from `header`, and raises if it does not accept them.
    Bodies have at most `max_bytes`.
    """

    def __init__(self, receive: Callable[[bytes, str], Awaitable[None]], header: str, max_bytes: int) -> None:
        self._receive = receive
        self._header = header
        self._max_bytes = max_bytes
        self._reading: dict[asyncio.Timeout, None] = {}

    def route(self, path: str) -> BaseRoute:
        """Return the route of this endpoint at a path."""
        return Route(path, self.answer, methods=["POST"])

    async def answer(self, request: Request) -> Response:
        try:
            body = await self._read(request)
            await self._receive(body, request.headers.get(self._header, ""))
        except ClientDisconnect:
            return Response(status_code=400)
        except AntiphonError as error:
            headers = {"retry-after": str(error.retry_after_s)} if error.retry_after_s else None
            return JSONResponse({"error": {"code": error.code, "message": error.message}}, error.status, headers)
        return Response(status_code=204)

    async def _read(self, request: Request) -> bytes:
        body = bytearray()
        if len(self._reading) >= AT_ONCE:
            longest = next(iter(self._reading))
            del self._reading[longest]
            if not longest.expired():
                longest.reschedule(0)
        try:
            async with asyncio.timeout(BODY_S) as patience:
                self._reading[patience] = None
                try:
                    async for part in request.stream():
                        body += part
                        if len(body) > self._max_bytes:
                            raise TooLarge(f"The body is larger than {self._max_bytes} bytes.")
                finally:
                    self._reading.pop(patience, None)
        except TimeoutError:
            raise RequestTimeout("The body arrives too slowly.") from None
        return bytes(body)
