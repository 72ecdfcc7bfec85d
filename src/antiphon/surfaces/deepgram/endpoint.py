"""What every call to Deepgram's listen API has in common: where its credential stands, and how it is refused.

An error's body is `{"err_code", "err_msg", "request_id"}`; the message is also in the header `dg-error`, because a
WebSocket client sees no body when its opening is refused, and `dg-request-id` is in every answer.
"""

from antiphon.core.errors import (
    AntiphonError,
    BadMedia,
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
)
from antiphon.core.wire import Opening, Response
from antiphon.surfaces.deepgram.wire import ErrorBody, write_body

SCHEMES = ("token", "bearer")
MAX_HEADER_CHARS = 512

# The first class that fits gives Deepgram's status and `err_code`; the order is from the narrow to the wide.
_SHAPES: tuple[tuple[type[AntiphonError], int, str], ...] = (
    (Unauthenticated, 401, "INVALID_AUTH"),
    (PolicyError, 403, "INSUFFICIENT_PERMISSIONS"),
    (BadMedia, 400, "Bad Request"),
    (UnknownModel, 400, "Bad Request"),  # as Deepgram: no such model is a wrong parameter, not a missing page
    (NotFound, 404, "NOT_FOUND"),
    (TooLarge, 413, "PAYLOAD_TOO_LARGE"),
    (RequestTimeout, 408, "SLOW_UPLOAD"),
    (Conflict, 409, "CONFLICT"),
    (CallerError, 400, "Bad Request"),
    (Draining, 503, "SERVICE_UNAVAILABLE"),
    (CapacityError, 429, "TOO_MANY_REQUESTS"),
    (EngineError, 502, "BAD_GATEWAY"),
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


def shape(error: AntiphonError) -> tuple[int, str]:
    """The status and the `err_code` under which Deepgram would report it."""
    for kind, status, code in _SHAPES:
        if isinstance(error, kind):
            return status, code
    return error.status, "INTERNAL_SERVER_ERROR"


def refusal(request_id: str, error: AntiphonError) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """Status, headers and body of an error."""
    status, code = shape(error)
    if isinstance(error, CallerError) and error.param is not None and code == "Bad Request":
        code = "INVALID_QUERY_PARAMETER"
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
