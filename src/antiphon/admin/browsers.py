"""Sign-in to the management API in a browser: four addresses, and the cookie that stands for a key.

`GET /login` sends the browser to the OpenID provider, which sends it back to `GET /callback`; from there it goes to
`GET /session`, and nowhere else: no address is taken from a caller. `POST /logout` ends the session. The cookie is not
readable by scripts, and is not sent with requests that other sites make, but for links. A request with it that changes
something must also say in `Origin`, as browsers do, that it is made by a page of this server.
"""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Scope

from antiphon.admin.callers import origin
from antiphon.core.audit import Action
from antiphon.core.errors import PolicyError, Unauthenticated
from antiphon.trust.audit import Auditor
from antiphon.trust.sign_in import PENDING_S, SESSION_S, SignIns, is_session

LOGIN, CALLBACK, SESSION, LOGOUT = "/login", "/callback", "/session", "/logout"
PATHS = frozenset((LOGIN, CALLBACK, SESSION, LOGOUT))
READING = frozenset(("GET", "HEAD", "OPTIONS"))
_PRIVATE = {"cache-control": "no-store", "referrer-policy": "no-referrer"}


class Browsers:
    """The browsers of people who signed in, or are about to."""

    def __init__(self, sign_ins: SignIns) -> None:
        self.sign_ins = sign_ins
        # `__Host-` needs TLS, and makes a cookie of this host alone.
        begins = "__Host-antiphon" if sign_ins.secure else "antiphon"
        self._session, self._pending = f"{begins}-session", f"{begins}-sign-in"

    def serves(self, scope: Scope) -> bool:
        """Return whether these addresses check by themselves who calls."""
        return scope["path"].removeprefix(scope.get("root_path", "")) in PATHS

    def secret(self, scope: Scope) -> str:
        """Return the session's secret in a request's cookie; empty if there is none, or a key was sent. Raises
        `PolicyError` if it changes something and was not made by a page of this server.
        """
        if "authorization" in Headers(scope=scope):
            return ""
        secret = HTTPConnection(scope).cookies.get(self._session, "")
        if not is_session(secret):
            return ""
        if scope["method"] not in READING and Headers(scope=scope).getlist("origin") != [self.sign_ins.origin]:
            raise PolicyError("a request with a session's cookie must be made by a page of this server")
        return secret

    def begin(self) -> Response:
        beginning = self.sign_ins.begin()
        response = RedirectResponse(beginning.location, 303, _PRIVATE)
        self._set(response, self._pending, beginning.pending, PENDING_S)
        return response

    async def finish(self, request: Request) -> tuple[Response, str]:
        """Return the answer to the provider's answer, and the session's secret. Raises as `SignIns.finish`."""
        pairs = request.query_params.multi_items()
        if len(pairs) != len(request.query_params):
            raise Unauthenticated("the provider's answer says something twice")
        secret, _ = await self.sign_ins.finish(dict(pairs), request.cookies.get(self._pending, ""))
        response = RedirectResponse("session", 303, _PRIVATE)
        self._set(response, self._session, secret, SESSION_S)
        self._drop(response, self._pending)
        return response, secret

    def leave(self) -> Response:
        response = Response(status_code=204, headers=_PRIVATE)
        self._drop(response, self._session)
        return response

    def _set(self, response: Response, name: str, value: str, seconds: int) -> None:
        secure = self.sign_ins.secure
        response.set_cookie(name, value, max_age=seconds, path="/", secure=secure, httponly=True, samesite="lax")

    def _drop(self, response: Response, name: str) -> None:
        response.delete_cookie(name, path="/", secure=self.sign_ins.secure, httponly=True, samesite="lax")


def add_browsers(app: FastAPI, browsers: Browsers, auditor: Auditor) -> None:
    """Add the four addresses. They are for browsers, so they are not in the document of the API."""
    sign_ins = browsers.sign_ins

    @app.get(LOGIN, include_in_schema=False)
    async def login() -> Response:
        return browsers.begin()

    @app.get(CALLBACK, include_in_schema=False)
    async def callback(request: Request) -> Response:
        response, secret = await browsers.finish(request)
        try:
            place = f"GET {request.url.path}"
            auditor.admit(Action.SIGN_IN, place, sign_ins.holder(secret).principal, *origin(request.scope))
        except BaseException:
            sign_ins.end(secret)  # nobody is signed in without a record
            raise
        return response

    @app.get(SESSION, include_in_schema=False)
    async def session(request: Request, response: Response) -> dict[str, Any]:
        """Say who is signed in, and until when."""
        found = sign_ins.holder(browsers.secret(request.scope))
        who = found.principal
        response.headers.update(_PRIVATE)
        return {
            "actor": who.key_id,
            "project": who.project,
            "scopes": sorted(who.scopes),
            "expires_unix_ms": found.expires_unix_ms,
        }

    @app.post(LOGOUT, include_in_schema=False)
    async def logout(request: Request) -> Response:
        secret = browsers.secret(request.scope)
        who = sign_ins.holder(secret).principal
        sign_ins.end(secret)
        address, id = origin(request.scope)
        auditor.event(Action.SIGN_OUT, who.project, actor=who.key_id, address=address, request=id)
        return browsers.leave()
