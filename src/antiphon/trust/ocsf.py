"""Audit records as events of the Open Cybersecurity Schema Framework (OCSF), for systems that collect these.

Values without an attribute in the framework are under `unmapped`. Names and numbers are those of version 1.6 and later:
`class_uid` is the kind of event, `activity_id` the activity.
"""

from typing import Any

from antiphon import __version__
from antiphon.core.audit import SERVER, Action, AuditRecord, LoggedRecord, Outcome, parse

SCHEMA = "1.6.0"
API, APPLICATION, LOG, AUTHENTICATION, ACCOUNT, ENTITY = 6003, 6002, 1008, 3002, 3001, 3004
OTHER = 99
_INFORMATIONAL, _MEDIUM, _HIGH = 1, 3, 4
_SUCCESS, _FAILURE = 1, 2

# The class and the activity of each action.
_KINDS: dict[Action, tuple[int, int]] = {
    Action.ACCESS: (API, OTHER),
    Action.MANAGE: (API, OTHER),
    Action.SIGN_IN: (AUTHENTICATION, 1),
    Action.SIGN_OUT: (AUTHENTICATION, 2),
    Action.PROJECT_CREATE: (ENTITY, 1),
    Action.POLICY_CHANGE: (ENTITY, 3),
    Action.TAGS_FORGET: (ENTITY, 4),
    Action.PROJECT_ERASE: (ENTITY, 4),
    Action.CONTENT_KEY_RETIRE: (ENTITY, 3),
    Action.CONTENT_KEYS_DESTROY: (ENTITY, 4),
    Action.MASTER_KEY_CHANGE: (ENTITY, 3),
    Action.KEY_CREATE: (ACCOUNT, 1),
    Action.KEY_CHANGE: (ACCOUNT, 3),
    Action.KEY_ROTATE: (ACCOUNT, 3),
    Action.KEY_REVOKE: (ACCOUNT, 5),
    Action.WEBHOOK_CREATE: (ENTITY, 1),
    Action.WEBHOOK_CHANGE: (ENTITY, 3),
    Action.WEBHOOK_DELETE: (ENTITY, 4),
    Action.PRICES_CHANGE: (ENTITY, 3),
    Action.BUDGET_CHANGE: (ENTITY, 3),
    Action.ANSWER_READ: (API, 2),
    Action.ANSWER_DELETE: (API, 4),
    Action.ANSWERS_EXPIRE: (API, 4),
    Action.FILE_READ: (API, 2),
    Action.FILE_DELETE: (API, 4),
    Action.FILES_EXPIRE: (API, 4),
    Action.JOB_DELETE: (API, 4),
    Action.STATEMENT_READ: (API, 2),
    Action.USAGE_EXPORT: (API, 2),
    Action.SUBJECT_EXPORT: (API, 2),
    Action.SUBJECT_ERASE: (API, 4),
    Action.AUDIT_EXPORT: (LOG, 3),
    Action.AUDIT_EXPIRE: (LOG, 2),
    Action.AUDIT_LOSE: (LOG, OTHER),
    Action.ENGINE_REFUSE: (API, OTHER),
    Action.REDACTION_FAIL: (API, OTHER),
    Action.CLOCK_SET_BACK: (APPLICATION, OTHER),
    Action.SERVER_START: (APPLICATION, 3),
    Action.SERVER_STOP: (APPLICATION, 4),
}
_LOGON = 1
UNKNOWN_CALLERS = frozenset(("unauthenticated", "invalid_signature"))  # the errors for an unknown caller
_SEVERE = {Action.AUDIT_LOSE: _HIGH, Action.REDACTION_FAIL: _HIGH, Action.CLOCK_SET_BACK: _MEDIUM}


def event(logged: LoggedRecord, origin: str) -> dict[str, Any] | None:
    """Return the event of a record in the log of that origin; `None` if the record's content was dropped."""
    if logged.body is None:
        return None
    record = parse(logged.body)
    kind, activity = _kind(record)
    failed = record.outcome in (Outcome.REFUSED, Outcome.FAILED)
    fields: dict[str, Any] = {
        "activity_id": activity,
        "activity_name": record.action.value,
        "category_uid": kind // 1000,
        "class_uid": kind,
        "type_uid": kind * 100 + activity,
        "time": record.at_unix_ms,
        "severity_id": _SEVERE.get(record.action, _MEDIUM if failed else _INFORMATIONAL),
        "status_id": _FAILURE if failed else _SUCCESS,
        "status": "Failure" if failed else "Success",
        "metadata": _metadata(logged, record, origin),
        "src_endpoint": _endpoint(record.address),
        "actor": {"user": _user(record.actor)},
        "unmapped": {
            "leaf": logged.leaf.hex(),
            "outcome": record.outcome.value,
            "policy": record.policy,
            **dict(record.counts),
        },
    }
    if record.reason:
        fields["status_detail"] = record.reason
    return fields | _of_class(kind, record, origin)


def _kind(record: AuditRecord) -> tuple[int, int]:
    if record.outcome is Outcome.REFUSED and record.reason in UNKNOWN_CALLERS:
        return AUTHENTICATION, _LOGON
    return _KINDS[record.action]


def _of_class(kind: int, record: AuditRecord, origin: str) -> dict[str, Any]:
    """Return the attributes that events of a class require in addition to the common ones."""
    match kind:
        case 3001:
            return {"user": {"uid": record.object, "name": record.object, "type": "API key"}}
        case 3002:
            return {"user": _user(record.actor), "service": {"name": "antiphon"}, "is_remote": True}
        case 3004:
            return {"entity": {"uid": record.object, "name": record.object, "type": record.action.partition(".")[0]}}
        case 1008:
            return {"log_name": origin}
        case 6002:
            return {"app": {"name": "antiphon", "version": __version__}}
        case _:
            api: dict[str, Any] = {"operation": record.action.value, "service": {"name": "antiphon"}}
            if record.request:
                api["request"] = {"uid": record.request}
            if not record.object:
                return {"api": api}
            if record.action in (Action.ACCESS, Action.MANAGE):
                return {"api": api | {"operation": record.object}}
            return {"api": api, "resources": [{"uid": record.object, "type": record.action.partition(".")[0]}]}


def _metadata(logged: LoggedRecord, record: AuditRecord, origin: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "version": SCHEMA,
        "product": {"name": "Antiphon", "vendor_name": "Antiphon", "version": __version__},
        "log_name": origin,
        "sequence": logged.number,
        "uid": f"{origin}/{logged.number}",
    }
    if record.project:
        fields["tenant_uid"] = record.project
    if record.request:
        fields["correlation_uid"] = record.request
    return fields


def _user(actor: str) -> dict[str, str]:
    return {"uid": actor, "name": actor} if actor else {"name": "unknown"}


def _endpoint(address: str) -> dict[str, str]:
    """Return the endpoint of an address. A network, such as 192.0.2.0/24, becomes a name."""
    if not address:
        return {"name": SERVER}
    return {"name" if "/" in address else "ip": address}
