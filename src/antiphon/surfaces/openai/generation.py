"""The common part of endpoints that generate text: JSON bodies, sampling, tools and formats, as values of `core.specs`.

A body is decoded once, into a typed struct of all its fields; any other field is refused, and `param` says where in
OpenAI's own notation: `messages[0].role`. A null field counts as absent, as SDKs send it. Errors never quote a value:
it may be part of a prompt.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from antiphon.core import pictures
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.specs import EFFORTS, Format, Image, Shape, Tool, ToolChoice, ToolMode
from antiphon.core.tags import SUBJECT

T = TypeVar("T")

MAX_BODY_BYTES = 16 << 20
LARGE_BODY_BYTES = 1 << 20
MAX_OBJECTS, MAX_VALUES = 100_000, 1_000_000  # of a large body; a prompt in which text has so many marks fits no model
MAX_ITEMS = 2048  # messages, or items of an input: OpenAI's own limit for a chat
MAX_PARTS = 8192  # of contents, and calls of tools, in all messages together: ours, four for each
MAX_CHOICES = 128
MAX_STOPS = 4
MAX_TOOLS = 128
MAX_BIASES = 1024
MAX_METADATA = 16
MAX_TAG_CHARS = 256  # of `key=value` together, as the ledger keeps it
MAX_SHOWN = 64  # of a name that the caller made up

Temperature = Annotated[float, Meta(ge=0, le=2)]
TopP = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
TopLogprobs = Annotated[int, Meta(ge=0, le=20)]
Choices = Annotated[int, Meta(ge=1, le=MAX_CHOICES)]
Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]
LogitBias = Annotated[dict[str, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=MAX_BIASES)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Stop = str | Annotated[list[str], Meta(max_length=MAX_STOPS)]
Metadata = Annotated[dict[str, str], Meta(max_length=MAX_METADATA)]
Object = dict[str, Any]

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what a decoder raises

_SURROGATE = re.compile("[\ud800-\udfff]")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_PLACE = re.compile(r" - at (?:`key` in )?`\$\.?(.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`(?: - at `\$.*)?$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")


# -- bodies ------------------------------------------------------------------------------------------------------------


def decode(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw, under: str = "") -> T:
    """Return the decoded body. Raises `UnsupportedParameter` for an unknown field, `CallerError` for any other fault.
    `under` is the path of what is decoded, if it is a part of the whole.
    """
    _check_values(body)
    if isinstance(body, bytes):
        body = body.removeprefix(codecs.BOM_UTF8)  # as PowerShell writes files
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _misshapen(str(error), under) from None
    except NOT_JSON:
        path = _half_a_character(bytes(body), under)
        if path is None:
            raise CallerError("The body is not a valid JSON object.") from None
        reason = r"holds half of a surrogate pair, as '\ud83d' is without its other half, which is no character"
        raise CallerError(f"Invalid '{path or 'body'}': the text {reason}.", param=path or None) from None


def _check_values(body: bytes | msgspec.Raw) -> None:
    """Refuse a large body of very many small values: while it is decoded, no other call goes on, in whatever thread."""
    if len(body) < LARGE_BODY_BYTES:
        return
    data = bytes(body)
    for mark, most in ((b"{", MAX_OBJECTS), (b"[", MAX_OBJECTS), (b",", MAX_VALUES)):
        if data.count(mark) > most:
            raise CallerError(f"A body may hold '{mark.decode()}' at most {most} times.")


def _half_a_character(body: bytes, under: str) -> str | None:
    """Return the path of the first text or object that has an unpaired surrogate, `None` if there is none. JSON's
    grammar allows one, and clients that cut a text within a character send it.
    """
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError):
        return None
    # The steps to the present value, each with what is left at its level. A path for each value would take as much
    # memory as the body is deep, times the number of its values.
    levels = [("", iter(((under, whole),)))]
    while levels:
        for step, value in levels[-1][1]:
            texts = (value,) if isinstance(value, str) else value if isinstance(value, dict) else ()
            if any(map(_SURROGATE.search, texts)):
                return "".join([*(taken for taken, _ in levels), step]).removeprefix(".")
            if isinstance(value, dict | list):
                levels.append((step, _steps(value)))
                break
        else:
            levels.pop()
    return None


def _steps(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield what an object or an array holds, each with its step of a path."""
    if isinstance(value, dict):
        return ((f".{name[:MAX_SHOWN]}", each) for name, each in value.items())
    return ((f"[{place}]", each) for place, each in enumerate(value))


