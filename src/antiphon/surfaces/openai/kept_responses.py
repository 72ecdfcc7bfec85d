"""`GET` and `DELETE /v1/responses/{id}`, `POST /v1/responses/{id}/cancel`, `GET /v1/responses/{id}/input_items`.

A response that was stored at its beginning and no longer runs was interrupted, and is shown as failed.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from antiphon.core.endpoints import KeptAct, KeptAnswer
from antiphon.core.errors import AntiphonError, CallerError, NotFound, UnsupportedParameter
from antiphon.core.wire import Opening, Response
from antiphon.surfaces.openai import response_wire, wire
from antiphon.surfaces.openai.addressing import PREFIX
from antiphon.surfaces.openai.responding import ID_PREFIX

MOST_LISTED = 100
USUALLY_LISTED = 20
DIGITS = 32  # of an UUID

Object = dict[str, Any]

_INTERRUPTED = {"code": "server_error", "message": "The server stopped before the response was complete."}
_BEGUN = ("queued", "in_progress")


class _Stored(Struct, frozen=True):
    """A `responding.Kept`, as it is read."""

    response: Object
    input: list[Object]


_DECODER = msgspec.json.Decoder(_Stored)


class _Endpoint(wire.Endpoint, ABC):
    """The common part of these routes. `queries` are the allowed parameters of the URL, with their values if those are
    few. `api-version` is Azure's.
    """

    act = KeptAct.READ
    queries: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def ask(self, opening: Opening, body: bytes) -> KeptAnswer:
        return KeptAnswer(self.act, self.named(opening), partial(self.show, opening))

    @abstractmethod
    def show(self, opening: Opening, body: bytes, running: bool) -> Response:
        """Return the answer for a kept response. Raises `AntiphonError`."""

    def named(self, opening: Opening) -> str:
        """Return the response's id. Raises `UnsupportedParameter` for other parameters in the query."""
        known = dict(self.queries) | ({"api-version": ()} if opening.path.startswith(PREFIX) else {})
        for name, value in opening.query:
            if name not in known or (known[name] and value not in known[name]):
                raise UnsupportedParameter("This is not supported in the URL.", param=name[:64])
        return opening.path.rpartition("/responses/")[2].partition("/")[0]

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        if isinstance(error, NotFound):
            error = NotFound("No stored response has this id.", param="response_id")
        return super().refuse(opening, error)


def shown(opening: Opening, body: bytes, running: bool) -> Response:
    """Return the answer with the response's present state."""
    return wire.json_response(opening, 200, _stored(body, running).response)


class RetrieveResponse(_Endpoint):
    """The response's present state."""

    queries: ClassVar = {"stream": ("false",), "include_obfuscation": ("false",)}

    def show(self, opening: Opening, body: bytes, running: bool) -> Response:
        return shown(opening, body, running)


class CancelResponse(_Endpoint):
    """Cancels a response that runs in the background, and returns it."""

    act = KeptAct.CANCEL

    def show(self, opening: Opening, body: bytes, running: bool) -> Response:
        """Return the response. Raises `CallerError` if it had ended, or was never in the background."""
        response = _stored(body, running).response
        if not response["background"]:
            raise CallerError("Only a background response can be cancelled.", param="response_id")
        if response["status"] != "cancelled":
            raise CallerError("This response has ended and cannot be cancelled.", param="response_id")
        return wire.json_response(opening, 200, response)


class DeleteResponse(_Endpoint):
    """Deletes a response; cancels it first if it runs."""

    act = KeptAct.DELETE

    def show(self, opening: Opening, body: bytes, running: bool) -> Response:
        return wire.json_response(opening, 200, response_wire.Deleted(_stored(body, running).response["id"]))


class InputItems(_Endpoint):
    """The input of its own request, the latest first by default."""

    queries: ClassVar = {"limit": (), "order": ("asc", "desc"), "after": ()}

    def show(self, opening: Opening, body: bytes, running: bool) -> Response:
        """Return the page of items. Raises `CallerError` for an invalid limit or an unknown item."""
        query = dict(opening.query)
        limit = query.get("limit", str(USUALLY_LISTED))
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= MOST_LISTED):
            raise CallerError(f"'limit' must be a number from 1 to {MOST_LISTED}.", param="limit")
        items = _stored(body, running).input
        if query.get("order") != "asc":
            items.reverse()
        if "after" in query:
            places = [place for place, item in enumerate(items) if item["id"] == query["after"]]
            if not places:
                raise CallerError("Item not found.", param="after")
            items = items[places[0] + 1 :]
        page = items[: int(limit)]
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        return wire.json_response(opening, 200, response_wire.InputItems(page, first, last, len(items) > len(page)))


def answer_of(item: str) -> str:
    """Return the id of an item's response, from the item's id: `msg_`, the response's digits, the item's position."""
    return ID_PREFIX + item.partition("_")[2][:DIGITS]


def items_of(bodies: Iterable[bytes]) -> dict[str, Object]:
    """Return the items of kept responses, of input and output, by id."""
    stored = [_DECODER.decode(body) for body in bodies]
    return {item["id"]: item for each in stored for item in (*each.input, *each.response["output"])}


def _stored(body: bytes, running: bool) -> _Stored:
    stored = _DECODER.decode(body)
    if stored.response["status"] in _BEGUN and not running:
        stored.response.update(status="failed", error=_INTERRUPTED)
    return stored
