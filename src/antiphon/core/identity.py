"""Who calls: projects, their keys, and the caller of one call."""

from dataclasses import dataclass, field
from enum import StrEnum

from antiphon.core.policy import Policy

DEFAULT_PROJECT = "default"
ENVIRONMENT_KEY_ID = "environment"  # of the key that the server was started with
MAX_NAME = 200  # characters of a project's, a key's or a webhook's name
MAX_WEBHOOKS = 16  # of a project


class Scope(StrEnum):
    """What a key may do."""

    TRANSCRIBE = "transcribe"
    GENERATE = "generate"  # language models, embeddings, general inference
    SPEAK = "speak"
    USAGE = "usage"  # read its own project's usage
    KEYS = "keys"  # its own project's keys and policy: read them, make keys without rights to manage, revoke keys
    BILLING = "billing"  # usage, statements and exports of every project
    AUDIT = "audit"  # read the audit log, projects, policies and keys, of every project
    ADMIN = "admin"  # everything of the management API, every project; but not the audit log


USUAL_SCOPES = frozenset({Scope.TRANSCRIBE, Scope.GENERATE, Scope.SPEAK})  # of a key made without scopes
OWN_SCOPES = USUAL_SCOPES | {Scope.USAGE, Scope.KEYS}  # what a key with `KEYS` may give to others


class AccessRole(StrEnum):
    """A usual set of scopes."""

    OWNER = "owner"
    BILLING = "billing"
    AUDITOR = "auditor"
    DEVELOPER = "developer"


ROLES: dict[AccessRole, frozenset[Scope]] = {
    AccessRole.OWNER: frozenset({Scope.ADMIN, Scope.AUDIT}),
    AccessRole.BILLING: frozenset({Scope.BILLING}),
    AccessRole.AUDITOR: frozenset({Scope.AUDIT}),
    AccessRole.DEVELOPER: OWN_SCOPES,
}


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose key was valid when it was checked. `weight` is the project's share when projects compete; `models`
    are patterns of the models that the key may use, all if empty.
    """

    project: str
    key_id: str
    scopes: frozenset[Scope]
    weight: int = 1
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Project:
    """A tenant."""

    id: str
    name: str
    created_unix_ms: int
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Organisation:
    """What belongs together of a customer's projects; `budgets` and `limits` are those of all of them together, one a
    line, as `core.budgets` reads them.
    """

    id: str
    budgets: str = ""
    limits: str = ""


NO_ORGANISATION = Organisation("")


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Where a key may be used: from `networks` (CIDR), for `models` (patterns of names), on `surfaces`. An empty list
    is no limit.
    """

    networks: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    surfaces: tuple[str, ...] = ()


NO_LIMITS = KeyLimits()


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret. `prefix` is the part that may be shown."""

    id: str
    project: str
    name: str
    scopes: frozenset[Scope]
    prefix: str
    created_unix_ms: int
    expires_unix_ms: int | None = None
    revoked_unix_ms: int | None = None
    limits: KeyLimits = NO_LIMITS

    def holds(self, now_unix_ms: int) -> bool:
        return self.revoked_unix_ms is None and (self.expires_unix_ms is None or now_unix_ms < self.expires_unix_ms)


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """What may be changed of a webhook. It is `subscribed` to jobs that name no webhook; without `retries` it is tried
    once. The `headers` are sent with every notice.
    """

    disabled: bool = False
    subscribed: bool = True
    retries: bool = True
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


USUAL_SETTINGS = WebhookSettings()


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL that a project wants to be told of the ends of its jobs. What is sent there is signed with its secret."""

    id: str
    project: str
    name: str
    url: str
    created_unix_ms: int
    secret: str = field(repr=False)
    settings: WebhookSettings = USUAL_SETTINGS

    @property
    def disabled(self) -> bool:
        return self.settings.disabled
