"""What each server with OpenAI's API does differently, as its own documentation or source has it.

`refuses` names parameters, as OpenAI spells them, that a server drops without a word or answers wrongly; a call that
needs one is refused here, by that name. What a server refuses itself is left to it. The sources are named with their
version, because these servers change.
"""

from dataclasses import dataclass
from enum import StrEnum

from antiphon.core.specs import Shape


class Counts(StrEnum):
    """When a streaming server tells what a generation took."""

    ALWAYS = (
        "always"  # with each chunk, of its choice (`stream_options.continuous_usage_stats`); and at the end, of all
    )
    END = "end"  # at the end, where it is asked for (`stream_options.include_usage`)
    UNASKED = "unasked"  # at the end, if at all; it knows no `stream_options`


@dataclass(frozen=True, slots=True)
class Preset:
    """`base` is in front of `/chat/completions`, `health` what answers 200 when calls can be taken (`{model}` is the
    model's name). `max_tokens` is how the bound on output is spelt. `shapes` are those of the output that it enforces.
    `completions` and `embeddings` say whether it has these; `one_text` that it embeds one text a request.
    """

    base: str = "/v1"
    health: str = "/health"
    max_tokens: str = "max_completion_tokens"
    counts: Counts = Counts.END
    shapes: frozenset[Shape] = frozenset(Shape)
    refuses: frozenset[str] = frozenset()
    completions: bool = True
    embeddings: bool = True
    one_text: bool = False


# vLLM 0.32.0, vllm/entrypoints/openai/chat_completion/protocol.py and vllm/entrypoints/generate/base/protocol.py: both
# spellings of the bound, `seed`, `response_format`, `logprobs`, continuous usage; `guided_json` has gone.
# /health: vllm/entrypoints/serve/instrumentator/health.py.
_VLLM = Preset(counts=Counts.ALWAYS)

PRESETS: dict[str, Preset] = {
    # OpenAI's reference of chat completions: its own API, and any server that says no more of itself than that.
    "openai": Preset(health="/v1/models"),
    "vllm": _VLLM,
    # SGLang (main, August 2026), srt/entrypoints/openai/protocol.py: as vLLM's; `parallel_tool_calls` is parsed and
    # never read. /health says that the process serves; /health_generate would spend a token on each probe.
    "sglang": Preset(counts=Counts.ALWAYS, refuses=frozenset({"parallel_tool_calls"})),
    # TensorRT-LLM (main, August 2026), serve/openai_protocol.py: unknown fields are an error; of `parallel_tool_calls`
    # it says "accepted for compatibility, `false` is not enforced"; `tool_choice` "required" is taken as "auto".
    "tensorrt-llm": Preset(counts=Counts.ALWAYS, refuses=frozenset({"parallel_tool_calls"})),
    # Ollama (main, August 2026), openai/openai.go: `max_tokens` alone; there is no `n`, `tool_choice` or
    # `parallel_tool_calls` in its request, so they are dropped. `/api/version`: server/routes.go.
    "ollama": Preset(
        health="/api/version",
        max_tokens="max_tokens",
        refuses=frozenset({"n", "tool_choice", "parallel_tool_calls"}),
    ),
    # LitServe 0.2.19, specs/openai.py: chat only; what its request does not name is dropped, what it names is handed to
    # the user's own code, which may honour it. Usage is the user's code's too, and comes with the last chunk if at all.
    "litserve": Preset(
        counts=Counts.UNASKED,
        refuses=frozenset({"seed", "logprobs", "parallel_tool_calls"}),
        completions=False,
        embeddings=False,
    ),
    # Ray Serve LLM (ray 2.60), llm/_internal/serve: vLLM's own request types behind Ray's ingress, which hands them on.
    # /-/healthz is the proxy's (Ray Serve's production guide); the models' list needs a replica that is up.
    "ray-serve": Preset(health="/v1/models", counts=Counts.ALWAYS),
    # BentoML 1.4, its vLLM examples (BentoVLLM): vLLM's own server, mounted as an ASGI app; /readyz is BentoML's.
    "bentoml": Preset(health="/readyz", counts=Counts.ALWAYS),
    # KServe 0.21, python/kserve/kserve/protocol/rest/openai: vLLM's request types under /openai; the Hugging Face
    # runtime runs on vLLM for what vLLM can load. A model's readiness is the Open Inference Protocol's.
    "kserve": Preset(base="/openai/v1", health="/v2/models/{model}/ready", counts=Counts.ALWAYS),
    # llama.cpp (master, October 2026), tools/server/README.md and server-chat: `max_tokens` is the name that every
    # version of it knows; `timings_per_token` is not usage, so usage comes at the end.
    "llama.cpp": Preset(max_tokens="max_tokens"),
    # Triton's OpenAI frontend (server main, August 2026), python/openai/openai_frontend: `response_format` is parsed
    # and never read; `n` over 1 and `parallel_tool_calls` are its own errors; it embeds one text a request. It ends
    # each choice with "stop", whatever the reason was.
    "triton": Preset(
        health="/health/ready",
        shapes=frozenset({Shape.TEXT}),
        one_text=True,
    ),
}
