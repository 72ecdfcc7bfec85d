"""The configuration: one frozen value, read and validated once, at the start.

Sources, in increasing priority: the defaults here, a TOML file, the environment (`ANTIPHON_HOST`, `ANTIPHON_PORT`,
`ANTIPHON_DATA_DIR`, `ANTIPHON_API_KEY` and those in `ENVIRONMENT`). Every error names the setting.
"""

import datetime
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from antiphon.core.capabilities import Ability
from antiphon.core.errors import CallerError, UnknownModel
from antiphon.core.place import (
    MAX_CHARS,
    NOBODY,
    NOWHERE,
    PROCESSOR,
    REGION,
    RETENTION,
    SELF,
    Agreement,
    Processing,
    parse_retention,
)
from antiphon.core.usage import Dimension
from antiphon.models import CATALOG, is_hub_name
from antiphon.trust.profiles import PROFILES, Profiles

Port = Annotated[int, Meta(ge=0, le=65_535)]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]

# The vendors' names of models that SDKs and their users know.
_CALLS = ("general", "meeting", "phonecall", "finance", "conversationalai", "voicemail", "video")
VENDOR_NAMES = (
    *("flux-general-en", "flux-general-multi"),
    *("nova-3", "nova-3-general", "nova-3-medical", "nova-3-multilingual", "nova-2", "nova", "enhanced", "base"),
    *(f"nova-2-{use}" for use in (*_CALLS, "medical", "drivethru", "automotive", "atc")),
    *(f"{tier}-{use}" for tier in ("nova", "enhanced", "base") for use in (*_CALLS, "medical")),
    *_CALLS,
    *("whisper", *(f"whisper-{size}" for size in ("tiny", "base", "small", "medium", "large"))),
    *("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"),
    *("gpt-transcribe", "gpt-live-transcribe", "gpt-realtime-whisper"),
    *("scribe_v1", "scribe_v2", "scribe_v2_realtime"),
    *("long", "short", "telephony", "telephony_short", "medical_conversation", "medical_dictation"),
    *("latest_long", "latest_short", "chirp", "chirp_2", "chirp_3", "chirp_telephony"),
    *("default", "command_and_search", "phone_call"),
    *("universal-streaming-english", "universal-streaming-multilingual", "whisper-rt"),
    *("best", "nano", "slam-1", "universal", "universal-2", "universal-3-pro"),
    *("u3-pro", "u3-rt-pro", "u3-rt-pro-beta-1", "universal-3-5-pro", "universal-3-6", "universal-3-6-pro"),
    "amazon-transcribe",  # its API names no models
)
DETECTOR = "silero-vad"
SPEECH_SAMPLES = "speech-samples"  # in the same wheel as the model, so they cost no download
VENDOR_LANGUAGE_NAMES = (
    *("gpt-4o-mini", "gpt-4o", "chatgpt-4o-latest", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano"),
    *("gpt-4-turbo", "gpt-4", "gpt-3.5-turbo", "gpt-3.5-turbo-instruct", "o1", "o1-mini", "o3", "o3-mini", "o4-mini"),
    *(f"gpt-5{name}" for name in ("", "-mini", "-nano", "-chat-latest", ".1", ".1-mini", ".1-chat-latest", ".2")),
    *(f"gpt-5{name}" for name in (".2-chat-latest", ".3-chat-latest", ".4", ".4-mini", ".4-nano", ".5")),
    *(f"gpt-{name}" for name in ("5.6-sol", "5.6-terra", "5.6-luna", "6-sol", "6-luna", "6-astra")),
    *(f"gpt-{name}" for name in ("6.1-sol", "6.1-terra", "6.2-sol", "6.2-astra")),
    *("gpt-realtime", "gpt-realtime-mini", "gpt-realtime-1.5", "gpt-realtime-2", "gpt-realtime-2.1"),
)
VENDOR_EMBEDDING_NAMES = ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")
VENDOR_SPEECH_NAMES = (
    *("tts-1", "tts-1-hd", "gpt-4o-mini-tts"),
    *(f"eleven_{name}" for name in ("monolingual_v1", "multilingual_v1", "multilingual_v2", "turbo_v2", "turbo_v2_5")),
    *(f"eleven_{name}" for name in ("flash_v2", "flash_v2_5", "v3", "v3_conversational", "v4", "v4_turbo")),
)
_AURA = "angus arcas asteria athena helios hera luna orion orpheus perseus stella zeus"
_AURA_2 = """
amalthea andromeda apollo arcas aries asteria athena atlas aurora callista cora cordelia delia draco electra harmonia
helena hera hermes hyperion iris janus juno jupiter luna mars minerva neptune odysseus ophelia orion orpheus pandora
phoebe pluto saturn selene thalia theia vesta zeus"""
# ElevenLabs' premade voices of all years, from Aria to Mimi: clients contain their ids.
_PREMADE = """
9BWtsMINqrJLrRacOk9x 21m00Tcm4TlvDq8ikWAM 29vD33N1CtxCmqQRPOHJ 2EiwWnXFnvU5JabPnv8n 5Q0t7uMcjvnagumLfvZi
AZnzlk1XvdvUeBnXmlld CYw3kZ02Hs0563khs1Fj CwhRBWXzGAHq8TQ4Fs17 D38z5RcWu1voky8WS1ja EXAVITQu4vr4xnSDxMaL
ErXwobaYiN019PkySvjV FGY2WhTYpPnrIDTdsKH5 GBv7mTt0atIp3Br8iCZE IKne3meq5aSn9XLyUdCD JBFqnCBsd6RMkjVDRZzb
LcfcDJNUP1GQjkzn1xUU MF3mGyEYCl7XYWbV9V6O N2lVS1w4EtoT3dr4eOWO ODq5zmih8GrVes37Dizd SAz9YHcvj6GT2YYXdXww
SOYHLrjzK2X1ezoPC6cr TX3LPaxmHKxFdv7VOQHJ ThT5KcBeYPX3keUQqHPh TxGEqnHWrfWFTfGW9XjX VR6AewLTigWG4xSOukaG
XB0fDUnXU5powFXDhCwa Xb7hH8MSUJpSbSDYk0k2 XrExE9yKIg1WjnnlVkGX Yko7PKHZNXotIFUBG7I9 ZQe5CZNOzWyzPSCn5a3c
Zlb1dXrM653N07WRdFW3 bIHbv24MWmeRgasZH58o bVMeCyTHy58xNoL34h3p cgSgspJ2msm6clMCkdW9 cjVigY5qzO86Huf0OWal
flq6f7yk4E4fJM5XTYuZ g5CIjZEefAph4nQFvHAz hpp4J3VqNfWAUOO0d1Us iP95p4xoKVk53GoZ742B jBpfuIE2acCO8z3wKNLl
jsCqWAovK2LkecY7zXl4 knrPHWnBmmDHMoiMeP3l nPczCjzI2devNBz1zQrb oWAxZDx7w5VEj9dCyTzz onwK4e9ZLuTAKqWW03F9
pFZP5JQG7iQjIQuC4Bku pMsXgVXv3BLzUgSXRplE pNInz6obpgDQGcFmaJgB piTKgcLEGmPE4e6mEKli pqHfZKP75CvOlQylNhV4
t0jbNlBVZ17f02VDIeMI wViXBPUzp2ZZixB1xQuM yoZ06aMxZJJ28mfd3POQ z9fAnlkpzviPz146aGWa zcAOhNBS3c14rBihAFp1
zrHiDhphv9ZnVXBqCLjz"""
VENDOR_VOICE_NAMES = (
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse"),
    *(f"flux-{name}-en" for name in ("alexis", "haley", "heather")),
    *(f"aura-{name}-en" for name in _AURA.split()),
    *(f"aura-2-{name}-en" for name in _AURA_2.split()),
    *_PREMADE.split(),
)


class Invalid(CallerError):
    """A setting is wrong. The message names it."""

    code = "invalid_setting"


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
    for the decoded audio of all recordings (one alone may be larger), `kept_gb` for all kept answers. With 0
    `connections` the system's limit of descriptors applies, less the reserved ones. Before the engines of each model at
    most `waiting` calls wait, and none whose predicted wait exceeds `wait_ms`. `items` are of jobs; `files_mb` bounds
    the files of jobs, `files_in_memory_mb` those of projects whose answers are not kept, each project at most half of
    it.
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


class Backend(Table, frozen=True, kw_only=True):
    """The common settings of engines: the share of the work if several serve one model, and the most requests at
    once.
    """

    weight: Annotated[int, Meta(ge=1, le=1000)] = 1
    outstanding: Positive = 256


class OpenVino(Backend, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="openvino"):
    """A language model on this machine: a name of the catalog, a GGUF file or an OpenVINO folder."""

    model: str
    weights: Literal["file", "int8"] = "file"
    kv_cache_gb: Positive = 1
    kv_cache_precision: Literal["u8", "f16", "bf16"] = "f16"
    prefix_caching: bool = True
    eviction_tokens: NotNegative = 0
    prompt_lookup_tokens: NotNegative = 0
    prompt_lookup_ngram: Positive = 3
    max_batched_tokens: Positive = 512
    max_sequences: Positive = 128
    max_requests: Positive = 1024
    split_fuse: bool = True
    threads: NotNegative = 0
    default_max_tokens: Positive = 2048
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None


class Embedding(Backend, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="embedding"):
    """An embedding model on this machine: a name of the catalog."""

    model: str


class EndingAgreement(Table, frozen=True, kw_only=True):
    """An agreement and its last day (UTC)."""

    name: Agreement
    until: datetime.date


Agreements = tuple[Agreement | EndingAgreement, ...]


class Remote(Backend, frozen=True, kw_only=True):
    """An engine elsewhere: its region, who operates it (`self` or a name), the agreements with them, and for how long
    content is retained there. What is not said satisfies no policy that asks for it.
    """

    region: str = ""
    processor: str = ""
    agreements: Agreements = ()
    retention: str = ""


class OpenAI(Remote, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="openai"):
    """A server with OpenAI's API. `server` is its kind; `api_key_env` names the variable that holds its key. `cannot`
    lists the abilities that its model lacks.
    """

    server: str
    url: str
    model: str
    api_key_env: str = ""
    embeds: bool = False
    cannot: tuple[Ability, ...] = ()


class OpenInference(
    Remote, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="open-inference"
):
    """A server with the Open Inference Protocol v2."""

    url: str
    model: str
    grpc: bool = False


class Piper(Backend, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="piper"):
    """A voice on this machine: a name of the catalog, or a Piper voice's file."""

    model: str
    speaker: NotNegative = 0
    workers: NotNegative = 0
    threads: Positive = 2


class Moonshine(Table, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="moonshine"):
    """A recogniser of speech on this machine: a name of the catalog, or a folder with the three published files."""

    model: str = "moonshine-tiny-en"


class Whisper(Table, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="whisper"):
    """A speech recogniser on this machine, in its own process: a name of the catalog, a folder with a CTranslate2 model
    of Whisper, or its name on the Hugging Face hub. If a call names no language, a multilingual one uses `language`; if
    that is empty, it detects the language.
    """

    model: str
    language: str = ""


class Version(Table, frozen=True, kw_only=True):
    """A model: one or more engines that serve it, and its lifetime. Speech is recognised by one engine. A language
    model's request also goes to a second engine if the first has not answered for `hedge_after_ms`; 0 is never.
    """

    engines: tuple[str, ...]
    hedge_after_ms: NotNegative = 0
    deprecated: datetime.date | None = None
    sunset: datetime.date | None = None
    successor: str = ""


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


class Witness(Table, frozen=True, kw_only=True):
    """A witness that signs checkpoints of the audit log: its address, and its public key in text form."""

    url: str
    key: str


class Audit(Table, frozen=True, kw_only=True):
    """The audit log: which part of callers' addresses is recorded, and for how many days records keep their contents.
    Its checkpoints are signed under `origin`; each is added to a `file`, sent to a `webhook`, and signed by
    `witnesses`.
    """

    addresses: Literal["whole", "network", "none"] = "network"
    keep_days: Annotated[int, Meta(ge=1, le=36_600)] = 2557
    origin: str = ""
    file: str = ""
    webhook: str = ""
    witnesses: tuple[Witness, ...] = ()


class Pricing(Table, frozen=True, kw_only=True):
    """Files of price books, in all their versions. A project is billed by its book in `projects`, else by the
    `default`, which may be omitted if there is only one; `costs` names the book of the engines' costs.
    """

    books: tuple[str, ...] = ()
    default: str = ""
    projects: dict[str, str] = msgspec.field(default_factory=dict)
    costs: str = ""


class ProfileNames(Table, frozen=True, kw_only=True):
    """Named sets of requirements (`strict`, `hipaa`, `eu`): what a `new` project begins with, and the least that the
    policies of `projects` have.
    """

    new: str = ""
    projects: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def found(self) -> Profiles:
        return Profiles(
            PROFILES[self.new] if self.new else None, {name: PROFILES[own] for name, own in self.projects.items()}
        )


class Inspection(Table, frozen=True, kw_only=True):
    """Metrics, and the document of the management API. `open_to` lists networks that read them without a key."""

    open_to: tuple[str, ...] = ("127.0.0.0/8", "::1/128")


class ExportMeter(Table, frozen=True, kw_only=True):
    """The usage that a meter counts: a dimension, filtered by patterns."""

    dimension: Dimension
    model: str = "*"
    surface: str = "*"
    feature: str = "*"


class Export(Table, frozen=True, kw_only=True):
    """The export of usage to an external receiver, summed per interval, from now on or from the `beginning` of the
    ledger. Without `meters` there is one for each dimension; `without` are dimensions that no meter counts. `by` are
    the properties that separate events. Region, processor, agreements and retention are those of the receiver; it gets
    no content, so they are only shown in evidence.
    """

    region: str = ""
    processor: str = ""
    agreements: Agreements = ()
    retention: str = ""

    interval_s: Annotated[int, Meta(ge=1, le=3600)] = 300
    start: Literal["now", "beginning"] = "now"
    meters: dict[str, ExportMeter] = msgspec.field(default_factory=dict)
    without: tuple[Dimension, ...] = ()
    by: tuple[Literal["model", "surface", "feature"], ...] = ("model", "surface", "feature")


class StripeExport(Export, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="stripe"):
    """Stripe's billing meters. The variables hold the API key, and the secret that signs reports to `/hooks/stripe`."""

    url: str = "https://api.stripe.com"
    api_key_env: str = "STRIPE_API_KEY"
    webhook_secret_env: str = ""
    by: tuple[Literal["model", "surface", "feature"], ...] = ()


class OpenMeterExport(Export, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="openmeter"):
    """OpenMeter, or another receiver of CloudEvents at `/api/v1/events`."""

    url: str = "https://openmeter.cloud"
    api_key_env: str = ""


class WebhookExport(Export, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="webhook"):
    """A POST of at most `events` events to `url`, under the names in `fields`, in a list or in an `envelope`. The
    receiver recognises an event's id for `identifiers_h`, and accepts none older than `past_days`; 0 is any.
    """

    url: str
    api_key_env: str = ""
    secret_env: str = ""
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    envelope: str = ""
    events: Annotated[int, Meta(ge=1, le=1000)] = 100
    identifiers_h: Positive = 720
    past_days: NotNegative = 0


Recogniser = Moonshine | Whisper
Engine = OpenVino | Embedding | OpenAI | OpenInference | Piper | Recogniser
# Catalog models that imply an engine of their name if the configuration has none, with its kind.
RECOGNISERS = {"moonshine-tiny-en": "moonshine", "whisper-tiny-en": "whisper", "whisper-base": "whisper"}
ENGINES: dict[str, Engine] = {
    "moonshine-tiny-en": Moonshine(),
    "smollm2-135m-instruct": OpenVino(model="smollm2-135m-instruct", weights="int8"),
    "all-minilm-l6-v2": Embedding(model="all-minilm-l6-v2"),
    "joe": Piper(model="en-us-joe-medium"),
}
MODELS: dict[str, str | Version] = {
    **dict.fromkeys(VENDOR_NAMES, "moonshine-tiny-en"),
    "smollm2-135m-instruct": Version(engines=("smollm2-135m-instruct",)),
    **dict.fromkeys(VENDOR_LANGUAGE_NAMES, "smollm2-135m-instruct"),
    "all-minilm-l6-v2": Version(engines=("all-minilm-l6-v2",)),
    **dict.fromkeys(VENDOR_EMBEDDING_NAMES, "all-minilm-l6-v2"),
    "piper": Version(engines=("joe",)),
    **dict.fromkeys(VENDOR_SPEECH_NAMES, "piper"),
}
VOICES: dict[str, str] = dict.fromkeys(VENDOR_VOICE_NAMES, "joe")


class Config(Table, frozen=True, kw_only=True):
    """All settings."""

    host: str = "127.0.0.1"
    port: Port = 8080
    data_dir: str = "~/.local/share/antiphon"
    api_key: str | None = None
    offline: bool = False
    tls_cert: str = ""
    tls_key: str = ""
    tls_self_signed: bool = False
    log_level: str = "info"
    region: str = ""
    proxies: tuple[str, ...] = ()
    profiles: ProfileNames = msgspec.field(default_factory=ProfileNames)
    models: dict[str, str | Version] = msgspec.field(default_factory=lambda: dict(MODELS))
    engines: dict[str, Engine] = msgspec.field(default_factory=lambda: dict(ENGINES))
    voices: dict[str, str] = msgspec.field(default_factory=lambda: dict(VOICES))
    objectives: Objectives = Objectives()
    limits: Limits = Limits()
    recognition: Recognition = Recognition()
    fetch: Fetch = Fetch()
    inspection: Inspection = Inspection()
    audit: Audit = Audit()
    pricing: Pricing = msgspec.field(default_factory=Pricing)
    provenance: Provenance = Provenance()
    grpc: Grpc = Grpc()
    redaction: Redaction = Redaction()
    export: dict[str, StripeExport | OpenMeterExport | WebhookExport] = msgspec.field(default_factory=dict)

    @property
    def directory(self) -> Path:
        return Path(self.data_dir).expanduser().absolute()

    @property
    def tls(self) -> bool:
        """Whether the port uses TLS."""
        return self.tls_self_signed or bool(self.tls_cert)

    @property
    def versions(self) -> dict[str, Version]:
        """Every version; an engine that a public name refers to is also a version of its own name."""
        alone = (answer for answer in self.models.values() if isinstance(answer, str) and answer in self.engines)
        own = {name: answer for name, answer in self.models.items() if isinstance(answer, Version)}
        return {name: Version(engines=(name,)) for name in alone} | own

    @property
    def aliases(self) -> dict[str, str]:
        """Every other public name, with its version."""
        return {name: answer for name, answer in self.models.items() if isinstance(answer, str) and answer != name}

    @property
    def recognisers(self) -> dict[str, Recogniser]:
        """The speech recognisers that any name uses."""
        named = dict.fromkeys(engine for version in self.versions.values() for engine in version.engines)
        return {name: table for name in named if isinstance(table := self.engines[name], Recogniser)}

    @property
    def speaks(self) -> bool:
        """Whether any engine is a voice."""
        return any(isinstance(engine, Piper) for engine in self.engines.values())

    @property
    def processing(self) -> dict[str, Processing]:
        """Where each engine processes content, and by whom. Those of this machine are the operator's own."""
        own = Processing(self.region, SELF, retention_s=0)
        return {name: processing_of(e) if isinstance(e, Remote) else own for name, e in self.engines.items()}

    def serving(self, name: str) -> tuple[str, ...]:
        """Return the engines behind a public name of a model or a voice. Raises `UnknownModel`."""
        versions = self.versions
        found = versions.get(self.aliases.get(name, name))
        voice = self.voices.get(name, name)
        if found is None and isinstance(self.engines.get(voice), Piper):
            return (voice,)
        if found is None:
            raise UnknownModel(f"Model {name[:MAX_CHARS]!r} not found.", param="model")
        return found.engines

    @property
    def catalogued(self) -> tuple[str, ...]:
        """The models of the catalog, and of the hub, that must be pulled before the server starts."""
        others = (e for e in self.engines.values() if isinstance(e, OpenVino | Embedding | Piper))
        here = dict.fromkeys(e.model for e in (*self.recognisers.values(), *others))
        hub = {e.model for e in self.recognisers.values() if isinstance(e, Whisper) and is_hub_name(e.model)}
        pulled = (name for name in here if name in CATALOG or name in hub)
        return (*((DETECTOR,) if self.recognisers else ()), *pulled)

    @property
    def workers(self) -> int:
        return self.recognition.workers or min(4, os.cpu_count() or 1)


def processing_of(table: Remote | Export) -> Processing:
    """Return what a table says about place and processor."""
    named = [each if isinstance(each, EndingAgreement) else None for each in table.agreements]
    ends = {each.name: each.until for each in named if each is not None}
    endless = {each: None for each in table.agreements if isinstance(each, Agreement)}
    return Processing(table.region, table.processor, {**endless, **ends}, parse_retention(table.retention))


ENVIRONMENT = {
    "ANTIPHON_HOST": "host",
    "ANTIPHON_PORT": "port",
    "ANTIPHON_DATA_DIR": "data_dir",
    "ANTIPHON_API_KEY": "api_key",
    "ANTIPHON_OFFLINE": "offline",
    "ANTIPHON_TLS_CERT": "tls_cert",
    "ANTIPHON_TLS_KEY": "tls_key",
    "ANTIPHON_TLS_SELF_SIGNED": "tls_self_signed",
    "ANTIPHON_GRPC_PORT": "grpc_port",
}
_LEVELS = ("debug", "info", "warning", "error")


def load(path: Path | None, environment: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration. `overrides` are the command line's, by field name. Raises `Invalid`."""
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            settings = msgspec.toml.decode(path.read_bytes())
        except OSError as error:
            raise Invalid(f"--config {path}: {error.strerror}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"--config {path}: {error}") from None
    if "engines" in settings:
        settings.setdefault("voices", {})  # the default names refer to voices that are replaced
        _imply_recognisers(settings)
    settings |= {field: environment[name] for name, field in ENVIRONMENT.items() if environment.get(name)}
    settings |= {field: value for field, value in (overrides or {}).items() if value is not None}
    if "grpc_port" in settings:
        port = settings.pop("grpc_port")
        settings["grpc"] = {
            **settings.get("grpc", {}),
            "port": _from_text("port", port) if isinstance(port, str) else port,
        }
    for field in ("port", "offline", "tls_self_signed"):
        settings[field] = (
            _from_text(field, settings[field])
            if isinstance(settings.get(field), str)
            else settings.get(field, getattr(_DEFAULTS, field))
        )
    try:
        config = msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        raise Invalid(_named(str(error))) from None
    _check(config)
    return config


def _imply_recognisers(settings: dict[str, Any]) -> None:
    """Add an engine for each catalog recogniser that a name refers to and no table describes."""
    names, engines = settings.get("models", MODELS), settings["engines"]
    if not isinstance(names, dict) or not isinstance(engines, dict):
        return
    implied = (answer for answer in names.values() if isinstance(answer, str) and answer in RECOGNISERS)
    settings["engines"] = {name: {"kind": RECOGNISERS[name], "model": name} for name in implied} | engines


def _from_text(field: str, text: str) -> Any:
    """Convert a value that the environment has only as text."""
    if field == "port":
        return int(text) if text.isdigit() else text
    return {"1": True, "true": True, "0": False, "false": False}.get(text.lower(), text)


def _named(message: str) -> str:
    """Put the setting first in msgspec's `Expected ... - at `$.limits.recordings``."""
    problem, _, where = message.partition(" - at `$.")
    return f"setting {where.rstrip('`')}: {problem}" if where else f"settings: {problem}"


def _check(config: Config) -> None:
    """Check what the types cannot express."""
    if config.log_level not in _LEVELS:
        raise Invalid(f"setting log_level: expected one of {', '.join(_LEVELS)}")
    if config.api_key is not None and (len(config.api_key) < 16 or not config.api_key.isascii()):
        raise Invalid("setting api_key (ANTIPHON_API_KEY): expected at least 16 ASCII characters")
    for name, answer in config.models.items():
        if isinstance(answer, Version):
            for engine in answer.engines:
                if engine not in config.engines:
                    raise Invalid(f"setting models.{name}.engines: [engines.{engine}] not found")
            if not answer.engines:
                raise Invalid(f"setting models.{name}.engines: expected one or more")
            if answer.hedge_after_ms and len(answer.engines) < 2:
                raise Invalid(f"setting models.{name}.hedge_after_ms: a second engine is needed")
            kinds = {isinstance(config.engines[engine], Recogniser) for engine in answer.engines}
            if kinds != {False} and len(answer.engines) > 1:
                raise Invalid(f"setting models.{name}.engines: a speech recogniser must be the only engine")
        elif answer not in config.engines and not isinstance(config.models.get(answer), Version):
            raise Invalid(f"setting models: {name!r} refers to {answer!r}, but no such model or engine is defined")
    for name, own in config.voices.items():
        if not isinstance(config.engines.get(own), Piper):
            raise Invalid(f"setting voices: {name!r} refers to {own!r}, but no speech engine has that name")
    for name, table in config.engines.items():
        if isinstance(table, OpenAI | OpenInference) and not table.url.startswith(("http://", "https://", "grpc://")):
            raise Invalid(f"setting engines.{name}.url: expected http://HOST:PORT")
    _check_places(config)
    if bool(config.tls_cert) != bool(config.tls_key):
        raise Invalid("settings tls_cert and tls_key: set both or neither")
    if config.tls_cert and config.tls_self_signed:
        raise Invalid("setting tls_self_signed: tls_cert and tls_key are set, too")
    if bool(config.provenance.chain) != bool(config.provenance.key):
        raise Invalid("setting provenance: set both chain and key, or neither")
    urls = {"audit.webhook": config.audit.webhook}
    urls |= {f"audit.witnesses[{at}].url": each.url for at, each in enumerate(config.audit.witnesses)}
    for setting, url in urls.items():
        if url and not url.startswith(("http://", "https://")):
            raise Invalid(f"setting {setting}: expected http://HOST:PORT or https://HOST")
    if any(char.isspace() or char == "+" for char in config.audit.origin):
        raise Invalid("setting audit.origin: expected a name without blanks and plus signs, as example.com/audit")
    networks = {
        "proxies": config.proxies,
        "fetch.allow": config.fetch.allow,
        "inspection.open_to": config.inspection.open_to,
    }
    for setting, network in ((setting, network) for setting, listed in networks.items() for network in listed):
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise Invalid(f"setting {setting}: {network!r} is not a network such as 10.0.0.0/8") from None


def _check_places(config: Config) -> None:
    """Check regions, processors and retentions, and that the configured profiles are known and can be kept."""
    tables = {f"engines.{name}.": e for name, e in config.engines.items() if isinstance(e, Remote)}
    placed: dict[str, Remote | Export] = {**tables, **{f"export.{name}.": e for name, e in config.export.items()}}
    regions = {"region": config.region} | {f"{setting}region": each.region for setting, each in placed.items()}
    processors = {f"{setting}processor": each.processor for setting, each in placed.items()}
    for names, pattern, nothing, example in (
        (regions, REGION, NOWHERE, "eu-de"),
        (processors, PROCESSOR, NOBODY, f"{SELF!r} or acme-gpu"),
    ):
        for setting, name in names.items():
            if name and (name == nothing or len(name) > MAX_CHARS or not re.fullmatch(pattern, name)):
                raise Invalid(f"setting {setting}: {name!r} is not a name such as {example}")
    for setting, each in placed.items():
        try:
            parse_retention(each.retention)
        except ValueError:
            raise Invalid(f"setting {setting}retention: expected {RETENTION}") from None
    named = {"profiles.new": config.profiles.new} | {
        f"profiles.projects.{project}": name for project, name in config.profiles.projects.items()
    }
    for setting, name in named.items():
        if name and name not in PROFILES:
            raise Invalid(f"setting {setting}: expected one of {', '.join(PROFILES)}")
        if name and config.audit.keep_days < PROFILES[name].audit_days:
            raise Invalid(f"setting audit.keep_days: the profile '{name}' needs {PROFILES[name].audit_days} or more")


_DEFAULTS = Config()
