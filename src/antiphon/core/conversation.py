"""The closed vocabulary of a spoken conversation: someone speaks, a model answers, aloud or in writing.

A conversation is a list of items: messages, a model's calls of tools, and what the tools gave. What the caller says
becomes an item when it is committed, by turn detection or by the caller. A response adds the model's items to the list,
unless it is out of band. Positions of the caller's audio are milliseconds from the start of all the audio that was
appended; positions of a reply, from the start of its item's speech.

Every input may carry the caller's own id for it, `event_id`, so that a `Refused` can refer to it. Inputs take effect in
their order. A refused input changes nothing, and the conversation goes on.

What comes back, in order:

| what happens           | outputs                                                                                  |
|------------------------|------------------------------------------------------------------------------------------|
| it opens               | `Began`                                                                                  |
| the caller speaks      | `TurnStarted`, `HeardDelta`..., `TurnStopped`, `AudioCommitted`, `ItemAdded`, `ItemDone`, |
|                        | later `HeardDone` or `HeardFailed`                                                       |
| a response             | `ResponseStarted`, `Limits`, for each of its items `OutputStarted` (and `ItemAdded`),    |
|                        | its deltas, `OutputEnded` (and `ItemDone`), at last `ResponseEnded`                      |
| the caller breaks in   | `TurnStarted`, the response ends as `INTERRUPTED`, `ItemTruncated` of what was not heard |
| nobody speaks for long | `IdleReached`, then as if the caller had committed and asked for a response              |
| it cannot go on        | `Failed`, the last                                                                       |

`HeardDelta`, `HeardDone` and `HeardFailed` come only where the spec has `transcription`. Items of one response may be
told of at once: a tool is called while the words before it are still being spoken.
"""

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum

from antiphon.core.audio import AudioFormat, Encoding, SpeechFormat
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Failed, TokenUsage, Transcript
from antiphon.core.specs import Role, Sampling, Tool, ToolChoice

# -- what is asked for -------------------------------------------------------------------------------------------------


class Eagerness(StrEnum):
    """How soon a semantic turn detection takes a speaker to have finished."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Turns:
    """How the end of the caller's turn is found.

    Without `eagerness`, by `silence_ms` of silence. With it, by what was said: a sentence that is whole ends the turn
    sooner, one that hangs in the air later; `silence_ms` is unused. `threshold` (0..1) is the probability from which on
    sound is speech, 0.5 the usual; `padding_ms` of audio before the speech belong to the turn. After `idle_ms` without
    speech since the last reply was played out, the caller is answered all the same; `None` for never. `respond` says
    that the end of a turn is answered, `interrupt` that speech stops a reply.
    """

    eagerness: Eagerness | None = None
    threshold: float = 0.5
    padding_ms: int = 300
    silence_ms: int = 500
    idle_ms: int | None = None
    respond: bool = True
    interrupt: bool = True


@dataclass(frozen=True, slots=True)
class Transcription:
    """That the caller is told what was heard. `model` is a public name, empty for the server's own choice; `language`
    is a hint (BCP 47), empty for none. `tokens` asks for the tokens of `HeardDone` with their log-probabilities.
    """

    model: str = ""
    language: str = ""
    tokens: bool = False


@dataclass(frozen=True, slots=True)
class ConverseSpec:
    """A conversation, or with `answers` false one that only transcribes.

    `model` is the public name of the language model; `speech_model` and `voice` those of who speaks, empty for the
    server's own choice. `speak` says that replies are spoken (with their transcript), else they are text. `turns` is
    `None` where the caller commits and asks for responses. Where a conversation has become longer than the model reads,
    its oldest items are left out until `retain` (0..1) of it is left; `None` refuses the response instead.
    """

    model: str = ""
    answers: bool = True
    instructions: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    parallel_tool_calls: bool = True
    sampling: Sampling = field(default_factory=Sampling)
    retain: float | None = 1.0
    input_format: AudioFormat = field(default_factory=lambda: AudioFormat(Encoding.LINEAR16, 24_000))
    transcription: Transcription | None = None
    turns: Turns | None = field(default_factory=Turns)
    speak: bool = True
    speech_model: str = ""
    voice: str = ""
    output_format: SpeechFormat = field(default_factory=SpeechFormat)
    speed: float = 1.0
    tags: tuple[str, ...] = ()


def rebased(spec: ConverseSpec, base: ConverseSpec | None, now: ConverseSpec) -> ConverseSpec:
    """`now` with what `spec` has otherwise than `base`; all of `spec` where there is no `base`."""
    if base is None or base == now:
        return spec
    wanted = {each.name: getattr(spec, each.name) for each in fields(spec)}
    return replace(now, **{name: it for name, it in wanted.items() if it != getattr(base, name)})


# -- items -------------------------------------------------------------------------------------------------------------


class ItemStatus(StrEnum):
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


# -- inputs ------------------------------------------------------------------------------------------------------------

FIRST = ""  # as the item that another one comes after: none, it is the first


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
)

# -- outputs: the conversation -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Began:
    """The first event. `id` is the conversation's; `expires_unix_s` is when it ends at the latest."""

    id: str
    spec: ConverseSpec
    expires_unix_s: int


