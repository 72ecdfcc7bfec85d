"""The routes of the management API, mounted at `/admin/v1`.

Every call carries a bearer key, which the session room's door checks (`authenticate`). Its scopes say what it may do
(`callers.py`): `admin` everything in every project except reading the audit log, which needs `audit`; `billing` what is
about money; `usage` and `keys` only what is of the key's own project, and other projects are not found. Admissions,
refusals and changes are in the audit log. Keys are checked on the event loop, where the key ring lives; databases are
read and written in worker threads. A body is read after its key is accepted, for at most `BODY_S`.
"""

import asyncio
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon import __version__
from antiphon.admin import messages
from antiphon.admin.audit import add_audit
from antiphon.admin.browsers import CALLBACK, Browsers, add_browsers
from antiphon.admin.budgets import add_budgets, add_organisations
from antiphon.admin.callers import CHANGES, READS, Authenticate, Check, having, origin, own_or
from antiphon.admin.exports import add_exports
from antiphon.admin.keys import add_keys
from antiphon.admin.managing import Manage, Manager, managing
from antiphon.admin.policies import add_policies
from antiphon.admin.statements import add_statements
from antiphon.admin.subjects import add_subjects
from antiphon.admin.webhooks import add_webhooks
from antiphon.core.audit import Action, Author
from antiphon.core.errors import AntiphonError, InternalError, PolicyError
from antiphon.core.identity import Principal
from antiphon.core.identity import Scope as Permission
from antiphon.core.ports import Clock
from antiphon.core.stores import Usage
from antiphon.core.usage import By
from antiphon.metering import usage
from antiphon.metering.allowances import Allowances
from antiphon.metering.export.control import ExportControl
from antiphon.metering.statements import Billing
from antiphon.session.subjects import Subjects
from antiphon.trust.audit import Auditor
from antiphon.trust.control import Control
from antiphon.trust.last_use import LastUse
from antiphon.trust.notary import Auditing
from antiphon.trust.residency import Policies
from antiphon.trust.sign_in import SignIns

MAX_BODY_BYTES = 64 * 1024
BODY_S = 15.0
DOCUMENT = "/openapi.json"
_PATH = re.compile(r"/admin/v1(/[A-Za-z0-9_.-]{1,64}){0,4}")


class Format(StrEnum):
    JSON = "json"
    CSV = "csv"


def create_admin(
    control: Control,
    authenticate: Authenticate,
    ledger: Usage,
    clock: Clock,
    inspect: Callable[[Scope], None],
    auditing: Auditing,
    exports: ExportControl,
    billing: Billing,
    subjects: Subjects,
    policies: Policies,
    uses: LastUse,
    allowances: Allowances,
    sign_ins: SignIns | None = None,
) -> FastAPI:
    """Return the management API as a separate application. `inspect` raises if the caller may not read its document."""
    auditor = auditing.auditor
    app = FastAPI(
        title="Antiphon management",
        version=__version__,
        openapi_url=DOCUMENT,
        docs_url=None,
        redoc_url=None,
        responses={"default": {"model": messages.ErrorAnswer, "description": "What went wrong, and whose fault it is"}},
    )
    browsers = Browsers(sign_ins) if sign_ins is not None else None
    app.add_middleware(_Door, authenticate=authenticate, inspect=inspect, auditor=auditor, browsers=browsers)

    async def say_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, AntiphonError)
        if isinstance(error, PolicyError):  # the caller was admitted, but lacks the right
            signing = browsers is not None and request.scope["path"].endswith(CALLBACK)
            auditor.refuse(Action.SIGN_IN if signing else Action.MANAGE, *_refused(request.scope, error))
        return _answer(error.status, error.code, error.message, error.param)

    app.add_exception_handler(AntiphonError, say_error)
    app.add_exception_handler(RequestValidationError, _say_invalid)
    app.add_exception_handler(StarletteHTTPException, _say_http)
    app.add_exception_handler(Exception, _say_defect)

    administrator = having(authenticate, Permission.ADMIN)
    overseer = having(authenticate, Permission.ADMIN, Permission.AUDIT)
    biller = having(authenticate, Permission.BILLING, Permission.ADMIN)
    reader = having(authenticate, Permission.USAGE, Permission.BILLING, Permission.ADMIN)
    any_overseer = having(authenticate, Permission.USAGE, Permission.KEYS, Permission.AUDIT, Permission.ADMIN)
    own_reader = having(authenticate, Permission.KEYS, Permission.ADMIN, Permission.AUDIT)
    manager = managing(control, auditor, administrator)
    own_manager = managing(control, auditor, having(authenticate, Permission.KEYS, Permission.ADMIN))

    _add_projects(app, control, clock, overseer, manager)
    add_keys(app, control, clock, uses, own_reader, own_manager, manager)
    add_webhooks(app, control, clock, overseer, manager)
    _add_usage(app, control, ledger, reader)
    add_audit(app, auditing, having(authenticate, Permission.AUDIT))
    add_statements(app, control, billing, clock, reader, biller)
    add_exports(app, exports, biller)
    add_budgets(app, allowances, reader)
    add_organisations(app, control, clock, overseer, manager)
    add_policies(app, control, policies, any_overseer)

    def author(who: Principal, scope: Scope) -> Author:
        return auditor.author(who, *origin(scope))

    add_subjects(app, subjects, author, administrator)
    if browsers is not None:
        add_browsers(app, browsers, auditor)
    return app


