"""The messages of the management API, as in its OpenAPI document. Times are Unix milliseconds."""

from dataclasses import asdict, fields
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from antiphon.core.entry import MAX_INTEGER
from antiphon.core.identity import DEFAULT_PROJECT, MAX_NAME, AccessRole, Key, Organisation, Project, Scope
from antiphon.core.policy import (
    MAX_DISCLOSURE_CHARS,
    MAX_KEEP_S,
    MAX_WEIGHT,
    ConsentPolicy,
    Marking,
    Policy,
    PromptPolicy,
    TagPolicy,
)
from antiphon.core.redaction import Substitution
from antiphon.core.usage import By
from antiphon.trust.control import MAX_LIMITS, MAX_OVERLAP_MS, MAX_URL

KeepAnswers = Annotated[
    int, Field(ge=0, le=MAX_KEEP_S, description="For how many seconds models' answers are kept; 0 keeps none.")
]
Marked = Annotated[
    Marking,
    Field(
        strict=False,
        description="What synthetic speech must have: a mark, or a signed manifest in every answer ('signed').",
    ),
]
Weight = Annotated[int, Field(ge=1, le=MAX_WEIGHT, description="The project's share where projects compete.")]
Tags = Annotated[
    TagPolicy,
    Field(
        strict=False,
        description="What the ledger keeps of callers' tags and metadata, for ever: a hash of each by a key of the"
        " project's ('hashed'), nothing ('none'), or all ('plain').",
    ),
]
Redact = Annotated[
    str, Field(description="The kinds of personal data that are hidden in every answer, with commas between; or 'all'.")
]
RedactAs = Annotated[
    Substitution,
    Field(strict=False, description="What stands in their place: the kind's name, or '####' ('hash')."),
]
RedactWords = Annotated[str, Field(description="Further words and phrases to hide, one a line.")]
RedactPatterns = Annotated[
    str, Field(description="Further regular expressions, one a line: what they match is hidden.")
]
Prompts = Annotated[
    PromptPolicy,
    Field(strict=False, description="What engines of others get of prompts with personal data, and what comes back."),
]
Disclosed = Annotated[
    str,
    Field(
        max_length=MAX_DISCLOSURE_CHARS,
        description="The sentence with which spoken conversations begin, such as that one speaks with an AI.",
    ),
]
Consent = Annotated[
    ConsentPolicy,
    Field(strict=False, description="Which calls need a tag `consent=...`: none, or those that hear a voice."),
]
StripeCustomer = Annotated[
    str, Field(max_length=64, description="Whose usage it is at Stripe: 'cus_...', 'none', or empty if not said yet.")
]
ProjectModels = Annotated[
    str,
    Field(max_length=16_384, description="Models that it may use, by patterns: 'gpt-*,nova-3'; empty is all."),
]
Regions = Annotated[
    str, Field(max_length=1024, description="Where engines must be: 'eu', 'eu-de,eu-fr'; empty is anywhere.")
]
Processors = Annotated[
    str, Field(max_length=1024, description="Who may run the engines: 'self', or names; empty is anybody.")
]
Agreements = Annotated[
    str, Field(max_length=64, description="What processors must have signed: 'baa', 'dpa'; empty is nothing.")
]
MaxRetention = Annotated[
    str, Field(max_length=16, description="For how long engines may retain content: 'none', '30d'; empty is any time.")
]
_Names = list[Annotated[str, Field(max_length=MAX_NAME)]]
Networks = Annotated[
    _Names, Field(max_length=MAX_LIMITS, description="Networks (CIDR) from which the key may be used; none is any.")
]
Models = Annotated[
    _Names, Field(max_length=MAX_LIMITS, description="Patterns of the models that it may use, as 'gpt-*'; none is any.")
]
Surfaces = Annotated[
    _Names, Field(max_length=MAX_LIMITS, description="Vendors' APIs on which it may be used, as 'openai'; none is any.")
]
Budgets = Annotated[
    str,
    Field(
        description="Budgets of the project and its keys, one a line: 'NAME MEASURE AMOUNT WINDOW', such as"
        " 'monthly money 50.00 month', then 'soft', 'key=ID', 'from=TIME', 'until=TIME' where wanted."
    ),
]
Limits = Annotated[
    str,
    Field(
        description="Limits of the project, and of keys ('key=ID'), one scope a line: 'requests_per_minute=60',"
        " 'tokens_per_minute=90000', 'live_streams=4', 'calls=10'."
    ),
]
TogetherBudgets = Annotated[
    str, Field(description="Budgets that count all its projects together, in the form of a project's; without keys.")
]
TogetherLimits = Annotated[
    str, Field(description="Limits of all its projects together, in one line of a project's form; without a key.")
]
OrganisationId = Annotated[
    str, Field(description="The organisation that it belongs to, whose budgets and limits count it, too; '' is none.")
]
Name = Annotated[str, Field(max_length=MAX_NAME)]

