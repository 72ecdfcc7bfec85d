"""The messages that the Realtime API sends, as OpenAI's official SDK types them (`openai.types.realtime`, GA shapes).

Every event has its own `event_id`. A field is null where OpenAI's own objects have null; fields that clients type as
text or absent are left out instead. Audio is base64.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from antiphon.surfaces.openai.wire import DurationUsage, Logprob

Object = dict[str, Any]
Status = Literal["in_progress", "completed", "incomplete"]


# -- items -------------------------------------------------------------------------------------------------------------


class InputText(Struct, frozen=True, tag="input_text"):
    text: str


class InputAudio(Struct, frozen=True, tag="input_audio"):
    """A part with audio; `audio` is present only if an item is retrieved."""

    transcript: str | None
    audio: str | UnsetType = UNSET


class OutputText(Struct, frozen=True, tag="output_text"):
    text: str


class OutputAudio(Struct, frozen=True, tag="output_audio"):
    transcript: str | None
    audio: str | UnsetType = UNSET


Content = InputText | InputAudio | OutputText | OutputAudio


class MessageItem(Struct, frozen=True, tag="message"):
    id: str
    status: Status
    role: Literal["system", "user", "assistant"]
    content: list[Content]
    object: Literal["realtime.item"] = "realtime.item"


class FunctionCallItem(Struct, frozen=True, tag="function_call"):
    id: str
    status: Status
    call_id: str
    name: str
    arguments: str
    object: Literal["realtime.item"] = "realtime.item"


class FunctionCallOutputItem(Struct, frozen=True, tag="function_call_output"):
    id: str
    status: Status
    call_id: str
    output: str
    object: Literal["realtime.item"] = "realtime.item"


Item = MessageItem | FunctionCallItem | FunctionCallOutputItem


# -- responses ---------------------------------------------------------------------------------------------------------


class Failure(Struct, frozen=True):
    type: str
    code: str
    message: str


class StatusDetails(Struct, frozen=True):
    type: Literal["completed", "cancelled", "incomplete", "failed"]
    reason: str | UnsetType = UNSET
    error: Failure | UnsetType = UNSET


class CachedTokens(Struct, frozen=True):
    text_tokens: int
    audio_tokens: int = 0
    image_tokens: int = 0


class InputTokens(Struct, frozen=True):
    text_tokens: int
    audio_tokens: int
    cached_tokens: int
    cached_tokens_details: CachedTokens
    image_tokens: int = 0


class OutputTokens(Struct, frozen=True):
    text_tokens: int
    audio_tokens: int


class Usage(Struct, frozen=True):
    total_tokens: int
    input_tokens: int
    output_tokens: int
    input_token_details: InputTokens
    output_token_details: OutputTokens


class VoiceOutput(Struct, frozen=True):
    format: Object
    voice: str | None


class ResponseAudio(Struct, frozen=True):
    output: VoiceOutput


class Response(Struct, frozen=True):
    """A response; `conversation_id` is null if it is not part of the conversation."""

    id: str
    conversation_id: str | None
    output_modalities: tuple[str, ...]
    audio: ResponseAudio
    max_output_tokens: int | str
    metadata: dict[str, str] | None
    output: list[Item] = []
    status: Literal["in_progress", "completed", "cancelled", "incomplete", "failed"] = "in_progress"
    status_details: StatusDetails | None = None
    usage: Usage | None = None
    object: Literal["realtime.response"] = "realtime.response"


# -- events ------------------------------------------------------------------------------------------------------------


class Event(Struct, frozen=True):
    event_id: str


class ErrorDetails(Struct, frozen=True):
    """The error; `event_id` is that of the caller's event, if it had one."""

    type: str
    code: str | None
    message: str
    param: str | None
    event_id: str | None


class Error(Event, frozen=True, tag="error"):
    error: ErrorDetails


class SessionEvent(Event, frozen=True):
    session: Object


class SessionCreated(SessionEvent, frozen=True, tag="session.created"): ...


class SessionUpdated(SessionEvent, frozen=True, tag="session.updated"): ...


class PlacedItem(Event, frozen=True):
    previous_item_id: str | None
    item: Item


class ItemAdded(PlacedItem, frozen=True, tag="conversation.item.added"): ...


class ItemDone(PlacedItem, frozen=True, tag="conversation.item.done"): ...


