"""The messages of a chat, as values of `core.specs`.

A content of several text parts is one text, a line for each; a user's may have pictures between them. Fields that only
some roles may have are refused for others, unless they are empty. If a client sends a message back unchanged, the
fields that an SDK, a gateway or the model had added (`parsed`, `annotations`, `reasoning_content`,
`provider_specific_fields`) are not given to the model. Marks of what to cache are without effect.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.specs import Image, Message, Role, ToolCall
from antiphon.surfaces.openai.generation import MAX_ITEMS, MAX_PARTS, check_count, image, reader


class ImageUrl(Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    detail: str | None = None


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a content."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | None = None
    input_audio: Any = None
    file: Any = None
    cache_control: Any = None
    prompt_cache_breakpoint: None = None


_contents = reader(("text", "refusal", "image_url", "input_audio", "file"))


class CalledFunction(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    arguments: str
    parsed_arguments: Any = None
    provider_specific_fields: Any = None


class Called(Struct, frozen=True, forbid_unknown_fields=True):
    """A tool call of an earlier answer; `index` comes from a stream and is ignored, as is what other servers added."""

    id: str
    type: str = "function"
    function: CalledFunction | None = None
    custom: Any = None
    index: int | None = None
    extra_content: Any = None
    provider_specific_fields: Any = None


class Turn(Struct, frozen=True, forbid_unknown_fields=True):
    """One message, of any role."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[Called] | None = None
    tool_call_id: str | None = None
    function_call: Any = None
    audio: Any = None
    annotations: list[Any] | None = None
    reasoning_content: str | None = None
    parsed: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    reasoning_text: Any = None
    reasoning_opaque: Any = None
    thinking_blocks: Any = None
    images: Any = None
    provider_specific_fields: Any = None
    cache_control: Any = None


_ROLES = {
    "developer": Role.SYSTEM,
    "system": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
}
_ADDED = (
    *("annotations", "parsed", "reasoning_content", "reasoning", "reasoning_details", "reasoning_text"),
    *("reasoning_opaque", "thinking_blocks", "images", "provider_specific_fields"),
)
_ASSISTANTS = ("refusal", "tool_calls", "function_call", "audio", *_ADDED)
_EMPTY: tuple[Any, ...] = ("", [])
# The fields that a message of each role may not have.
_FOREIGN = {
    Role.SYSTEM: reader((*_ASSISTANTS, "tool_call_id")),
    Role.USER: reader((*_ASSISTANTS, "tool_call_id")),
    Role.ASSISTANT: reader(("tool_call_id", "function_call", "audio")),
    Role.TOOL: reader(_ASSISTANTS),
}


def conversation(turns: list[Turn]) -> tuple[Message, ...]:
    """Return the messages. Raises `CallerError` for an invalid message, `UnsupportedParameter` for what is not text."""
    check_count(len(turns), MAX_ITEMS, "messages")
    check_count(sum(map(_parts, turns)), MAX_PARTS, "messages")
    return tuple([_message(turn, place) for place, turn in enumerate(turns)])


def marks_a_cache(turns: Sequence[Turn]) -> bool:
    """Return whether a message or a part of one says that it is to be cached, as clients of Anthropic's models do."""
    return any(
        turn.cache_control is not None
        or (isinstance(turn.content, list) and any(part.cache_control is not None for part in turn.content))
        for turn in turns
    )


def _parts(turn: Turn) -> int:
    return (len(turn.content) if isinstance(turn.content, list) else 0) + len(turn.tool_calls or ())


def _message(turn: Turn, place: int) -> Message:
    role = _ROLES.get(turn.role)
    if role is None:
        param = f"messages[{place}].role"
        raise UnsupportedParameter(f"Supported values for '{param}': {', '.join(_ROLES)}.", param=param)
    for field, value in _FOREIGN[role](turn).items():
        if value not in _EMPTY:
            param = f"messages[{place}].{field}"
            raise UnsupportedParameter(f"'{param}' is not supported with this role.", param=param)
    name = turn.name or ""
    if role is Role.ASSISTANT:
        return _assistant(turn, place, name)
    if role is Role.TOOL and turn.tool_call_id is None:
        raise _missing(f"messages[{place}].tool_call_id")
    if role is Role.USER and isinstance(turn.content, list):
        return _seen(turn.content, f"messages[{place}].content", name)
    return Message(role, _text(turn.content, place), name, (), turn.tool_call_id or "")


def _seen(content: list[Part], param: str, name: str) -> Message:
    """Return a user's message, which may have pictures."""
    parts = [_seen_part(part, f"{param}[{n}]") for n, part in enumerate(content)]
    text = "\n".join([part for part in parts if isinstance(part, str)])
    return Message(Role.USER, text, name, parts=tuple(parts) if any(isinstance(part, Image) for part in parts) else ())


def _seen_part(part: Part, param: str) -> str | Image:
    if part.type != "image_url":
        return _part(part, ("text", "image_url"), param)
    _check_foreign(part, param)
    if part.image_url is None:
        raise _missing(f"{param}.image_url")
    return image(part.image_url.url, part.image_url.detail, f"{param}.image_url", f"{param}.image_url.detail")


def _assistant(turn: Turn, place: int, name: str) -> Message:
    """Return an assistant's message: content, refusal or both; neither is required beside tool calls."""
    calls = tuple([_call(call, f"messages[{place}].tool_calls[{n}]") for n, call in enumerate(turn.tool_calls or ())])
    if turn.content is None and (calls or turn.refusal):
        return Message(Role.ASSISTANT, turn.refusal or "", name, calls)
    text = _text(turn.content, place, ("text", "refusal"))
    return Message(Role.ASSISTANT, f"{text}\n{turn.refusal}" if turn.refusal else text, name, calls)


def _text(content: str | list[Part] | None, place: int, kinds: tuple[str, ...] = ("text",)) -> str:
    if isinstance(content, str):
        return content
    param = f"messages[{place}].content"
    if content is None:
        raise _missing(param)
    return "\n".join([_part(part, kinds, f"{param}[{n}]") for n, part in enumerate(content)])


def _check_foreign(part: Part, param: str) -> None:
    """Refuse content of another type than the part's: it would not reach the model."""
    for name in _contents(part):
        if name != part.type and getattr(part, name):
            raise CallerError(f"A part of type '{part.type}' has no '{name}'.", param=f"{param}.{name}")


def _part(part: Part, kinds: tuple[str, ...], param: str) -> str:
    if part.type not in kinds:
        raise UnsupportedParameter(f"'{param}' must be of type {' or '.join(kinds)} here.", param=param)
    _check_foreign(part, param)
    text = part.text if part.type == "text" else part.refusal
    if text is None:
        raise _missing(f"{param}.{part.type}")
    return text


def _call(call: Called, param: str) -> ToolCall:
    if call.type != "function":
        raise UnsupportedParameter(f"'{param}.type' must be 'function'.", param=f"{param}.type")
    if call.function is None:
        raise _missing(f"{param}.function")
    return ToolCall(call.id, call.function.name, call.function.arguments)


def _missing(param: str) -> CallerError:
    return CallerError(f"Missing required parameter: '{param}'.", param=param)
