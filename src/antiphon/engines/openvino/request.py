"""Translation of a spec for the pipeline: a conversation, a sampling configuration, and a grammar.

If a model's template does not know tools, the system prompt describes them, in the form of Hermes models and Qwen's
templates: a call is `<tool_call>`, a JSON object with `name` and `arguments`, `</tool_call>`. Once it has begun, the
grammar permits nothing else, whatever the model was trained on.
"""

import json
from math import isfinite
from typing import Any

from antiphon.core.capabilities import Ability
from antiphon.core.errors import CallerError, ContextLengthExceeded, UnsupportedParameter
from antiphon.core.specs import Format, GenerateSpec, Message, Role, Sampling, Shape, Tool, ToolMode
from antiphon.engines.openvino.ebnf import grammar, one_of
from antiphon.engines.openvino.messages import Generate, Model
from antiphon.engines.openvino.schema import Totals, enforceable

# The pipeline returns log-probabilities only of the tokens it chose, and takes no bias of single tokens; its structural
# tags have no regular expressions, and only a grammar language of their own. It runs models that read text.
ABILITIES = frozenset(
    {
        *(Ability.RAW_TEXT, Ability.CHOICES, Ability.SEED, Ability.LOGPROBS, Ability.TEMPLATE_ARGUMENTS),
        *(Ability.TOOL_CHOICE, Ability.ONE_TOOL_CALL, Ability.JSON_OUTPUT, Ability.CHOICE_OUTPUT),
        *(Ability.TOP_K, Ability.MIN_P, Ability.REPETITION_PENALTY, Ability.MIN_TOKENS, Ability.IGNORE_EOS),
    }
)

MAX_CHOICES = 128
MAX_NESTING = 64  # of JSON for a template
GREEDY_BELOW = 0.01  # a lower temperature is greedy, because dividing by it would overflow

_TEMPLATES_OWN = frozenset({"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"})

CALL_BEGIN, CALL_END = "<tool_call>", "}\n</tool_call>"

_TOOLS_TEXT = (
    "You may call one or more functions to assist with the user query. The functions, one JSON object a line:\n"
    "<tools>\n{tools}\n</tools>\n\n"
    "To call a function, write a JSON object with its name and arguments between tags:\n"
    '<tool_call>\n{{"name": "<function-name>", "arguments": <arguments-object>}}\n</tool_call>'
)


def call_head(tool: Tool) -> str:
    """Return how a call of that tool begins, up to its arguments."""
    return f'{CALL_BEGIN}\n{{"name": {json.dumps(tool.name)}, "arguments": '


def translated(spec: GenerateSpec, number: int, model: Model, default_max_tokens: int, seed: int) -> Generate:
    """Return the request for the pipeline. Raises `CallerError` if it cannot do it. `seed` is used if the caller gave
    none.
    """
    if not 1 <= spec.choices <= MAX_CHOICES:
        raise CallerError(f"The number of choices must be between 1 and {MAX_CHOICES}.", param="n")
    tools = offered(spec)
    _check_length(spec, tools, model)
    first = (seed if spec.sampling.seed is None else spec.sampling.seed) % 2**32
    bound = spec.sampling.max_tokens
    return Generate(
        number=number,
        prompt=spec.prompt if isinstance(spec.prompt, str) else _conversation(spec.prompt, tools, model.knows_tools),
        tools=[_described(tool) for tool in tools],
        sampling=_sampling(spec, model),
        seeds=[(first + choice) % 2**32 for choice in range(spec.choices)],
        max_tokens=default_max_tokens if bound is None else bound,
        grammar=_grammar(spec, tools),
        template_arguments=_template_arguments(spec),
    )


def _check_length(spec: GenerateSpec, tools: tuple[Tool, ...], model: Model) -> None:
    """Refuse a text that cannot fit before it is split into tokens, since all requests would wait for that."""
    texts = [spec.prompt] if isinstance(spec.prompt, str) else [message.text for message in spec.prompt]
    texts += [tool.description for tool in tools]
    least = sum(len(text.encode(errors="replace")) for text in texts) // model.longest_bytes
    if least >= model.context_tokens:
        raise ContextLengthExceeded.by(least, model.context_tokens, prompt_param(spec))


