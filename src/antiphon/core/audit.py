"""The records of the audit log: who did what to what, from where, when, whether it was allowed, and why.

A record never contains content or a secret: its texts are ids, names and codes of this server, and paths of the table
of routes. `canonical` returns its only form in bytes (JSON by RFC 8785: keys in order, no white space, UTF-8), which is
hashed, signed and exported; empty fields are left out.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from json.encoder import encode_basestring
from typing import NamedTuple

from antiphon.core.budgets import parse_budgets, parse_limits
from antiphon.core.identity import NO_LIMITS, Key, KeyLimits, Organisation
from antiphon.core.merkle import HASH_BYTES
from antiphon.core.policy import Policy

MAX_TEXT = 512  # characters of each text of a record; the rest is cut off
VERSION = 1  # of the format of a record
_SHOWN = ("budgets", "limits")  # fields of a policy whose texts have no secrets
SERVER = "server"  # the actor of what the server does by itself


class Action(StrEnum):
    """The action that was done, or attempted."""

    ACCESS = "access"  # a call at the door of the vendors' protocols
    MANAGE = "manage"  # a call of the management API, or of metrics
    SIGN_IN = "sign_in"  # of a person in a browser, by the OpenID provider
    SIGN_OUT = "sign_out"
    PROJECT_CREATE = "project.create"
    POLICY_CHANGE = "policy.change"
    TAGS_FORGET = "tags.forget"
    PROJECT_ERASE = "project.erase"
    CONTENT_KEY_RETIRE = "content_key.retire"
    CONTENT_KEYS_DESTROY = "content_keys.destroy"
    MASTER_KEY_CHANGE = "master_key.change"
    KEY_CREATE = "key.create"
    KEY_CHANGE = "key.change"
    KEY_ROTATE = "key.rotate"
    KEY_REVOKE = "key.revoke"
    WEBHOOK_CREATE = "webhook.create"
    WEBHOOK_CHANGE = "webhook.change"
    WEBHOOK_DELETE = "webhook.delete"
    PRICES_CHANGE = "prices.change"
    BUDGET_CHANGE = "budget.change"
    ANSWER_READ = "answer.read"
    ANSWER_DELETE = "answer.delete"
    ANSWERS_EXPIRE = "answers.expire"
    FILE_READ = "file.read"
    FILE_DELETE = "file.delete"
    FILES_EXPIRE = "files.expire"
    JOB_DELETE = "job.delete"
    STATEMENT_READ = "statement.read"
    USAGE_EXPORT = "usage.export"
    SUBJECT_EXPORT = "subject.export"
    SUBJECT_ERASE = "subject.erase"
    AUDIT_EXPORT = "audit.export"
    AUDIT_EXPIRE = "audit.expire"
    AUDIT_LOSE = "audit.lose"  # records that were lost because there was no room
    ENGINE_REFUSE = "engine.refuse"  # no engine of a model is where, or whose, the project's policy requires
    REDACTION_FAIL = "redaction.fail"
    CLOCK_SET_BACK = "clock.set_back"
    SERVER_START = "server.start"
    SERVER_STOP = "server.stop"


class Outcome(StrEnum):
    """The outcome of an action."""

    ALLOWED = "allowed"  # a caller was admitted
    REFUSED = "refused"
    DONE = "done"
    FAILED = "failed"


class AuditRecord(NamedTuple):
    """One line of the log. `actor` is a key's id, `cli:` and a user's number, or `SERVER`; empty if unknown. `object`
    is what the action was done to, `policy` the version of the project's policy that decided it; `counts` are named
    numbers. A tuple, because one is created with every call.
    """

    at_unix_ms: int
    action: Action
    outcome: Outcome
    actor: str = ""
    project: str = ""
    object: str = ""
    reason: str = ""
    address: str = ""
    request: str = ""
    policy: str = ""
    counts: tuple[tuple[str, int], ...] = ()


class Author(NamedTuple):
    """The author of a change and its time, as they are in the record of the change."""

    actor: str = SERVER
    at_unix_ms: int = 0
    address: str = ""
    request: str = ""

    def did(self, action: Action, project: str, object: str, reason: str = "", policy: str = "") -> AuditRecord:
        """Return the record of a change by this author."""
        return AuditRecord(
            *(self.at_unix_ms, action, Outcome.DONE, self.actor, project, object, reason),
            *(self.address, self.request, policy),
        )


THE_SERVER = Author()


class ChangeRecord(NamedTuple):
    """A record that was stored together with the change it describes, at a position that is unique in its source."""

    position: int
    record: AuditRecord


class LoggedRecord(NamedTuple):
    """A record in the log: its number, from 0, the hashes stored with it, and its bytes; `None` if they
    were dropped.
    """

    number: int
    hashes: bytes
    body: bytes | None

    @property
    def leaf(self) -> bytes:
        return self.hashes[:HASH_BYTES]


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def canonical(record: AuditRecord) -> bytes:
    """Return the record's only form in bytes. A JSON encoder would be slower, and every call is recorded."""
    counts = f',"counts":{_encode(dict(sorted(record.counts)))}' if record.counts else ""
    text = (
        f'{{"action":"{record.action.value}"{_field("actor", record.actor)}{_field("address", record.address)}'
        f',"at_unix_ms":{record.at_unix_ms}{counts}{_field("object", record.object)}'
        f',"outcome":"{record.outcome.value}"{_field("policy", record.policy)}{_field("project", record.project)}'
        f'{_field("reason", record.reason)}{_field("request", record.request)},"v":{VERSION}}}'
    )
    return text.encode("utf-8", "replace")


