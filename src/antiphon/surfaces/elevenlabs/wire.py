"""ElevenLabs' message shapes, as its official SDK types them, and the common part of all its endpoints: where the key
is, and the shape of errors.

An error is `{"detail": {...}}`; an invalid body or query is a 422, whose `detail` is a list of its faults with their
places. On a WebSocket an error is `{"message", "error", "code"}`, then the close.
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from antiphon.core.errors import (
    AntiphonError,
    BudgetExceeded,
    CallerError,
    CapacityError,
    Conflict,
    Draining,
    NotFound,
    PolicyError,
    StillRunning,
    TooLarge,
    Unauthenticated,
    UnknownModel,
    UnknownVoice,
    UnsupportedParameter,
)
from antiphon.core.events import CharacterTime
from antiphon.core.wire import Bearer, Opening, Pending, Response

T = TypeVar("T")

JSON = "application/json"
MAX_SHOWN = 64  # of an unknown name in a message

# RFC 6455, section 7.4.1.
NORMAL, POLICY_VIOLATION, INTERNAL_ERROR = 1000, 1008, 1011

encode = msgspec.json.encode

# -- when characters are said ------------------------------------------------------------------------------------------


class Alignment(Struct, frozen=True):
    """The times of characters over HTTP, in seconds from the start of the answer."""

    characters: list[str]
    character_start_times_seconds: list[float]
    character_end_times_seconds: list[float]


class LiveAlignment(Struct, frozen=True, rename="camel"):
    """The times of characters on a WebSocket, in milliseconds from the start of the message's own audio, or from the
    end of the characters before.
    """

    char_start_times_ms: list[int]
    char_durations_ms: list[int]
    chars: list[str]


def alignment(times: tuple[CharacterTime, ...]) -> Alignment | None:
    """Return the times over HTTP; `None` without characters."""
    if not times:
        return None
    return Alignment(
        [each.text for each in times],
        [each.start_ms / 1000 for each in times],
        [each.end_ms / 1000 for each in times],
    )


def live_alignment(times: tuple[CharacterTime, ...], from_ms: int) -> LiveAlignment | None:
    """Return the times on a WebSocket, counted from `from_ms`; `None` without characters."""
    if not times:
        return None
    return LiveAlignment(
        [max(0, each.start_ms - from_ms) for each in times],
        [each.end_ms - each.start_ms for each in times],
        [each.text for each in times],
    )


def base64(audio: bytes) -> str:
    """Return audio as base64 text, as in JSON."""
    return b64encode(audio).decode()


class TimedAudio(Struct, frozen=True):
    """The answer of `with-timestamps`, or a line of the stream's."""

    audio_base64: str
    alignment: Alignment | None
    normalized_alignment: Alignment | None


class VoiceSegment(Struct, frozen=True):
    """A part of a dialogue that one voice speaks; indices are of characters, the end is exclusive."""

    voice_id: str
    start_time_seconds: float
    end_time_seconds: float
    character_start_index: int
    character_end_index: int
    dialogue_input_index: int


class TimedDialogue(TimedAudio, frozen=True):
    """The answer of a dialogue's `with-timestamps`, or a line of its stream."""

    voice_segments: list[VoiceSegment]


# -- on a WebSocket ----------------------------------------------------------------------------------------------------


