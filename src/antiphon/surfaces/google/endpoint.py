"""What every call to Google's API has in common: where its credential stands, and how it is refused."""

import msgspec

from antiphon.core.errors import AntiphonError
from antiphon.core.wire import Bearer, Opening, Response, Step, bearer
from antiphon.surfaces.google.messages import write_json
from antiphon.surfaces.google.status import HTTP, KEY_HEADER, Code, Unimplemented, closing, status

JSON_HEADERS = (("content-type", "application/json; charset=UTF-8"),)
NUMBERS = "json;enum-encoding=int"  # of `$alt`: Python's client wants enums as numbers


class Endpoint:
    """One of a version; `rest` says that it is asked over HTTP, with JSON. It is also who refuses what is not there."""

    def __init__(self, *, first: bool = False, rest: bool = True) -> None:
        self.first = first
        self.rest = rest

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Bearer | None:
        """`x-goog-api-key: KEY`, else `Authorization: Bearer KEY`."""
        key = bearer(opening.headers.get(KEY_HEADER, ""))
        if key is not None:
            return key
        scheme, _, secret = opening.headers.get("authorization", "").strip().partition(" ")
        return bearer(secret) if scheme.lower() == "bearer" else None

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        if self.rest:
            return rest_error(opening, error, first=self.first)
        return Step(close=closing(opening, error, first=self.first))


def rest_error(opening: Opening, error: AntiphonError, *, first: bool) -> Response:
    """`{"error": {"code", "message", "status", "details"}}`: https://cloud.google.com/apis/design/errors#http_mapping"""
    told = status(opening, error, first=first)
    code = Code(told.code)
    shown = msgspec.json.decode(write_json(told))
    body = {"code": HTTP[code], "message": told.message, "status": code.name, "details": shown.get("details", [])}
    headers: tuple[tuple[str, str], ...] = JSON_HEADERS
    if error.retry_after_s is not None:
        headers += (("retry-after", str(error.retry_after_s)),)
    return Response(HTTP[code], headers, msgspec.json.encode({"error": body}))


class Absent(Endpoint):
    """A method of Google's that is not served; `why` says what there is in its place."""

    def __init__(self, why: str, *, first: bool = False, rest: bool = True) -> None:
        super().__init__(first=first, rest=rest)
        self._why = why

    def ask(self, opening: Opening, body: bytes) -> Step:
        return self.refuse(opening, Unimplemented(self._why))
