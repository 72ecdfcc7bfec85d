"""An application that is made when somebody asks for it: the management API's libraries take memory and time."""

import asyncio
import logging
from collections.abc import Callable

from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.core.errors import InternalError

_NOT_MADE = {"code": InternalError.code, "message": "something went wrong on the server", "param": None}

log = logging.getLogger(__name__)


class Later:
    """An application made at its first request, off the event loop; after a failure, at the next one. Callers get that
    failure in the format of the management API.
    """

    def __init__(self, make: Callable[[], ASGIApp]) -> None:
        self._make = make
        self._making: asyncio.Task[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._making is None:
            self._making = asyncio.create_task(asyncio.to_thread(self._make))
        making = self._making
        try:
            app: ASGIApp = await asyncio.shield(making)
        except Exception as error:
            if self._making is making:
                self._making = None
            log.error("the management API could not be loaded", exc_info=error)
            app = JSONResponse({"error": _NOT_MADE}, InternalError.status)
        await app(scope, receive, send)


def later(path: str, make: Callable[[], ASGIApp]) -> BaseRoute:
    """Return a route to an application under the path, which is made at its first request."""
    return Mount(path, Later(make))