@dataclass(frozen=True, slots=True)
class Configured:
    spec: ConverseSpec
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """An input that changed nothing, and why; or, without an `event_id`, something that went wrong on the way. The
    conversation goes on.
    """

    error: AntiphonError
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on responses: how many in all, how many of them are left, and when all are again."""

    name: str
    limit: int
    remaining: int
    reset_ms: int


@dataclass(frozen=True, slots=True)
class Limits:
    limits: tuple[Limit, ...]


# -- outputs: the caller's turn ----------------------------------------------------------------------------------------


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
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class IdleReached:
    """Nobody spoke for as long as the spec says: `start_ms..end_ms` of the caller's audio."""

    item_id: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class HeardDelta:
    """More of what an item's audio says, that will not change much any more."""

    item_id: str
    text: str
    part: int = 0


@dataclass(frozen=True, slots=True)
class HeardDone:
    """What an item's audio says, whole; `audio_ms` is what was recognised and is charged."""

    item_id: str
    transcript: Transcript
    audio_ms: int
    part: int = 0


@dataclass(frozen=True, slots=True)
class HeardFailed:
    """An item's audio could not be recognised."""

    item_id: str
    error: AntiphonError
    part: int = 0


# -- outputs: items ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """An item joined the conversation after `after` (`FIRST` if it is the first). Its audio is not shown."""

    item: Item
    after: str


@dataclass(frozen=True, slots=True)
class ItemDone:
    """Nothing more is added to that item. Its audio is not shown."""

    item: Item
    after: str


@dataclass(frozen=True, slots=True)
class ItemRead:
    item: Item


@dataclass(frozen=True, slots=True)
class ItemRemoved:
    item_id: str


@dataclass(frozen=True, slots=True)
class ItemTruncated:
    """Of a spoken reply only so much was heard, as the caller said or, when it broke in, as the time that passed since
    the speech was sent tells. The item's transcript is the words that were heard.
    """

    item_id: str
    heard_ms: int
    part: int = 0


# -- outputs: responses ------------------------------------------------------------------------------------------------


class Ending(StrEnum):
    """How a response ended."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"  # the caller spoke
    CANCELLED = "cancelled"  # the caller said so
    LENGTH = "length"  # the bound on tokens, or the model's context
    FILTERED = "filtered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Spent:
    """What a response took: the language model's tokens, the caller's audio among its input, the speech of its output
    (what was sent of it).
    """

    tokens: TokenUsage = field(default_factory=lambda: TokenUsage(0, 0))
    heard_ms: int = 0
    spoken_ms: int = 0


@dataclass(frozen=True, slots=True)
class ResponseStarted:
    """`spec` is how it is made; `keep` as it was asked for. A response that a turn's end led to has no metadata."""

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
    """More of a message's speech, in the spec's `output_format`, which stands for `start_ms..end_ms` of it."""

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
    """The response's item is whole, or all there will be of it. Its audio is not shown."""

    response_id: str
    index: int
    item: Item


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """The last of a response; `items` are all of its, `error` is why it failed."""

    response_id: str
    ending: Ending
    items: tuple[Item, ...]
    spent: Spent
    error: AntiphonError | None = None


ConversationOutput = (
    Began
    | Configured
    | Refused
    | Limits
    | TurnStarted
    | TurnStopped
    | AudioCommitted
    | AudioCleared
    | IdleReached
    | HeardDelta
    | HeardDone
    | HeardFailed
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
