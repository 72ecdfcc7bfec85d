"""What operators ask of a server, in no vendor's protocol: whether it lives, whether it is ready, its metrics."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from antiphon.core.errors import AntiphonError
from antiphon.core.wire import REQUEST_ID
from antiphon.transports.inspecting import Inspectors
from antiphon.transports.opening import address_of

METRICS = "/metrics"


def routes(
    trouble: Callable[[], str | None],
    render: Callable[[], bytes],
    inspectors: Inspectors,
    refused: Callable[[AntiphonError, str, str], None],
) -> list[BaseRoute]:
    """Return the routes. `trouble` returns why the server is not ready, if it is not. `render` returns the metrics, in
    Prometheus' text format, for callers whom `inspectors` admit; `refused` records an error of the others, with their
    address and the request's id.
    """

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
            refused(error, address_of(request.scope), request.scope.get(REQUEST_ID, ""))
            named = {"www-authenticate": "Bearer"} if error.status == 401 else None
            return PlainTextResponse(f"{error.message}\n", error.status, named)
        return Response(render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/health", health),
        Route(METRICS, metrics),
    ]
