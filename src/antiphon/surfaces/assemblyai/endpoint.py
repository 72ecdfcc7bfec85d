"""What every call to AssemblyAI's APIs has in common: where its credential stands, and how it is refused.

Over HTTP an error is `{"error"}`. A stream that is refused is opened, told by an `Error`, and closed with the same
code: the SDK for Node tries a refused opening three times, and gives up at once only where the code says that it is no
use.
"""

from antiphon.core.capabilities import Incapable, SpeechAbility, UnsupportedLanguage
from antiphon.core.errors import (
    AntiphonError,
    CallerError,
    CapacityError,
    Draining,
    PolicyError,
    UnsupportedParameter,
)
from antiphon.core.wire import Bearer, Close, Opening, Response, Step, bearer
from antiphon.surfaces.assemblyai import wire

NORMAL = 1000
SERVER_ERROR, INVALID_INPUT, CHUNK_DURATION, SESSION_EXPIRED, TOO_MANY_SESSIONS = 3005, 3006, 3007, 3008, 3009
NOT_AUTHORIZED, IDLE, BAD_SCHEMA = 4001, 4031, 4101
MAX_REASON_BYTES = 123
MAX_SHOWN = 64
# How a caller spells what a model may not hear.
_LANGUAGE_PARAMS = {"language": "language_code", "languages": "language_codes"}

JSON = (("content-type", "application/json"),)


class Endpoint:
    """The half of an endpoint that is the same for all."""

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Bearer | None:
        """`Authorization: KEY`, as it is; `Bearer KEY` is taken, too. Else `?token=`."""
        sent = opening.headers.get("authorization", "").strip()
        scheme, _, secret = sent.partition(" ")
        if scheme.lower() == "bearer":
            sent = secret
        return bearer(sent) or bearer(dict(opening.query).get("token", ""))

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        headers = (*JSON, *retry_after(error))
        return Response(error.status, headers, wire.write_body(wire.ErrorBody(phrased(error).message)))


def phrased(error: AntiphonError) -> AntiphonError:
    """What a model cannot do, by the name of the parameter that asks for it; any other error as it is."""
    if isinstance(error, UnsupportedLanguage):
        name = _LANGUAGE_PARAMS.get(error.param or "", "language_code")
        heard = ", ".join(f"'{each}'" for each in error.languages)
        said = f"`{name}`: this model does not support the language {error.language[:MAX_SHOWN]!r}, only {heard}."
        return UnsupportedParameter(said, param=name)
    if isinstance(error, Incapable) and error.ability is SpeechAbility.DETECTION:
        said = "`language_detection` is not supported by this model: it does not find out which language is spoken."
        return UnsupportedParameter(said, param="language_detection")
    return error


def retry_after(error: AntiphonError) -> tuple[tuple[str, str], ...]:
    return () if error.retry_after_s is None else (("retry-after", str(error.retry_after_s)),)


def close_code(error: AntiphonError, caller_code: int) -> int:
    """The code of an error that ends a stream; `caller_code` is that of the caller's own."""
    match error:
        case Draining():
            return SERVER_ERROR
        case CapacityError():
            return TOO_MANY_SESSIONS
        case PolicyError():
            return NOT_AUTHORIZED
        case CallerError():
            return caller_code
    return SERVER_ERROR


def ending(code: int, message: str) -> Step:
    """An `Error`, and the close with as much of it as a close frame holds."""
    reason = message.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    return Step(sends=(wire.write(wire.Error(code, message)),), close=Close(code, reason))
