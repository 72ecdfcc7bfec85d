"""`POST /v1/responses`: a conversation in, its answer out, whole, streamed as typed events, or in the background.

Every parameter is honoured or refused. Those that only label or bucket a call for its sender (`user`,
`safety_identifier`, `prompt_cache_key`) change no answer; `metadata` is kept with the usage. Whether a response may be
kept is the project's policy; without a `store`, it is kept where it may be.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from antiphon.core.errors import AntiphonError, CallerError, UnsupportedParameter
from antiphon.core.ports import Asked
from antiphon.core.specs import Format, GenerateSpec, Message, Role, Sampling, Shape, Tool, ToolChoice, ToolMode
from antiphon.core.wire import Opening, Response
from antiphon.surfaces.openai import generation as shared
from antiphon.surfaces.openai import response_wire, wire
from antiphon.surfaces.openai.addressing import model_of
from antiphon.surfaces.openai.responding import InBackground, Responding, Streaming, Turn
from antiphon.surfaces.openai.response_items import Conversation

LOGPROBS = "message.output_text.logprobs"

Object = dict[str, Any]


# -- the request -------------------------------------------------------------------------------------------------------


class _Kind(Struct, frozen=True):
    type: str


class FunctionTool(Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    name: str
    description: str | None = None
    parameters: Object | None = None
    strict: bool | None = None


class NamedFunction(Struct, frozen=True, forbid_unknown_fields=True):
    """A `tool_choice` that is an object."""

    type: str
    name: str | None = None
    mode: Any = None
    tools: Any = None


class TextFormat(Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    name: str | None = None
    schema: Object | None = None
    description: str | None = None
    strict: bool | None = None


class TextOptions(Struct, frozen=True, forbid_unknown_fields=True):
    format: TextFormat | None = None
    verbosity: str | None = None


class Reasoning(Struct, frozen=True, forbid_unknown_fields=True):
    effort: str | None = None
    summary: Any = None
    generate_summary: Any = None
    context: Any = None
    mode: Any = None


class StreamOptions(Struct, frozen=True, forbid_unknown_fields=True):
    include_obfuscation: bool | None = None


class ResponseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body. `None` is absent, as null is."""

    model: str | None = None
    input: str | list[Raw] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    background: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    text: TextOptions | None = None
    tools: list[Raw] | None = None
    tool_choice: str | NamedFunction | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: shared.Tokens | None = None
    temperature: shared.Temperature | None = None
    top_p: shared.TopP | None = None
    top_logprobs: shared.TopLogprobs | None = None
    include: list[str] | None = None
    metadata: shared.Metadata | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None
    truncation: str | None = None
    reasoning: Reasoning | None = None
    access_programs: Any = None
    background_options: Any = None
    context_management: Any = None
    conversation: Any = None
    image: Any = None
    max_tool_calls: Any = None
    moderation: Any = None
    moderation_policy: Any = None
    prompt: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None


_REFUSED = (
    ("access_programs", "there are none here"),
    ("background_options", "what runs in the background runs at once"),
    ("context_management", "what was said is never shortened here"),
    ("conversation", "use 'previous_response_id'"),
    ("image", "the models here read text only"),
    ("max_tool_calls", "it bounds hosted tools, and there are none here"),
    ("moderation", "there is no moderation here"),
    ("moderation_policy", "there is no moderation here"),
    ("prompt", "there are no prompt templates here"),
    ("prompt_cache_options", "prefixes are cached by themselves"),
    ("prompt_cache_retention", "prefixes are cached by themselves"),
)
_DECODER = msgspec.json.Decoder(ResponseRequest)
_TOOL = msgspec.json.Decoder(FunctionTool)
_KIND = msgspec.json.Decoder(_Kind)


class Responses(wire.Endpoint):
    """`POST /v1/responses`."""

    max_body_bytes = shared.MAX_BODY_BYTES

    def negotiate(self, opening: Opening, body: bytes) -> Asked:
        """Raises some `CallerError`, whose `param` is the path of the field."""
        request = shared.decode(_DECODER, body)
        model = model_of(opening, request.model)
        _refuse(request)
        if request.input is None:
            raise CallerError("Missing required parameter: 'input'.", param="input")
        tools = _tools(request.tools)
        format = _format(request.text.format if request.text else None)
        said = Conversation(request.input, opening.request_id.replace("-", ""), not request.previous_response_id)
        lead = (Message(Role.SYSTEM, request.instructions),) if request.instructions else ()
        spec = GenerateSpec(
            model=model,
            prompt=(*lead, *said.messages),
            sampling=_sampling(request),
            format=format,
            tools=tools,
            tool_choice=_tool_choice(request.tool_choice, tools),
            parallel_tool_calls=request.parallel_tool_calls is not False,
            stream=request.stream is True,
            tags=shared.tags(request.metadata),
        )
        kind = Streaming if request.stream else InBackground if request.background else Responding
        surface = kind(self, opening, _repeated(request, spec), Turn(said.messages, said.listed))
        return Asked(
            spec,
            surface,
            previous=request.previous_response_id or "",
            lead=len(lead),
            keep=request.store,
            background=request.background is True,
        )

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        """What the policy says is about one of `Asked`'s fields; here they have OpenAI's names."""
        if error.param == "previous":
            code = "previous_response_not_found"
            said = wire.ErrorObject(error.message, "invalid_request_error", "previous_response_id", code)
            return wire.json_response(opening, error.status, wire.ErrorBody(said))
        if error.param == "prompt":
            error = CallerError(error.message, param="input")
        if error.param == "keep":
            error = UnsupportedParameter(error.message, param="store")
        return super().refuse(opening, error)


