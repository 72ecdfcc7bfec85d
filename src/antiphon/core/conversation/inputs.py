"""What the caller does in a conversation. Each input may carry the caller's own id for it, `event_id`."""

from dataclasses import dataclass, field

from antiphon.core.conversation.items import Item, Known
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError


@dataclass(frozen=True, slots=True)
class Configure:
    """From now on the conversation is like that. A response that runs is not changed. Answered by `Configured`.

    With a `base`, only what differs from it changes: what the caller took to hold may have been refused meanwhile.
    """

    spec: ConverseSpec
    event_id: str = ""
    base: ConverseSpec | None = None


@dataclass(frozen=True, slots=True)
class AppendAudio:
    """More of the caller's audio, in the spec's `input_format`. Not answered."""

    data: bytes = field(repr=False)
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class CommitAudio:
    """What has been appended since the last commit becomes an item. Refused where there is none."""

    event_id: str = ""


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """What has been appended since the last commit is forgotten. Answered by `AudioCleared`."""

    event_id: str = ""


@dataclass(frozen=True, slots=True)
class AddItem:
    """`after` is the id of the item it comes after, or `FIRST`; `None` for the end of the conversation. A message's
    audio (of the caller) is recognised. Answered by `ItemAdded` and `ItemDone`.
    """

    item: Item
    after: str | None = None
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class ReadItem:
    """Answered by `ItemRead`, with the audio that is held."""

    item_id: str
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class RemoveItem:
    """Answered by `ItemRemoved`."""

    item_id: str
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """Of a spoken reply only so much was heard; the rest was not said. Answered by `ItemTruncated`."""

    item_id: str
    heard_ms: int
    part: int = 0
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Respond:
    """The model shall answer. `spec` is how, where that differs from the conversation's (of it count the instructions,
    tools, sampling, and how the reply is given); `base` is as for `Configure`. `items` are read in place of the
    conversation's. With `keep` false it is out of band: it may run beside another response, and its items do not join
    the conversation. `metadata` comes back with the response.
    """

    spec: ConverseSpec | None = None
    items: tuple[Item | Known, ...] | None = None
    keep: bool = True
    metadata: tuple[tuple[str, str], ...] = ()
    event_id: str = ""
    base: ConverseSpec | None = None


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """Without an id, the response of the conversation. Refused where there is none."""

    response_id: str = ""
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Reject:
    """What the caller did makes no sense. Answered by `Refused`, in its turn among the other answers."""

    error: AntiphonError
    event_id: str = ""


ConversationInput = (
    Configure
    | AppendAudio
    | CommitAudio
    | ClearAudio
    | AddItem
    | ReadItem
    | RemoveItem
    | TruncateItem
    | Respond
    | CancelResponse
    | Reject
)
