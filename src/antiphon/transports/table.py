"""ASGI routes for the rows of the table of routes: a carrier for each kind of row."""

from collections.abc import Iterable, Sequence

from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.core.ports import Clock
from antiphon.core.routing import CallRow, DialogueRow, LookupRow, Row
from antiphon.session.door import Door
from antiphon.transports.duplex import DuplexRoute
from antiphon.transports.http import CallRoute, LookupRoute
from antiphon.transports.uploads import Uploads
from antiphon.transports.websocket import DialogueRoute


def routes(rows: Sequence[Row], door: Door, clock: Clock, uploads: Uploads) -> list[BaseRoute]:
    """Return the routes. Rows of one path and method that differ by a header share one."""
    made: list[BaseRoute] = []
    shared: set[tuple[str, str]] = set()
    for row in rows:
        match row:
            case DialogueRow(duplex=True):
                made.append(Route(row.path, DuplexRoute(row, door, clock, uploads), methods=["POST"]))
            case DialogueRow():
                made.append(WebSocketRoute(row.path, DialogueRoute(row, door, clock, uploads)))
            case CallRow():
                made.append(Route(row.path, CallRoute(row, door, clock, uploads), methods=["POST"]))
            case LookupRow():
                place = row.path, row.method
                if place not in shared:
                    shared.add(place)
                    same = [each for each in rows if isinstance(each, LookupRow) and (each.path, each.method) == place]
                    app = LookupRoute(row, door, uploads) if len(same) == 1 else _by_header(same, door, uploads)
                    made.append(Route(row.path, app, methods=[row.method]))
    return made


def _by_header(rows: Iterable[LookupRow], door: Door, uploads: Uploads) -> "ByHeader":
    named = [(*row.header, LookupRoute(row, door, uploads)) for row in rows if row.header]
    (other,) = (LookupRoute(row, door, uploads) for row in rows if not row.header)
    return ByHeader(named, other)


class ByHeader:
    """An ASGI app for one path of several vendors. Each of `named` gets the requests with a header of that name whose
    value begins so, in lower case; `other` gets the rest.
    """

    def __init__(self, named: Sequence[tuple[str, str, ASGIApp]], other: ASGIApp) -> None:
        self._named = [(header.encode(), begins.encode(), app) for header, begins, app in named]
        self._other = other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._whose(scope)(scope, receive, send)

    def _whose(self, scope: Scope) -> ASGIApp:
        for name, begins, app in self._named:
            if any(name == header and value.lstrip().lower().startswith(begins) for header, value in scope["headers"]):
                return app
        return self._other
