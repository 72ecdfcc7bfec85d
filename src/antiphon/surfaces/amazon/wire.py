"""The messages of Amazon Transcribe's streams, as its SDKs type them, and the common part of all its endpoints.

Times are seconds. Before the stream an error is an HTTP answer whose header `x-amzn-errortype` names it; in the stream
it is an event of the type `exception`.
"""

from typing import Literal

import msgspec

from antiphon.core.capabilities import Incapable, SpeechAbility, UnsupportedLanguage
from antiphon.core.errors import (
    AntiphonError,
    BudgetExceeded,
    CallerError,
    CapacityError,
    Conflict,
    Draining,
    EngineError,
    InvalidSignature,
    KeysUnavailable,
    LedgerUnavailable,
    MethodNotAllowed,
    NotFound,
    PolicyError,
    StillRunning,
    Unauthenticated,
    UnknownModel,
)
from antiphon.core.wire import Opening, Response, Signed, Step, make_close
from antiphon.surfaces.amazon import events, signing

JSON = "application/json"
# RFC 6455, section 7.4.1. Over HTTP/2 a close is the end of the stream, whatever its code.
NORMAL, POLICY_VIOLATION, INTERNAL_ERROR = 1000, 1008, 1011


class Item(msgspec.Struct, rename="pascal", frozen=True, omit_defaults=True, kw_only=True):
    """A word, or a punctuation mark after it."""

    start_time: float
    end_time: float
    type: Literal["pronunciation", "punctuation"]
    content: str
    vocabulary_filter_match: bool
    confidence: float | None = None
    stable: bool | None = None


class Entity(msgspec.Struct, rename="pascal", frozen=True, kw_only=True):
    """Personal data in a transcript, if the caller requested it."""

    start_time: float
    end_time: float
    category: str = "PII"
    type: str
    content: str
    confidence: float


class Alternative(msgspec.Struct, rename="pascal", frozen=True, omit_defaults=True):
    transcript: str
    items: list[Item]
    entities: list[Entity] | None = None


class LanguageWithScore(msgspec.Struct, rename="pascal", frozen=True):
    """An identified language, and its probability (0..1)."""

    language_code: str
    score: float


class Result(msgspec.Struct, rename="pascal", frozen=True, omit_defaults=True, kw_only=True):
    """The result of one utterance; its id is the same from the first partial result to the final one."""

    result_id: str
    start_time: float
    end_time: float
    is_partial: bool
    alternatives: list[Alternative]
    channel_id: str | None = None
    language_code: str | None = None
    language_identification: list[LanguageWithScore] | None = None


class Transcript(msgspec.Struct, rename="pascal", frozen=True):
    results: list[Result]


class TranscriptEvent(msgspec.Struct, rename="pascal", frozen=True):
    transcript: Transcript


class ExceptionBody(msgspec.Struct, rename="pascal", frozen=True):
    message: str


_encoder = msgspec.json.Encoder()


def transcript_event(results: list[Result]) -> bytes:
    headers = ((":message-type", "event"), (":event-type", "TranscriptEvent"), (":content-type", JSON))
    return events.encode(headers, _encoder.encode(TranscriptEvent(Transcript(results))))


def exception_event(error: AntiphonError) -> bytes:
    """Return an error as an event, whose type is the name by which the SDKs raise it."""
    name = exception_of(error)[1]
    headers = ((":message-type", "exception"), (":exception-type", name), (":content-type", JSON))
    return events.encode(headers, _encoder.encode(ExceptionBody(message_of(error))))


def failure(error: AntiphonError) -> Step:
    """Return the error as the last event of a stream. A WebSocket that is refused is accepted, told and closed, too:
    its clients do not show the body of an HTTP refusal.
    """
    blamed = isinstance(error, CallerError | PolicyError | CapacityError)
    close = make_close(POLICY_VIOLATION if blamed else INTERNAL_ERROR, message_of(error))
    return Step(sends=(exception_event(error),), close=close)


def message_of(error: AntiphonError) -> str:
    """Return the error's message; what a model cannot do is named by the option that asked for it."""
    match error:
        case UnsupportedLanguage():
            name = "language-options" if error.param == "languages" else "language-code"
            return f"{name} is not supported: {error.message}"
        case Incapable(ability=SpeechAbility.DETECTION):
            return "identify-language is not supported by this model: name the language in language-code."
    return error.message


# The first class that matches counts; subclasses stand before their bases.
_EXCEPTIONS: tuple[tuple[type[AntiphonError], int, str], ...] = (
    (InvalidSignature, 403, "InvalidSignatureException"),
    (Unauthenticated, 403, "UnrecognizedClientException"),
    (BudgetExceeded, 429, "LimitExceededException"),
    (PolicyError, 403, "AccessDeniedException"),
    (UnknownModel, 400, "BadRequestException"),
    (NotFound, 404, "UnknownOperationException"),
    (MethodNotAllowed, 405, "UnknownOperationException"),
    (StillRunning, 409, "ConflictException"),
    (Conflict, 409, "ConflictException"),
    (CallerError, 400, "BadRequestException"),
    (Draining, 503, "ServiceUnavailableException"),
    (CapacityError, 429, "LimitExceededException"),
    (EngineError, 503, "ServiceUnavailableException"),
    (LedgerUnavailable, 503, "ServiceUnavailableException"),
    (KeysUnavailable, 503, "ServiceUnavailableException"),
    (AntiphonError, 500, "InternalFailureException"),
)


def exception_of(error: AntiphonError) -> tuple[int, str]:
    """Return the HTTP status and the name with which Amazon would report the error."""
    return next((status, name) for kind, status, name in _EXCEPTIONS if isinstance(error, kind))


class Endpoint:
    """The common part of Amazon's endpoints: where the credential is, and how a call is refused."""

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Signed | None:
        return signing.credential(opening)

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        status, name = exception_of(error)
        headers = [("content-type", JSON), ("x-amzn-request-id", opening.request_id), ("x-amzn-errortype", name)]
        if error.retry_after_s is not None:
            headers.append(("retry-after", str(error.retry_after_s)))
        return Response(status, tuple(headers), _encoder.encode(ExceptionBody(message_of(error))))
