"""All settings, as one value, and their defaults."""

import os
from pathlib import Path

import msgspec

from antiphon.config.agreements import EndingAgreement, ProfileNames
from antiphon.config.engines import (
    Embedding,
    Engine,
    Moonshine,
    OpenVino,
    Piper,
    Recogniser,
    Remote,
    Version,
    Whisper,
)
from antiphon.config.exports import Export, OpenMeterExport, StripeExport, WebhookExport
from antiphon.config.names import (
    VENDOR_EMBEDDING_NAMES,
    VENDOR_LANGUAGE_NAMES,
    VENDOR_NAMES,
    VENDOR_SPEECH_NAMES,
    VENDOR_VOICE_NAMES,
)
from antiphon.config.tables import (
    Audit,
    Budgets,
    Encryption,
    Fetch,
    Grpc,
    Inspection,
    Limits,
    Objectives,
    Oidc,
    Port,
    Pricing,
    Provenance,
    Recognition,
    Redaction,
    Table,
)
from antiphon.core.errors import UnknownModel
from antiphon.core.place import MAX_CHARS, SELF, Agreement, Processing, parse_retention
from antiphon.models import CATALOG, is_hub_name

DETECTOR = "silero-vad"
SPEECH_SAMPLES = "speech-samples"  # in the same wheel as the model, so they cost no download
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
    origins: tuple[str, ...] = ("*",)
    profiles: ProfileNames = msgspec.field(default_factory=ProfileNames)
    models: dict[str, str | Version] = msgspec.field(default_factory=lambda: dict(MODELS))
    engines: dict[str, Engine] = msgspec.field(default_factory=lambda: dict(ENGINES))
    voices: dict[str, str] = msgspec.field(default_factory=lambda: dict(VOICES))
    objectives: Objectives = Objectives()
    limits: Limits = Limits()
    recognition: Recognition = Recognition()
    fetch: Fetch = Fetch()
    inspection: Inspection = Inspection()
    encryption: Encryption = Encryption()
    audit: Audit = Audit()
    oidc: Oidc = msgspec.field(default_factory=Oidc)
    budgets: Budgets = Budgets()
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
        found = self.versions.get(self.aliases.get(name, name))
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
    ends = {each.name: each.until for each in table.agreements if isinstance(each, EndingAgreement)}
    endless = {each: None for each in table.agreements if isinstance(each, Agreement)}
    return Processing(table.region, table.processor, {**endless, **ends}, parse_retention(table.retention))
