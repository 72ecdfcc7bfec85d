"""`POST /v1/responses`: returns the answer to a conversation, whole, streamed as typed events, or in the background.

Every parameter is honoured or refused, except those for quality or convenience that not every model supports
(`reasoning`, `text.verbosity`): the response repeats what was done. `safety_identifier`, or else `user`, says whom it
is about; `prompt_cache_key` changes nothing; `metadata` is kept with the usage. The project's policy says whether a
response may be kept; without a `store`, it is kept if it may be.
"""

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Raw, Struct

from antiphon.core.capabilities import Ability, Incapable
from antiphon.core.endpoints import AnswerRequest, Referring
from antiphon.core.errors import AntiphonError, CallerError, UnsupportedParameter
from antiphon.core.specs import Format, GenerateSpec, Message, Role, Sampling, Shape, Tool, ToolChoice, ToolMode
from antiphon.core.wire import Opening, Response
from antiphon.surfaces.openai import extensions, response_wire, wire
from antiphon.surfaces.openai import generation as shared
from antiphon.surfaces.openai.addressing import model_of
from antiphon.surfaces.openai.kept_responses import answer_of, items_of, shown
from antiphon.surfaces.openai.responding import ID_PREFIX, InBackground, Responding, Streaming, Turn
from antiphon.surfaces.openai.response_items import Conversation, references

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED_REASONING = "reasoning.encrypted_content"  # accepted, and never in an answer

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
    defer_loading: Any = None
    asynchronous: Any = msgspec.field(name="async", default=None)
    allowed_callers: Any = None
    output_schema: Any = None


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


