"""The tables of engines, and of the models that they serve."""

import datetime
from typing import Annotated, Literal

from msgspec import Meta

from antiphon.config.agreements import Agreements
from antiphon.config.tables import NotNegative, Positive, Table
from antiphon.core.capabilities import Ability


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
    grammars_mb: Positive = 1024
    default_max_tokens: Positive = 2048
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None


class Embedding(Backend, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="embedding"):
    """An embedding model on this machine: a name of the catalog."""

    model: str


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


Recogniser = Moonshine | Whisper
Engine = OpenVino | Embedding | OpenAI | OpenInference | Piper | Recogniser