def _add_projects(app: FastAPI, control: Control, clock: Clock, overseer: Check, manager: Manage) -> None:
    allowed = [Depends(overseer)]
    managed = Depends(manager)

    @app.get("/projects", dependencies=allowed, operation_id="list_projects")
    def list_projects() -> messages.Projects:
        return messages.Projects(data=[messages.project_answer(project) for project in control.list_projects()])

    @app.post("/projects", operation_id="create_project", status_code=201)
    def create_project(new: messages.NewProject, manages: Manager = managed) -> messages.ProjectAnswer:
        project = manages.control.create_project(new.id, new.name, clock.unix_ms(), **new.policy())
        return messages.project_answer(project)

    @app.patch("/projects/{project_id}", operation_id="change_project")
    def change_project(
        project_id: str, change: messages.ProjectChange, manages: Manager = managed
    ) -> messages.ProjectAnswer:
        """Set the given fields of a project's policy. A running server applies them within a second; answers kept for
        longer than the new time are deleted.
        """
        return messages.project_answer(manages.control.change_project(project_id, clock.unix_ms(), **change.policy()))

    @app.post("/projects/{project_id}/forget_tags", operation_id="forget_tags")
    def forget_tags(project_id: str, manages: Manager = managed) -> messages.ProjectAnswer:
        """Destroy the key that hashed the project's tags: usage can no longer be found by them. Later tags are hashed
        by a new key.
        """
        return messages.project_answer(manages.control.forget_tags(project_id))

    @app.post("/projects/{project_id}/rotate_key", operation_id="rotate_content_key")
    def rotate_content_key(project_id: str, manages: Manager = managed) -> messages.ProjectAnswer:
        """Have the project's content sealed by a new key from now on. Earlier content stays readable until its end."""
        return messages.project_answer(manages.control.rotate_content_key(project_id))


def _add_usage(app: FastAPI, control: Control, ledger: Usage, reader: Check) -> None:
    @app.get(
        "/usage",
        operation_id="read_usage",
        response_model=messages.Usage,
        response_model_exclude_none=True,
        responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    )
    async def read_usage(
        caller: Annotated[Principal, Depends(reader)],
        by: Annotated[str, Query(description=f"Groups, separated by commas: {', '.join(By)}")] = "day,project",
        since: Annotated[str | None, Query(description="ISO 8601, included; UTC unless it says otherwise")] = None,
        until: Annotated[str | None, Query(description="ISO 8601, excluded")] = None,
        project: str | None = None,
        tag: Annotated[
            str | None, Query(description="Of one project: only what carries this tag, as callers send it")
        ] = None,
        format: Annotated[Format | None, Query(description="Otherwise the Accept header decides")] = None,
        accept: Annotated[str, Header()] = "",
    ) -> Any:
        """Return usage as the server measured it, not rounded."""
        query = usage.parse_query(by, since, until, own_or(caller, project, Permission.BILLING, Permission.ADMIN))
        if tag is not None:
            query = await asyncio.to_thread(usage.tagged, query, tag, control.labels)
        groups, totals = query.by, await ledger.totals(query)
        if format is Format.CSV or (format is None and "text/csv" in accept):
            return Response(usage.to_csv(totals, groups), media_type="text/csv")
        return {"by": groups, "data": usage.records(totals, groups)}


