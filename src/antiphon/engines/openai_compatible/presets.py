"""What each server with OpenAI's API does differently, by its own documentation or source.

`cannot` is what a server silently drops, answers wrongly or does not know. What a server refuses itself is left to it,
for example whether its model accepts pictures. The sources are named with their version, because these servers change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from antiphon.core.capabilities import EVERYTHING, Ability
from antiphon.core.specs import EFFORTS

STRUCTURED = frozenset({Ability.CHOICE_OUTPUT, Ability.REGEX_OUTPUT, Ability.GRAMMAR_OUTPUT})
# What OpenAI's API has no parameter for.
_BEYOND = STRUCTURED | {
    Ability.TOP_K,
    Ability.MIN_P,
    Ability.REPETITION_PENALTY,
    Ability.MIN_TOKENS,
    Ability.IGNORE_EOS,
    Ability.STOP_TOKENS,
    Ability.STOP_IN_OUTPUT,
    Ability.SPECIAL_TOKENS,
    Ability.BAD_WORDS,
    Ability.ALLOWED_TOKENS,
    Ability.TEMPLATE_ARGUMENTS,
}


class Counts(StrEnum):
    """When a streaming server reports the usage of a generation."""

    ALWAYS = (
        "always"  # with each chunk, of its choice (`stream_options.continuous_usage_stats`); and at the end, of all
    )
    END = "end"  # at the end, if requested (`stream_options.include_usage`)
    NO_OPTION = "no option"  # at the end, if at all; it knows no `stream_options`


@dataclass(frozen=True, slots=True)
class Preset:
    """One kind of server. `base` precedes `/chat/completions`; `health` answers 200 when calls can be taken (`{model}`
    is the model's name). `max_tokens` is its name for the bound on output. `cannot` are the abilities that it lacks,
    `spelled` its own names of parameters, `efforts` those of `EFFORTS` that it knows. `embeddings` says whether it has
    them, `one_text` that it embeds one text per request, `gives_up` that it stops generating a whole answer whose
    connection is closed.
    """

    base: str = "/v1"
    health: str = "/health"
    max_tokens: str = "max_completion_tokens"
    counts: Counts = Counts.END
    cannot: frozenset[Ability] = _BEYOND
    spelled: Mapping[Ability, str] = field(default_factory=dict)
    efforts: tuple[str, ...] = EFFORTS
    embeddings: bool = True
    one_text: bool = False
    gives_up: bool = True

    @property
    def abilities(self) -> frozenset[Ability]:
        return EVERYTHING - self.cannot


# vLLM 0.32.0, vllm/entrypoints/openai/chat_completion/protocol.py and vllm/entrypoints/generate/base/protocol.py: both
# spellings of the bound, `seed`, `response_format`, `logprobs`, `logit_bias`, `reasoning_effort` (all seven), and
# continuous usage; `guided_json` has gone. /health: vllm/entrypoints/serve/instrumentator/health.py. Beyond OpenAI's
# API it has its `sampling_extra_params` and `chat_template_kwargs`; `structured_outputs` has taken the place of
# `guided_json` and its like. Of pictures: docs/features/multimodal_inputs; a model that sees none answers 400.
_VLLM = Preset(counts=Counts.ALWAYS, cannot=frozenset({Ability.VERBOSITY}))

PRESETS: dict[str, Preset] = {
    # OpenAI's reference of chat completions: its own API, and any server without further documentation.
    "openai": Preset(health="/v1/models", efforts=EFFORTS[:-1]),
    "vllm": _VLLM,
    # SGLang (main, August 2026), srt/entrypoints/openai/protocol.py: as vLLM's, without `bad_words`,
    # `allowed_token_ids`, `include_stop_str_in_output` and `structured_outputs`; `parallel_tool_calls` is parsed and
    # never read. /health says that the process serves; /health_generate would spend a token on each probe.
    "sglang": Preset(
        counts=Counts.ALWAYS,
        cannot=STRUCTURED
        | {
            Ability.ONE_TOOL_CALL,
            Ability.BAD_WORDS,
            Ability.ALLOWED_TOKENS,
            Ability.STOP_IN_OUTPUT,
            Ability.VERBOSITY,
        },
    ),
    # TensorRT-LLM (main, August 2026), serve/openai_protocol.py: unknown fields are an error; of `parallel_tool_calls`
    # it says "accepted for compatibility, `false` is not enforced"; `tool_choice` "required" is taken as "auto".
    # `logit_bias` is its embedding bias; of efforts it knows five.
    "tensorrt-llm": Preset(
        counts=Counts.ALWAYS,
        cannot=STRUCTURED | {Ability.ONE_TOOL_CALL, Ability.BAD_WORDS, Ability.ALLOWED_TOKENS, Ability.VERBOSITY},
        efforts=("none", "low", "medium", "high", "max"),
    ),
    # Ollama (main, August 2026), openai/openai.go: `max_tokens` alone; there is no `n`, `tool_choice`,
    # `parallel_tool_calls` or `logit_bias` in its request, so they are dropped. Efforts: the same file. Of pictures it
    # takes PNG, JPEG and WebP. `/api/version`: server/routes.go.
    "ollama": Preset(
        health="/api/version",
        max_tokens="max_tokens",
        cannot=_BEYOND
        | {Ability.CHOICES, Ability.TOOL_CHOICE, Ability.ONE_TOOL_CALL, Ability.LOGIT_BIAS, Ability.VERBOSITY},
        efforts=("none", "low", "medium", "high"),
    ),
    # LitServe 0.2.19, specs/openai.py: chat only; what its request does not name is dropped, what it names is handed to
    # the user's own code, which may honour it. Usage is the user's code's too, and comes with the last chunk if at all.
    "litserve": Preset(
        counts=Counts.NO_OPTION,
        cannot=_BEYOND
        | {
            *(Ability.SEED, Ability.LOGPROBS, Ability.TOP_LOGPROBS, Ability.LOGIT_BIAS),
            *(Ability.ONE_TOOL_CALL, Ability.RAW_TEXT, Ability.VERBOSITY),
        },
        embeddings=False,
    ),
    # Ray Serve LLM (ray 2.60), llm/_internal/serve: vLLM's own request types behind Ray's ingress, which hands them on.
    # /-/healthz is the proxy's (Ray Serve's production guide); the models' list needs a replica that is up.
    "ray-serve": replace(_VLLM, health="/v1/models"),
    # BentoML 1.4, its vLLM examples (BentoVLLM): vLLM's own server behind BentoML's proxy, which does not see that a
    # connection is closed until an answer has begun (_bentoml_impl/server/proxy.py); /readyz is BentoML's.
    "bentoml": replace(_VLLM, health="/readyz", gives_up=False),
    # KServe 0.21, python/kserve/kserve/protocol/rest/openai: vLLM's request types under /openai; the Hugging Face
    # runtime runs on vLLM for what vLLM can load. A model's readiness is the Open Inference Protocol's.
    "kserve": replace(_VLLM, base="/openai/v1", health="/v2/models/{model}/ready"),
    # llama.cpp (master, October 2026), tools/server/README.md and server-chat: `max_tokens` is the name that every
    # version of it knows; `timings_per_token` is not usage, so usage comes at the end.
    # Sampling beyond OpenAI's: the same README, "/completion", whose options the chat endpoint takes as well: of
    # `logit_bias` OpenAI's form. A `reasoning_effort` is handed to the model's template; a model that sees no pictures
    # is an error of its own.
    "llama.cpp": Preset(
        max_tokens="max_tokens",
        cannot=_BEYOND
        - {Ability.TOP_K, Ability.MIN_P, Ability.IGNORE_EOS, Ability.TEMPLATE_ARGUMENTS}
        - {Ability.REPETITION_PENALTY}
        | {Ability.VERBOSITY},
        spelled={Ability.REPETITION_PENALTY: "repeat_penalty"},
    ),
    # Triton's OpenAI frontend (server main, August 2026), python/openai/openai_frontend: `response_format` is parsed
    # and never read; `n` over 1 and `parallel_tool_calls` are its own errors; it embeds one text a request. It ends
    # each choice with "stop", whatever the reason was.
    "triton": Preset(
        health="/health/ready",
        cannot=_BEYOND | {Ability.JSON_OUTPUT, Ability.REASONING_EFFORT, Ability.VERBOSITY, Ability.IMAGES},
        one_text=True,
    ),
}
