"""WebSocket mode of `/v1/responses`: each `response.create` is a request, answered by the events of its stream.

1. Requests are answered one at a time, in order; their `stream_id` is on each of their events.
2. The connection remembers its answers, so that `previous_response_id` and references to items work on it even if
   nothing is kept. With `"generate": false` a response is only prepared, to be continued.
3. Each answer ends with one of `response.completed`, `response.incomplete` and `response.failed`, each request without
   an answer with one `error`: clients take anything later for the next answer.
4. `response.cancel`, which OpenAI's types do not have and Pipecat sends, ends the response that is being generated.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, Struct

from antiphon.core.endpoints import AnswerRequest, Referring, Succession
from antiphon.core.errors import (
    AntiphonError,
    CallerError,
    CapacityError,
    PolicyError,
    RequestTimeout,
    Unauthenticated,
    UnsupportedParameter,
)
from antiphon.core.wire import NOTHING, Close, Opening, Step
from antiphon.surfaces.openai import generation as shared
from antiphon.surfaces.openai import response_wire, wire
from antiphon.surfaces.openai.addressing import deployment
from antiphon.surfaces.openai.answers import encode
from antiphon.surfaces.openai.responding import ID_PREFIX, Responding, Turn
from antiphon.surfaces.openai.responses import ResponseRequest, error_object, make_request

MAX_CANCEL_BYTES = 1024
MAX_STREAM_ID = 64

# RFC 6455, section 7.4.1, and the codes that IANA has for more of them.
NORMAL, POLICY_VIOLATION, INTERNAL_ERROR, TRY_AGAIN_LATER = 1000, 1008, 1011, 1013


class ResponseCreate(ResponseRequest, frozen=True, forbid_unknown_fields=True):
    """The `response.create` event: a body, with what only this transport has."""

    type: str | None = None
    stream_id: str | None = None
    generate: bool | None = None


class _Event(Struct, frozen=True):
    """The fields of any event that are decoded first."""

    type: Any = None
    stream_id: Any = None
    response_id: Any = None
    previous_response_id: Any = None
    input: Raw = Raw(b"null")


_CREATE = msgspec.json.Decoder(ResponseCreate)
_EVENT = msgspec.json.Decoder(_Event)


class ResponsesSocket(wire.Endpoint):
    """`GET /v1/responses` as a WebSocket. The URL may name the model of requests that name none."""

    max_message_bytes = shared.MAX_BODY_BYTES

    def negotiate(self, opening: Opening, first: str | bytes | None = None) -> Succession:
        """Return the succession of requests. Raises `UnsupportedParameter` for an invalid URL, `Unauthenticated` for a
        secret of the Realtime API.
        """
        if opening.settled is not None:
            raise Unauthenticated("a client secret opens a session of the Realtime API, and nothing else")
        _addressed(opening)
        return Succession(self, headers=(("x-request-id", opening.request_id),))

    def cancelled(self, message: str | bytes) -> str | None:
        if len(message) > MAX_CANCEL_BYTES or "response.cancel" not in _text(message):
            return None
        event = _peek(message)
        if event.type != "response.cancel":
            return None
        return event.response_id if isinstance(event.response_id, str) else ""

    def ask(self, opening: Opening, message: str | bytes) -> AnswerRequest | Referring:
        """Return a message's request. Raises a `CallerError`, whose `param` is the path of the field."""
        kind = _peek(message).type
        if kind == "response.steer":
            raise UnsupportedParameter("Changing a running response is not supported.", param="type")
        if kind != "response.create":
            raise CallerError("Supported values for 'type': 'response.create', 'response.cancel'.", param="type")
        request = shared.decode(_CREATE, message.encode() if isinstance(message, str) else message)
        if request.background:
            raise UnsupportedParameter("Background responses are not supported over a WebSocket.", param="background")
        if request.stream_id is not None and not 1 <= len(request.stream_id) <= MAX_STREAM_ID:
            raise CallerError(f"'stream_id' must have 1 to {MAX_STREAM_ID} characters.", param="stream_id")
        request = msgspec.structs.replace(request, stream=True)  # whatever it is
        model = request.model or _addressed(opening)
        if not model:
            raise CallerError("you must provide a model parameter", param="model")
        respond = partial(OverSocket, stream_id=request.stream_id)
        return make_request(self, opening, model, request, respond, prepared=request.generate is False)

    def answer_id(self, session: str) -> str:
        return ID_PREFIX + session.replace("-", "")

    def error(self, message: str | bytes, error: AntiphonError) -> Step:
        close = None if message else Close(_close_code(error))
        return Step(sends=(self._error(message, error),), close=close)

    def _error(self, message: str | bytes, error: AntiphonError) -> str:
        try:
            event = _peek(message) if message else _Event()
        except CallerError:
            event = _Event()
        fields = error_object(error)
        code = "websocket_connection_limit_reached" if isinstance(error, RequestTimeout) else fields.code
        retry = msgspec.UNSET if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
        stream_id = event.stream_id if isinstance(event.stream_id, str) else msgspec.UNSET
        if event.type == "response.steer":
            previous = event.previous_response_id
            steer = response_wire.Steer(event.input, previous if isinstance(previous, str) else "")
            refused = response_wire.SteerError("steering_not_supported", fields.message)
            return _text(encode(response_wire.SteerFailed(0, refused, steer)))
        details = response_wire.SocketErrorObject(fields.message, fields.type, fields.param, code, retry)
        return _text(encode(response_wire.SocketError(wire.status_of(error), details, stream_id)))


