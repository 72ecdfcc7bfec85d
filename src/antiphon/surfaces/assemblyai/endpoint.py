"""What every call to AssemblyAI's APIs has in common: where its credential stands, and how it is refused.

Over HTTP an error is `{"error"}`. A stream that is refused is opened, told by an `Error`, and closed with the same
code: the SDK for Node tries a refused opening three times, and gives up at once only where the code says that it is no
use.
"""

from antiphon.core.errors import AntiphonError, CallerError, CapacityError, Draining, PolicyError
from antiphon.core.wire import Bearer, Opening, Response, Step, bearer, closing
from antiphon.surfaces.assemblyai import wire

NORMAL = 1000
SERVER_ERROR, INVALID_INPUT, CHUNK_DURATION, SESSION_EXPIRED, TOO_MANY_SESSIONS = 3005, 3006, 3007, 3008, 3009
NOT_AUTHORIZED, IDLE, BAD_SCHEMA = 4001, 4031, 4101

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
        return Response(error.status, headers, wire.write_body(wire.ErrorBody(error.message)))


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
    return Step(sends=(wire.write(wire.Error(code, message)),), close=closing(code, message))
