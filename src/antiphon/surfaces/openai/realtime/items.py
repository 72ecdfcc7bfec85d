"""The items of a conversation, as clients send them and as they are shown.

A message's parts are text, or audio with its transcript. Images and items of hosted tools are refused by name, and so
is an assistant's audio: as with OpenAI, a conversation has only the audio that was really spoken.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct

from antiphon.core.audio import AudioFormat, Encoding
from antiphon.core.conversation.items import (
    AudioPart,
    CallItem,
    Item,
    ItemStatus,
    Known,
    MessageItem,
    Part,
    ResultItem,
    TextPart,
)
from antiphon.core.errors import CallerError, TooLarge, UnsupportedParameter
from antiphon.core.specs import Role
from antiphon.surfaces.openai import generation as shared
from antiphon.surfaces.openai.realtime import wire

MAX_AUDIO_BYTES = 15 << 20  # OpenAI's own limit for one event
MAX_PARTS = 128
MAX_ITEMS = 1024

Id = Annotated[str, Meta(min_length=1, max_length=256)]
Object = Literal["realtime.item"]
Status = Literal["in_progress", "completed", "incomplete"]  # without effect, as with OpenAI


class _Kind(Struct, frozen=True):
    type: str | None = None


class PartIn(Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    text: str | None = None
    audio: str | None = None
    transcript: str | None = None


class ItemIn(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    type: str
    id: Id | None = None
    object: Object | None = None
    status: Status | None = None


class MessageIn(ItemIn, frozen=True, kw_only=True):
    role: str
    content: Annotated[list[Raw], Meta(max_length=MAX_PARTS)]


class CallIn(ItemIn, frozen=True, kw_only=True):
    name: str
    arguments: str
    call_id: Id | None = None


class ResultIn(ItemIn, frozen=True, kw_only=True):
    call_id: Id
    output: str


class ReferenceIn(Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    id: Id


_KINDS: dict[str, msgspec.json.Decoder[Any]] = {
    "message": msgspec.json.Decoder(MessageIn),
    "function_call": msgspec.json.Decoder(CallIn),
    "function_call_output": msgspec.json.Decoder(ResultIn),
}
_REFERENCE = msgspec.json.Decoder(ReferenceIn)
_KIND = msgspec.json.Decoder(_Kind)
_PART = msgspec.json.Decoder(PartIn)
# The types of a message's parts.
_PARTS = {"system": ("input_text",), "user": ("input_text", "input_audio"), "assistant": ("output_text",)}


# -- from the caller ---------------------------------------------------------------------------------------------------


def read(raw: Raw, path: str, format: AudioFormat) -> Item:
    """Return an item of a client's; `path` is its own, `format` that of its audio. Raises a `CallerError`, whose
    `param` is the path of the field.
    """
    kind = shared.decode(_KIND, raw, path).type
    if kind is None:
        raise _missing(f"{path}.type")
    shared.one_of(kind, tuple(_KINDS), f"{path}.type")
    match shared.decode(_KINDS[kind], raw, path):
        case CallIn() as call:
            shared.check_name(call.name, f"{path}.name")
            if call.call_id is None:
                raise _missing(f"{path}.call_id")
            return CallItem(call.call_id, call.name, call.arguments, call.id or "")
        case ResultIn() as result:
            return ResultItem(result.call_id, result.output, result.id or "")
        case message:
            return _message(message, path, format)


def read_all(raw_items: list[Raw], path: str, format: AudioFormat) -> tuple[Item | Known, ...]:
    """Return the input of one response, which may refer to items of the conversation by id."""
    if len(raw_items) > MAX_ITEMS:
        raise CallerError(f"'{path}' has at most {MAX_ITEMS} items.", param=path)
    items: list[Item | Known] = []
    for place, raw in enumerate(raw_items):
        here = f"{path}[{place}]"
        if shared.decode(_KIND, raw, here).type == "item_reference":
            items.append(Known(shared.decode(_REFERENCE, raw, here).id))
        else:
            items.append(read(raw, here, format))
    return tuple(items)


def _message(message: MessageIn, path: str, format: AudioFormat) -> MessageItem:
    shared.one_of(message.role, tuple(_PARTS), f"{path}.role")
    if not message.content:
        raise CallerError("A message must have content.", param=f"{path}.content")
    kinds = _PARTS[message.role]
    parts = [_part(raw, kinds, f"{path}.content[{n}]", format) for n, raw in enumerate(message.content)]
    return MessageItem(Role(message.role), tuple(parts), message.id or "")


def _part(raw: Raw, kinds: tuple[str, ...], path: str, format: AudioFormat) -> Part:
    kind = shared.decode(_KIND, raw, path).type
    if kind is None:
        raise _missing(f"{path}.type")
    shared.one_of(kind, kinds, f"{path}.type")
    part = shared.decode(_PART, raw, path)
    field = "audio" if kind == "input_audio" else "text"
    if getattr(part, field) is None:
        raise _missing(f"{path}.{field}")
    if part.text is not None and field == "audio":
        raise UnsupportedParameter("An audio part must not have text.", param=f"{path}.text")
    if part.audio is not None:
        if field == "text":
            raise UnsupportedParameter("A text part must not have audio.", param=f"{path}.audio")
        # The caller's transcript is ignored: the audio is recognised.
        data = audio(part.audio, f"{path}.audio")
        bytes_per_s = format.sample_rate * (2 if format.encoding is Encoding.LINEAR16 else 1)
        return AudioPart(data, audio_ms=len(data) * 1000 // bytes_per_s)
    if part.transcript is not None:
        raise UnsupportedParameter("A text part must not have a transcript.", param=f"{path}.transcript")
    return TextPart(part.text or "")


def audio(encoded_audio: str, path: str) -> bytes:
    """Return decoded audio. Raises `CallerError` if it is not base64, or `TooLarge`."""
    if len(encoded_audio) > MAX_AUDIO_BYTES * 4 // 3 + 4:
        raise TooLarge(f"The audio of one event can have at most {MAX_AUDIO_BYTES} bytes.", param=path)
    try:
        data = b64decode(encoded_audio, validate=True)
    except (Base64Error, ValueError):
        raise CallerError(f"Invalid '{path}'. Expected base64-encoded audio.", param=path) from None
    if len(data) > MAX_AUDIO_BYTES:
        raise TooLarge(f"The audio of one event can have at most {MAX_AUDIO_BYTES} bytes.", param=path)
    return data


def _missing(param: str) -> CallerError:
    return CallerError(f"Missing required parameter: '{param}'.", param=param)


# -- to the caller -----------------------------------------------------------------------------------------------------


def shown(item: Item) -> wire.Item:
    status: wire.Status = item.status.value
    match item:
        case CallItem():
            return wire.FunctionCallItem(item.id, status, item.call_id, item.name, item.arguments)
        case ResultItem():
            return wire.FunctionCallOutputItem(item.id, status, item.call_id, item.output)
        case MessageItem():
            # Output is sent by events; the item itself is empty until it is complete.
            begun = item.role is Role.ASSISTANT and item.status is ItemStatus.IN_PROGRESS
            content = [] if begun else [_part_shown(part, item.role) for part in item.parts]
            role: Any = item.role.value
            return wire.MessageItem(item.id, status, role, content)


def _part_shown(part: Part, role: Role) -> wire.Content:
    if isinstance(part, TextPart):
        return wire.OutputText(part.text) if role is Role.ASSISTANT else wire.InputText(part.text)
    data = b64encode(part.audio).decode() if part.audio else UNSET
    if role is Role.ASSISTANT:
        return wire.OutputAudio(part.transcript, data)
    return wire.InputAudio(part.transcript, data)
