"""The outputs of a conversation, in the order shown in the package's table."""

from dataclasses import dataclass, field
from enum import StrEnum

from antiphon.core.budgets import RateLimit
from antiphon.core.conversation.items import Item
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Failed, TokenUsage, Transcript

# -- the conversation --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Began:
    """The first event. `id` is the conversation's; it ends at `expires_unix_s` at the latest."""

    id: str
    spec: ConverseSpec
    expires_unix_s: int


@dataclass(frozen=True, slots=True)
class Configured:
    """The configuration from now on."""

    spec: ConverseSpec
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """An input that changed nothing, with the reason; or, without an `event_id`, an error on the way. The conversation
    continues.
    """

    error: AntiphonError
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The remaining capacity, sent with each response."""

    limits: tuple[RateLimit, ...]


# -- the caller's turn -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The caller speaks. `at_ms` is where the turn's audio starts, padding included; `item_id` will be its item."""

    item_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class TurnStopped:
    """The caller's turn is over."""

    item_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class AudioCommitted:
    """The audio became the item `item_id`, which comes after `after` (`FIRST` if it is the first)."""

    item_id: str
    after: str


@dataclass(frozen=True, slots=True)
class AudioCleared:
    """The appended audio was dropped."""

    event_id: str = ""


@dataclass(frozen=True, slots=True)
class IdleReached:
    """Nobody spoke for as long as the spec says: `start_ms..end_ms` of the caller's audio."""

    item_id: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class TranscriptionDelta:
    """More of the transcript of an item's audio, hardly to change any more."""

    item_id: str
    text: str
    part: int = 0


@dataclass(frozen=True, slots=True)
class TranscriptionDone:
    """The whole transcript of an item's audio; `audio_ms` was recognised and is charged."""

    item_id: str
    transcript: Transcript
    audio_ms: int
    part: int = 0


@dataclass(frozen=True, slots=True)
class TranscriptionFailed:
    """An item's audio could not be recognised."""

    item_id: str
    error: AntiphonError
    part: int = 0


# -- items -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """An item joined the conversation after `after` (`FIRST` if it is the first). Its audio is not shown."""

    item: Item
    after: str


@dataclass(frozen=True, slots=True)
class ItemDone:
    """The item is complete. Its audio is not shown."""

    item: Item
    after: str


@dataclass(frozen=True, slots=True)
class ItemRead:
    """The item, with the audio that is held."""

    item: Item


@dataclass(frozen=True, slots=True)
class ItemRemoved:
    """The item was removed from the conversation."""

    item_id: str


@dataclass(frozen=True, slots=True)
class ItemTruncated:
    """A spoken reply was cut to `end_ms`: given by the caller or, if the caller interrupted, measured as the time
    since the speech was sent. The item's transcript is the words that were heard.
    """

    item_id: str
    end_ms: int
    part: int = 0


# -- responses ---------------------------------------------------------------------------------------------------------


class Ending(StrEnum):
    """How a response ended."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"  # the caller spoke
    CANCELLED = "cancelled"  # the caller said so
    LENGTH = "length"  # the bound on tokens, or the model's context
    FILTERED = "filtered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ResponseUsage:
    """The usage of a response: the language model's tokens, the caller's audio in its input, and the speech of its
    output that was sent.
    """

    tokens: TokenUsage = field(default_factory=lambda: TokenUsage(0, 0))
    input_ms: int = 0
    spoken_ms: int = 0


@dataclass(frozen=True, slots=True)
class ResponseStarted:
    """A response began, with its `spec` and the requested `keep`. One caused by the end of a turn has no metadata."""

    response_id: str
    spec: ConverseSpec
    keep: bool = True
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class OutputStarted:
    """The response's item number `index` begins; it is in progress and empty, a message with its one part."""

    response_id: str
    index: int
    item: Item


@dataclass(frozen=True, slots=True)
class OutputText:
    """More of a message: its text, or if `spoken` the transcript of its speech."""

    response_id: str
    index: int
    item_id: str
    text: str
    spoken: bool


@dataclass(frozen=True, slots=True)
class OutputSpeech:
    """More of a message's speech, in the spec's `output_format`: its part `start_ms..end_ms`."""

    response_id: str
    index: int
    item_id: str
    audio: bytes = field(repr=False)
    start_ms: int = 0
    end_ms: int = 0


@dataclass(frozen=True, slots=True)
class OutputArguments:
    """More of a call's arguments."""

    response_id: str
    index: int
    item_id: str
    call_id: str
    arguments: str


@dataclass(frozen=True, slots=True)
class OutputEnded:
    """The response's item is complete, or cut off. Its audio is not shown."""

    response_id: str
    index: int
    item: Item


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """The last event of a response; `items` are all its items, `error` is why it failed."""

    response_id: str
    ending: Ending
    items: tuple[Item, ...]
    usage: ResponseUsage
    error: AntiphonError | None = None


ConversationOutput = (
    Began
    | Configured
    | Refused
    | RateLimits
    | TurnStarted
    | TurnStopped
    | AudioCommitted
    | AudioCleared
    | IdleReached
    | TranscriptionDelta
    | TranscriptionDone
    | TranscriptionFailed
    | ItemAdded
    | ItemDone
    | ItemRead
    | ItemRemoved
    | ItemTruncated
    | ResponseStarted
    | OutputStarted
    | OutputText
    | OutputSpeech
    | OutputArguments
    | OutputEnded
    | ResponseEnded
    | Failed
)