def prompt_param(spec: GenerateSpec) -> str:
    """Return the caller's name for the prompt."""
    return "prompt" if isinstance(spec.prompt, str) else "messages"


def offered(spec: GenerateSpec) -> tuple[Tool, ...]:
    """Return the tools that may be called. Raises `CallerError` if the choice names another."""
    choice = spec.tool_choice
    if choice.mode is ToolMode.NONE:
        return ()
    if choice.mode is ToolMode.REQUIRED and not spec.tools:
        raise CallerError("A tool call is required, but no tools are given.", param="tool_choice")
    if choice.name and all(tool.name != choice.name for tool in spec.tools):
        raise CallerError("The required tool is not one of the given tools.", param="tool_choice")
    return spec.tools


# -- the conversation --------------------------------------------------------------------------------------------------


def _conversation(messages: tuple[Message, ...], tools: tuple[Tool, ...], knows_tools: bool) -> list[dict[str, Any]]:
    if not messages:
        raise CallerError("At least one message is required.", param="messages")
    history = [_native(message) if knows_tools else _plain(message) for message in messages]
    if tools and not knows_tools:
        text = _TOOLS_TEXT.format(tools="\n".join(json.dumps(_described(tool), ensure_ascii=False) for tool in tools))
        if history[0]["role"] == Role.SYSTEM:
            history[0]["content"] += f"\n\n{text}"
        else:
            history.insert(0, {"role": "system", "content": text})
    return history


def _template_arguments(spec: GenerateSpec) -> dict[str, Any]:
    try:
        arguments: dict[str, Any] = _parsed(spec.template_arguments or "{}")
    except ValueError as error:
        raise CallerError(f"The chat template cannot represent this: {error}.", param="chat_template_kwargs") from None
    for name in _TEMPLATES_OWN & arguments.keys():
        raise UnsupportedParameter(
            f"The chat template argument {name!r} is set by the server.", param="chat_template_kwargs"
        )
    return arguments


def _described(tool: Tool) -> dict[str, Any]:
    try:
        parameters = _parsed(tool.parameters)
    except ValueError as error:
        raise CallerError(f"The parameters of a tool cannot be passed to the model: {error}.", param="tools") from None
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _native(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": str(message.role), "content": message.text}
    if message.tool_calls:
        fields["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": _arguments(call.arguments)}}
            for call in message.tool_calls
        ]
    return fields


def _plain(message: Message) -> dict[str, Any]:
    if message.role is Role.TOOL:
        return {"role": "user", "content": f"<tool_response>\n{message.text}\n</tool_response>"}
    calls = [
        json.dumps({"name": call.name, "arguments": _arguments(call.arguments)}, ensure_ascii=False)
        for call in message.tool_calls
    ]
    texts = [message.text] if message.text else []
    texts += [f"{CALL_BEGIN}\n{call}\n</tool_call>" for call in calls]
    return {"role": str(message.role), "content": "\n".join(texts)}


def _arguments(text: str) -> Any:
    """Return the arguments parsed; those that were cut off are not JSON, and stay text."""
    try:
        return _parsed(text)
    except ValueError:
        return text


def _parsed(text: str) -> Any:
    """Return JSON that the pipeline can hold. Raises `ValueError` with the reason if it cannot."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not valid JSON") from None
    level = [value]
    for _ in range(MAX_NESTING):
        deeper: list[Any] = []
        for part in level:
            match part:
                case int() if not -(2**63) <= part < 2**63:
                    raise ValueError("a number has more than 64 bits")
                case float() if not isfinite(part):
                    raise ValueError("a number is not finite")
                case dict():
                    deeper += part.values()
                case list():
                    deeper += part
        if not deeper:
            return value
        level = deeper
    raise ValueError(f"it is nested more than {MAX_NESTING} deep")


# -- sampling ----------------------------------------------------------------------------------------------------------


def _sampling(spec: GenerateSpec, model: Model) -> dict[str, Any]:
    """Return fields of the pipeline's configuration. Without a default of the model, the temperature is 1."""
    sampling = spec.sampling
    _check(sampling)
    temperature = next(t for t in (sampling.temperature, model.temperature, 1.0) if t is not None)
    top_p = next(p for p in (sampling.top_p, model.top_p, 1.0) if p is not None)
    frequency_penalty = sampling.frequency_penalty
    free = not (isinstance(spec.prompt, str) or spec.tools) and spec.format.shape is Shape.TEXT
    if sampling.left_to_the_model and free:  # structured text must repeat its marks
        frequency_penalty = model.frequency_penalty
    fields: dict[str, Any] = {
        "presence_penalty": sampling.presence_penalty or 0.0,
        "frequency_penalty": frequency_penalty or 0.0,
        "repetition_penalty": 1.0 if sampling.repetition_penalty is None else sampling.repetition_penalty,
        "min_new_tokens": sampling.min_tokens,
        "ignore_eos": sampling.ignore_eos,
    }
    if temperature >= GREEDY_BELOW and top_p > 0:
        fields |= {"do_sample": True, "temperature": temperature, "top_p": top_p, "min_p": sampling.min_p or 0.0}
        if sampling.top_k:
            fields["top_k"] = sampling.top_k
    if sampling.logprobs:
        fields["logprobs"] = 1
    return fields


