"""Who may do what in the management API: the scopes of a key, of which each route names those that suffice."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import Scope

from antiphon.core.errors import NotFound, PolicyError
from antiphon.core.identity import Principal
from antiphon.core.identity import Scope as Permission
from antiphon.core.wire import REQUEST_ID

# With one of these a key may read something, and with one of those change something; each route says what.
READS = frozenset({Permission.USAGE, Permission.KEYS, Permission.BILLING, Permission.AUDIT, Permission.ADMIN})
CHANGES = frozenset({Permission.KEYS, Permission.BILLING, Permission.ADMIN})

Authenticate = Callable[[str | None, Permission | None, str], Principal]
Check = Callable[[Any, Any], Awaitable[Principal]]

_bearer = HTTPBearer(auto_error=False, description="An Antiphon API key")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def having(authenticate: Authenticate, *scopes: Permission) -> Check:
    """Return the check of a route: a caller with one of the scopes. It raises `Unauthenticated`, `PolicyError`."""

    async def check(request: Request, credentials: _Credentials) -> Principal:
        secret = credentials.credentials if credentials else None
        caller = authenticate(secret, None, origin(request.scope)[0])
        if not caller.scopes & set(scopes):
            names = " or ".join(f"'{each}'" for each in scopes)
            error = PolicyError(f"the API key does not have the scope {names}")
            error.key_id, error.project = caller.key_id, caller.project
            raise error
        return caller

    return check


def origin(scope: Scope) -> tuple[str, str]:
    """Return the caller's address and the request's id."""
    client = scope.get("client")
    return client[0] if client else "", scope.get(REQUEST_ID, "")


def own_or(caller: Principal, project: str | None, *scopes: Permission, param: str = "project") -> str | None:
    """Return the requested project, or the caller's own; `None` is all. Raises `NotFound` for others, unless the caller
    has one of the scopes, which are for all projects.
    """
    if caller.scopes & set(scopes):
        return project
    if project not in (None, caller.project):
        raise NotFound(f"project {project} not found", param=param)
    return caller.project
