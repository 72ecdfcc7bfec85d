"""The items of a conversation."""

from dataclasses import dataclass, field
from enum import StrEnum

from antiphon.core.specs import Role

FIRST = ""  # in place of a previous item's id: this item is the first


class ItemStatus(StrEnum):
    """The progress of an item."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"  # its response was cancelled, or reached a bound


@dataclass(frozen=True, slots=True)
class TextPart:
    """Written words."""

    text: str


@dataclass(frozen=True, slots=True)
class AudioPart:
    """Spoken words. `audio` is in the format of the conversation's input (the caller's) or output (the model's), empty
    if it is not shown or no longer held; `audio_ms` is its length. `transcript` is `None` while unknown.
    """

    audio: bytes = field(default=b"", repr=False)
    transcript: str | None = None
    audio_ms: int = 0


Part = TextPart | AudioPart


@dataclass(frozen=True, slots=True)
class MessageItem:
    """A message. The model's have one part. An empty `id` lets the conversation choose."""

    role: Role
    parts: tuple[Part, ...]
    id: str = ""
    status: ItemStatus = ItemStatus.COMPLETED


@dataclass(frozen=True, slots=True)
class CallItem:
    """A tool call by the model; `arguments` is JSON text."""

    call_id: str
    name: str
    arguments: str
    id: str = ""
    status: ItemStatus = ItemStatus.COMPLETED


@dataclass(frozen=True, slots=True)
class ResultItem:
    """The result of the tool call `call_id`."""

    call_id: str
    output: str
    id: str = ""
    status: ItemStatus = ItemStatus.COMPLETED


Item = MessageItem | CallItem | ResultItem


@dataclass(frozen=True, slots=True)
class Known:
    """An item of the conversation, by its id."""

    id: str
