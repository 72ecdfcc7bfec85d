"""Endpoints for other services' requests, authenticated by a signature over the body in a header, without a key."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from antiphon.core.errors import AntiphonError, CapacityError, RequestTimeout, TooLarge

BODY_S = 15.0
AT_ONCE = 8  # bodies in progress


class Hook:
    """An endpoint whose `receive` gets a body and its signature from `header`, and raises if it does not accept them.
    Bodies have at most `max_bytes`.
    """

    def __init__(self, receive: Callable[[bytes, str], Awaitable[None]], header: str, max_bytes: int) -> None:
        self._receive = receive
        self._header = header
        self._max_bytes = max_bytes
        self._under_way = 0

    async def answer(self, request: Request) -> Response:
        try:
            if self._under_way >= AT_ONCE:
                raise CapacityError("Too many calls are being answered.", retry_after_s=5)
            self._under_way += 1
            try:
                body = await self._read(request)
                await self._receive(body, request.headers.get(self._header, ""))
            finally:
                self._under_way -= 1
        except ClientDisconnect:
            return Response(status_code=400)
        except AntiphonError as error:
            headers = {"retry-after": str(error.retry_after_s)} if error.retry_after_s else None
            return JSONResponse({"error": {"code": error.code, "message": error.message}}, error.status, headers)
        return Response(status_code=204)

    async def _read(self, request: Request) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                async for part in request.stream():
                    body += part
                    if len(body) > self._max_bytes:
                        raise TooLarge(f"The body is larger than {self._max_bytes} bytes.")
        except TimeoutError:
            raise RequestTimeout("The body arrives too slowly.") from None
        return bytes(body)
