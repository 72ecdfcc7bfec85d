"""The HTTP application: the vendors' routes, health and metrics for operators, and the management API."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.config import Config
from antiphon.core.audit import Action
from antiphon.core.errors import AntiphonError, InternalError
from antiphon.core.ports import Clock
from antiphon.core.wire import REQUEST_ID
from antiphon.exporting import Exporting
from antiphon.metering.allowances import Allowances
from antiphon.metering.export.stripe_reports import MAX_BODY_BYTES as MAX_REPORT_BYTES
from antiphon.metering.statements import Billing
from antiphon.observe.observer import Observer
from antiphon.routes import ROUTES, whose
from antiphon.session.door import Door
from antiphon.session.subjects import Subjects
from antiphon.transports import table
from antiphon.transports.entrance import Direct, Entrance, Stray, any_path
from antiphon.transports.forwarding import NO_PROXIES, Proxies
from antiphon.transports.hooks import Hook
from antiphon.transports.inspecting import Inspectors
from antiphon.transports.opening import address_of
from antiphon.transports.origins import Origins
from antiphon.transports.uploads import Uploads
from antiphon.trust.control import Control
from antiphon.trust.last_use import LastUse
from antiphon.trust.notary import Auditing
from antiphon.trust.residency import Policies
from antiphon.trust.sign_in import SignIns

_NOT_MADE = {"code": InternalError.code, "message": "something went wrong on the server", "param": None}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Managed:
    """What the management API manages."""

    control: Control
    billing: Billing
    auditing: Auditing
    exporting: Exporting
    subjects: Subjects
    policies: Policies
    uses: LastUse
    allowances: Allowances
    sign_ins: SignIns | None = None


def make(
    config: Config,
    clock: Clock,
    door: Door,
    uploads: Uploads,
    observer: Observer,
    managed: Managed,
    trouble: Callable[[], str | None],
) -> ASGIApp:
    """Return the application. `trouble` says why the server is not ready, if it is not."""
    inspectors = Inspectors(door.administer, tuple(ip_network(n) for n in config.inspection.open_to))
    routes = table.routes(ROUTES, door, clock, uploads)
    open_to_pages = any_path(routes)

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        reason = trouble()
        return PlainTextResponse(f"not ready: {reason}\n" if reason else "ready\n", 503 if reason else 200)

    async def health(request: Request) -> Response:
        """Answer as vLLM does: clients and load tools of such servers ask whether calls can be taken."""
        return Response(status_code=503 if trouble() else 200)

    async def metrics(request: Request) -> Response:
        try:
            inspectors.check(request.scope)
        except AntiphonError as error:
            address, id = address_of(request.scope), request.scope.get(REQUEST_ID, "")
            managed.auditing.auditor.refuse(Action.MANAGE, "GET /metrics", error, address, id)
            named = {"www-authenticate": "Bearer"} if error.status == 401 else None
            return PlainTextResponse(f"{error.message}\n", error.status, named)
        return Response(observer.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    routes += [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/health", health),
        Route("/metrics", metrics),
    ]
    if managed.exporting.hook is not None:
        hook = Hook(managed.exporting.hook.receive, "stripe-signature", MAX_REPORT_BYTES)
        routes.append(Route("/hooks/stripe", hook.answer, methods=["POST"]))

    def administration() -> ASGIApp:
        from antiphon.admin import create_admin

        checks = door.administer, managed.billing.ledger, clock, inspectors.check
        return create_admin(
            managed.control,
            *checks,
            managed.auditing,
            managed.exporting.control,
            managed.billing,
            managed.subjects,
            managed.policies,
            managed.uses,
            managed.allowances,
            managed.sign_ins,
        )

    routes.append(Mount("/admin/v1", _Later(administration)))
    return entrance(routes, proxies_of(config), lambda app: Origins(app, config.origins, open_to_pages))


def proxies_of(config: Config) -> Proxies:
    """Return the proxies that may say where a request came from."""
    return Proxies([ip_network(each) for each in config.proxies])


def entrance(
    routes: Sequence[BaseRoute], proxies: Proxies = NO_PROXIES, around: Callable[[ASGIApp], ASGIApp] = lambda app: app
) -> ASGIApp:
    """Return an app of the routes, with an answer for unknown paths. `around` is what is put around them."""
    stray = Stray(routes, whose)
    app = Starlette(routes=routes, exception_handlers={HTTPException: stray.handle})
    app.router.redirect_slashes = False
    app.router.default = stray
    return Entrance(around(Direct(app, stray)), proxies)


class _Later:
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