class ResponseRequest(extensions.Extensions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body. `None` means absent or null."""

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
    stop: None = None  # load tools send it, as to chat
    presence_penalty: shared.Penalty | None = None  # as with servers of open models
    frequency_penalty: shared.Penalty | None = None
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


_refuse_unsupported = shared.refuser(
    {
        "access_programs": "there are none here",
        "background_options": "what runs in the background runs at once",
        "context_management": "conversations are not shortened here",
        "conversation": "use 'previous_response_id'",
        "image": "no pictures are made here",
        "max_tool_calls": "it bounds hosted tools, and there are none here",
        "moderation": "moderation is not supported",
        "moderation_policy": "moderation is not supported",
        "prompt": "there are no prompt templates here",
    }
)
_without_effect = shared.reader(("prompt_cache_options", "prompt_cache_retention", "request_id"))
_without_effect_in_reasoning = shared.reader(("context", "mode"))
_PARAMS: dict[StrEnum, str] = {Ability.LOGPROBS: "include"}  # that only this endpoint spells so
# Our names of fields, and this endpoint's.
_SPELLED = {
    "prompt": "input",
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}
_DECODER = msgspec.json.Decoder(ResponseRequest)
_TOOL = msgspec.json.Decoder(FunctionTool)
# Fields of a function that go with hosted tools, by our names.
_OF_HOSTED_TOOLS = {
    "defer_loading": "defer_loading",
    "asynchronous": "async",
    "allowed_callers": "allowed_callers",
    "output_schema": "output_schema",
}
_KIND = msgspec.json.Decoder(_Kind)


class Responses(wire.Endpoint):
    """`POST /v1/responses`."""

    max_body_bytes = shared.MAX_BODY_BYTES

    def negotiate(self, opening: Opening, body: bytes) -> AnswerRequest | Referring:
        """Return the request. Raises a `CallerError`, whose `param` is the path of the field."""
        request = shared.decode(_DECODER, body)
        kind = Streaming if request.stream else InBackground if request.background else Responding
        return make_request(self, opening, model_of(opening, request.model), request, kind)

    def kept_as(self, session: str) -> str:
        return ID_PREFIX + session.replace("-", "")

    def show(self, opening: Opening, body: bytes, running: bool) -> Response:
        return shown(opening, body, running)

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        if error.param == "previous":
            return wire.json_response(opening, error.status, wire.ErrorBody(error_object(error)))
        return super().refuse(opening, _renamed(error))


def error_object(error: AntiphonError) -> wire.ErrorObject:
    """Return an error in OpenAI's shape, with OpenAI's names for the fields of `AnswerRequest`."""
    if error.param == "previous":
        code = "previous_response_not_found"
        return wire.ErrorObject(error.message, "invalid_request_error", "previous_response_id", code)
    return wire.error_body(_renamed(error)).error


def _renamed(error: AntiphonError) -> AntiphonError:
    if isinstance(error, Incapable):
        return Incapable(error.ability, _PARAMS.get(error.ability) or error.param)
    if error.param in _SPELLED and isinstance(error, CallerError):
        return type(error)(error.message, param=_SPELLED[error.param])
    if error.param == "keep":
        return UnsupportedParameter(error.message, param="store")
    return error


def make_request(
    endpoint: wire.Endpoint,
    opening: Opening,
    model: str,
    request: ResponseRequest,
    respond: Callable[[wire.Endpoint, Opening, Object, Turn], Responding],
    prepared: bool = False,
) -> AnswerRequest | Referring:
    """Return a request to `model`, answered by what `respond` makes. Raises a `CallerError`."""
    _refuse(request)
    if request.input is None:
        raise CallerError("Missing required parameter: 'input'.", param="input")
    tools = _tools(request.tools)
    format = extensions.structured(request, _format(request.text.format if request.text else None))
    lead = (Message(Role.SYSTEM, request.instructions),) if request.instructions else ()
    unused = tuple(_without_effect(request))
    if request.reasoning:
        unused += tuple(f"reasoning.{name}" for name in _without_effect_in_reasoning(request.reasoning))
    stem = opening.request_id.replace("-", "")

    def of(conversation: Conversation) -> AnswerRequest:
        spec = GenerateSpec(
            model=model,
            prompt=(*lead, *conversation.messages),
            sampling=_sampling(request),
            format=format,
            tools=tools,
            tool_choice=_tool_choice(request.tool_choice, tools),
            parallel_tool_calls=request.parallel_tool_calls is not False,
            stream=request.stream is True,
            tags=shared.tags(request.metadata, request.safety_identifier or request.user),
            reasoning_effort=shared.effort(request.reasoning.effort if request.reasoning else None, "reasoning.effort"),
            verbosity=shared.verbosity(request.text.verbosity if request.text else None, "text.verbosity"),
        )
        turn = Turn(conversation.messages, conversation.listed)
        return AnswerRequest(
            spec,
            respond(endpoint, opening, _repeated(request, spec), turn).names(unused),
            previous=request.previous_response_id or "",
            lead=len(lead),
            keep=request.store,
            background=request.background is True,
            prepared=prepared,
        )

    answers = not request.previous_response_id
    referred = references(request.input)
    if not referred:
        return of(Conversation(request.input, stem, answers))
    ids = tuple(dict.fromkeys(answer_of(item) for item in referred))
    return Referring(ids, lambda kept: of(Conversation(request.input or "", stem, answers, items_of(kept.values()))))


def _refuse(request: ResponseRequest) -> None:
    """Refuse parameters of which at most one value is honoured, and those that exclude each other."""
    _refuse_unsupported(request)
    for place, name in enumerate(request.include or ()):
        shared.one_of(name, (LOGPROBS, ENCRYPTED_REASONING), f"include[{place}]")
    shared.one_of(request.service_tier, ("auto", "default"), "service_tier")
    shared.one_of(request.truncation, ("disabled",), "truncation")
    if request.stream_options is not None:
        if not request.stream:
            raise CallerError("'stream_options' needs 'stream': true.", param="stream_options")
        if request.stream_options.include_obfuscation:
            raise UnsupportedParameter(
                "Obfuscating streams is not supported.", param="stream_options.include_obfuscation"
            )
    if request.background and request.stream:
        raise UnsupportedParameter("A background response cannot be streamed.", param="stream")
    if request.background and request.store is False:
        raise CallerError("A background response must be stored.", param="background")


def _sampling(request: ResponseRequest) -> Sampling:
    scored = LOGPROBS in (request.include or ())
    if request.top_logprobs and not scored:
        raise CallerError(f"'top_logprobs' needs '{LOGPROBS}' in 'include'.", param="top_logprobs")
    return Sampling(
        max_tokens=request.max_output_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        **extensions.sampling(request),
        logprobs=scored,
        top_logprobs=request.top_logprobs or 0,
    )


def _tools(definitions: list[Raw] | None) -> tuple[Tool, ...]:
    shared.check_count(len(definitions or ()), shared.MAX_TOOLS, "tools")
    tools = []
    for place, raw in enumerate(definitions or ()):
        path = f"tools[{place}]"
        kind = shared.decode(_KIND, raw, path).type
        if kind != "function":
            shown = kind[: shared.MAX_SHOWN]
            raise UnsupportedParameter(f"'{shown}' is not supported, only 'function' is.", param=f"{path}.type")
        one = shared.decode(_TOOL, raw, path)
        for field, name in _OF_HOSTED_TOOLS.items():
            if getattr(one, field):
                raise UnsupportedParameter(f"'{name}' is not supported.", param=f"{path}.{name}")
        tools.append(shared.tool(one.name, one.description, one.parameters, one.strict is True, path))
    return tuple(tools)


def _tool_choice(choice: str | NamedFunction | None, tools: tuple[Tool, ...]) -> ToolChoice:
    if not isinstance(choice, NamedFunction):
        shared.one_of(choice, tuple(ToolMode), "tool_choice")
        return shared.tool_choice(None if choice is None else ToolMode(choice), "", tools, "tool_choice")
    shared.one_of(choice.type, ("function",), "tool_choice.type")
    if choice.name is None:
        raise CallerError("Missing required parameter: 'tool_choice.name'.", param="tool_choice.name")
    return shared.tool_choice(ToolMode.REQUIRED, choice.name, tools, "tool_choice.name")


def _format(text_format: TextFormat | None) -> Format:
    if text_format is None:
        return Format()
    path = "text.format"
    shared.one_of(text_format.type, ("text", "json_object", "json_schema"), f"{path}.type")
    if text_format.type == "json_schema":
        for name in ("name", "schema"):
            if getattr(text_format, name) is None:
                raise CallerError(f"Missing required parameter: '{path}.{name}'.", param=f"{path}.{name}")
        assert text_format.name is not None
        assert text_format.schema is not None
        form = shared.schema_format(
            text_format.name, text_format.schema, text_format.description, text_format.strict is True, path
        )
        return replace(form, param=path)
    for name in ("name", "schema", "description", "strict"):
        if getattr(text_format, name) is not None:
            raise CallerError("This needs the type 'json_schema'.", param=f"{path}.{name}")
    return Format(Shape.JSON if text_format.type == "json_object" else Shape.TEXT, param=path)


def _repeated(request: ResponseRequest, spec: GenerateSpec) -> Object:
    """Return what a response repeats of its request, as understood."""
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
        "reasoning": response_wire.ReasoningConfig(spec.reasoning_effort or None),
        "text": response_wire.TextConfig(_repeated_format(spec.format), spec.verbosity or "medium"),
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
