"""The caller's inputs to a conversation. Each may carry the caller's own id for it, `event_id`."""

from dataclasses import dataclass, field

from antiphon.core.conversation.items import Item, Known
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError


@dataclass(frozen=True, slots=True)
class Configure:
    """Change the conversation's configuration. A running response is not changed. Answered by `Configured`.

    With a `base`, only differences from it are applied: an earlier change that the caller relies on may have been
    refused.
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
    """Make an item of the audio appended since the last commit. Refused if there is none."""

    event_id: str = ""


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """Drop the audio appended since the last commit. Answered by `AudioCleared`."""

    event_id: str = ""


@dataclass(frozen=True, slots=True)
class AddItem:
    """Add an item after the item with the id `after`, `FIRST` for the beginning, `None` for the end of the
    conversation. The audio of a caller's message is recognised. Answered by `ItemAdded` and `ItemDone`.
    """

    item: Item
    after: str | None = None
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class ReadItem:
    """Read an item. Answered by `ItemRead`, with the audio that is held."""

    item_id: str
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class RemoveItem:
    """Remove an item. Answered by `ItemRemoved`."""

    item_id: str
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """Cut a spoken reply at `end_ms`, where the caller stopped hearing it. Answered by `ItemTruncated`."""

    item_id: str
    end_ms: int
    part: int = 0
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Respond:
    """Ask for a response. `spec` overrides the conversation's instructions, tools, sampling and form of the reply;
    `base` is as for `Configure`. `items` replace the conversation's as input. With `keep` false the response is out of
    band: it may run beside another one, and its items do not join the conversation. `metadata` is returned with the
    response.
    """

    spec: ConverseSpec | None = None
    items: tuple[Item | Known, ...] | None = None
    keep: bool = True
    metadata: tuple[tuple[str, str], ...] = ()
    event_id: str = ""
    base: ConverseSpec | None = None


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """Cancel a response; without an id, the conversation's. Refused if there is none."""

    response_id: str = ""
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Reject:
    """An invalid input. Answered by `Refused`, in order with the other answers."""

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
