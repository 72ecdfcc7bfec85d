"""The request to an engine: its body is made only from our spec; no input of the caller is copied unchecked.

A field is in the body only if the spec differs from the default, so that a server need not know it. What the server
cannot do by its preset is not requested: the session takes care of that.
"""

from operator import attrgetter
from typing import Any

import msgspec

from antiphon.core.capabilities import Ability
from antiphon.core.errors import CallerError
from antiphon.core.specs import (
    EFFORTS,
    Format,
    GenerateSpec,
    Image,
    Message,
    Sampling,
    Shape,
    Tool,
    ToolChoice,
    ToolMode,
)
from antiphon.engines.openai_compatible.presets import Counts, Preset

CHAT = "/chat/completions"
COMPLETIONS = "/completions"
EMBEDDINGS = "/embeddings"

Body = dict[str, Any]

_JSON = msgspec.json.Encoder()
_STRUCTURED = frozenset({Shape.CHOICE, Shape.REGEX, Shape.GRAMMAR})  # vLLM's `structured_outputs`
_OPEN = {
    Ability.TOP_K: "top_k",
    Ability.MIN_P: "min_p",
    Ability.REPETITION_PENALTY: "repetition_penalty",
    Ability.MIN_TOKENS: "min_tokens",
    Ability.IGNORE_EOS: "ignore_eos",
    Ability.STOP_TOKENS: "stop_token_ids",
    Ability.STOP_IN_OUTPUT: "stop_in_output",
    Ability.BAD_WORDS: "bad_words",
    Ability.ALLOWED_TOKENS: "allowed_token_ids",
    Ability.SPECIAL_TOKENS: "special_tokens",
}
_read_open = attrgetter(*_OPEN.values())
_MODES = {ToolMode.NONE: "none", ToolMode.AUTO: "auto", ToolMode.REQUIRED: "required"}


def encode(body: Body) -> bytes:
    """Return the body as JSON. Raises `CallerError` for a value that JSON, as servers read it, cannot hold."""
    try:
        return _JSON.encode(body)
    except (OverflowError, RecursionError, UnicodeError):
        raise CallerError("The request has a value that cannot be passed to the model.") from None


def generation(spec: GenerateSpec, model: str, preset: Preset) -> tuple[str, Body]:
    """Return the path below the preset's base, and the body."""
    body: Body = {"model": model}
    if isinstance(spec.prompt, str):
        path = COMPLETIONS
        body["prompt"] = spec.prompt
    else:
        path = CHAT
        body["messages"] = [_message(message) for message in spec.prompt]
        _add_tools(body, spec, preset)
    if spec.choices != 1:
        body["n"] = spec.choices
    _add_sampling(body, spec.sampling, preset, chat=path is CHAT)
    if spec.format.shape is not Shape.TEXT:
        if spec.format.shape in _STRUCTURED:
            body["structured_outputs"] = _structured(spec.format)
        else:
            body["response_format"] = _format(spec.format)
    if spec.template_arguments:
        body["chat_template_kwargs"] = msgspec.Raw(spec.template_arguments.encode())
    if spec.reasoning_effort:
        body["reasoning_effort"] = nearest(spec.reasoning_effort, preset.efforts)
    if spec.verbosity not in ("", "medium"):  # which is the default everywhere
        body["verbosity"] = spec.verbosity
    if spec.stream:
        body["stream"] = True
        if preset.counts is Counts.ALWAYS:
            body["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        elif preset.counts is Counts.END:
            body["stream_options"] = {"include_usage": True}
    return path, body


def nearest(effort: str, known: tuple[str, ...]) -> str:
    """Return the known effort nearest to the wanted one; of two, the greater."""
    wanted = EFFORTS.index(effort)
    return min(known, key=lambda each: (abs(EFFORTS.index(each) - wanted), -EFFORTS.index(each)))


def _structured(format: Format) -> Body:
    """Return vLLM's own parameter for formats that OpenAI's API lacks."""
    if format.shape is Shape.CHOICE:
        return {"choice": msgspec.Raw(format.schema.encode())}
    return {format.shape.value: format.schema}


def _message(message: Message) -> Body:
    fields: Body = {"role": message.role.value, "content": message.text}
    if message.parts:
        fields["content"] = [_part(part) for part in message.parts]
    if message.name:
        fields["name"] = message.name
    if message.tool_calls:
        if not message.text:
            fields["content"] = None
        fields["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        fields["tool_call_id"] = message.tool_call_id
    return fields


def _part(part: str | Image) -> Body:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    shown = {"url": part.url} | ({"detail": part.detail} if part.detail else {})
    return {"type": "image_url", "image_url": shown}


def _add_tools(body: Body, spec: GenerateSpec, preset: Preset) -> None:
    choice = spec.tool_choice
    takes_choice = Ability.TOOL_CHOICE not in preset.cannot
    if not spec.tools or (choice.mode is ToolMode.NONE and not takes_choice):
        return  # a server that cannot be told to leave the tools alone gets none
    body["tools"] = [_tool(tool) for tool in spec.tools]
    if choice != ToolChoice():
        named = {"type": "function", "function": {"name": choice.name}}
        body["tool_choice"] = named if choice.name else _MODES[choice.mode]
    elif takes_choice:
        body["tool_choice"] = "auto"  # sent, because some take its absence for "none"
    if not spec.parallel_tool_calls:
        body["parallel_tool_calls"] = False


def _tool(tool: Tool) -> Body:
    function: Body = {
        "name": tool.name,
        "description": tool.description,
        "parameters": msgspec.Raw(tool.parameters.encode()),
    }
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _add_sampling(body: Body, sampling: Sampling, preset: Preset, *, chat: bool) -> None:
    if sampling.max_tokens is not None:
        body[preset.max_tokens if chat else "max_tokens"] = sampling.max_tokens
    if sampling.temperature is not None:
        body["temperature"] = sampling.temperature
    if sampling.top_p is not None:
        body["top_p"] = sampling.top_p
    if sampling.stop:
        body["stop"] = sampling.stop
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.logit_bias:
        body["logit_bias"] = dict(sampling.logit_bias)
    for ability, value in _open_engines(sampling).items():
        body[preset.spelled.get(ability, ability.value)] = value
    if sampling.presence_penalty:
        body["presence_penalty"] = sampling.presence_penalty
    if sampling.frequency_penalty:
        body["frequency_penalty"] = sampling.frequency_penalty
    if sampling.logprobs:
        if chat:
            body["logprobs"] = True
            if sampling.top_logprobs:
                body["top_logprobs"] = sampling.top_logprobs
        else:
            body["logprobs"] = max(1, sampling.top_logprobs)  # some take 0 for none at all


def _open_engines(sampling: Sampling) -> dict[Ability, Any]:
    """Return what open engines know beyond OpenAI's API, if it differs from the default."""
    values: tuple[Any, ...] = _read_open(sampling)
    if not any(values):
        return {}
    parameters = {ability: value for ability, value in zip(_OPEN, values, strict=True) if value}
    if parameters.get(Ability.REPETITION_PENALTY) == 1:
        del parameters[Ability.REPETITION_PENALTY]
    if Ability.SPECIAL_TOKENS in parameters:
        parameters[Ability.SPECIAL_TOKENS] = False  # engines are told that they are skipped
    return parameters


def _format(format: Format) -> Body:
    if format.shape is Shape.JSON:
        return {"type": "json_object"}
    schema: Body = {"name": format.name, "schema": msgspec.Raw(format.schema.encode()), "strict": format.strict}
    if format.description:
        schema["description"] = format.description
    return {"type": "json_schema", "json_schema": schema}
