"""The management of projects and keys by an authenticated caller, who is the author of the changes."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request

from antiphon.admin.callers import Check, origin
from antiphon.core.identity import Principal
from antiphon.trust.audit import Auditor
from antiphon.trust.control import Control


class Manager(NamedTuple):
    """A control whose changes are the caller's."""

    control: Control
    caller: Principal


Manage = Callable[[Any, Any], Awaitable[Manager]]


def managing(control: Control, auditor: Auditor, check: Check) -> Manage:
    """Return the dependency of a route that changes something, for callers that pass the check."""

    async def manage(request: Request, caller: Annotated[Principal, Depends(check)]) -> Manager:
        return Manager(control.by(auditor.author(caller, *origin(request.scope))), caller)

    return manage
