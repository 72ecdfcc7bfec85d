"""The items of a response's `input`, as messages of a conversation, and as they are listed again.

An item's type decides its fields. Text, a user's pictures, and functions' calls and outputs are supported; items of
hosted tools, files and audio are refused by name. Earlier reasoning is accepted, since clients send back what they
received, and not given to the model again.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from antiphon.core.errors import CallerError, NotFound, UnsupportedParameter
from antiphon.core.specs import Image, Message, Role, ToolCall
from antiphon.surfaces.openai import generation as shared

Object = dict[str, Any]


class _Kind(Struct, frozen=True):
    """The fields that tell kinds of items apart. A reference and a message may leave out their type."""

    type: str | None = None
    id: Any = None
    role: Any = None

    @property
    def kind(self) -> str:
        return self.type or (_REFERENCE if self.id is not None and self.role is None else "message")


class Text(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a content; the last three fields are those of an answer's part."""

    type: str
    text: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    parsed: Any = None
    prompt_cache_breakpoint: None = None


class ImageIn(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a user's content."""

    type: str
    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None
    prompt_cache_breakpoint: None = None


class MessageIn(Struct, frozen=True, forbid_unknown_fields=True):
    role: str
    content: str | list[Raw]
    type: str | None = None
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class CallIn(Struct, frozen=True, forbid_unknown_fields=True):
    """A call. The last three fields are of calls that no answer of this server has: clients send them back as null."""

    type: str
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: str | None = None
    parsed_arguments: Any = None
    namespace: None = None
    caller: None = None
    asynchronous: Literal[False] | None = msgspec.field(name="async", default=None)


class OutputIn(Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    call_id: str
    output: str | list[Raw]
    id: str | None = None
    name: str | None = None
    status: str | None = None
    namespace: None = None
    caller: None = None


class ReasoningIn(Struct, frozen=True, forbid_unknown_fields=True):
    """A model's reasoning; what another server has encrypted stays unread, as all of it."""

    type: str
    summary: list[Object] | None = None
    content: list[Object] | None = None
    encrypted_content: str | None = None
    id: str | None = None
    status: str | None = None


class ReferenceIn(Struct, frozen=True, forbid_unknown_fields=True):
    """A reference to an item of an earlier response."""

    id: str
    type: str | None = None


_REFERENCE = "item_reference"
_ROLES = {"developer": Role.SYSTEM, "system": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}
_KINDS: dict[str, msgspec.json.Decoder[Any]] = {
    "message": msgspec.json.Decoder(MessageIn),
    "function_call": msgspec.json.Decoder(CallIn),
    "function_call_output": msgspec.json.Decoder(OutputIn),
    "reasoning": msgspec.json.Decoder(ReasoningIn),
    _REFERENCE: msgspec.json.Decoder(ReferenceIn),
}
_PEEK = msgspec.json.Decoder(_Kind)
_REFERENCE_IN: msgspec.json.Decoder[ReferenceIn] = _KINDS[_REFERENCE]
_PART = msgspec.json.Decoder(Text)
_IMAGE = msgspec.json.Decoder(ImageIn)
_LATER = ("input_file", "input_audio")


_NOT_FOUND = (
    "Item with id '{}' not found. Items are not persisted when 'store' is false, and for minutes only if the project "
    "keeps no answers; send the item itself instead."
)


def references(items: str | Sequence[Raw]) -> list[str]:
    """Return the ids of the items that are referred to. Invalid items are ignored, and too many of them."""
    found = []
    for raw in () if isinstance(items, str) or len(items) > shared.MAX_ITEMS else items:
        with suppress(*shared.NOT_JSON):
            if _PEEK.decode(raw).kind == _REFERENCE:
                found.append(_REFERENCE_IN.decode(raw).id)
    return found


class Conversation:
    """The conversation of `items`. `messages` are the model's; `listed` what `input_items` shows, with ids made from
    `stem`.

    With `answers`, outputs of calls must answer a call among the items: there is no earlier turn with it. `known` are
    the items that may be referred to, by id.
    """

    def __init__(
        self, items: str | Sequence[Raw], stem: str, answers: bool, known: Mapping[str, Object] | None = None
    ) -> None:
        """Read the items. Raises `CallerError` for an invalid item, `UnsupportedParameter` for an unsupported one,
        `NotFound` for an unknown reference.
        """
        self.messages: list[Message] = []
        self.listed: list[Object] = []
        self._stem = stem
        self._answers = answers
        self._known = known or {}
        self._called: set[str] = set()
        self._referred: set[str] = set()
        self._parts = 0
        if isinstance(items, str):
            self._say("user", items, None, "input_text")
            return
        if not items:
            raise CallerError("'input' may not be empty.", param="input")
        shared.check_count(len(items), shared.MAX_ITEMS, "input")
        for place, raw in enumerate(items):
            self._add(raw, f"input[{place}]")

    def _add(self, raw: Raw, path: str) -> None:
        kind = shared.decode(_PEEK, raw, path).kind
        decoder = _KINDS.get(kind)
        if decoder is None:
            supported = ", ".join(f"'{each}'" for each in _KINDS)
            raise UnsupportedParameter(
                f"Items of this type are not supported. Supported: {supported}.", param=f"{path}.type"
            )
        match shared.decode(decoder, raw, path):
            case MessageIn() as item:
                self._message(item, path)
            case CallIn() as item:
                self._call(item, path)
            case OutputIn() as item:
                self._output(item, path)
            case ReferenceIn() as item:
                if item.id in self._referred:  # a short request could name a long item a thousand times
                    raise CallerError(f"Duplicate item found with id '{item.id[: shared.MAX_SHOWN]}'.", param=path)
                known = self._known.get(item.id)
                if known is None:
                    raise NotFound(_NOT_FOUND.format(item.id[: shared.MAX_SHOWN]), param="input")
                self._referred.add(item.id)
                self._add(Raw(msgspec.json.encode(known)), path)
            case ReasoningIn() as item:
                self._list("rs", item.id, type="reasoning", summary=item.summary or [], content=item.content or [])

    def _message(self, item: MessageIn, path: str) -> None:
        shared.one_of(item.role, tuple(_ROLES), f"{path}.role")
        kinds = ("output_text", "refusal") if item.role == "assistant" else ("input_text",)
        if item.role == "user" and not isinstance(item.content, str):
            self._see(item.content, f"{path}.content", item.id)
            return
        self._say(item.role, self._text(item.content, f"{path}.content", kinds), item.id, kinds[0])

    def _see(self, content: list[Raw], path: str, id: str | None) -> None:
        """Add a user's message, which may have pictures."""
        self._count(content)
        parts = [_seen_part(raw, f"{path}[{n}]") for n, raw in enumerate(content)]
        text = "\n".join([part for part in parts if isinstance(part, str)])
        if not any(isinstance(part, Image) for part in parts):
            self._say("user", text, id, "input_text")
            return
        self.messages.append(Message(Role.USER, text, parts=tuple(parts)))
        self._list(
            "msg", id, type="message", role="user", status="completed", content=[_listed(part) for part in parts]
        )

    def _say(self, role: str, text: str, id: str | None, kind: str) -> None:
        self.messages.append(Message(_ROLES[role], text))
        part: Object = {"type": kind, "text": text} | ({"annotations": []} if role == "assistant" else {})
        self._list("msg", id, type="message", role=role, status="completed", content=[part])

    def _call(self, item: CallIn, path: str) -> None:
        """Add a call to the assistant's preceding message."""
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
        text = self._text(item.output, f"{path}.output", ("input_text",))
        self.messages.append(Message(Role.TOOL, text, item.name or "", tool_call_id=item.call_id))
        self._list("fco", item.id, type="function_call_output", status="completed", call_id=item.call_id, output=text)

    def _text(self, content: str | list[Raw], path: str, kinds: tuple[str, ...]) -> str:
        if isinstance(content, str):
            return content
        self._count(content)
        return "\n".join([_part(raw, f"{path}[{n}]", kinds) for n, raw in enumerate(content)])

    def _count(self, content: list[Raw]) -> None:
        self._parts += len(content)
        shared.check_count(self._parts, shared.MAX_PARTS, "input")

    def _list(self, prefix: str, id: str | None, **fields: Any) -> None:
        self.listed.append({"id": id or f"{prefix}_{self._stem}i{len(self.listed)}", **fields})


def _seen_part(raw: Raw, path: str) -> str | Image:
    if shared.decode(_PEEK, raw, path).type != "input_image":
        return _part(raw, path, ("input_text", "input_image"))
    part = shared.decode(_IMAGE, raw, path)
    if part.file_id is not None:
        raise UnsupportedParameter("There are no files here; use 'image_url'.", param=f"{path}.file_id")
    if part.image_url is None:
        raise CallerError(f"Missing required parameter: '{path}.image_url'.", param=f"{path}.image_url")
    return shared.image(part.image_url, part.detail, f"{path}.image_url", f"{path}.detail")


def _listed(part: str | Image) -> Object:
    if isinstance(part, str):
        return {"type": "input_text", "text": part}
    return {"type": "input_image", "image_url": part.url, "detail": part.detail or "auto"}


def _part(raw: Raw, path: str, kinds: tuple[str, ...]) -> str:
    kind = shared.decode(_PEEK, raw, path).type
    if kind in _LATER:
        raise UnsupportedParameter(f"Parts of type '{kind}' are not taken here.", param=f"{path}.type")
    if kind is None:
        raise CallerError(f"Missing required parameter: '{path}.type'.", param=f"{path}.type")
    shared.one_of(kind, kinds, f"{path}.type")
    part = shared.decode(_PART, raw, path)
    field = "refusal" if kind == "refusal" else "text"
    text: str | None = getattr(part, field)
    if text is None:
        raise CallerError(f"Missing required parameter: '{path}.{field}'.", param=f"{path}.{field}")
    return text
