"""The tables of the file, but for those of engines and exports."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from antiphon.core.identity import DEFAULT_PROJECT, AccessRole

Port = Annotated[int, Meta(ge=0, le=65_535)]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: unknown keys are errors."""


class Objectives(Table, frozen=True, kw_only=True):
    """The objectives, in milliseconds."""

    stt_ttfb_ms: Positive = 300
    stt_final_ms: Positive = 800
    ttft_ms: Positive = 500
    tpot_ms: Positive = 15
    llm_total_ms: Positive = 2000
    tts_ttfb_ms: Positive = 75


class AtOnce(Table, frozen=True, kw_only=True):
    """How much one project, or one key, may have open at once; 0 for no limit of its own."""

    live_streams: NotNegative = 0
    live_decoders: NotNegative = 0
    recordings: NotNegative = 0
    generations: NotNegative = 0
    speeches: NotNegative = 0
    conversations: NotNegative = 0
    items: NotNegative = 0


class Limits(Table, frozen=True, kw_only=True):
    """The limits on concurrent work, which determine memory: a tenth more of what is open is reserved for projects
    below their share. `uploads_mb` is for all bodies together, `uploads_per_key_mb` is one key's share; `decoded_mb` is
    for the decoded audio of all recordings (one alone may be larger), `kept_gb` for all kept answers and
    `kept_per_project_gb` for a project's. With 0 `connections` the system's limit of descriptors applies, less the
    reserved ones. Before the engines of each model at most `waiting` calls wait, and none whose predicted wait exceeds
    `wait_ms`. `items` are of jobs; `files_mb` bounds the files of jobs, `files_in_memory_mb` those of projects whose
    answers are not kept, each project at most half of it.
    """

    live_streams: Positive = 1000
    recordings: Positive = 32
    generations: Positive = 2000
    generation_s: Positive = 600
    waiting: Positive = 1000
    wait_ms: Positive = 5000
    speeches: Positive = 256
    conversations: Positive = 1000
    conversation_s: Positive = 3600
    upload_mb: Positive = 200
    uploads_mb: Positive = 1024
    uploads_per_key_mb: Positive = 256
    connections: NotNegative = 0
    connections_per_address: Positive = 2000
    audio_hours: Positive = 4
    decoded_mb: Positive = 1024
    live_decoders: Positive = 64
    frame_kb: Positive = 1024
    drain_s: Positive = 10
    kept_gb: Positive = 16
    kept_per_project_gb: Positive = 4
    items: Positive = 8
    files_mb: Positive = 16_384
    files_per_project_mb: Positive = 1024
    files_in_memory_mb: Positive = 256
    per_project: AtOnce = AtOnce()
    per_key: AtOnce = AtOnce()


class Recognition(Table, frozen=True, kw_only=True):
    """Speech recognition. `workers` threads decode; 0 is one per core, at most four. `speculative` and `batched` are
    for measurements.
    """

    workers: Annotated[int, Meta(ge=0, le=64)] = 0
    speculative: bool = True
    batched: bool = True
    batch_rows: Annotated[int, Meta(ge=1, le=64)] = 16
    tick_ms: Annotated[int, Meta(ge=0, le=100)] = 10


class Redaction(Table, frozen=True, kw_only=True):
    """The model that finds names and places: one of the catalog, or a folder with its files. Without one, calls whose
    names must be hidden are refused.
    """

    model: str = "rampart"


class Grpc(Table, frozen=True, kw_only=True):
    """The gRPC port, with TLS if the other port has it. Without one, gRPC is not served. With `reflection`, tools can
    list methods and messages.
    """

    port: Port | None = None
    reflection: bool = False


class Provenance(Table, frozen=True, kw_only=True):
    """The signing of synthetic speech: files of PEM certificates and their key. By default one is made at the first
    start.
    """

    chain: str = ""
    key: str = ""


class Fetch(Table, frozen=True, kw_only=True):
    """Fetching of callers' URLs. `allow` lists networks that may be reached although they are not public."""

    allow: tuple[str, ...] = ()
    max_mb: Positive = 200
    timeout_s: Positive = 60


class Encryption(Table, frozen=True, kw_only=True):
    """The master key that protects the keys of projects' content: a file, or the command that prints it. Without both
    it is in `ANTIPHON_MASTER_KEY`, or in a file that is made at the first start.
    """

    key_file: str = ""
    key_command: tuple[str, ...] = ()


class Witness(Table, frozen=True, kw_only=True):
    """A witness that signs checkpoints of the audit log: its address, and its public key in text form."""

    url: str
    key: str


class AuditBucket(Table, frozen=True, kw_only=True):
    """A bucket of S3, or of what speaks its protocol: `https://HOST/BUCKET/PREFIX`. Its key is in two variables."""

    url: str
    region: str = "us-east-1"
    key_id_env: str = "AWS_ACCESS_KEY_ID"
    secret_env: str = "AWS_SECRET_ACCESS_KEY"


class Audit(Table, frozen=True, kw_only=True):
    """The audit log: which part of callers' addresses is recorded, and for how many days records keep their contents.
    Its checkpoints are signed under `origin`; each is added to a `file`, sent to a `webhook`, put into a `bucket`, and
    signed by `witnesses`.
    """

    addresses: Literal["whole", "network", "none"] = "network"
    keep_days: Annotated[int, Meta(ge=1, le=36_600)] = 2557
    origin: str = ""
    file: str = ""
    webhook: str = ""
    bucket: AuditBucket | None = None
    witnesses: tuple[Witness, ...] = ()


class Pricing(Table, frozen=True, kw_only=True):
    """Files of price books, in all their versions. A project is billed by its book in `projects`, else by the
    `default`, which may be omitted if there is only one; `costs` names the book of the engines' costs.
    """

    books: tuple[str, ...] = ()
    default: str = ""
    projects: dict[str, str] = msgspec.field(default_factory=dict)
    costs: str = ""


class Oidc(Table, frozen=True, kw_only=True):
    """Sign-in to the management API with ID tokens of an OpenID provider, for callers whose `claim` has one of the
    `roles`, as members of a `project`. Without an `issuer`, there is none. People sign in by browsers that reach this
    server at `url`, if it is set; the variable `secret_env` holds the client secret, if the provider demands one.
    """

    issuer: str = ""
    audience: str = ""
    claim: str = "roles"
    roles: dict[str, AccessRole] = msgspec.field(default_factory=dict)
    project: str = DEFAULT_PROJECT
    url: str = ""
    secret_env: str = ""


class Budgets(Table, frozen=True, kw_only=True):
    """Alerts of budgets are posted to a `webhook`, signed with the secret in the variable `secret_env`, if named."""

    webhook: str = ""
    secret_env: str = ""


class Inspection(Table, frozen=True, kw_only=True):
    """Metrics, and the document of the management API. `open_to` lists networks that read them without a key."""

    open_to: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