_POLICY = {each.name for each in fields(Policy)}


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ProjectChange(_Request):
    """The fields of a policy. An absent one keeps its value, or has the default."""

    keep_answers_s: KeepAnswers | None = None
    marking: Marked | None = None
    weight: Weight | None = None
    tags: Tags | None = None
    redact: Redact | None = None
    redact_as: RedactAs | None = None
    redact_words: RedactWords | None = None
    redact_patterns: RedactPatterns | None = None
    prompts: Prompts | None = None
    consent: Consent | None = None
    disclosure: Disclosed | None = None
    stripe_customer: StripeCustomer | None = None
    models: ProjectModels | None = None
    regions: Regions | None = None
    processors: Processors | None = None
    agreements: Agreements | None = None
    max_retention: MaxRetention | None = None
    organisation: OrganisationId | None = None
    budgets: Budgets | None = None
    limits: Limits | None = None

    def policy(self) -> dict[str, object]:
        return self.model_dump(include=_POLICY, exclude_none=True)


class NewProject(ProjectChange):
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    name: Name = ""


class NewKey(_Request):
    project: str = DEFAULT_PROJECT
    name: Name = ""
    scopes: Annotated[list[Annotated[Scope, Field(strict=False)]], Field(min_length=1)] | None = None
    role: Annotated[
        AccessRole | None,
        Field(strict=False, description="A usual set of scopes, in addition to those that are given."),
    ] = None
    expires_unix_ms: Annotated[int, Field(gt=0, le=MAX_INTEGER)] | None = None
    networks: Networks = []
    models: Models = []
    surfaces: Surfaces = []


class KeyLimitsChange(_Request):
    """Where a key may be used; an empty list is no limit."""

    networks: Networks | None = None
    models: Models | None = None
    surfaces: Surfaces | None = None


