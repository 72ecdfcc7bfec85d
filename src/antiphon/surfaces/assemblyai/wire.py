"""The messages of AssemblyAI's streaming API, version 3, as its own SDKs type them, and the answer of its synchronous
one. Its SDK for Python stops reading, without a word, at a fraction where it has an integer.
"""

from typing import Any

import msgspec

# -- from the caller ---------------------------------------------------------------------------------------------------


class Terminate(msgspec.Struct, tag="Terminate", frozen=True):
    """No more audio; what was said last, then `Termination`."""


class ForceEndpoint(msgspec.Struct, tag="ForceEndpoint", frozen=True):
    """Ends the turn now."""


class KeepAlive(msgspec.Struct, tag="KeepAlive", frozen=True):
    """Starts the time of inactivity anew."""


class UpdateConfiguration(msgspec.Struct, tag="UpdateConfiguration", frozen=True):
    """Changes parameters in mid-stream; they stand beside the type, and `read_fields` has them."""


Message = Terminate | ForceEndpoint | KeepAlive | UpdateConfiguration

# -- to the caller -----------------------------------------------------------------------------------------------------


class Configuration(msgspec.Struct, frozen=True):
    model: str
    api_version: str


class Begin(msgspec.Struct, tag="Begin", frozen=True):
    """The first message. `expires_at` is when the session ends at the latest, in Unix seconds."""

    id: str
    expires_at: int
    configuration: Configuration


class SpeechStarted(msgspec.Struct, tag="SpeechStarted", frozen=True):
    timestamp: int


class Word(msgspec.Struct, frozen=True):
    """Times are milliseconds from the start of the stream."""

    start: int
    end: int
    confidence: float
    text: str
    word_is_final: bool


class Turn(msgspec.Struct, tag="Turn", frozen=True, omit_defaults=True):
    """A turn so far. `transcript` has the final words only, `words` those that may change, too. The language is that of
    a turn that has ended.
    """

    turn_order: int
    turn_is_formatted: bool
    end_of_turn: bool
    transcript: str
    end_of_turn_confidence: float
    words: list[Word]
    language_code: str | None = None
    language_confidence: float | None = None


class Termination(msgspec.Struct, tag="Termination", frozen=True):
    audio_duration_seconds: int
    session_duration_seconds: int


class Warning(msgspec.Struct, tag="Warning", frozen=True):
    """Something that was asked for has no effect; the stream goes on."""

    warning_code: int
    warning: str


class Error(msgspec.Struct, tag="Error", frozen=True):
    """What went wrong; the close with the same code follows."""

    error_code: int
    error: str


ServerMessage = Begin | SpeechStarted | Turn | Termination | Warning | Error

# -- HTTP --------------------------------------------------------------------------------------------------------------


class Token(msgspec.Struct, frozen=True):
    token: str
    expires_in_seconds: int


class ErrorBody(msgspec.Struct, frozen=True):
    error: str


class Problem(msgspec.Struct, frozen=True):
    """RFC 9457. The SDKs make `error_code` of the title: in lower case, with underscores."""

    status: int
    title: str
    detail: str


class SyncWord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The times are there where they were asked for."""

    text: str
    confidence: float
    start: int | None = None
    end: int | None = None


class Transcript(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a recording. `llm_error` says why no model has rewritten it, where the caller asked for that;
    `language_code` what was heard, where that is known.
    """

    text: str
    words: list[SyncWord]
    confidence: float
    audio_duration_ms: int
    session_id: str
    request_time_ms: int
    llm_error: str | None = None
    language_code: str | None = None


_messages: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_objects: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
_encoder = msgspec.json.Encoder()


def read_message(text: str) -> Message:
    """Raises `msgspec.MsgspecError` for what is none of these, `UnicodeError` for what is not text, and
    `RecursionError` for what is nested too deep.
    """
    return _messages.decode(text)


def read_fields(text: str) -> dict[str, Any]:
    """A JSON object without its type. Raises as `read_message` does."""
    fields = _objects.decode(text)
    fields.pop("type", None)
    return fields


def write(message: ServerMessage) -> str:
    return _encoder.encode(message).decode()


def write_body(body: Token | ErrorBody | Problem | Transcript) -> bytes:
    return _encoder.encode(body)
