"""What a conversation is a list of."""

from dataclasses import dataclass, field
from enum import StrEnum

from antiphon.core.specs import Role

FIRST = ""  # as the item that another one comes after: none, it is the first


class ItemStatus(StrEnum):
    """How far an item is."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"  # its response was cancelled, or came to a bound


@dataclass(frozen=True, slots=True)
class TextPart:
    """Written words."""

    text: str


@dataclass(frozen=True, slots=True)
class AudioPart:
    """Spoken words. `audio` is in the format of the conversation's input (the caller's) or output (the model's), empty
    where it is not shown or not held any more; `audio_ms` is its length. `transcript` is `None` while it is not known.
    """

    audio: bytes = field(default=b"", repr=False)
    transcript: str | None = None
    audio_ms: int = 0


Part = TextPart | AudioPart


@dataclass(frozen=True, slots=True)
class MessageItem:
    """What someone said. Of the model's, there is one part. An empty `id` lets the conversation choose."""

    role: Role
    parts: tuple[Part, ...]
    id: str = ""
    status: ItemStatus = ItemStatus.COMPLETED


@dataclass(frozen=True, slots=True)
class CallItem:
    """The model calls a tool; `arguments` is JSON text."""

    call_id: str
    name: str
    arguments: str
    id: str = ""
    status: ItemStatus = ItemStatus.COMPLETED


@dataclass(frozen=True, slots=True)
class ResultItem:
    """What a tool gave for the call `call_id`."""

    call_id: str
    output: str
    id: str = ""
    status: ItemStatus = ItemStatus.COMPLETED


Item = MessageItem | CallItem | ResultItem


@dataclass(frozen=True, slots=True)
class Known:
    """An item of the conversation, by its id."""

    id: str
