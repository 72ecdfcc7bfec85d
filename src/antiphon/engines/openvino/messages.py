"""The messages between the server and the pipeline's process.

Both sides have the same version, so structures are sent as arrays, without names.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from antiphon.core.errors import CallerError
from antiphon.engines.process import Unloadable

WEIGHTS = ("file", "int8")
PRECISIONS = ("u8", "f16", "bf16", "f32")
BLOCK_TOKENS = 32  # of the pipeline's paged attention on a CPU


@dataclass(frozen=True, slots=True)
class OpenVinoSettings:
    """The settings of the pipeline. Each was measured; see the results.

    `weights` is one of `WEIGHTS`: as in the file, or every matrix rewritten (`weights.to_int8`). `kv_cache_gb` bounds
    the memory for keys and values, allocated as needed; `kv_cache_precision` is one of `PRECISIONS`. `eviction_tokens`
    keeps at most that many tokens of each request in the cache, dropping those with the least attention first; 0 keeps
    all; it excludes `prefix_caching`. `prompt_lookup_tokens` guesses that many tokens from earlier text that ended in
    the same `prompt_lookup_ngram` tokens, 0 none. A step computes at most `max_batched_tokens` for at most
    `max_sequences` requests; at most `max_requests` are admitted, including waiting ones. `split_fuse` computes a long
    prompt in parts beside running requests; without it, prompts have at most `max_batched_tokens`. `threads` is 0 for
    as many as there are cores. When the grammars of JSON schemas and tools take more than `grammars_mb` of memory, the
    process is replaced as soon as nothing is asked of it. `default_max_tokens` bounds an output if the caller gives no
    bound; `temperature` and `top_p` are defaults, where `None` means the model's files, or 1. `frequency_penalty` is
    for conversations whose callers set no sampling, tools or formats.
    """

    weights: str = "file"
    kv_cache_gb: int = 1
    kv_cache_precision: str = "f16"
    prefix_caching: bool = True
    eviction_tokens: int = 0
    prompt_lookup_tokens: int = 0
    prompt_lookup_ngram: int = 3
    max_batched_tokens: int = 512
    max_sequences: int = 128
    max_requests: int = 1024
    split_fuse: bool = True
    threads: int = 0
    grammars_mb: int = 1024
    default_max_tokens: int = 2048
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None

    def __post_init__(self) -> None:
        """Raise `CallerError` for values that would break the pipeline."""
        eviction = self.eviction_tokens
        for setting, right in (
            ("weights", self.weights in WEIGHTS),
            ("kv_cache_gb", self.kv_cache_gb >= 1),
            ("kv_cache_precision", self.kv_cache_precision in PRECISIONS),
            ("eviction_tokens", eviction == 0 or (eviction >= 4 * BLOCK_TOKENS and eviction % BLOCK_TOKENS == 0)),
            ("prefix_caching", not (eviction and self.prefix_caching)),
            ("prompt_lookup_tokens", self.prompt_lookup_tokens >= 0),
            ("prompt_lookup_ngram", self.prompt_lookup_ngram >= 1),
            ("max_sequences", 1 <= self.max_sequences <= self.max_batched_tokens),
            ("max_requests", self.max_requests >= 1),
            ("threads", self.threads >= 0),
            ("grammars_mb", self.grammars_mb >= 1),
            ("default_max_tokens", self.default_max_tokens >= 1),
            ("temperature", self.temperature is None or 0 <= self.temperature <= 2),
            ("top_p", self.top_p is None or 0 <= self.top_p <= 1),
            ("frequency_penalty", self.frequency_penalty is None or -2 <= self.frequency_penalty <= 2),
        ):
            if not right:
                raise CallerError(f"{setting} is out of range, or conflicts with other settings", param=setting)


# -- to the pipeline ---------------------------------------------------------------------------------------------------


class Load(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Load a model. `kept_in` is the folder of rewritten models, if `weights` asks for one."""

    path: str
    settings: OpenVinoSettings
    kept_in: str = ""


class Generate(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Start a request. `prompt` is a raw text, or messages for the model's own template, which gets `tools` if it knows
    them, and `template_arguments`. `sampling` are fields of the pipeline's own configuration; `seeds` has one for each
    choice. `grammar` is a structural tag, as JSON.
    """

    number: int
    prompt: str | list[dict[str, Any]]
    tools: list[dict[str, Any]]
    sampling: dict[str, Any]
    seeds: list[int]
    max_tokens: int
    grammar: str
    template_arguments: dict[str, Any] = {}


class Cancel(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Cancel one choice of a request, or all of them."""

    number: int
    choice: int | None = None


Command = Load | Generate | Cancel

# -- from the pipeline -------------------------------------------------------------------------------------------------


class Model(msgspec.Struct, array_like=True, frozen=True):
    """The loaded model. `vocabulary` is each token's bytes, none for a special token, and `longest_bytes` the length of
    the longest; `temperature` and `top_p` are defaults, `None` if neither settings nor files have any, and
    `frequency_penalty` is for callers that set no sampling.
    """

    vocabulary: list[bytes]
    context_tokens: int
    longest_bytes: int
    knows_tools: bool
    temperature: float | None
    top_p: float | None
    frequency_penalty: float | None = None


class Ready(msgspec.Struct, tag=True, array_like=True, frozen=True):
    model: Model


class Begun(msgspec.Struct, array_like=True, frozen=True):
    """A request was admitted; `cached` of its `input` tokens were in the prefix cache."""

    number: int
    input: int
    cached: int


class Why(StrEnum):
    """Why a request was refused."""

    EMPTY = "empty"
    TOO_LONG = "too long"
    GRAMMAR = "grammar"
    REJECTED = "rejected"  # by the pipeline itself


class Refused(msgspec.Struct, array_like=True, frozen=True):
    """A request was refused. `input` is how many tokens its prompt has, at least."""

    number: int
    why: Why
    input: int = 0


class Chunk(msgspec.Struct, array_like=True, frozen=True):
    """New tokens of one choice. `end` is one of the marks below, or empty."""

    number: int
    choice: int
    tokens: list[int]
    logprobs: list[float] | None
    end: str


STOP, LENGTH, OUT_OF_MEMORY = "stop", "length", "memory"


class Stepped(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """The results of a step, for all requests. `cache_bytes` is the bound, `cache_share` the used part, 0 to 1."""

    begun: list[Begun]
    refused: list[Refused]
    chunks: list[Chunk]
    cache_bytes: int
    cache_share: float


Report = Ready | Unloadable | Stepped

command_decoder = msgspec.msgpack.Decoder(Command)
report_decoder = msgspec.msgpack.Decoder(Report)
