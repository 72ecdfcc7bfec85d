"""The configuration: one frozen value, read and validated once, at the start.

Sources, later ones win: the defaults here, a TOML file, the environment (`ANTIPHON_HOST`, `ANTIPHON_PORT`,
`ANTIPHON_DATA_DIR`, `ANTIPHON_API_KEY`). Every error names the setting.
"""

import datetime
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from antiphon.core.errors import CallerError
from antiphon.models import CATALOG

Port = Annotated[int, Meta(ge=0, le=65_535)]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]

# The names by which SDKs and their users know models, and what answers here.
VENDOR_NAMES = (
    *("nova-3", "nova-3-general", "nova-2", "nova-2-general", "nova", "nova-general"),
    *("enhanced", "enhanced-general", "base", "base-general", "general"),
    *("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"),
    *("gpt-transcribe", "gpt-live-transcribe", "gpt-realtime-whisper"),
)
DEFAULT_MODEL, DETECTOR = "moonshine-tiny-en", "silero-vad"
SPEECH_SAMPLES = "speech-samples"  # in the same wheel as the model, so they cost no download
VENDOR_LANGUAGE_NAMES = (
    *("gpt-4o-mini", "gpt-4.1-nano"),
    *("gpt-realtime", "gpt-realtime-mini", "gpt-realtime-1.5", "gpt-realtime-2", "gpt-realtime-2.1"),
)
VENDOR_SPEECH_NAMES = (
    *("tts-1", "tts-1-hd", "gpt-4o-mini-tts"),
    *(f"eleven_{name}" for name in ("multilingual_v2", "turbo_v2", "turbo_v2_5", "flash_v2", "flash_v2_5", "v3")),
)
_AURA = "angus arcas asteria athena helios hera luna orion orpheus perseus stella zeus"
_AURA_2 = """
amalthea andromeda apollo arcas aries asteria athena atlas aurora callista cora cordelia delia draco electra harmonia
helena hera hermes hyperion iris janus juno jupiter luna mars minerva neptune odysseus ophelia orion orpheus pandora
phoebe pluto saturn selene thalia theia vesta zeus"""
VENDOR_VOICE_NAMES = (
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse"),
    *(f"aura-{name}-en" for name in _AURA.split()),
    *(f"aura-2-{name}-en" for name in _AURA_2.split()),
    # Voices that the vendor's own examples name: Rachel, George, Sarah.
    *("21m00Tcm4TlvDq8ikWAM", "JBFqnCBsd6RMkjVDRZzb", "EXAVITQu4vr4xnSDxMaL"),
)


class Invalid(CallerError):
    """A setting is wrong. The message names it."""

    code = "invalid_setting"


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: unknown keys are errors."""


class Objectives(Table, frozen=True, kw_only=True):
    """Milliseconds."""

    stt_ttfb_ms: Positive = 300
    stt_final_ms: Positive = 800
    ttft_ms: Positive = 500
    tpot_ms: Positive = 15
    llm_total_ms: Positive = 2000
    tts_ttfb_ms: Positive = 75


class Limits(Table, frozen=True, kw_only=True):
    """How much at once. Memory follows from these. `uploads_mb` is of all bodies together, `kept_gb` of all answers
    that are kept.
    """

    live_streams: Positive = 1000
    recordings: Positive = 32
    generations: Positive = 2000
    generation_s: Positive = 600
    speeches: Positive = 256
    conversation_s: Positive = 3600
    upload_mb: Positive = 200
    uploads_mb: Positive = 1024
    audio_hours: Positive = 4
    live_decoders: Positive = 64
    frame_kb: Positive = 1024
    drain_s: Positive = 10
    kept_gb: Positive = 16


class Recognition(Table, frozen=True, kw_only=True):
    """`workers` threads decode; by default one a core, at most four. `speculative` and `batched` are for measuring."""

    workers: Annotated[int, Meta(ge=0, le=64)] = 0
    speculative: bool = True
    batched: bool = True
    batch_rows: Annotated[int, Meta(ge=1, le=64)] = 16
    tick_ms: Annotated[int, Meta(ge=0, le=100)] = 10


class Backend(Table, frozen=True, kw_only=True):
    """What all engines have: a share of the work where several serve one model, and the most requests at once."""

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


class Embedding(Backend, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="embedding"):
    """An embedding model on this machine: a name of the catalog."""

    model: str


class OpenAI(Backend, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="openai"):
    """A server with OpenAI's API. `server` says whose; `api_key_env` names the variable that holds its key."""

    server: str
    url: str
    model: str
    api_key_env: str = ""
    embeds: bool = False


