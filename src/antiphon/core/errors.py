"""The error tree, by blame: caller, policy, capacity, engine, us.

Every error carries an HTTP-like status, a stable snake_case code and a message that is safe to show to the caller:
it never contains content or a secret. `param` names the offending parameter in the caller's own spelling.
Surfaces render these in their vendor's shape; nothing malformed ever becomes `None` or an empty result.
"""

from typing import ClassVar


class AntiphonError(Exception):
    """Base of every error that may reach a caller."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


# -- the caller's ------------------------------------------------------------------------------------------------------


class CallerError(AntiphonError):
    """The request is wrong; the same request will fail again."""

    status = 400
    code = "invalid_request"


class UnsupportedParameter(CallerError):
    """A known parameter, or a value of one, that this server does not honour."""

    code = "unsupported_parameter"


class UnknownModel(CallerError):
    """No model of that name is offered. The message lists those that are."""

    status = 404
    code = "model_not_found"


class UnknownVoice(CallerError):
    """No voice of that name is offered. The message lists those that are."""

    status = 404
    code = "voice_not_found"


class NotFound(CallerError):
    """No such thing, or not this project's."""

    status = 404
    code = "not_found"


class BadMedia(CallerError):
    """The bytes are not audio that can be decoded as declared."""

    code = "bad_media"


class TooLarge(CallerError):
    """A body, a frame or a decoded length over its named bound."""

    status = 413
    code = "too_large"


class ContextLengthExceeded(CallerError):
    """More tokens than the model reads at once."""

    code = "context_length_exceeded"


class RequestTimeout(CallerError):
    """The caller sent too little for too long."""

    status = 408
    code = "request_timeout"


class Conflict(CallerError):
    """The request contradicts an earlier one, as a reused idempotency key with another body."""

    status = 422  # not 409, which SDKs take as a reason to send the very same again
    code = "conflict"


class Cancelled(CallerError):
    """The caller who asked for it wants it no more."""

    code = "cancelled"


# -- the policy's ------------------------------------------------------------------------------------------------------


class PolicyError(AntiphonError):
    """The request is well-formed, and not allowed."""

    status = 403
    code = "forbidden"


class Unauthenticated(PolicyError):
    """No key, or none that holds."""

    status = 401
    code = "unauthenticated"


# -- capacity ----------------------------------------------------------------------------------------------------------


class CapacityError(AntiphonError):
    """There is no room now; `retry_after_s` says when to try again."""

    status = 429
    code = "over_capacity"


class Draining(CapacityError):
    """The server is shutting down and takes no new work."""

    status = 503
    code = "draining"


# -- the engine's ------------------------------------------------------------------------------------------------------


class EngineError(AntiphonError):
    """The model or what runs it failed; another try may succeed."""

    status = 502
    code = "engine_failed"


class EngineTimeout(EngineError):
    """The engine did not answer within the bound."""

    status = 504
    code = "engine_timeout"


# -- ours --------------------------------------------------------------------------------------------------------------


class InternalError(AntiphonError):
    """A defect, or a broken machine."""


class LedgerUnavailable(InternalError):
    """Usage cannot be made durable, so nothing billable may be delivered."""

    status = 503
    code = "ledger_unavailable"