# -- errors ------------------------------------------------------------------------------------------------------------


def _answer(status: int, code: str, message: str, param: str | None = None) -> JSONResponse:
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": {"code": code, "message": message, "param": param}}, status, headers)


async def _say_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = [str(part) for part in first["loc"][1:]]  # after "body", "query" and the like
    return _answer(400, "invalid_request", first["msg"], ".".join(where) or None)


async def _say_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    codes = {404: "not_found", 405: "method_not_allowed", 408: "request_timeout", 413: "too_large"}
    answer = _answer(error.status_code, codes.get(error.status_code, "invalid_request"), str(error.detail))
    answer.headers.update(error.headers or {})
    if error.status_code == 405:  # the framework names only the methods of the first route at the path
        routes = (each for each in request.app.routes if isinstance(each, Route))
        matching = (route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
        answer.headers["allow"] = ", ".join(sorted({method for route in matching for method in route.methods or ()}))
    return answer


async def _say_defect(_: Request, __: Exception) -> Response:
    return _answer(InternalError.status, InternalError.code, "something went wrong on the server")


class _Door:
    """A middleware that checks the key before it reads a body of at most `MAX_BODY_BYTES`, within a time limit."""

    def __init__(
        self,
        app: ASGIApp,
        authenticate: Authenticate,
        inspect: Callable[[Scope], None],
        auditor: Auditor,
        browsers: Browsers | None,
    ) -> None:
        self._app = app
        self._auditor = auditor
        self._authenticate = authenticate
        self._inspect = inspect
        self._browsers = browsers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            scope = self._check(scope)
        except AntiphonError as error:
            self._auditor.refuse(Action.MANAGE, *_refused(scope, error))
            await _answer(error.status, error.code, error.message, error.param)(scope, receive, send)
            return
        seen = 0
        ends: float | None = asyncio.get_running_loop().time() + BODY_S

        async def bounded() -> Message:
            nonlocal seen, ends
            try:
                async with asyncio.timeout_at(ends):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the body arrives too slowly") from None
            seen += len(message.get("body", b""))
            if not message.get("more_body", False):
                ends = None  # from now on it can only receive that the caller left
            if seen > MAX_BODY_BYTES:
                raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
            return message

        await self._app(scope, bounded, send)

    def _check(self, scope: Scope) -> Scope:
        """Check the key, and return the request; a session's secret in a cookie becomes its key. Raises
        `Unauthenticated` or `PolicyError`. The routes check scopes more exactly.
        """
        if scope["path"].endswith(DOCUMENT):
            self._inspect(scope)
            return scope
        if self._browsers is not None:
            if self._browsers.serves(scope):
                return scope
            if secret := self._browsers.secret(scope):
                key = (b"authorization", f"Bearer {secret}".encode("latin-1", "replace"))
                scope = {**scope, "headers": [*scope["headers"], key]}
        kind, _, secret = Headers(scope=scope).get("authorization", "").partition(" ")
        secret = secret.strip() if kind.lower() == "bearer" else ""
        address, request = origin(scope)
        principal = self._authenticate(secret, None, address)
        if not principal.scopes & (READS if scope["method"] in ("GET", "HEAD") else CHANGES):
            self._authenticate(secret, Permission.ADMIN, address)
        self._auditor.admit(Action.MANAGE, _place(scope), principal, address, request)
        return scope


def _refused(scope: Scope, error: AntiphonError) -> tuple[str, AntiphonError, str, str]:
    return (_place(scope), error, *origin(scope))


def _place(scope: Scope) -> str:
    """Return the method and path. A path that does not look like ours is not repeated, because the caller wrote it."""
    path = scope["path"]
    return f"{scope['method']} {path if _PATH.fullmatch(path) else '(other)'}"