def _misshapen(message: str, under: str) -> CallerError:
    """Return the decoder's error as a `CallerError` with its path as `param`."""
    place = _PLACE.search(message)
    path = (f"{under}.{place[1]}" if under else place[1]).partition("[...]")[0] if place else under
    if unknown := _UNKNOWN.match(message):
        param = _join(path, unknown[1][:MAX_SHOWN])
        return UnsupportedParameter("This parameter is unknown or not supported by this server.", param=param)
    if missing := _MISSING.match(message):
        param = _join(path, missing[1])
        return CallerError(f"Missing required parameter: '{param}'.", param=param)
    what = message[: place.start()] if place else message
    return CallerError(f"{what}." if not path else f"{what}, in '{path}'.", param=path or None)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def check_count(count: int, most: int, param: str) -> None:
    """Raise `CallerError` if an array is too long."""
    if count > most:
        reason = f"Expected an array with maximum length {most}, but got an array with length {count} instead"
        raise CallerError(f"Invalid '{param}': array too long. {reason}.", param=param)


def reader(fields: Iterable[str]) -> Callable[[object], dict[str, Any]]:
    """Return a function that returns those of two or more fields of a request that are not null, with their values.
    They are read at once, since hardly any request has one of them.
    """
    names = tuple(fields)
    read = attrgetter(*names)

    def fields_of(request: object) -> dict[str, Any]:
        values: tuple[Any, ...] = read(request)
        if values.count(None) == len(values):
            return {}
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}

    return fields_of


def refuser(reasons: Mapping[str, str]) -> Callable[[object], None]:
    """Return a function that raises `UnsupportedParameter` for the first of these fields that is not null; `reasons`
    say why not.
    """
    fields_of = reader(reasons)

    def refuse(request: object) -> None:
        for name in fields_of(request):
            raise UnsupportedParameter(f"'{name}' is not supported: {reasons[name]}.", param=name)

    return refuse


def one_of(value: str | None, supported: tuple[str, ...], param: str) -> None:
    """Raise `UnsupportedParameter` for a value that is neither absent nor one of these."""
    if value is not None and value not in supported:
        listed = ", ".join(f"'{each}'" for each in supported)
        raise UnsupportedParameter(f"Supported values for '{param}': {listed}.", param=param)


# -- streams, labels and stop texts ------------------------------------------------------------------------------------


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None


def usage_options(options: StreamOptions | None, stream: bool) -> tuple[bool, bool]:
    """Return whether a stream ends with its usage, and whether each chunk has the usage so far (vLLM's
    `continuous_usage_stats`, which counts only with the other).
    """
    if options is None:
        return False, False
    if not stream:
        raise CallerError("'stream_options' needs 'stream': true.", param="stream_options")
    if options.include_obfuscation:
        raise UnsupportedParameter("Obfuscating streams is not supported.", param="stream_options.include_obfuscation")
    wanted = options.include_usage is True
    return wanted, wanted and options.continuous_usage_stats is True


def tags(metadata: dict[str, str] | None, subject: str | None = None) -> tuple[str, ...]:
    """Return `key=value` for each pair: labels that are kept with the usage. Unless a pair names it, `subject` is the
    person whom the call is about.
    """
    labels = tuple(f"{key}={value}" for key, value in metadata.items()) if metadata else ()
    if any(len(label) > MAX_TAG_CHARS for label in labels):
        raise CallerError(
            f"A key and its value together can have at most {MAX_TAG_CHARS - 1} characters.", param="metadata"
        )
    return (*labels, f"{SUBJECT}={subject}") if subject else labels


def stops(stop: str | list[str] | None) -> tuple[str, ...]:
    texts = () if stop is None else (stop,) if isinstance(stop, str) else tuple(stop)
    if "" in texts:
        raise CallerError("A stop sequence must not be empty.", param="stop")
    return texts


def logit_bias(biases: Mapping[str, float] | None) -> tuple[tuple[str, float], ...]:
    """Return each (token, bias). Raises `CallerError` for a name that is no token's id."""
    if not all(re.fullmatch(r"[0-9]{1,9}", token) for token in biases or ()):
        raise CallerError("The keys of 'logit_bias' are ids of tokens.", param="logit_bias")
    return tuple((biases or {}).items())


def verbosity(level: str | None, param: str) -> str:
    one_of(level, ("low", "medium", "high"), param)
    return level or ""


def effort(level: str | None, param: str) -> str:
    one_of(level, EFFORTS, param)
    return level or ""


def image(url: str, detail: str | None, param: str, detail_param: str) -> Image:
    """Return a message's picture. Raises `CallerError` if it is invalid."""
    one_of(detail, ("auto", "low", "high", "original"), detail_param)
    if pictures.is_data(url):
        try:
            url = pictures.check_picture(url)
        except ValueError:
            message = f"'{param}' must hold a {pictures.KINDS} picture in base64."
            raise CallerError(message, param=param) from None
    elif not url.startswith(("http://", "https://")):
        raise CallerError(f"'{param}' must be a URL that begins with 'https://', 'http://' or 'data:'.", param=param)
    return Image(url, {None: "", "original": "high"}.get(detail, detail or ""), param)


