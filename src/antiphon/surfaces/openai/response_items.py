"""The items of a response's `input`, as the messages of a conversation, and as they are listed again.

An item's type decides which fields it may have. Text is understood, and functions' calls and outputs; items of hosted
tools, images, files and audio are refused by name. What a model reasoned before is taken, since clients send back what
they were given, and not shown to the model again.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.specs import Message, Role, ToolCall
from antiphon.surfaces.openai import generation as shared

Object = dict[str, Any]


class _Kind(Struct, frozen=True):
    type: str | None = None


class Text(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a content; the last three are what a part of an answer carries."""

    type: str
    text: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    parsed: Any = None


class MessageIn(Struct, frozen=True, forbid_unknown_fields=True):
    role: str
    content: str | list[Raw]
    type: str | None = None
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class CallIn(Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: str | None = None
    parsed_arguments: Any = None


class OutputIn(Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    call_id: str
    output: str | list[Raw]
    id: str | None = None
    name: str | None = None
    status: str | None = None


class ReasoningIn(Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    summary: list[Object] | None = None
    content: list[Object] | None = None
    encrypted_content: None = None
    id: str | None = None
    status: str | None = None


_ROLES = {"developer": Role.SYSTEM, "system": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}
_KINDS: dict[str, msgspec.json.Decoder[Any]] = {
    "message": msgspec.json.Decoder(MessageIn),
    "function_call": msgspec.json.Decoder(CallIn),
    "function_call_output": msgspec.json.Decoder(OutputIn),
    "reasoning": msgspec.json.Decoder(ReasoningIn),
}
_PEEK = msgspec.json.Decoder(_Kind)
_PART = msgspec.json.Decoder(Text)
_LATER = ("input_image", "input_file", "input_audio")


class Conversation:
    """What `items` say. `messages` are the model's; `listed` what `input_items` shows, under ids made from `stem`.

    With `answers`, outputs of calls must answer one that is among the items: there is no earlier turn to have it.
    """

    def __init__(self, items: str | Sequence[Raw], stem: str, answers: bool) -> None:
        """Raises `CallerError` for an item that makes no sense, `UnsupportedParameter` for one that is not served."""
        self.messages: list[Message] = []
        self.listed: list[Object] = []
        self._stem = stem
        self._answers = answers
        self._called: set[str] = set()
        if isinstance(items, str):
            self._say("user", items, None, "input_text")
            return
        if not items:
            raise CallerError("'input' may not be empty.", param="input")
        for place, raw in enumerate(items):
            self._add(raw, f"input[{place}]")

    def _add(self, raw: Raw, path: str) -> None:
        kind = shared.decode(_PEEK, raw, path).type or "message"
        decoder = _KINDS.get(kind)
        if decoder is None:
            supported = ", ".join(f"'{each}'" for each in _KINDS)
            raise UnsupportedParameter(f"Items of this type are not served; {supported} are.", param=f"{path}.type")
        match shared.decode(decoder, raw, path):
            case MessageIn() as item:
                self._message(item, path)
            case CallIn() as item:
                self._call(item, path)
            case OutputIn() as item:
                self._output(item, path)
            case ReasoningIn() as item:
                self._list("rs", item.id, type="reasoning", summary=item.summary or [], content=item.content or [])

    def _message(self, item: MessageIn, path: str) -> None:
        shared.one_of(item.role, tuple(_ROLES), f"{path}.role")
        kinds = ("output_text", "refusal") if item.role == "assistant" else ("input_text",)
        self._say(item.role, _text(item.content, f"{path}.content", kinds), item.id, kinds[0])

    def _say(self, role: str, text: str, id: str | None, kind: str) -> None:
        self.messages.append(Message(_ROLES[role], text))
        part: Object = {"type": kind, "text": text} | ({"annotations": []} if role == "assistant" else {})
        self._list("msg", id, type="message", role=role, status="completed", content=[part])

    def _call(self, item: CallIn, path: str) -> None:
        """A call belongs to what the assistant said just before."""
        shared.check_name(item.name, f"{path}.name")
        call = ToolCall(item.call_id, item.name, item.arguments)
        self._called.add(item.call_id)
        last = self.messages[-1] if self.messages else None
        if last is not None and last.role is Role.ASSISTANT:
            self.messages[-1] = Message(Role.ASSISTANT, last.text, tool_calls=(*last.tool_calls, call))
        else:
            self.messages.append(Message(Role.ASSISTANT, "", tool_calls=(call,)))
        fields: Object = {"call_id": item.call_id, "name": item.name, "arguments": item.arguments}
        self._list("fc", item.id, type="function_call", status="completed", **fields)

    def _output(self, item: OutputIn, path: str) -> None:
        if self._answers and item.call_id not in self._called:
            raise CallerError("No tool call found for this output's 'call_id'.", param=f"{path}.call_id")
        text = _text(item.output, f"{path}.output", ("input_text",))
        self.messages.append(Message(Role.TOOL, text, item.name or "", tool_call_id=item.call_id))
        self._list("fco", item.id, type="function_call_output", status="completed", call_id=item.call_id, output=text)

    def _list(self, prefix: str, id: str | None, **fields: Any) -> None:
        self.listed.append({"id": id or f"{prefix}_{self._stem}i{len(self.listed)}", **fields})


def _text(content: str | list[Raw], path: str, kinds: tuple[str, ...]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join([_part(raw, f"{path}[{n}]", kinds) for n, raw in enumerate(content)])


def _part(raw: Raw, path: str, kinds: tuple[str, ...]) -> str:
    kind = shared.decode(_PEEK, raw, path).type
    if kind in _LATER:
        raise UnsupportedParameter(f"The models here read text only, no '{kind}'.", param=f"{path}.type")
    if kind is None:
        raise CallerError(f"Missing required parameter: '{path}.type'.", param=f"{path}.type")
    shared.one_of(kind, kinds, f"{path}.type")
    part = shared.decode(_PART, raw, path)
    field = "refusal" if kind == "refusal" else "text"
    text: str | None = getattr(part, field)
    if text is None:
        raise CallerError(f"Missing required parameter: '{path}.{field}'.", param=f"{path}.{field}")
    return text
