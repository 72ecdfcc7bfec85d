"""The common part of AssemblyAI's APIs: where the credential is, and how a call is refused.

Over HTTP an error is `{"error"}`. A refused stream is opened, gets an `Error`, and is closed with the same code: the
SDK for Node tries a refused opening three times, and stops at once only for certain close codes.
"""

from antiphon.core.capabilities import Incapable, SpeechAbility, UnsupportedLanguage
from antiphon.core.errors import (
    AntiphonError,
    BudgetExceeded,
    CallerError,
    CapacityError,
    Draining,
    PolicyError,
    UnsupportedParameter,
)
from antiphon.core.wire import Bearer, Opening, Response, Step, bearer, make_close
from antiphon.surfaces.assemblyai import wire

NORMAL = 1000
SERVER_ERROR, INVALID_INPUT, CHUNK_DURATION, SESSION_EXPIRED, TOO_MANY_SESSIONS = 3005, 3006, 3007, 3008, 3009
NOT_AUTHORIZED, INSUFFICIENT_FUNDS, IDLE, BAD_SCHEMA = 4001, 4002, 4031, 4101
MAX_SHOWN = 64
# The callers' names of parameters for a language that a model may not support.
_LANGUAGE_PARAMS = {"language": "language_code", "languages": "language_codes"}

JSON = (("content-type", "application/json"),)


class Endpoint:
    """The part of an endpoint that is the same for all."""

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Bearer | None:
        """Return the key of `Authorization: KEY` or `Authorization: Bearer KEY`, else of `?token=`."""
        sent = opening.headers.get("authorization", "").strip()
        scheme, _, secret = sent.partition(" ")
        if scheme.lower() == "bearer":
            sent = secret
        return bearer(sent) or bearer(dict(opening.query).get("token", ""))

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        headers = (*JSON, *retry_after(error))
        return Response(error.status, headers, wire.write_body(wire.ErrorBody(phrased(error).message)))


def phrased(error: AntiphonError) -> AntiphonError:
    """Return the error; what a model cannot do is named by the parameter that asks for it."""
    if isinstance(error, UnsupportedLanguage):
        name = _LANGUAGE_PARAMS.get(error.param or "", "language_code")
        codes = ", ".join(f"'{each}'" for each in error.languages)
        message = f"`{name}`: this model does not support the language {error.language[:MAX_SHOWN]!r}, only {codes}."
        return UnsupportedParameter(message, param=name)
    if isinstance(error, Incapable) and error.ability is SpeechAbility.DETECTION:
        message = "`language_detection` is not supported by this model: it does not find out which language is spoken."
        return UnsupportedParameter(message, param="language_detection")
    return error


def retry_after(error: AntiphonError) -> tuple[tuple[str, str], ...]:
    return () if error.retry_after_s is None else (("retry-after", str(error.retry_after_s)),)


def close_code(error: AntiphonError, caller_code: int) -> int:
    """Return the close code of an error that ends a stream; `caller_code` is the code for errors of the caller."""
    match error:
        case Draining():
            return SERVER_ERROR
        case CapacityError():
            return TOO_MANY_SESSIONS
        case BudgetExceeded():
            return INSUFFICIENT_FUNDS
        case PolicyError():
            return NOT_AUTHORIZED
        case CallerError():
            return caller_code
    return SERVER_ERROR


def ending(code: int, message: str) -> Step:
    """Return an `Error`, then the close, with as much of the message as fits into a close frame."""
    return Step(sends=(wire.write(wire.Error(code, message)),), close=make_close(code, message))
