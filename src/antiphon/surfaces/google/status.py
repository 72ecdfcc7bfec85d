"""The end of calls to Google's API: a gRPC status code, and details that its clients read.

The details are a `google.rpc.Status` in the trailer `grpc-status-details-bin`, over REST in the body. Python's client
of v1 repeats a call for 83 minutes after UNAVAILABLE and DEADLINE_EXCEEDED, even streams whose audio is used up. So v1
never sends either.
"""

from enum import IntEnum
from typing import Any

from antiphon.core.capabilities import UnsupportedLanguage
from antiphon.core.errors import (
    AntiphonError,
    BudgetExceeded,
    CallerError,
    Cancelled,
    CapacityError,
    Conflict,
    Draining,
    EngineError,
    EngineTimeout,
    KeysUnavailable,
    LedgerUnavailable,
    MethodNotAllowed,
    NotFound,
    PolicyError,
    RequestTimeout,
    StillRunning,
    TooLarge,
    Unauthenticated,
    UnknownModel,
    UnsupportedParameter,
)
from antiphon.core.wire import Close, Opening
from antiphon.surfaces.google.messages import RPC, duration, kind, packed

DETAILS = "grpc-status-details-bin"
DOMAIN = "googleapis.com"
SERVICE = "speech.googleapis.com"
MAX_MESSAGE_CHARS = 1_024  # clients accept 8 KiB of trailers, and the message is in two of them
RETRY_AFTER_S = 1
KEY_HEADER = "x-goog-api-key"


class Code(IntEnum):
    """The gRPC status codes: https://github.com/grpc/grpc/blob/master/doc/statuscodes.md"""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
HTTP = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.FAILED_PRECONDITION: 400,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}


class Unimplemented(CallerError):
    """The method is not supported."""

    status = 501
    code = "unimplemented"


class AlreadyExists(CallerError):
    """The name exists already."""

    status = 409
    code = "already_exists"


class FailedPrecondition(CallerError):
    """The resource is not in a state that permits this request."""

    code = "failed_precondition"


class Ended(AntiphonError):
    """A limit ends the stream."""

    code = "stream_limit"

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.grpc_code = code


# The first class that matches gives the codes for v2 and v1; subclasses stand before their bases.
_CODES: tuple[tuple[type[AntiphonError], Code, Code], ...] = (
    (Unauthenticated, Code.UNAUTHENTICATED, Code.UNAUTHENTICATED),
    (BudgetExceeded, Code.RESOURCE_EXHAUSTED, Code.RESOURCE_EXHAUSTED),
    (PolicyError, Code.PERMISSION_DENIED, Code.PERMISSION_DENIED),
    (UnknownModel, Code.INVALID_ARGUMENT, Code.INVALID_ARGUMENT),
    (NotFound, Code.NOT_FOUND, Code.NOT_FOUND),
    (MethodNotAllowed, Code.UNIMPLEMENTED, Code.UNIMPLEMENTED),
    (Unimplemented, Code.UNIMPLEMENTED, Code.UNIMPLEMENTED),
    (TooLarge, Code.INVALID_ARGUMENT, Code.INVALID_ARGUMENT),
    (RequestTimeout, Code.ABORTED, Code.OUT_OF_RANGE),
    (AlreadyExists, Code.ALREADY_EXISTS, Code.ALREADY_EXISTS),
    (FailedPrecondition, Code.FAILED_PRECONDITION, Code.FAILED_PRECONDITION),
    (StillRunning, Code.ABORTED, Code.ABORTED),
    (Conflict, Code.ABORTED, Code.ABORTED),
    (Cancelled, Code.CANCELLED, Code.CANCELLED),
    (CallerError, Code.INVALID_ARGUMENT, Code.INVALID_ARGUMENT),
    (Draining, Code.UNAVAILABLE, Code.ABORTED),
    (CapacityError, Code.RESOURCE_EXHAUSTED, Code.RESOURCE_EXHAUSTED),
    (EngineTimeout, Code.DEADLINE_EXCEEDED, Code.INTERNAL),
    (EngineError, Code.UNAVAILABLE, Code.INTERNAL),
    (LedgerUnavailable, Code.UNAVAILABLE, Code.INTERNAL),
    (KeysUnavailable, Code.UNAVAILABLE, Code.INTERNAL),
    (AntiphonError, Code.INTERNAL, Code.INTERNAL),
)


def code_of(error: AntiphonError, *, first: bool) -> Code:
    """Return the status code of an error; `first` is true for v1."""
    if isinstance(error, Ended):
        return error.grpc_code
    v2, v1 = next((v2, v1) for kind, v2, v1 in _CODES if isinstance(error, kind))
    return v1 if first else v2


def status(opening: Opening, error: AntiphonError, *, first: bool) -> Any:
    """Return the error as a `google.rpc.Status`."""
    error = _phrased(error, first=first)
    code = code_of(error, first=first)
    info = kind(f"{RPC}.ErrorInfo")(reason=_reason(opening, error), domain=DOMAIN, metadata={"service": SERVICE})
    details = [packed(info)]
    if error.param is not None and code is Code.INVALID_ARGUMENT:
        violation = {"field": error.param, "description": _text(error)}
        details.append(packed(kind(f"{RPC}.BadRequest")(field_violations=[violation])))
    if isinstance(error, CapacityError):
        delay_ms = (error.retry_after_s or RETRY_AFTER_S) * 1000
        details.append(packed(kind(f"{RPC}.RetryInfo")(retry_delay=duration(delay_ms))))
    return kind(f"{RPC}.Status")(code=code, message=_text(error), details=details)


def closing(opening: Opening, error: AntiphonError, *, first: bool) -> Close:
    """Return the end of a gRPC call that fails."""
    rpc_status = status(opening, error, first=first)
    return Close(rpc_status.code, rpc_status.message, ((DETAILS, rpc_status.SerializeToString()),))


def _phrased(error: AntiphonError, *, first: bool) -> AntiphonError:
    """Return the error; what a model cannot do is named by the field that asks for it."""
    if not isinstance(error, UnsupportedLanguage):
        return error
    languages = ", ".join(error.languages)
    message = f'The language "{error.language[:64]}" is not supported by the model. Supported languages: {languages}.'
    return UnsupportedParameter(message, param="language_code" if first else "language_codes")


def _reason(opening: Opening, error: AntiphonError) -> str:
    if isinstance(error, Unauthenticated):
        sent = KEY_HEADER in opening.headers or "authorization" in opening.headers
        return "API_KEY_INVALID" if sent else "CREDENTIALS_MISSING"
    return error.code.upper()


def _text(error: AntiphonError) -> str:
    return error.message[:MAX_MESSAGE_CHARS]