def _refuse(request: ResponseRequest) -> None:
    """Parameters of which one value at most is honoured, and those that exclude each other."""
    shared.refuse_given(request, _REFUSED)
    for place, name in enumerate(request.include or ()):
        shared.one_of(name, (LOGPROBS,), f"include[{place}]")
    if request.text is not None:
        shared.one_of(request.text.verbosity, ("medium",), "text.verbosity")
    if request.reasoning is not None:
        shared.one_of(request.reasoning.effort, ("none",), "reasoning.effort")
        for name in Reasoning.__struct_fields__[1:]:
            if getattr(request.reasoning, name) is not None:
                raise UnsupportedParameter("The models here take no such option.", param=f"reasoning.{name}")
    shared.one_of(request.service_tier, ("auto", "default"), "service_tier")
    shared.one_of(request.truncation, ("disabled",), "truncation")
    if request.stream_options is not None:
        if not request.stream:
            raise CallerError("'stream_options' needs 'stream': true.", param="stream_options")
        if request.stream_options.include_obfuscation:
            raise UnsupportedParameter("Streams are not obfuscated here.", param="stream_options.include_obfuscation")
    if request.background and request.stream:
        raise UnsupportedParameter("A response in the background is not streamed.", param="stream")
    if request.background and request.store is False:
        raise CallerError("A response in the background must be stored.", param="background")


def _sampling(request: ResponseRequest) -> Sampling:
    scored = bool(request.include)
    if request.top_logprobs and not scored:
        raise CallerError(f"'top_logprobs' needs '{LOGPROBS}' in 'include'.", param="top_logprobs")
    return Sampling(
        max_tokens=request.max_output_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        logprobs=scored,
        top_logprobs=request.top_logprobs or 0,
    )


def _tools(given: list[Raw] | None) -> tuple[Tool, ...]:
    if given is not None and len(given) > shared.MAX_TOOLS:
        raise CallerError(f"There may be at most {shared.MAX_TOOLS} tools.", param="tools")
    tools = []
    for place, raw in enumerate(given or ()):
        path = f"tools[{place}]"
        kind = shared.decode(_KIND, raw, path).type
        if kind != "function":
            shown = kind[: shared.MAX_SHOWN]
            raise UnsupportedParameter(f"'{shown}' is not offered here, only 'function' is.", param=f"{path}.type")
        one = shared.decode(_TOOL, raw, path)
        tools.append(shared.tool(one.name, one.description, one.parameters, one.strict is True, path))
    return tuple(tools)


def _tool_choice(given: str | NamedFunction | None, tools: tuple[Tool, ...]) -> ToolChoice:
    if not isinstance(given, NamedFunction):
        shared.one_of(given, tuple(ToolMode), "tool_choice")
        return shared.tool_choice(None if given is None else ToolMode(given), "", tools, "tool_choice")
    shared.one_of(given.type, ("function",), "tool_choice.type")
    if given.name is None:
        raise CallerError("Missing required parameter: 'tool_choice.name'.", param="tool_choice.name")
    return shared.tool_choice(ToolMode.REQUIRED, given.name, tools, "tool_choice.name")


def _format(given: TextFormat | None) -> Format:
    if given is None:
        return Format()
    path = "text.format"
    shared.one_of(given.type, ("text", "json_object", "json_schema"), f"{path}.type")
    if given.type == "json_schema":
        for name in ("name", "schema"):
            if getattr(given, name) is None:
                raise CallerError(f"Missing required parameter: '{path}.{name}'.", param=f"{path}.{name}")
        assert given.name is not None
        assert given.schema is not None
        return shared.schema_format(given.name, given.schema, given.description, given.strict is True, path)
    for name in ("name", "schema", "description", "strict"):
        if getattr(given, name) is not None:
            raise CallerError("This needs the type 'json_schema'.", param=f"{path}.{name}")
    return Format(Shape.JSON if given.type == "json_object" else Shape.TEXT)


def _repeated(request: ResponseRequest, spec: GenerateSpec) -> Object:
    """What a response repeats of its request, as it was understood."""
    labels = {
        name: getattr(request, name)
        for name in ("user", "safety_identifier", "prompt_cache_key")
        if getattr(request, name) is not None
    }
    choice = request.tool_choice
    named = {"type": "function", "name": spec.tool_choice.name}
    return labels | {
        "model": spec.model,
        "background": request.background is True,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "metadata": request.metadata or {},
        "parallel_tool_calls": spec.parallel_tool_calls,
        "previous_response_id": request.previous_response_id,
        "service_tier": msgspec.UNSET if request.service_tier is None else "default",
        "temperature": request.temperature,
        "text": response_wire.TextConfig(_repeated_format(spec.format)),
        "tool_choice": named if isinstance(choice, NamedFunction) else choice or "auto",
        "tools": [_repeated_tool(tool) for tool in spec.tools],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
    }


def _repeated_format(format: Format) -> Object:
    if format.shape is not Shape.SCHEMA:
        return {"type": "json_object" if format.shape is Shape.JSON else "text"}
    return {
        "type": "json_schema",
        "name": format.name,
        "description": format.description or None,
        "schema": Raw(format.schema.encode()),
        "strict": format.strict,
    }


def _repeated_tool(tool: Tool) -> Object:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description or None,
        "parameters": Raw(tool.parameters.encode()),
        "strict": tool.strict,
    }