class ItemRetrieved(Event, frozen=True, tag="conversation.item.retrieved"):
    item: Item


class ItemTruncated(Event, frozen=True, tag="conversation.item.truncated"):
    item_id: str
    content_index: int
    audio_end_ms: int


class ItemDeleted(Event, frozen=True, tag="conversation.item.deleted"):
    item_id: str


class OfItem(Event, frozen=True):
    item_id: str


class SpeechStarted(OfItem, frozen=True, tag="input_audio_buffer.speech_started"):
    audio_start_ms: int


class SpeechStopped(OfItem, frozen=True, tag="input_audio_buffer.speech_stopped"):
    audio_end_ms: int


class Committed(OfItem, frozen=True, tag="input_audio_buffer.committed"):
    previous_item_id: str | None


class TimeoutTriggered(OfItem, frozen=True, tag="input_audio_buffer.timeout_triggered"):
    audio_start_ms: int
    audio_end_ms: int


class BufferCleared(Event, frozen=True, tag="input_audio_buffer.cleared"): ...


_TRANSCRIPTION = "conversation.item.input_audio_transcription"


class TranscriptionDelta(OfItem, frozen=True, tag=f"{_TRANSCRIPTION}.delta"):
    delta: str
    logprobs: list[Logprob] | UnsetType = UNSET
    content_index: int = 0


class TranscriptionCompleted(OfItem, frozen=True, tag=f"{_TRANSCRIPTION}.completed"):
    transcript: str
    usage: DurationUsage
    logprobs: list[Logprob] | UnsetType = UNSET
    content_index: int = 0


class TranscriptionFailed(OfItem, frozen=True, tag=f"{_TRANSCRIPTION}.failed"):
    error: Failure
    content_index: int = 0


class RateLimit(Struct, frozen=True):
    name: Literal["requests", "tokens"]
    limit: int
    remaining: int
    reset_seconds: float


class RateLimitsUpdated(Event, frozen=True, tag="rate_limits.updated"):
    rate_limits: list[RateLimit]


# -- events of a response ----------------------------------------------------------------------------------------------


class ResponseEvent(Event, frozen=True):
    response: Response


class ResponseCreated(ResponseEvent, frozen=True, tag="response.created"): ...


class ResponseDone(ResponseEvent, frozen=True, tag="response.done"): ...


class OutputItemEvent(Event, frozen=True):
    response_id: str
    output_index: int
    item: Item


class OutputItemAdded(OutputItemEvent, frozen=True, tag="response.output_item.added"): ...


class OutputItemDone(OutputItemEvent, frozen=True, tag="response.output_item.done"): ...


class WithinItem(Event, frozen=True):
    response_id: str
    item_id: str
    output_index: int


class WithinPart(WithinItem, frozen=True):
    content_index: int


class TextPart(Struct, frozen=True, tag="text"):
    text: str


class AudioPart(Struct, frozen=True, tag="audio"):
    transcript: str


class PartEvent(WithinPart, frozen=True):
    part: TextPart | AudioPart


class PartAdded(PartEvent, frozen=True, tag="response.content_part.added"): ...


class PartDone(PartEvent, frozen=True, tag="response.content_part.done"): ...


class DeltaEvent(WithinPart, frozen=True):
    delta: str


class TextDelta(DeltaEvent, frozen=True, tag="response.output_text.delta"): ...


class TextDone(WithinPart, frozen=True, tag="response.output_text.done"):
    text: str


class AudioDelta(DeltaEvent, frozen=True, tag="response.output_audio.delta"): ...


class AudioDone(WithinPart, frozen=True, tag="response.output_audio.done"): ...


class TranscriptDelta(DeltaEvent, frozen=True, tag="response.output_audio_transcript.delta"): ...


class TranscriptDone(WithinPart, frozen=True, tag="response.output_audio_transcript.done"):
    transcript: str


class ArgumentsDelta(WithinItem, frozen=True, tag="response.function_call_arguments.delta"):
    call_id: str
    delta: str


class ArgumentsDone(WithinItem, frozen=True, tag="response.function_call_arguments.done"):
    call_id: str
    name: str
    arguments: str


# -- client secrets ----------------------------------------------------------------------------------------------------


class ClientSecret(Struct, frozen=True):
    value: str
    expires_at: int
    session: Object