class OpenInference(
    Backend, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="open-inference"
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


class Version(Table, frozen=True, kw_only=True):
    """A language, embedding or general model: one or more engines that serve it, and how long it is there. A second
    engine is asked too where the first has said nothing for `hedge_after_ms`; 0 is never.
    """

    engines: tuple[str, ...]
    hedge_after_ms: NotNegative = 0
    deprecated: datetime.date | None = None
    sunset: datetime.date | None = None
    successor: str = ""


class Provenance(Table, frozen=True, kw_only=True):
    """What signs synthetic speech: files of PEM certificates and of their key. Without, one made at the first start."""

    chain: str = ""
    key: str = ""


class Fetch(Table, frozen=True, kw_only=True):
    """URLs that callers give. `allow` lists networks that may be reached although they are not public."""

    allow: tuple[str, ...] = ()
    max_mb: Positive = 200
    timeout_s: Positive = 60


Engine = OpenVino | Embedding | OpenAI | OpenInference | Piper
ENGINES: dict[str, Engine] = {
    "smollm2-135m-instruct": OpenVino(model="smollm2-135m-instruct", weights="int8"),
    "all-minilm-l6-v2": Embedding(model="all-minilm-l6-v2"),
    "joe": Piper(model="en-us-joe-medium"),
}
MODELS: dict[str, str | Version] = {
    **dict.fromkeys(VENDOR_NAMES, DEFAULT_MODEL),
    "smollm2-135m-instruct": Version(engines=("smollm2-135m-instruct",)),
    **dict.fromkeys(VENDOR_LANGUAGE_NAMES, "smollm2-135m-instruct"),
    "all-minilm-l6-v2": Version(engines=("all-minilm-l6-v2",)),
    "piper": Version(engines=("joe",)),
    **dict.fromkeys(VENDOR_SPEECH_NAMES, "piper"),
}
VOICES: dict[str, str] = dict.fromkeys(VENDOR_VOICE_NAMES, "joe")


class Config(Table, frozen=True, kw_only=True):
    """Everything that can be set."""

    host: str = "127.0.0.1"
    port: Port = 8080
    data_dir: str = "~/.local/share/antiphon"
    api_key: str | None = None
    offline: bool = False
    log_level: str = "info"
    models: dict[str, str | Version] = msgspec.field(default_factory=lambda: dict(MODELS))
    engines: dict[str, Engine] = msgspec.field(default_factory=lambda: dict(ENGINES))
    voices: dict[str, str] = msgspec.field(default_factory=lambda: dict(VOICES))
    objectives: Objectives = Objectives()
    limits: Limits = Limits()
    recognition: Recognition = Recognition()
    fetch: Fetch = Fetch()
    provenance: Provenance = Provenance()

    @property
    def directory(self) -> Path:
        return Path(self.data_dir).expanduser()

    @property
    def speech(self) -> bool:
        """Whether any name is answered by a speech model."""
        return DEFAULT_MODEL in self.models.values()

    @property
    def speaks(self) -> bool:
        """Whether any engine is a voice."""
        return any(isinstance(engine, Piper) for engine in self.engines.values())

    @property
    def catalogued(self) -> tuple[str, ...]:
        """The models of the catalog that must have been pulled before the server starts."""
        here = (e.model for e in self.engines.values() if isinstance(e, OpenVino | Embedding | Piper))
        return (*((DEFAULT_MODEL, DETECTOR) if self.speech else ()), *(name for name in here if name in CATALOG))

    @property
    def workers(self) -> int:
        return self.recognition.workers or min(4, os.cpu_count() or 1)


ENVIRONMENT = {
    "ANTIPHON_HOST": "host",
    "ANTIPHON_PORT": "port",
    "ANTIPHON_DATA_DIR": "data_dir",
    "ANTIPHON_API_KEY": "api_key",
    "ANTIPHON_OFFLINE": "offline",
}
_LEVELS = ("debug", "info", "warning", "error")


def load(path: Path | None, environment: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Config:
    """The configuration. `overrides` are the command line's, by field name. Raises `Invalid`."""
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            settings = msgspec.toml.decode(path.read_bytes())
        except OSError as error:
            raise Invalid(f"--config {path}: {error.strerror}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"--config {path}: {error}") from None
    if "engines" in settings:
        settings.setdefault("voices", {})  # the default names are of voices that are no more
    settings |= {field: environment[name] for name, field in ENVIRONMENT.items() if environment.get(name)}
    settings |= {field: value for field, value in (overrides or {}).items() if value is not None}
    for field in ("port", "offline"):
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


def _from_text(field: str, text: str) -> Any:
    """What the environment can only say as text."""
    if field == "port":
        return int(text) if text.isdigit() else text
    return {"1": True, "true": True, "0": False, "false": False}.get(text.lower(), text)


def _named(message: str) -> str:
    """msgspec says `Expected ... - at `$.limits.recordings``; say the setting first."""
    problem, _, where = message.partition(" - at `$.")
    return f"setting {where.rstrip('`')}: {problem}" if where else f"settings: {problem}"


def _check(config: Config) -> None:
    """What the types cannot say."""
    if config.log_level not in _LEVELS:
        raise Invalid(f"setting log_level: expected one of {', '.join(_LEVELS)}")
    if config.api_key is not None and (len(config.api_key) < 16 or not config.api_key.isascii()):
        raise Invalid("setting api_key (ANTIPHON_API_KEY): expected at least 16 ASCII characters")
    for name, answer in config.models.items():
        if isinstance(answer, Version):
            for engine in answer.engines:
                if engine not in config.engines:
                    raise Invalid(f"setting models.{name}.engines: there is no [engines.{engine}]")
            if not answer.engines:
                raise Invalid(f"setting models.{name}.engines: expected one or more")
            if answer.hedge_after_ms and len(answer.engines) < 2:
                raise Invalid(f"setting models.{name}.hedge_after_ms: there is no second engine")
        elif answer != DEFAULT_MODEL and not isinstance(config.models.get(answer), Version):
            raise Invalid(f"setting models: {name!r} is answered by {answer!r}, but there is no such model")
    for name, own in config.voices.items():
        if not isinstance(config.engines.get(own), Piper):
            raise Invalid(f"setting voices: {name!r} is spoken by {own!r}, but no engine of that name speaks")
    for name, table in config.engines.items():
        if isinstance(table, OpenAI | OpenInference) and not table.url.startswith(("http://", "https://", "grpc://")):
            raise Invalid(f"setting engines.{name}.url: expected http://HOST:PORT")
    if bool(config.provenance.chain) != bool(config.provenance.key):
        raise Invalid("setting provenance: chain and key belong together")
    for network in config.fetch.allow:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise Invalid(f"setting fetch.allow: {network!r} is no network such as 10.0.0.0/8") from None


_DEFAULTS = Config()