def _check(sampling: Sampling) -> None:
    bounds = {
        "temperature": (sampling.temperature, 0, 2),
        "top_p": (sampling.top_p, 0, 1),
        "presence_penalty": (sampling.presence_penalty, -2, 2),
        "frequency_penalty": (sampling.frequency_penalty, -2, 2),
        "max_tokens": (sampling.max_tokens, 1, 2**31),
        "top_k": (sampling.top_k, 0, 2**31),
        "min_p": (sampling.min_p, 0, 1),
        "repetition_penalty": (sampling.repetition_penalty, GREEDY_BELOW, 2),
        "min_tokens": (sampling.min_tokens, 0, sampling.max_tokens or 2**31),
    }
    for param, (value, least, most) in bounds.items():
        if value is not None and not least <= value <= most:
            raise CallerError(f"{param} must be from {least} to {most}.", param=param)


# -- the grammar -------------------------------------------------------------------------------------------------------


def _grammar(spec: GenerateSpec, tools: tuple[Tool, ...]) -> str:
    """Return a structural tag, empty if any text is permitted."""
    totals = Totals()
    shape = _shape(spec.format, totals)
    if not tools:
        return json.dumps({"type": "structural_tag", "format": shape}) if shape else ""
    must = spec.tool_choice.mode is ToolMode.REQUIRED
    callable_ = [tool for tool in tools if spec.tool_choice.name in ("", tool.name)]
    tags = [
        {
            "type": "tag",
            "begin": call_head(tool),
            "content": _kept_to(tool.parameters, tool.strict, "tools", totals),
            "end": CALL_END,
        }
        for tool in callable_
    ]
    one = not spec.parallel_tool_calls or bool(spec.tool_choice.name)
    if must or shape:
        calls = {
            "type": "tags_with_separator",
            "tags": tags,
            "separator": "\n",
            "at_least_one": True,
            "stop_after_first": one,
        }
        form = calls if must else {"type": "or", "elements": [shape, calls]}
    else:
        form = {"type": "triggered_tags", "triggers": [CALL_BEGIN], "tags": tags, "stop_after_first": one}
    return json.dumps({"type": "structural_tag", "format": form})


def _shape(format: Format, totals: Totals) -> dict[str, Any] | None:
    match format.shape:
        case Shape.TEXT:
            return None
        case Shape.JSON:
            return _kept_to("{}", True, "response_format", totals)
        case Shape.SCHEMA:
            return _kept_to(format.schema, format.strict, "response_format", totals)
        case Shape.CHOICE:
            return {"type": "grammar", "grammar": one_of(json.loads(format.schema))}
        case Shape.REGEX | Shape.GRAMMAR:
            raise ValueError("not among `ABILITIES`")


def _kept_to(schema: str, strict: bool, param: str, totals: Totals) -> dict[str, Any]:
    """Return a part of a structural tag. Raises `CallerError` with `param`."""
    form = enforceable(schema, strict, param, totals)
    try:
        return {"type": "grammar", "grammar": grammar(form)}
    except ValueError as error:
        raise CallerError(f"The schema is not valid: {error}.", param=param) from None
    except (ArithmeticError, RecursionError):
        raise CallerError(
            "The schema cannot be enforced: its numbers, or its parts, are too large.", param=param
        ) from None