class LiveAudio(Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A piece of speech, or without audio the end of a text. `is_final`, `alignment` and the like are present even if
    null, because clients do not check for them. ElevenLabs' documentation has both spellings of the end.
    """

    audio: str | None
    is_final: bool
    normalized_alignment: LiveAlignment | None
    alignment: LiveAlignment | None
    final: bool | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="is_final")
    context_id: str | msgspec.UnsetType = msgspec.UNSET
    warnings: tuple[str, ...] = ()


class DialogueAlignment(Struct, frozen=True):
    """The times of a dialogue's characters, as `LiveAlignment`."""

    chars: list[str]
    char_start_times_ms: list[int]
    char_durations_ms: list[int]


def dialogue_alignment(times: tuple[CharacterTime, ...], from_ms: int) -> DialogueAlignment | None:
    """Return the times of a dialogue's characters, counted from `from_ms`; `None` without characters."""
    found = live_alignment(times, from_ms)
    if found is None:
        return None
    return DialogueAlignment(found.chars, found.char_start_times_ms, found.char_durations_ms)


class DialogueAudio(Struct, frozen=True, omit_defaults=True):
    """A piece of a dialogue."""

    audio: str
    alignment: DialogueAlignment | None
    context_id: str | msgspec.UnsetType
    warnings: tuple[str, ...] = ()


class DialogueTurnEnd(Struct, frozen=True):
    """The end of the speech of all flushed text."""

    is_final_audio_for_turn: bool
    context_id: str


class DialogueEnd(Struct, frozen=True):
    """The end of a context."""

    is_final: bool
    context_id: str


class LiveError(Struct, frozen=True):
    """An error; the close follows, with the same `code`."""

    message: str
    error: str
    code: int


# -- settings of a voice -----------------------------------------------------------------------------------------------


class VoiceSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a voice. Only its speed can be changed here."""

    stability: float | None = None
    similarity_boost: float | None = None
    style: float | None = None
    use_speaker_boost: bool | None = None
    speed: float | None = None
    clone_strength: float | None = None


# ElevenLabs' default values, which SDKs and examples send unchanged.
_USUAL = {"stability": 0.5, "similarity_boost": 0.75, "style": 0.0, "use_speaker_boost": True, "clone_strength": 0.0}
MIN_SPEED, MAX_SPEED = 0.7, 1.2


def speed(settings: VoiceSettings | None) -> float:
    """Return the speed, 1 for the voice's own. Raises `CallerError` if it is out of ElevenLabs' range."""
    value = 1.0 if settings is None or settings.speed is None else settings.speed
    if not MIN_SPEED <= value <= MAX_SPEED:
        raise CallerError(f"The speed must be between {MIN_SPEED} and {MAX_SPEED}.", param="voice_settings.speed")
    return value


def without_effect(settings: VoiceSettings | None) -> tuple[str, ...]:
    """Return the names of the settings that request another voice quality than the default; they have no effect."""
    if settings is None:
        return ()
    values = ((name, getattr(settings, name), usual) for name, usual in _USUAL.items())
    return tuple(f"voice_settings.{name}" for name, value, usual in values if value is not None and value != usual)


# -- errors ------------------------------------------------------------------------------------------------------------


class Detail(Struct, frozen=True):
    """The detail of an error. `status` is the former name of `code`, which older clients read."""

    type: str
    code: str
    message: str
    status: str
    request_id: str
    param: str | None


class Invalid(Struct, frozen=True):
    """One fault of a body or query, and its place."""

    type: str
    loc: list[str]
    msg: str


class ErrorBody(Struct, frozen=True):
    detail: Detail | list[Invalid]


QUOTA_STATUS = 401  # of an exceeded quota
# The first class that matches gives ElevenLabs' type and code (empty: ours); subclasses stand before their bases.
_WORDS: tuple[tuple[type[AntiphonError], str, str], ...] = (
    (Unauthenticated, "authentication_error", "invalid_api_key"),
    (BudgetExceeded, "authorization_error", "quota_exceeded"),
    (PolicyError, "authorization_error", "missing_permissions"),
    (UnknownVoice, "not_found", "voice_not_found"),
    (UnknownModel, "not_found", "model_not_found"),
    (NotFound, "not_found", ""),
    (Conflict, "conflict", ""),
    (StillRunning, "conflict", ""),
    (TooLarge, "validation_error", "max_character_limit_exceeded"),
    (CallerError, "validation_error", ""),
    (Draining, "service_unavailable", "system_busy"),
    (CapacityError, "rate_limit_error", "too_many_concurrent_requests"),
    (AntiphonError, "internal_error", ""),
)


# ElevenLabs' names of parameters that the session names differently.
_PARAMS = {
    "voice": "voice_id",
    "model": "model_id",
    "format": "output_format",
    "context": "context_id",
    "language": "language_code",
    "url": "source_url",
}


def param_of(error: AntiphonError) -> str | None:
    """Return the name of the parameter that an error is about, in ElevenLabs' spelling."""
    return _PARAMS.get(error.param, error.param) if error.param else None


def words(error: AntiphonError) -> tuple[str, str]:
    """Return ElevenLabs' type and code of an error."""
    kind, code = next((kind, code) for fits, kind, code in _WORDS if isinstance(error, fits))
    return kind, code or error.code


def live_error(error: AntiphonError) -> LiveError:
    """Return the message of an error, sent before the close."""
    ours = not isinstance(error, CallerError | PolicyError | CapacityError)
    param = param_of(error)
    message = f"{param}: {error.message}" if param else error.message
    return LiveError(message, words(error)[1], INTERNAL_ERROR if ours else POLICY_VIOLATION)


def headers(opening: Opening, content_type: str) -> tuple[tuple[str, str], ...]:
    """Return the headers of every answer."""
    return (("content-type", content_type), ("request-id", opening.request_id))


def json_response(opening: Opening, status: int, body: Any) -> Response:
    """Return an answer with `body` as JSON."""
    return Response(status, headers(opening, JSON), encode(body))


class KeyPlace:
    """The place of the key."""

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Bearer | Pending | None:
        """Return the key of `xi-api-key: KEY` or `Authorization: Bearer KEY`. On a WebSocket, a browser may send the
        latter in the query.
        """
        if key := opening.headers.get("xi-api-key", "").strip():
            return Bearer(key)
        authorization = opening.headers.get("authorization") or dict(opening.query).get("authorization", "")
        return bearer(authorization)


class Endpoint(KeyPlace):
    """The common part of ElevenLabs' endpoints."""

    too_large = "max_character_limit_exceeded"  # the code of `TooLarge`

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        extra = () if error.retry_after_s is None else (("retry-after", str(error.retry_after_s)),)
        if type(error) is CallerError:
            body = ErrorBody([Invalid("value_error", _place(opening, param_of(error)), error.message)])
            return Response(422, headers(opening, JSON) + extra, encode(body))
        kind, code = words(error)
        if isinstance(error, TooLarge):
            code = self.too_large
        detail = Detail(kind, code, error.message, code, opening.request_id, param_of(error))
        status = QUOTA_STATUS if isinstance(error, BudgetExceeded) else error.status
        return Response(status, headers(opening, JSON) + extra, encode(ErrorBody(detail)))


def check_token(opening: Opening, token_type: str) -> None:
    """Raise `Unauthenticated` if the caller's single-use token is of another type. The token is used up anyway."""
    if opening.settled not in (None, token_type.encode()):
        raise Unauthenticated(f"the token is not of the type '{token_type}'")


def bearer(authorization: str) -> Bearer | None:
    """Return the key in `Bearer KEY`, the scheme in any case (RFC 9110, section 11.1), or in `KEY`; `None` for anything
    else.
    """
    scheme, _, key = authorization.strip().partition(" ")
    if key and scheme.lower() != "bearer":
        return None
    secret = (key or scheme).strip()
    return Bearer(secret) if secret else None


def _place(opening: Opening, param: str | None) -> list[str]:
    where = "query" if param in dict(opening.query) else "body"
    return [where, *(param or "").split(".")] if param else [where]


# -- what the caller sent ----------------------------------------------------------------------------------------------


def read(decode: Callable[[], T]) -> T:
    """Return what `decode` returns. Raises `UnsupportedParameter` for an unknown field, `CallerError` for any other
    fault of the caller. Messages quote no value, since it may be a part of a text.
    """
    try:
        return decode()
    except msgspec.ValidationError as error:
        raise _misshapen(str(error)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise CallerError("This is not a valid JSON object.") from None


def check_choice(param: str, value: str, supported: Sequence[str]) -> None:
    """Raise `CallerError` for a value that is not supported."""
    if value not in supported:
        raise CallerError(f"Supported values: {', '.join(supported)}.", param=param)


def _misshapen(message: str) -> CallerError:
    """Return the decoder's error as a `CallerError` with its path as `param`."""
    what, _, place = message.partition(" - at ")
    path = place.strip("`").removeprefix("$").removeprefix(".").partition("[")[0]
    kind, _, name = what.partition(" field `")
    if not name:
        return CallerError(f"{what}.", param=path or None)
    param = f"{path}.{name.rstrip('`')}".removeprefix(".")
    if kind.startswith("Object contains unknown"):
        return UnsupportedParameter("This parameter is unknown or not supported.", param=param[:MAX_SHOWN])
    return CallerError("Field required", param=param)
