"""The HTTP application of all routes, and the common handling of all requests: an id, a path without trailing slashes,
and an answer for unknown paths.
"""

import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response as HttpResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.core.endpoints import Endpoint
from antiphon.core.errors import AntiphonError, MethodNotAllowed, NotFound
from antiphon.core.wire import REQUEST_ID, Opening, Step
from antiphon.transports.forwarding import HEADER, NO_PROXIES, Proxies
from antiphon.transports.http import CallRoute, answer
from antiphon.transports.opening import opening_of

Application = ASGIApp

MAX_SHOWN = 256  # of an unknown path
_HEADS = frozenset(("http.response.start", "websocket.accept", "websocket.http.response.start"))
_ID_HEADER = b"x-request-id"


class Entrance:
    """An ASGI app around another. Every answer has the id in `x-request-id`. `/v1/models/` is read as `/v1/models`, as
    is `//v1/models`, which clients make of a base URL that ends with a slash: a redirect would lose the body with some
    clients, and the scheme behind a proxy that ends TLS. Behind `proxies` the
    client is the one that they report.
    """

    def __init__(self, app: ASGIApp, proxies: Proxies = NO_PROXIES) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = str(uuid.uuid4())
        scope[REQUEST_ID] = request_id
        if self._proxies and scope.get("client"):
            peer, port = scope["client"]
            forwarded = ",".join(Headers(scope=scope).getlist(HEADER))
            scope["client"] = self._proxies.address(peer, forwarded), port
        path = scope["path"]
        if path.endswith("/") or path.startswith("//"):
            scope["path"] = "/" + path.strip("/")

        def identified(message: Message) -> Awaitable[None]:
            if message["type"] in _HEADS:
                headers = message.get("headers", ())
                if all(name.lower() != _ID_HEADER for name, _ in headers):
                    message = {**message, "headers": [*headers, (_ID_HEADER, request_id.encode())]}
            return send(message)

        await self._app(scope, receive, identified)


class Direct:
    """An ASGI app before a router, for routes known by their whole path and method, and for paths that no route has.
    The router tries one route after the other, and wraps each answer twice: a thirtieth of a forwarded request's cost.
    """

    def __init__(self, router: Starlette, stray: "Stray") -> None:
        self._router = router
        self._stray = stray
        self._apps: dict[tuple[str, str], ASGIApp] = {
            (route.path, method): route.endpoint
            for route in router.routes
            if isinstance(route, Route) and isinstance(route.endpoint, CallRoute) and not route.param_convertors
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp | None = None
        if scope["type"] == "http":
            app = self._apps.get((scope["path"], scope["method"]))
        if app is None:
            app = self._router if scope["type"] == "lifespan" or self._stray.known(scope["path"]) else self._stray
        await app(scope, receive, send)


class Stray:
    """An ASGI app for a path not among `routes`, or with another method, in the format of the vendor that `whose`
    names.
    """

    def __init__(self, routes: Iterable[BaseRoute], whose: Callable[[Opening], Endpoint]) -> None:
        self._routes = tuple(routes)
        self._whose = whose
        self._paths = any_path(self._routes)

    def known(self, path: str) -> bool:
        """Return whether a route has the path, with whatever method."""
        return self._paths.match(path) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()  # the connect message; ASGI wants it read before the answer
        await self._answer(scope)(scope, receive, send)

    async def handle(self, request: Request, error: Exception) -> HttpResponse:
        """Answer as `__call__`, for Starlette, whose routes refuse a method by an exception."""
        assert isinstance(error, HTTPException)
        return self._answer(request.scope)

    def _answer(self, scope: Scope) -> HttpResponse:
        opening = opening_of(scope)
        routes = [each for each in self._routes if _has(each, opening.path)] if self.known(opening.path) else []
        methods = {method for each in routes if isinstance(each, Route) for method in each.methods or ()}
        detail = f"({opening.method} {opening.path[:MAX_SHOWN]})"
        if any(isinstance(each, WebSocketRoute) for each in routes):
            detail += ": it is opened as a WebSocket"
        if not methods or scope["type"] == "websocket":
            return answer(self._refuse(opening, NotFound(f"Invalid URL {detail}")))
        allow = ", ".join(sorted(methods | {"OPTIONS"}))
        if opening.method == "OPTIONS":
            return HttpResponse(status_code=204, headers={"allow": allow})
        refused = self._refuse(opening, MethodNotAllowed(f"Invalid method for URL {detail}"))
        response = answer(refused)
        response.headers.append("allow", allow)
        return response

    def _refuse(self, opening: Opening, error: AntiphonError) -> Step:
        return self._whose(opening).refuse(opening, error)


def enter(
    routes: Sequence[BaseRoute],
    whose: Callable[[Opening], Endpoint],
    proxies: Proxies = NO_PROXIES,
    around: Callable[[Application], Application] = lambda app: app,
) -> Application:
    """Return the application of the routes. Unknown paths are answered as the vendor does that `whose` names; `around`
    is put around everything but ids and paths.
    """
    stray = Stray(routes, whose)
    app = Starlette(routes=routes, exception_handlers={HTTPException: stray.handle})
    app.router.redirect_slashes = False
    app.router.default = stray
    return Entrance(around(Direct(app, stray)), proxies)


def _has(route: BaseRoute, path: str) -> bool:
    return isinstance(route, (Route, WebSocketRoute)) and route.path_regex.match(path) is not None


def any_path(routes: Iterable[BaseRoute]) -> re.Pattern[str]:
    """Return a pattern of all paths at once: strangers ask for unknown ones by the hundred thousand."""
    patterns = (each.path_regex.pattern for each in routes if isinstance(each, (Route, WebSocketRoute, Mount)))
    return re.compile("|".join(re.sub(r"\(\?P<\w+>", "(?:", pattern) for pattern in patterns))
