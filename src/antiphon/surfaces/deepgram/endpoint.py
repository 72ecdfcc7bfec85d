"""The common part of Deepgram's APIs: where the credential is, and how a call is refused.

An error's body is `{"err_code", "err_msg", "request_id"}`; the message is also in the header `dg-error`, because a
WebSocket client gets no body if its opening is refused. `dg-request-id` is in every answer.
"""

from enum import Enum, auto

from antiphon.core.capabilities import Incapable, UnsupportedLanguage
from antiphon.core.errors import (
    AntiphonError,
    BudgetExceeded,
    CallerError,
    CapacityError,
    Conflict,
    Draining,
    EngineError,
    MethodNotAllowed,
    NotFound,
    PolicyError,
    RequestTimeout,
    StillRunning,
    TooLarge,
    Unauthenticated,
    UnknownModel,
    UnknownVoice,
    UnsupportedCoding,
    UnsupportedParameter,
)
from antiphon.core.wire import Bearer, Opening, Response, bearer
from antiphon.surfaces.deepgram.wire import ErrorBody, write_body

SCHEMES = ("token", "bearer")
MAX_HEADER_CHARS = 512
MAX_SHOWN = 64
LANGUAGES = ("language", "language_hint", "detect_language")  # parameters with languages

# RFC 6455, section 7.4.1, and the reason in Deepgram's close frames if the server failed.
NORMAL, POLICY_VIOLATION, INTERNAL_ERROR = 1000, 1008, 1011
SILENT_SERVER = "NET-0000"


class State(Enum):
    """The state of a connection."""

    OPEN = auto()
    ENDING = auto()  # the caller has ended; results are still to be sent
    CLOSED = auto()


class PayloadError(CallerError):
    """The body has no text to speak."""


class UnsupportedContentType(CallerError):
    """The body's content type is not supported."""


# The first class that matches gives Deepgram's `err_code`; subclasses stand before their bases.
_CODES: tuple[tuple[type[AntiphonError], str], ...] = (
    (Unauthenticated, "INVALID_AUTH"),
    (BudgetExceeded, "ASR_PAYMENT_REQUIRED"),
    (PolicyError, "INSUFFICIENT_PERMISSIONS"),
    (NotFound, "NOT_FOUND"),
    (MethodNotAllowed, "METHOD_NOT_ALLOWED"),
    (TooLarge, "PAYLOAD_TOO_LARGE"),
    (RequestTimeout, "SLOW_UPLOAD"),
    (StillRunning, "CONFLICT"),
    (Conflict, "UNPROCESSABLE_ENTITY"),
    (PayloadError, "PAYLOAD_ERROR"),
    (UnsupportedContentType, "UNSUPPORTED_MEDIA_TYPE"),
    (UnsupportedCoding, "UNSUPPORTED_MEDIA_TYPE"),
    (CallerError, "Bad Request"),
    (Draining, "SERVICE_UNAVAILABLE"),
    (CapacityError, "TOO_MANY_REQUESTS"),
    (EngineError, "BAD_GATEWAY"),
    (AntiphonError, "INTERNAL_SERVER_ERROR"),
)
# Deepgram's statuses that differ from ours. To it an unknown model is a wrong parameter, not a missing page.
_STATUSES: dict[type[AntiphonError], int] = {UnknownModel: 400, UnknownVoice: 400, UnsupportedContentType: 415}


class Endpoint:
    """The part of an endpoint that is the same on HTTP and on a WebSocket."""

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Bearer | None:
        """Return the key of `Authorization: Token KEY` or `Bearer KEY`, else of a browser's two subprotocols."""
        scheme, _, secret = opening.headers.get("authorization", "").strip().partition(" ")
        if scheme.lower() in SCHEMES and secret.strip():
            return bearer(secret)
        if len(opening.subprotocols) >= 2 and opening.subprotocols[0].lower() in SCHEMES:
            return bearer(opening.subprotocols[1])
        return None

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        status, headers, body = refusal(opening.request_id, phrased(error, opening))
        return Response(status, headers, body)


def phrased(error: AntiphonError, opening: Opening | None = None) -> AntiphonError:
    """Return the error; what a model cannot do gets Deepgram's message."""
    if isinstance(error, UnsupportedLanguage):
        names = () if opening is None else (name for name, value in opening.query if value == error.language)
        name = next((name for name in names if name in LANGUAGES), LANGUAGES[0])
        if error.languages == ("en",):
            return UnsupportedParameter("Only English (`en`) is supported.", param=name)
        return UnsupportedParameter(
            f"`{name}` {error.language[:MAX_SHOWN]!r} is not supported by this model.", param=name
        )
    if isinstance(error, Incapable):
        return UnsupportedParameter(f"`{error.param}` is not supported by this model.", param=error.param)
    return error


def chosen_subprotocol(opening: Opening) -> str | None:
    """Return the subprotocol with which a browser sends its key."""
    offered = opening.subprotocols[0] if opening.subprotocols else ""
    return offered if offered.lower() in SCHEMES else None


def error_code(error: AntiphonError) -> str:
    """Return Deepgram's `err_code` of an error."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


def refusal(request_id: str, error: AntiphonError) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """Return status, headers and body of an error."""
    code = error_code(error)
    if type(error) in (CallerError, UnsupportedParameter) and error.param is not None:
        code = "INVALID_QUERY_PARAMETER"
    headers = [*answer_headers(request_id), ("dg-error", _header_value(error.message))]
    if error.retry_after_s is not None:
        headers.append(("retry-after", str(error.retry_after_s)))
    return (
        _STATUSES.get(type(error), error.status),
        tuple(headers),
        write_body(ErrorBody(code, error.message, request_id)),
    )


def answer_headers(request_id: str) -> tuple[tuple[str, str], ...]:
    """Return the headers of every JSON body."""
    return (("content-type", "application/json"), ("dg-request-id", request_id))


def _header_value(text: str) -> str:
    """Return printable ASCII: other characters could end the header, or prevent its sending."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:MAX_HEADER_CHARS])
