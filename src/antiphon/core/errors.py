"""The error tree, by origin: caller, policy, capacity, engine, server.

Every error carries an HTTP-like status, a stable snake_case code and a message that is safe to show to the caller: it
never contains content or a secret. `param` names the offending parameter in the caller's own spelling. Surfaces render
errors in their vendor's format; malformed input never becomes `None` or an empty result.
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
    """A known parameter, or a value of one, that this server does not support."""

    code = "unsupported_parameter"


class UnknownModel(CallerError):
    """No model has that name. The message lists those available."""

    status = 404
    code = "model_not_found"


class UnknownVoice(CallerError):
    """No voice has that name. The message lists those available."""

    status = 404
    code = "voice_not_found"


class NotFound(CallerError):
    """No such thing, or not this project's."""

    status = 404
    code = "not_found"


class MethodNotAllowed(CallerError):
    """The path exists, but not with this method."""

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
    """The body has an unsupported `Content-Encoding`, such as a compression."""

    status = 415
    code = "unsupported_media_type"


class UnspeakableText(CallerError):
    """The voice always crashes on this text, or produces no speech for it."""

    code = "unspeakable_text"


class ContextLengthExceeded(CallerError):
    """More tokens than the model's context. Clients recognise it by its code or by `WORDS` in its message: they then
    shorten their input, or use another model.
    """

    code = "context_length_exceeded"
    WORDS: ClassVar[str] = "maximum context length"

    @classmethod
    def by(cls, tokens: int, most: int, param: str) -> "ContextLengthExceeded":
        """Return the error in OpenAI's own words. `tokens` is the number of tokens, at least; `param` is the parameter
        that has them.
        """
        message = f"This model's {cls.WORDS} is {most} tokens. However, your {param} resulted in {tokens} tokens"
        return cls(f"{message}. Please reduce the length of the {param}.", param=param)


class RequestTimeout(CallerError):
    """The caller sent its request too slowly."""

    status = 408
    code = "request_timeout"


class Conflict(CallerError):
    """The request contradicts an earlier one, such as a reused idempotency key with another body."""

    status = 422  # not 409, which SDKs take as a reason to send the very same again
    code = "conflict"


class StillRunning(CallerError):
    """The request with this idempotency key is being processed; SDKs retry after a 409, which is right here."""

    status = 409
    code = "still_running"


class AlreadyAnswered(Conflict):
    """The request with this idempotency key was answered, in `session`, and is not answered again."""

    code = "already_answered"

    def __init__(self, message: str, session: str = "", *, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.session = session


class Cancelled(CallerError):
    """The caller cancelled it."""

    code = "cancelled"


# -- the policy's ------------------------------------------------------------------------------------------------------


class PolicyError(AntiphonError):
    """The request is well-formed, but not allowed."""

    status = 403
    code = "forbidden"


class AddressNotAllowed(PolicyError):
    """The key may be used from other networks only."""

    code = "address_not_allowed"


class NoEngineAllowed(PolicyError):
    """No engine of the model may serve the project: none is where, or whose, its policy requires."""

    code = "no_engine_allowed"


class ConsentRequired(PolicyError):
    """The project's policy requires the consent of the person who is heard, and the call has no tag for it."""

    code = "consent_required"


class Unauthenticated(PolicyError):
    """No key, or no valid one."""

    status = 401
    code = "unauthenticated"


class InvalidSignature(Unauthenticated):
    """The signature does not match the secret of the key, is too old, or was used before."""

    code = "invalid_signature"


class BudgetExceeded(PolicyError):
    """What is left of a budget is not enough; trying again does not help."""

    status = 402
    code = "budget_exceeded"


class Unpriced(PolicyError):
    """The project has a hard budget of money, and what it would use has no price."""

    code = "no_price"


# -- capacity ----------------------------------------------------------------------------------------------------------


class CapacityError(AntiphonError):
    """No capacity now; `retry_after_s` says when to retry."""

    status = 429
    code = "over_capacity"


class Draining(CapacityError):
    """The server is shutting down and takes no new work."""

    status = 503
    code = "draining"


# -- the engine's ------------------------------------------------------------------------------------------------------


class EngineError(AntiphonError):
    """The model or its server failed; a retry may succeed."""

    status = 502
    code = "engine_failed"


class EngineTimeout(EngineError):
    """The engine did not answer within the bound."""

    status = 504
    code = "engine_timeout"


class EngineMisconfigured(EngineError):
    """The model's server does not accept our credential, address or model name. It is neither the caller's fault nor a
    sign that the engine is down.
    """


# -- ours --------------------------------------------------------------------------------------------------------------


class InternalError(AntiphonError):
    """A defect, or a broken machine."""


class LedgerUnavailable(InternalError):
    """Usage cannot be made durable, so nothing billable may be delivered."""

    status = 503
    code = "ledger_unavailable"


class OutcomeUnknown(LedgerUnavailable):
    """Usage may be durable or not; it must be recorded again, with the same keys."""


class KeysUnavailable(InternalError):
    """Keys or revocations cannot be read or written, so no new caller is admitted."""

    status = 503
    code = "keys_unavailable"


class Busy(KeysUnavailable):
    """The keys are being written now."""