# -- tools and formats -------------------------------------------------------------------------------------------------


def check_name(name: str, param: str) -> None:
    if not _NAME.fullmatch(name):
        raise CallerError(f"'{param}' has 1 to 64 letters, digits, underscores and dashes.", param=param)


def tool(name: str, description: str | None, parameters: Object | None, strict: bool, param: str) -> Tool:
    """Return a function the model may call. `param` is the path of its definition; without parameters it takes none."""
    check_name(name, f"{param}.name")
    schema = {"type": "object", "properties": {}} if parameters is None else parameters
    return Tool(name, description or "", json_text(schema), strict)


def tool_choice(mode: ToolMode | None, name: str, tools: Sequence[Tool], param: str) -> ToolChoice:
    """Return the choice of tools. `mode` is `None` if absent; `name` is the one function that must be called, or empty.
    `param` is the path of that name.
    """
    if mode is None:
        return ToolChoice()
    if mode is ToolMode.REQUIRED and not tools:
        raise CallerError("'tool_choice' needs 'tools'.", param="tool_choice")
    if name and all(each.name != name for each in tools):
        raise CallerError("The chosen function is not one of 'tools'.", param=param)
    return ToolChoice(mode, name)


def schema_format(name: str, schema: Object, description: str | None, strict: bool, param: str) -> Format:
    """Return the format of JSON by a schema. `param` is the path of its definition."""
    check_name(name, f"{param}.name")
    return Format(Shape.SCHEMA, json_text(schema), name, description or "", strict)


def json_text(value: Object) -> str:
    return msgspec.json.encode(value).decode()


# The same, as chat has them. -----------------------------------------------------------------------------------------


class Function(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function's definition."""

    name: str
    description: str | None = None
    parameters: Object | None = None
    strict: bool | None = None
    cache_control: Any = None


class FunctionTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    function: Function | None = None
    custom: Object | None = None
    cache_control: Any = None

    @property
    def marks_a_cache(self) -> bool:
        return self.cache_control is not None or (self.function is not None and self.function.cache_control is not None)


class NamedFunction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str


class NamedTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `tool_choice` that is an object."""

    type: str
    function: NamedFunction | None = None
    custom: Object | None = None
    allowed_tools: Object | None = None


class JsonSchema(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    schema: Object | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    json_schema: JsonSchema | None = None


ToolList = Annotated[list[FunctionTool], Meta(max_length=MAX_TOOLS)]


def chat_tools(definitions: list[FunctionTool] | None) -> tuple[Tool, ...]:
    """Return a chat's tools. Raises `UnsupportedParameter` for a tool that is no function."""
    tools = []
    for place, each in enumerate(definitions or ()):
        path = f"tools[{place}]"
        one_of(each.type, ("function",), f"{path}.type")
        if each.function is None:
            raise CallerError(f"Missing required parameter: '{path}.function'.", param=f"{path}.function")
        one = each.function
        tools.append(tool(one.name, one.description, one.parameters, one.strict is True, f"{path}.function"))
    return tuple(tools)


_MODES = tuple(ToolMode)


def chat_tool_choice(choice: str | NamedTool | None, tools: Sequence[Tool]) -> ToolChoice:
    if isinstance(choice, NamedTool):
        one_of(choice.type, ("function",), "tool_choice.type")
        if choice.function is None:
            raise CallerError("Missing required parameter: 'tool_choice.function'.", param="tool_choice.function")
        return tool_choice(ToolMode.REQUIRED, choice.function.name, tools, "tool_choice.function.name")
    one_of(choice, _MODES, "tool_choice")
    return tool_choice(ToolMode(choice) if choice is not None else None, "", tools, "tool_choice")


def chat_format(response_format: ResponseFormat | None) -> Format:
    if response_format is None:
        return Format()
    one_of(response_format.type, ("text", "json_object", "json_schema"), "response_format.type")
    if response_format.type != "json_schema":
        if response_format.json_schema is not None:
            raise CallerError("A schema needs the type 'json_schema'.", param="response_format.json_schema")
        return Format(Shape.JSON if response_format.type == "json_object" else Shape.TEXT, param="response_format")
    definition = response_format.json_schema
    path = "response_format.json_schema"
    if definition is None or definition.schema is None:
        missing = path if definition is None else f"{path}.schema"
        raise CallerError(f"Missing required parameter: '{missing}'.", param=missing)
    form = schema_format(definition.name, definition.schema, definition.description, definition.strict is True, path)
    return replace(form, param="response_format")
