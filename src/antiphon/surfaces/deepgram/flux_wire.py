"""The messages of Deepgram's Flux, as its own SDK types them (`ListenV2*` of deepgram-sdk 7). Times are seconds."""

from typing import Annotated

import msgspec
from msgspec import Meta

from antiphon.surfaces.deepgram.wire import CloseStream, KeepAlive

# Deepgram's own limits.
MIN_EOT, MAX_EOT = 0.5, 1.0
MIN_EAGER, MAX_EAGER = 0.3, 0.9
MIN_TIMEOUT_MS, MAX_TIMEOUT_MS = 500, 60_000

# -- from the caller ---------------------------------------------------------------------------------------------------


class Thresholds(msgspec.Struct, frozen=True, omit_defaults=True):
    """Thresholds to change; absent ones keep their value."""

    eager_eot_threshold: Annotated[float, Meta(ge=MIN_EAGER, le=MAX_EAGER)] | None = None
    eot_threshold: Annotated[float, Meta(ge=MIN_EOT, le=MAX_EOT)] | None = None
    eot_timeout_ms: Annotated[float, Meta(ge=MIN_TIMEOUT_MS, le=MAX_TIMEOUT_MS)] | None = None


class Configure(msgspec.Struct, tag="Configure", frozen=True):
    """A request to change thresholds or key terms during the stream."""

    thresholds: msgspec.Raw = msgspec.Raw(b"{}")
    keyterms: str | list[str] | None = None
    language_hints: list[str] | None = None
    numerals: bool | None = None
    profanity_filter: bool | None = None


class ForceEndTurn(msgspec.Struct, tag="ForceEndTurn", frozen=True):
    """A request to end the turn now."""


Message = Configure | ForceEndTurn | CloseStream | KeepAlive

# -- to the caller -----------------------------------------------------------------------------------------------------


class Connected(msgspec.Struct, tag="Connected", frozen=True):
    """The first message. `sequence_id` numbers all messages to the caller."""

    request_id: str
    sequence_id: int


class Word(msgspec.Struct, frozen=True):
    word: str
    confidence: float
    start: float
    end: float


class TurnInfo(msgspec.Struct, tag="TurnInfo", frozen=True, omit_defaults=True):
    """A turn so far. `trigger` says why it ended, with `EndOfTurn` only. `languages` were recognised, the most frequent
    first, by a model that detects them; `languages_hinted` are the caller's hints.
    """

    request_id: str
    sequence_id: int
    event: str
    turn_index: int
    audio_window_start: float
    audio_window_end: float
    transcript: str
    words: list[Word]
    end_of_turn_confidence: float
    trigger: str | None = None
    languages: list[str] | None = None
    languages_hinted: tuple[str, ...] | None = None


class ConfigureSuccess(msgspec.Struct, tag="ConfigureSuccess", frozen=True, omit_defaults=True):
    """What holds from now on."""

    request_id: str
    thresholds: Thresholds
    keyterms: tuple[str, ...]
    sequence_id: int
    language_hints: tuple[str, ...] | None = None


class ConfigureFailure(msgspec.Struct, tag="ConfigureFailure", frozen=True):
    request_id: str
    sequence_id: int
    code: str
    description: str


class Warning(msgspec.Struct, tag="Warning", frozen=True):
    """A request without effect; the stream continues."""

    request_id: str
    sequence_id: int
    code: str
    description: str


class FatalError(msgspec.Struct, tag="Error", frozen=True):
    """An error; the close follows."""

    sequence_id: int
    code: str
    description: str


ServerMessage = Connected | TurnInfo | ConfigureSuccess | ConfigureFailure | Warning | FatalError

_messages: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_thresholds = msgspec.json.Decoder(Thresholds | None)
_encoder = msgspec.json.Encoder()


def read_message(text: str) -> Message:
    """Return a client's message. Raises `msgspec.MsgspecError` for any other, `UnicodeError` if it is not text."""
    return _messages.decode(text)


def read_thresholds(data: msgspec.Raw) -> Thresholds:
    """Return thresholds. Raises `msgspec.ValidationError` if one is out of range."""
    return _thresholds.decode(data) or Thresholds()


def write(message: ServerMessage) -> str:
    return _encoder.encode(message).decode()