class OverSocket(Responding):
    """A response that is streamed, each event a message."""

    streams = True

    def __init__(
        self,
        endpoint: wire.Endpoint,
        opening: Opening,
        fields: dict[str, Any],
        turn: Turn,
        stream_id: str | None,
    ) -> None:
        super().__init__(endpoint, opening, fields, turn)
        self._lane = b"}" if stream_id is None else b',"stream_id":' + encode(stream_id) + b"}"

    @property
    def _kept(self) -> bool:
        """Whether it is kept: always, at least by the connection."""
        return True

    def _begun(self) -> Step:
        """Send the beginning at once, so that the response can be cancelled by its id."""
        numbers = self._output.numbers
        created = response_wire.Created(next(numbers), self._response)
        return self._tell((created, response_wire.InProgress(next(numbers), self._response)))

    def _tell(self, events: Any) -> Step:
        if not events:
            return NOTHING
        return Step(sends=tuple([(encode(event)[:-1] + self._lane).decode() for event in events]))

    def _ended(self) -> Step:
        incomplete = self._response.status == "incomplete"
        kind = response_wire.WasIncomplete if incomplete else response_wire.Completed
        return self._tell((kind(next(self._output.numbers), self._response),))

    def _failed(self, error: AntiphonError) -> Step:
        """Send a failed response with its error."""
        return self._tell((response_wire.WasFailed(next(self._output.numbers), self._response),))


def _addressed(opening: Opening) -> str | None:
    """Return the model in the URL, which some clients send to servers other than OpenAI's. Raises `CallerError` for any
    other parameter.
    """
    rest = tuple(each for each in opening.query if each[0] != "model")
    deployment(replace(opening, query=rest))
    return dict(opening.query).get("model")


def _peek(message: str | bytes) -> _Event:
    return shared.decode(_EVENT, message.encode() if isinstance(message, str) else message)


def _text(message: str | bytes) -> str:
    return message if isinstance(message, str) else message.decode(errors="replace")


def _close_code(error: AntiphonError) -> int:
    if isinstance(error, RequestTimeout):
        return NORMAL
    if isinstance(error, CapacityError):
        return TRY_AGAIN_LATER
    return POLICY_VIOLATION if isinstance(error, PolicyError) else INTERNAL_ERROR
