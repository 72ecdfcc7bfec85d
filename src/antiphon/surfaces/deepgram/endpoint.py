"""What every call to Deepgram's listen API has in common: where its credential stands, and how it is refused.

An error's body is `{"err_code", "err_msg", "request_id"}`; the message is also in the header `dg-error`, because a
WebSocket client sees no body when its opening is refused, and `dg-request-id` is in every answer.
"""

from antiphon.core.errors import (
    AntiphonError,
    CallerError,
    CapacityError,
    Conflict,
    Draining,
    EngineError,
    NotFound,
    PolicyError,
    RequestTimeout,
    TooLarge,
    Unauthenticated,
    UnknownModel,
    UnsupportedParameter,
)
from antiphon.core.wire import Opening, Response
from antiphon.surfaces.deepgram.wire import ErrorBody, write_body

SCHEMES = ("token", "bearer")
MAX_HEADER_CHARS = 512

# The first class that fits says Deepgram's `err_code`; the order is from the narrow to the wide.
_CODES: tuple[tuple[type[AntiphonError], str], ...] = (
    (Unauthenticated, "INVALID_AUTH"),
    (PolicyError, "INSUFFICIENT_PERMISSIONS"),
    (NotFound, "NOT_FOUND"),
    (TooLarge, "PAYLOAD_TOO_LARGE"),
    (RequestTimeout, "SLOW_UPLOAD"),
    (Conflict, "UNPROCESSABLE_ENTITY"),
    (CallerError, "Bad Request"),
    (Draining, "SERVICE_UNAVAILABLE"),
    (CapacityError, "TOO_MANY_REQUESTS"),
    (EngineError, "BAD_GATEWAY"),
    (AntiphonError, "INTERNAL_SERVER_ERROR"),
)


class ListenEndpoint:
    """The half of an endpoint that is the same on HTTP and on a WebSocket."""

    def credential(self, opening: Opening) -> str | None:
        """`Authorization: Token KEY` or `Bearer KEY`, else the subprotocols `token, KEY` that a browser can send."""
        scheme, _, secret = opening.headers.get("authorization", "").strip().partition(" ")
        if scheme.lower() in SCHEMES and secret.strip():
            return secret.strip()
        if len(opening.subprotocols) >= 2 and opening.subprotocols[0].lower() in SCHEMES:
            return opening.subprotocols[1] or None
        return None

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        status, headers, body = refusal(opening.request_id, error)
        return Response(status, headers, body)


def error_code(error: AntiphonError) -> str:
    """The `err_code` under which Deepgram would report it."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


def refusal(request_id: str, error: AntiphonError) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """Status, headers and body of an error."""
    code = error_code(error)
    if type(error) in (CallerError, UnsupportedParameter) and error.param is not None:
        code = "INVALID_QUERY_PARAMETER"
    # To Deepgram an unknown model is a wrong parameter, not a missing page.
    status = CallerError.status if isinstance(error, UnknownModel) else error.status
    headers = [*answer_headers(request_id), ("dg-error", _header_value(error.message))]
    if error.retry_after_s is not None:
        headers.append(("retry-after", str(error.retry_after_s)))
    return status, tuple(headers), write_body(ErrorBody(code, error.message, request_id))


def answer_headers(request_id: str) -> tuple[tuple[str, str], ...]:
    """What stands above every JSON body."""
    return (("content-type", "application/json"), ("dg-request-id", request_id))


def _header_value(text: str) -> str:
    """Printable ASCII: anything else could end the header, or not be sent at all."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:MAX_HEADER_CHARS])
