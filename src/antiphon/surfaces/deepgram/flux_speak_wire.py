"""The messages of Deepgram's Flux speech, as its own SDK types them (`SpeakV2*` of deepgram-sdk 7)."""

from typing import Literal

import msgspec

from antiphon.surfaces.deepgram.wire import Speak, SpeakClose, SpeakFlush

# -- from the caller ---------------------------------------------------------------------------------------------------


class PlaybackOffset(msgspec.Struct, frozen=True):
    """The length of the session's audio that was played."""

    value: int
    type: Literal["time_ms"] = "time_ms"


class Interrupt(msgspec.Struct, tag="Interrupt", frozen=True):
    """A request to drop the text that is not yet spoken."""

    playback_offset: PlaybackOffset | None = None


class Configure(msgspec.Struct, tag="Configure", frozen=True):
    """A request for another speed of the following speech."""

    speed: float | None = None


Message = Speak | SpeakFlush | SpeakClose | Interrupt | Configure

# -- to the caller -----------------------------------------------------------------------------------------------------


class Connected(msgspec.Struct, tag="Connected", frozen=True):
    """The first message."""

    request_id: str
    model_name: str
    model_version: str
    model_uuids: list[str]


class SpeechStarted(msgspec.Struct, tag="SpeechStarted", frozen=True):
    """The beginning of a turn; its audio follows."""

    speech_id: str


class Controls(msgspec.Struct, frozen=True):
    """Controls in the text; none is supported."""

    pronunciations_applied: int = 0
    breaks_applied: int = 0
    pronunciation_warnings: int = 0


class TurnMetadata(msgspec.Struct, frozen=True, kw_only=True):
    speech_id: str
    audio_duration_ms: int
    input_character_count: int
    billable_character_count: int
    controls_applied: Controls = Controls()


class SpeechMetadata(TurnMetadata, tag="SpeechMetadata", frozen=True, kw_only=True):
    """The end of a turn's audio."""


class Flushed(msgspec.Struct, tag="Flushed", frozen=True):
    speech_id: str


class SpeechInterrupted(msgspec.Struct, tag="SpeechInterrupted", frozen=True, omit_defaults=True):
    """The end of an interrupted turn. The text is present if the caller gave its playback position."""

    audio_played_ms: int
    metadata: TurnMetadata
    text_spoken: str | None = None
    text_remaining: str | None = None


class SessionMetadata(msgspec.Struct, tag="SessionMetadata", frozen=True):
    """The last message."""

    total_audio_duration_ms: int
    total_input_character_count: int
    total_billable_character_count: int


class Applied(msgspec.Struct, frozen=True, omit_defaults=True):
    speed: float | None = None


class ConfigureSuccess(msgspec.Struct, tag="ConfigureSuccess", frozen=True):
    applied: Applied


class ConfigureFailure(msgspec.Struct, tag="ConfigureFailure", frozen=True):
    code: str
    field: str
    description: str


class Warning(msgspec.Struct, tag="Warning", frozen=True):
    """A request that was not carried out; the stream continues."""

    code: str
    description: str


class Error(msgspec.Struct, tag="Error", frozen=True):
    """An error; the close follows."""

    code: str
    description: str


ServerMessage = (
    Connected
    | SpeechStarted
    | SpeechMetadata
    | Flushed
    | SpeechInterrupted
    | SessionMetadata
    | ConfigureSuccess
    | ConfigureFailure
    | Warning
    | Error
)

_messages: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_encoder = msgspec.json.Encoder()


def read_message(text: str) -> Message:
    """Return a client's message. Raises `msgspec.MsgspecError` for any other, `UnicodeError` if it is not text."""
    return _messages.decode(text)


def write(message: ServerMessage) -> str:
    return _encoder.encode(message).decode()