class Rotation(_Request):
    overlap_s: Annotated[
        int, Field(ge=0, le=MAX_OVERLAP_MS // 1000, description="For how long the old key is still valid.")
    ] = 0


class ProjectAnswer(_Answer):
    id: str
    name: str
    created_unix_ms: int
    keep_answers_s: int
    marking: Marking
    weight: int
    tags: TagPolicy
    redact: str
    redact_as: Substitution
    redact_words: str
    redact_patterns: str
    prompts: PromptPolicy
    consent: ConsentPolicy
    disclosure: str
    stripe_customer: str
    models: str
    regions: str
    processors: str
    agreements: str
    max_retention: str
    organisation: str
    budgets: str
    limits: str


class OrganisationChange(_Request):
    """What is left out stays as it is."""

    budgets: TogetherBudgets | None = None
    limits: TogetherLimits | None = None


class OrganisationAnswer(_Answer):
    id: str
    budgets: str
    limits: str
    projects: list[str]


class Organisations(BaseModel):
    data: list[OrganisationAnswer]


class KeyAnswer(_Answer):
    """A key without its secret. `prefix` is its beginning."""

    id: str
    project: str
    name: str
    scopes: list[Scope]
    prefix: str
    created_unix_ms: int
    expires_unix_ms: int | None
    revoked_unix_ms: int | None
    networks: list[str]
    models: list[str]
    surfaces: list[str]
    last_used_unix_ms: Annotated[int | None, Field(description="To the minute.")]


class NewKeyAnswer(KeyAnswer):
    key: Annotated[str, Field(description="The key itself. It is shown this once.")]


class NewWebhook(_Request):
    project: str = DEFAULT_PROJECT
    name: Name = ""
    url: Annotated[str, Field(max_length=MAX_URL)]


class WebhookAnswer(_Answer):
    """A webhook without its secret."""

    id: str
    project: str
    name: str
    url: str
    created_unix_ms: int
    disabled: bool


class NewWebhookAnswer(WebhookAnswer):
    secret: Annotated[str, Field(description="Signs what is sent there. It is shown this once.")]


class WebhookList(BaseModel):
    data: list[WebhookAnswer]


class Projects(BaseModel):
    data: list[ProjectAnswer]


class Keys(BaseModel):
    data: list[KeyAnswer]


class UsageRow(BaseModel):
    """A total, without the groups that were not requested. `amount` is in the unit that `dimension` names.

    `abandoned` counts the sessions whose last result may not have been delivered.
    """

    day: str | None = None
    project: str | None = None
    key: str | None = None
    model: str | None = None
    feature: str | None = None
    surface: str | None = None
    channel: str | None = None
    dimension: str
    amount: int
    sessions: int
    abandoned: int


class Usage(BaseModel):
    by: list[By]
    data: list[UsageRow]


class StatementBook(BaseModel):
    book: str
    version: str
    sha256: str


class StatementLine(BaseModel):
    """A line: the amount of one price for one model, feature and surface. `kind` is `usage`; `correction`, the present
    cost of an earlier month less its former cost; `unrated`, without a price; `waived`, `minimum` or `rounding`.
    `measured` and `billed` are in the unit that `dimension` names. Amounts are in billionths of the currency, and as
    decimals.
    """

    kind: str
    price: str
    version: str
    dimension: str
    model: str
    feature: str
    surface: str
    sessions: int
    entries: int
    measured: int
    billed: str
    rule: str
    rounding: str
    reason: str
    amount_nano: int
    amount: str
    cost_nano: int | None = None
    cost: str | None = None
    margin: str | None = None


class StatementAnswer(BaseModel):
    """What a project owes for a month. The lines add up to the total."""

    project: str
    period: str
    since: str
    until: str
    issued: bool
    currency: str
    books: list[StatementBook]
    lines: list[StatementLine]
    total_nano: int
    total: str
    cost_nano: int | None = None
    cost: str | None = None
    margin: str | None = None
    uncosted_lines: int | None = None
    unrated_lines: int
    open_sessions: int


class NewStatement(_Request):
    project: str
    period: Annotated[str, Field(description="A month that is over, such as 2026-11.")]


class Problem(BaseModel):
    code: str
    message: str
    param: str | None


class ErrorAnswer(BaseModel):
    error: Problem


def project_answer(project: Project) -> ProjectAnswer:
    known = {"id": project.id, "name": project.name, "created_unix_ms": project.created_unix_ms}
    return ProjectAnswer.model_validate(known | project.policy.values())


def organisation_answer(organisation: Organisation, projects: list[str]) -> OrganisationAnswer:
    return OrganisationAnswer(
        id=organisation.id, budgets=organisation.budgets, limits=organisation.limits, projects=projects
    )


def key_fields(key: Key, last_used_unix_ms: int | None) -> dict[str, object]:
    """Return the fields of a `KeyAnswer`, the scopes in a stable order."""
    own = {name: getattr(key, name) for name in KeyAnswer.model_fields if hasattr(key, name)}
    limits = {name: list(each) for name, each in asdict(key.limits).items()}
    return own | limits | {"scopes": sorted(key.scopes), "last_used_unix_ms": last_used_unix_ms}
