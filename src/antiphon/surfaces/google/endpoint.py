"""The common part of all methods of Google's API: how requests are read, where the credential is, and how calls are
answered and refused; over gRPC, or over REST with the same messages.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec

from antiphon.core.endpoints import NeedsResource, Question
from antiphon.core.errors import AntiphonError, CallerError
from antiphon.core.wire import Bearer, Close, Head, Opening, Response, Step, bearer
from antiphon.surfaces.google import messages
from antiphon.surfaces.google.status import HTTP, KEY_HEADER, Code, Unimplemented, closing, status

JSON_HEADERS = (("content-type", "application/json; charset=UTF-8"),)
NUMBERS = "json;enum-encoding=int"  # of `$alt`: Python's client wants enums as numbers
WHOLE = "*"
_FIELD = re.compile(r"{([a-z_.]+)=([^}]+)}")


@dataclass(frozen=True, slots=True)
class Rest:
    """The places of a request's fields over REST (AIP-127). The groups of `path` are the fields in `named`, in order;
    the `body` is one field, or the `WHOLE` message, or there is none; other fields may be in the query.
    """

    path: re.Pattern[str] = re.compile(".*")
    named: tuple[str, ...] = ()
    body: str = ""


def bound(template: str, body: str = "") -> tuple[str, Rest]:
    """Return a route's path, and the places of its request, of a template like `/v2/{name=projects/*/things/*}:act`."""
    fields: list[str] = []

    def route(match: re.Match[str]) -> str:
        fields.append(match[1])
        places = iter(range(9))
        return re.sub(r"\*\*?", lambda star: f"{{p{next(places)}{':path' if star[0] == '**' else ''}}}", match[2])

    path = _FIELD.sub(route, template)
    regex = _FIELD.sub(lambda match: f"({match[2].replace('**', '.+').replace('*', '[^/]+')})", template)
    return path, Rest(re.compile(regex), tuple(fields), body)


class Endpoint:
    """A method of a version, whose messages are of the type `request`. Over gRPC it has no `rest`. It also refuses
    calls of unknown methods.
    """

    request = ""
    max_body_bytes = 1 << 20

    def __init__(self, *, first: bool = False, rest: Rest | None = None) -> None:
        self.first = first
        self.rest = rest

    @property
    def method(self) -> str:
        """The method's name over gRPC, within its service."""
        return self.request.rpartition(".")[2].removesuffix("Request")

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Bearer | None:
        """Return the key of `x-goog-api-key: KEY`, else of `Authorization: Bearer KEY`."""
        key = bearer(opening.headers.get(KEY_HEADER, ""))
        if key is not None:
            return key
        scheme, _, secret = opening.headers.get("authorization", "").strip().partition(" ")
        return bearer(secret) if scheme.lower() == "bearer" else None

    def read(self, opening: Opening, body: bytes) -> Any:
        """Return the request. Raises `CallerError`."""
        if self.rest is None:
            return messages.read(self.request, body)
        return _read_rest(self.request, self.rest, opening, body)

    def answer(self, opening: Opening, message: Any, headers: tuple[tuple[str, str], ...] = ()) -> Step:
        """Return the answer with the message, and more headers or trailers."""
        if self.rest is None:
            return Step(sends=(message.SerializeToString(),), close=Close(Code.OK, trailers=headers))
        body = messages.write_json(message, numbers=("$alt", NUMBERS) in opening.query)
        return Step(sends=(Head(200, JSON_HEADERS + headers), body), close=Close())

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        if self.rest is None:
            return Step(close=closing(opening, error, first=self.first))
        return rest_error(opening, error, first=self.first)


class LookupMethod(Endpoint, ABC):
    """A method that is answered at once."""

    @abstractmethod
    def ask(self, opening: Opening, body: bytes) -> Question | NeedsResource[Question] | Step:
        """Return the question to answer, or the answer itself. Raises `AntiphonError`."""


def rest_error(opening: Opening, error: AntiphonError, *, first: bool) -> Response:
    """Return `{"error": {"code", "message", "status", "details"}}`
    (https://cloud.google.com/apis/design/errors#http_mapping).
    """
    rpc_status = status(opening, error, first=first)
    code = Code(rpc_status.code)
    shown = msgspec.json.decode(messages.write_json(rpc_status))
    body = {"code": HTTP[code], "message": rpc_status.message, "status": code.name, "details": shown.get("details", [])}
    headers: tuple[tuple[str, str], ...] = JSON_HEADERS
    if error.retry_after_s is not None:
        headers += (("retry-after", str(error.retry_after_s)),)
    return Response(HTTP[code], headers, msgspec.json.encode({"error": body}))


class Absent(LookupMethod):
    """A method of Google's that is not supported; `why` says what to use instead."""

    def __init__(self, why: str, *, first: bool = False, rest: Rest | None = None) -> None:
        super().__init__(first=first, rest=rest)
        self._why = why

    def ask(self, opening: Opening, body: bytes) -> Step:
        return self.refuse(opening, Unimplemented(self._why))


# -- requests over REST ------------------------------------------------------------------------------------------------


def _read_rest(request: str, rest: Rest, opening: Opening, body: bytes) -> Any:
    """Return the request. Raises `CallerError`."""
    message = messages.read_json(request, body or b"{}") if rest.body == WHOLE else messages.kind(request)()
    if rest.body not in ("", WHOLE):
        within = getattr(message, rest.body)
        within.SetInParent()
        within.CopyFrom(messages.read_json(within.DESCRIPTOR.full_name, body or b"{}"))
    for name, value in opening.query:
        _put(message, name, value)
    match = rest.path.fullmatch(opening.path)
    if match is None:
        raise CallerError("The path does not name a resource.", param=rest.named[0] if rest.named else None)
    for path, value in zip(rest.named, match.groups(), strict=True):
        *within_of, name = path.split(".")
        holder = message
        for each in within_of:
            holder = getattr(holder, each)
        setattr(holder, name, unquote(value))
    return message


def _put(message: Any, name: str, text: str) -> None:
    """Set a field from the query, by its name or its JSON name; unknown fields are ignored. Raises `CallerError`."""
    fields: Mapping[str, Any] = message.DESCRIPTOR.fields_by_name
    found = fields.get(name) or next((each for each in fields.values() if each.json_name == name), None)
    if found is None or found.is_repeated:
        return
    kinds = type(found)
    try:
        if found.cpp_type == kinds.CPPTYPE_STRING:
            setattr(message, found.name, text)
        elif found.cpp_type == kinds.CPPTYPE_BOOL:
            setattr(message, found.name, {"true": True, "false": False}[text.lower()])
        elif found.cpp_type in (kinds.CPPTYPE_INT32, kinds.CPPTYPE_INT64):
            setattr(message, found.name, int(text))
        elif found.message_type is not None and found.message_type.name in ("FieldMask", "Duration"):
            getattr(message, found.name).FromJsonString(text)
    except (ValueError, KeyError, TypeError):  # the last for bytes, which come in the body
        raise CallerError(f"Invalid value at `{found.name}`.", param=found.name) from None
