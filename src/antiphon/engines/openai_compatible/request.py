"""What an engine is asked: a body made of our spec alone, nothing of the caller's goes through as it came.

A field stands in the body only where the spec says more than the default, so a server that does not know it is not
bothered with it. What the preset says a server would drop or get wrong is refused here, by name.
"""

from typing import Any

import msgspec

from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.specs import Format, GenerateSpec, Message, Sampling, Shape, Tool, ToolChoice, ToolMode
from antiphon.engines.openai_compatible.presets import Counts, Preset

CHAT = "/chat/completions"
COMPLETIONS = "/completions"
EMBEDDINGS = "/embeddings"

Body = dict[str, Any]

_JSON = msgspec.json.Encoder()
_MODES = {ToolMode.NONE: "none", ToolMode.AUTO: "auto", ToolMode.REQUIRED: "required"}


def encode(body: Body) -> bytes:
    return _JSON.encode(body)


def generation(spec: GenerateSpec, model: str, preset: Preset) -> tuple[str, Body]:
    """The path below the preset's base, and the body. Raises `UnsupportedParameter` and `CallerError`."""
    body: Body = {"model": model}
    if isinstance(spec.prompt, str):
        if not preset.completions:
            raise CallerError("This model takes chat messages only.", param="prompt")
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
        if spec.format.shape not in preset.shapes:
            raise UnsupportedParameter("This model's server does not enforce a format.", param="response_format")
        body["response_format"] = _format(spec.format)
    if spec.stream:
        body["stream"] = True
        if preset.counts is Counts.ALWAYS:
            body["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        elif preset.counts is Counts.END:
            body["stream_options"] = {"include_usage": True}
    for name in preset.refuses:
        if name in body:
            raise UnsupportedParameter(f"This model's server does not honour {name!r}.", param=name)
    return path, body


def _message(message: Message) -> Body:
    told: Body = {"role": message.role.value, "content": message.text}
    if message.name:
        told["name"] = message.name
    if message.tool_calls:
        if not message.text:
            told["content"] = None
        told["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        told["tool_call_id"] = message.tool_call_id
    return told


def _add_tools(body: Body, spec: GenerateSpec, preset: Preset) -> None:
    choice = spec.tool_choice
    if not spec.tools or (choice.mode is ToolMode.NONE and "tool_choice" in preset.refuses):
        return  # a server that cannot be told to leave the tools alone is not told of them
    body["tools"] = [_tool(tool) for tool in spec.tools]
    if choice != ToolChoice():
        named = {"type": "function", "function": {"name": choice.name}}
        body["tool_choice"] = named if choice.name else _MODES[choice.mode]
    elif "tool_choice" not in preset.refuses:
        body["tool_choice"] = "auto"  # said, because some take silence for "none"
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


def _format(format: Format) -> Body:
    if format.shape is Shape.JSON:
        return {"type": "json_object"}
    schema: Body = {"name": format.name, "schema": msgspec.Raw(format.schema.encode()), "strict": format.strict}
    if format.description:
        schema["description"] = format.description
    return {"type": "json_schema", "json_schema": schema}
