"""The messages of AssemblyAI's streaming API, version 3, as its own SDKs type them, and the answer of its synchronous
API. Its SDK for Python silently stops reading at a fraction where an integer is expected.
"""

from typing import Any

import msgspec

# -- from the caller ---------------------------------------------------------------------------------------------------


class Terminate(msgspec.Struct, tag="Terminate", frozen=True):
    """The end of the audio; the last results follow, then `Termination`."""


class ForceEndpoint(msgspec.Struct, tag="ForceEndpoint", frozen=True):
    """A request to end the turn now."""


class KeepAlive(msgspec.Struct, tag="KeepAlive", frozen=True):
    """A message that restarts the idle timeout."""


class UpdateConfiguration(msgspec.Struct, tag="UpdateConfiguration", frozen=True):
    """A request to change parameters during the stream; they are fields beside the type: see `read_fields`."""


Message = Terminate | ForceEndpoint | KeepAlive | UpdateConfiguration

# -- to the caller -----------------------------------------------------------------------------------------------------


class Configuration(msgspec.Struct, frozen=True):
    model: str
    api_version: str


class Begin(msgspec.Struct, tag="Begin", frozen=True):
    """The first message. `expires_at` is the latest end of the session, in Unix seconds."""

    id: str
    expires_at: int
    configuration: Configuration


class SpeechStarted(msgspec.Struct, tag="SpeechStarted", frozen=True):
    timestamp: int


class Word(msgspec.Struct, frozen=True):
    """A word. Times are milliseconds from the start of the stream."""

    start: int
    end: int
    confidence: float
    text: str
    word_is_final: bool


class Turn(msgspec.Struct, tag="Turn", frozen=True, omit_defaults=True):
    """A turn so far. `transcript` has the final words only, `words` has also those that may change. The language is
    present only when the turn has ended.
    """

    turn_order: int
    turn_is_formatted: bool
    end_of_turn: bool
    transcript: str
    end_of_turn_confidence: float
    words: list[Word]
    language_code: str | None = None
    language_confidence: float | None = None


class Heartbeat(msgspec.Struct, tag="Heartbeat", frozen=True):
    """The state of the session. `realtime_factor` is the audio received since the last one, in proportion to the time;
    `max_speech_probability` is of any frame of that time.
    """

    total_audio_received_ms: int
    total_duration_ms: int
    realtime_factor: float
    max_speech_probability: float


class Silence(msgspec.Struct, tag="Silence", frozen=True):
    """A stretch of the audio without words, on the clock of the words."""

    start_ms: int
    end_ms: int


class Termination(msgspec.Struct, tag="Termination", frozen=True):
    audio_duration_seconds: int
    session_duration_seconds: int


class Warning(msgspec.Struct, tag="Warning", frozen=True):
    """A warning about a request without effect; the stream continues."""

    warning_code: int
    warning: str


class Error(msgspec.Struct, tag="Error", frozen=True):
    """An error; the close with the same code follows."""

    error_code: int
    error: str


ServerMessage = Begin | SpeechStarted | Turn | Heartbeat | Silence | Termination | Warning | Error

# -- HTTP --------------------------------------------------------------------------------------------------------------


class Token(msgspec.Struct, frozen=True):
    token: str
    expires_in_seconds: int


class ErrorBody(msgspec.Struct, frozen=True):
    error: str


class Problem(msgspec.Struct, frozen=True):
    """Problem details (RFC 9457). The SDKs derive `error_code` from the title: in lower case, with underscores."""

    status: int
    title: str
    detail: str


class SyncWord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A word. Its times are present if the caller requested them."""

    text: str
    confidence: float
    start: int | None = None
    end: int | None = None


class Transcript(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a recording. All of `request_time_ms` is `sync_time_ms`, the time that transcribing took, as no
    model rewrites it. `llm_error` says why no model has rewritten it, if the caller requested that;
    `language_code` is the recognised language, if known.
    """

    text: str
    words: list[SyncWord]
    confidence: float
    audio_duration_ms: int
    session_id: str
    request_time_ms: int
    sync_time_ms: int
    llm_error: str | None = None
    language_code: str | None = None


_messages: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_objects: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
_encoder = msgspec.json.Encoder()


def read_message(text: str) -> Message:
    """Return a client's message. Raises `msgspec.MsgspecError` for any other, `UnicodeError` if it is not text,
    `RecursionError` if it is nested too deep.
    """
    return _messages.decode(text)


def read_fields(text: str) -> dict[str, Any]:
    """Return a JSON object without its type. Raises as `read_message` does."""
    fields = _objects.decode(text)
    fields.pop("type", None)
    return fields


def write(message: ServerMessage) -> str:
    return _encoder.encode(message).decode()


def write_body(body: Token | ErrorBody | Problem | Transcript) -> bytes:
    return _encoder.encode(body)
