"""The part of the management API for keys. Who has only the scope `keys` manages those of their own project, and gives
nobody more than they have.
"""

from dataclasses import replace
from typing import Annotated

from fastapi import Depends, FastAPI

from antiphon.admin import messages
from antiphon.admin.callers import Check, own_or
from antiphon.admin.managing import Manage, Manager
from antiphon.core.errors import NotFound, PolicyError
from antiphon.core.identity import NO_LIMITS, OWN_SCOPES, ROLES, USUAL_SCOPES, Key, KeyLimits, Principal, Scope
from antiphon.core.ports import Clock
from antiphon.trust.control import Control
from antiphon.trust.last_use import LastUse


def add_keys(
    app: FastAPI, control: Control, clock: Clock, uses: LastUse, reader: Check, manager: Manage, administrator: Manage
) -> None:
    """Add the routes. `reader` lets in who may list keys, `manager` who may create and revoke some, `administrator` who
    may do so for all.
    """
    managed, administered = Depends(manager), Depends(administrator)

    def shown(key: Key) -> dict[str, object]:
        return messages.key_fields(key, uses(key.id))

    @app.get("/keys", operation_id="list_keys")
    def list_keys(caller: Annotated[Principal, Depends(reader)], project: str | None = None) -> messages.Keys:
        """List all keys, or one project's, including revoked ones."""
        listed = control.list_keys(own_or(caller, project, Scope.ADMIN, Scope.AUDIT))
        return messages.Keys(data=[messages.KeyAnswer.model_validate(shown(key)) for key in listed])

    @app.post("/keys", operation_id="create_key", status_code=201)
    def create_key(new: messages.NewKey, manages: Manager = managed) -> messages.NewKeyAnswer:
        """Create a key. The answer is the only place where it can be read. Made by a key that expires, it expires then
        at the latest.
        """
        own_or(manages.caller, new.project, Scope.ADMIN)
        scopes = {*(new.scopes or ()), *(ROLES[new.role] if new.role else ())} or USUAL_SCOPES
        limits = manages.control.parse_limits(KeyLimits(tuple(new.networks), tuple(new.models), tuple(new.surfaces)))
        _check_grant(manages, frozenset(scopes), limits)
        expires, latest = new.expires_unix_ms, _latest_end(manages)
        if latest is not None and expires is not None and expires > latest:
            raise PolicyError("a key that expires makes none that lives longer", param="expires_unix_ms")
        ends = latest if expires is None else expires
        key, secret = manages.control.create_key(new.project, new.name, scopes, clock.unix_ms(), ends, limits)
        return messages.NewKeyAnswer.model_validate(shown(key) | {"key": secret})

    @app.post("/keys/{key_id}/rotate", operation_id="rotate_key", status_code=201)
    def rotate_key(key_id: str, wanted: messages.Rotation, manages: Manager = managed) -> messages.NewKeyAnswer:
        """Create a key like this one, which expires after the overlap. Made by a key that expires, it expires then at
        the latest.
        """
        old = _found(manages, key_id)
        _check_grant(manages, old.scopes, old.limits)
        key, secret = manages.control.rotate_key(key_id, wanted.overlap_s * 1000, clock.unix_ms(), _latest_end(manages))
        return messages.NewKeyAnswer.model_validate(shown(key) | {"key": secret})

    @app.patch("/keys/{key_id}", operation_id="limit_key")
    def limit_key(key_id: str, wanted: messages.KeyLimitsChange, manages: Manager = administered) -> messages.KeyAnswer:
        """Set from which networks, for which models and on which surfaces a key may be used. Absent fields stay."""
        changes = {name: tuple(each) for name, each in wanted.model_dump(exclude_none=True).items()}
        key = manages.control.limit_key(key_id, lambda old: replace(old, **changes), clock.unix_ms())
        return messages.KeyAnswer.model_validate(shown(key))

    @app.delete("/keys/{key_id}", operation_id="revoke_key")
    def revoke_key(key_id: str, manages: Manager = managed) -> messages.KeyAnswer:
        """Revoke a key for ever, within a second also for open streams."""
        if not _found(manages, key_id).scopes <= OWN_SCOPES and Scope.ADMIN not in manages.caller.scopes:
            raise PolicyError("only administrators revoke keys that manage or audit the server")
        return messages.KeyAnswer.model_validate(shown(manages.control.revoke_key(key_id, clock.unix_ms())))


def _found(manages: Manager, key_id: str) -> Key:
    """Return a key. Raises `NotFound`, also for another project's, unless the caller is an administrator."""
    key = manages.control.find_key(key_id)
    if Scope.ADMIN not in manages.caller.scopes and key.project != manages.caller.project:
        raise NotFound(f"key {key_id} not found", param="id")
    return key


def _latest_end(manages: Manager) -> int | None:
    """Return when a key that the caller makes must end; `None` for never. Administrators make any."""
    caller = manages.caller
    return None if Scope.ADMIN in caller.scopes else manages.control.end_of(caller.key_id)


def _check_grant(manages: Manager, scopes: frozenset[Scope], limits: KeyLimits) -> None:
    """Raise `PolicyError` if the caller would give somebody more than they have; administrators give anything."""
    caller = manages.caller
    if Scope.ADMIN in caller.scopes:
        return
    if more := sorted(scopes - (caller.scopes & OWN_SCOPES)):
        raise PolicyError(f"this key cannot give the scope '{more[0]}'", param="scopes")
    own = manages.control.limits_of(caller.key_id)
    if own not in (NO_LIMITS, limits):
        raise PolicyError("a key with limits gives only the same limits", param="networks")