def _field(name: str, text: str) -> str:
    return f',"{name}":{encode_basestring(text[:MAX_TEXT])}' if text else ""


def export_line(logged: LoggedRecord) -> bytes:
    """Return a line of JSON that contains the record's own bytes, so that a reader can hash them."""
    body = b"null" if logged.body is None else logged.body
    return b'{"leaf":"%s","number":%d,"record":%s}\n' % (logged.leaf.hex().encode(), logged.number, body)


def difference(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """Return the changed fields, as a record's reason. Only numbers and words of closed vocabularies are shown: other
    texts may be secret.
    """

    def shown(value: object) -> str:
        return str(value) if value is None or isinstance(value, int | StrEnum) else "(text)"

    changed = (name for name in sorted({*before, *after}) if before.get(name) != after.get(name))
    return ", ".join(f"{name}: {shown(before.get(name))} -> {shown(after.get(name))}" for name in changed)


def policy_changes(by: Author, project: str, before: Policy, after: Policy) -> list[AuditRecord]:
    """Return the records of a change of a project's policy by this author: one for each changed budget, and for each
    scope whose limits changed, as these are shown whole; and one for all other fields.
    """
    version = policy_version(after)
    others = [{k: v for k, v in policy.values().items() if k not in _SHOWN} for policy in (before, after)]
    changes = difference(*others)
    records = [by.did(Action.POLICY_CHANGE, project, project, changes, version)] if changes else []
    for name, reason in _budget_changes(before, after, "the project"):
        records.append(by.did(Action.BUDGET_CHANGE, project, name, reason, version))
    return records


def organisation_changes(by: Author, before: Organisation, after: Organisation) -> list[AuditRecord]:
    """Return the records of a change of an organisation's budgets and limits by this author, one for each."""
    return [
        by.did(Action.BUDGET_CHANGE, "", f"{name} of organisation {after.id}", reason)
        for name, reason in _budget_changes(before, after, "all projects")
    ]


def _budget_changes(
    before: Policy | Organisation, after: Policy | Organisation, whole: str
) -> Iterator[tuple[str, str]]:
    """Yield each budget that changed, and each scope whose limits did, and how."""

    def lines(of: Policy | Organisation) -> dict[str, str]:
        budgets = {each.name: str(each) for each in parse_budgets(of.budgets)}
        return budgets | {f"limits of {each.key or whole}": str(each) for each in parse_limits(of.limits)}

    old, new = lines(before), lines(after)
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield name, f"{old.get(name, 'none')} -> {new.get(name, 'none')}"


def scopes_of(key: Key) -> str:
    """Return the key's scopes, and its limits if it has any, as a record's reason."""
    limits = limits_of(key.limits) if key.limits != NO_LIMITS else ""
    return f"scopes: {' '.join(sorted(key.scopes))}{'; ' if limits else ''}{limits}"


def limits_of(limits: KeyLimits) -> str:
    """Return the limits of a key, as a record's reason."""
    named = {"networks": limits.networks, "models": limits.models, "surfaces": limits.surfaces}
    return "; ".join(f"{name}: {' '.join(each) or 'any'}" for name, each in named.items())


def parse(body: bytes) -> AuditRecord:
    """Return the record in these bytes. Raises `ValueError` if they are not one."""
    members = json.loads(body)
    if not isinstance(members, dict) or members.pop("v", None) != VERSION:
        raise ValueError("this is no record of an audit log")
    try:
        counts = tuple(members.pop("counts", {}).items())
        record = AuditRecord(**members, counts=counts)
        return record._replace(action=Action(record.action), outcome=Outcome(record.outcome))
    except (AttributeError, TypeError) as error:
        raise ValueError("this is no record of an audit log") from error


@lru_cache(1024)
def policy_version(policy: Policy) -> str:
    """Return a short id of the policy's values, the same for equal values."""
    values = json.dumps(policy.values(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(values.encode()).hexdigest()[:12]
