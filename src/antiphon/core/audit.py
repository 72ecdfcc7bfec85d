"""What the audit log says: who did what to what, from where, when, whether it was allowed, and why.

A record never holds content or a secret: its texts are ids, names and codes of ours, and the paths of the table of
routes. `canonical` makes its one form in bytes (JSON by RFC 8785: keys in order, no blanks, UTF-8), which is what is
hashed, signed for and exported; a field that is empty is left out.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from json.encoder import encode_basestring
from typing import NamedTuple

from antiphon.core.identity import Key
from antiphon.core.merkle import HASH_BYTES
from antiphon.core.policy import Policy

MAX_TEXT = 512  # characters of each text of a record; the rest is cut off
VERSION = 1  # of the form of a record
SERVER = "server"  # the actor of what a server does by itself


class Action(StrEnum):
    """What was done, or was to be done."""

    ACCESS = "access"  # a call at the door of the vendors' protocols
    MANAGE = "manage"  # a call of the management API, or of metrics
    PROJECT_CREATE = "project.create"
    POLICY_CHANGE = "policy.change"
    TAGS_FORGET = "tags.forget"
    KEY_CREATE = "key.create"
    KEY_CHANGE = "key.change"
    KEY_REVOKE = "key.revoke"
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
    AUDIT_LOSE = "audit.lose"  # records that there was no room for
    REDACTION_FAIL = "redaction.fail"
    CLOCK_SET_BACK = "clock.set_back"
    SERVER_START = "server.start"
    SERVER_STOP = "server.stop"


class Outcome(StrEnum):
    """What became of it."""

    ALLOWED = "allowed"  # a caller was let in
    REFUSED = "refused"
    DONE = "done"
    FAILED = "failed"


class AuditRecord(NamedTuple):
    """One line of the log. `actor` is a key's id, `cli:` and a user's number, or `SERVER`; empty where nobody knows.
    `object` is what it was done to, `policy` the version of the project's policy by which it was decided; `counts` are
    named numbers. A tuple, because one is made with every call.
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
    """Who changes something, and when: what the record of the change says of them."""

    actor: str = SERVER
    at_unix_ms: int = 0
    address: str = ""
    request: str = ""

    def did(self, action: Action, project: str, object: str, reason: str = "", policy: str = "") -> AuditRecord:
        """The record of a change that was made."""
        return AuditRecord(
            *(self.at_unix_ms, action, Outcome.DONE, self.actor, project, object, reason),
            *(self.address, self.request, policy),
        )


THE_SERVER = Author()


class ChangeRecord(NamedTuple):
    """A record that was stored beside the change it tells of, at a place that never comes again in its source."""

    position: int
    record: AuditRecord


class Logged(NamedTuple):
    """A record in the log: its number, from 0, the hashes that are stored with it, and its bytes, unless their time is
    over.
    """

    number: int
    hashes: bytes
    body: bytes | None

    @property
    def leaf(self) -> bytes:
        return self.hashes[:HASH_BYTES]


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def canonical(record: AuditRecord) -> bytes:
    """The record's one form in bytes. Put together by hand, because one is made with every call."""
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


def exported(logged: Logged) -> bytes:
    """A line of JSON that has the record's own bytes in it, so that whoever has it can hash them."""
    body = b"null" if logged.body is None else logged.body
    return b'{"leaf":"%s","number":%d,"record":%s}\n' % (logged.leaf.hex().encode(), logged.number, body)


def difference(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """What changed, as a record's reason. Of values only numbers and words of closed vocabularies are shown: a text may
    be what nobody is to see.
    """

    def shown(value: object) -> str:
        return str(value) if value is None or isinstance(value, int | StrEnum) else "(text)"

    changed = (name for name in sorted({*before, *after}) if before.get(name) != after.get(name))
    return ", ".join(f"{name}: {shown(before.get(name))} -> {shown(after.get(name))}" for name in changed)


def scopes_of(key: Key) -> str:
    """What a key may do, as a record's reason."""
    return f"scopes: {' '.join(sorted(key.scopes))}"


def parse(body: bytes) -> AuditRecord:
    """The record of such bytes. Raises `ValueError` for what is none."""
    said = json.loads(body)
    if not isinstance(said, dict) or said.pop("v", None) != VERSION:
        raise ValueError("this is no record of an audit log")
    counts = tuple(said.pop("counts", {}).items())
    try:
        record = AuditRecord(**said, counts=counts)
        return record._replace(action=Action(record.action), outcome=Outcome(record.outcome))
    except TypeError as error:
        raise ValueError("this is no record of an audit log") from error


@lru_cache(1024)
def policy_version(policy: Policy) -> str:
    """Short, the same for the same values, and another for others."""
    values = json.dumps(policy.values(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(values.encode()).hexdigest()[:12]
