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
    # Whose key it was that was refused, where that is known: for the audit log, never for the caller.
    key_id = ""
    project = ""

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


class MethodNotAllowed(CallerError):
    """There is something at this path, and not by this method."""

    status = 405
    code = "method_not_allowed"


class BadMedia(CallerError):
    """The bytes are not audio that can be decoded as declared."""

    code = "bad_media"


class TooLarge(CallerError):
    """A body, a frame or a decoded length over its named bound."""

    status = 413
    code = "too_large"


class UnsupportedCoding(CallerError):
    """The body is compressed, or otherwise not what it stands for (`Content-Encoding`)."""

    status = 415
    code = "unsupported_media_type"


class UnspeakableText(CallerError):
    """The voice does not survive this text, or makes nothing of it; nor will it another time."""

    code = "unspeakable_text"


class ContextLengthExceeded(CallerError):
    """More tokens than the model reads at once. Clients know it by its code or by `WORDS` in its message: they then
    shorten what they send, or ask another model.
    """

    code = "context_length_exceeded"
    WORDS: ClassVar[str] = "maximum context length"

    @classmethod
    def by(cls, given: int, most: int, param: str) -> "ContextLengthExceeded":
        """In OpenAI's own words. `given` is how many tokens there are, at least; `param` is what has them."""
        said = f"This model's {cls.WORDS} is {most} tokens. However, your {param} resulted in {given} tokens"
        return cls(f"{said}. Please reduce the length of the {param}.", param=param)


class RequestTimeout(CallerError):
    """The caller sent too little for too long."""

    status = 408
    code = "request_timeout"


class Conflict(CallerError):
    """The request contradicts an earlier one, as a reused idempotency key with another body."""

    status = 422  # not 409, which SDKs take as a reason to send the very same again
    code = "conflict"


class StillRunning(CallerError):
    """The request with this idempotency key is being answered; SDKs ask again after a 409, which is right here."""

    status = 409
    code = "still_running"


class AlreadyAnswered(Conflict):
    """The request with this idempotency key was answered, in `session`, and is not answered again."""

    code = "already_answered"

    def __init__(self, message: str, session: str = "", *, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.session = session


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


class InvalidSignature(Unauthenticated):
    """The request is signed, and not with the secret of its key, not lately, or not for the first time."""

    code = "invalid_signature"


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


class EngineMisconfigured(EngineError):
    """What runs the model does not take our credential, address or name of it: no caller's doing, and nothing that says
    that it is down.
    """


# -- ours --------------------------------------------------------------------------------------------------------------


class InternalError(AntiphonError):
    """A defect, or a broken machine."""


class LedgerUnavailable(InternalError):
    """Usage cannot be made durable, so nothing billable may be delivered."""

    status = 503
    code = "ledger_unavailable"


class OutcomeUnknown(LedgerUnavailable):
    """Usage may have been made durable or not; it is to be recorded again, by the same keys."""


class KeysUnavailable(InternalError):
    """Keys, or what was revoked of them, cannot be read or written, so nobody new is let in."""

    status = 503
    code = "keys_unavailable"


class Busy(KeysUnavailable):
    """They are being written just now."""
