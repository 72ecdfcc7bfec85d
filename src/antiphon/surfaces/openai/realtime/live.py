"""OpenAI's Realtime API: the WebSocket at `/v1/realtime`.

Every message is a JSON event, in both directions. An invalid event, or one that the conversation refuses, is answered
by an `error` event with the `event_id` of that event, and the session continues. The URL says the kind of session:
`?model=` one that answers, `?intent=transcription` one that only transcribes; or the client secret's settings say it.
"""

from collections import deque
from contextlib import suppress
from typing import Any

import msgspec

from antiphon.core.conversation import inputs, outputs
from antiphon.core.conversation.items import FIRST
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.endpoints import Accepted
from antiphon.core.errors import (
    AntiphonError,
    CallerError,
    CapacityError,
    PolicyError,
    UnsupportedParameter,
)
from antiphon.core.events import Failed
from antiphon.core.wire import NOTHING, SYNTHETIC, Bearer, Opening, Step, bearer, make_close
from antiphon.surfaces.openai.addressing import PREFIX
from antiphon.surfaces.openai.realtime import events, items, settings, shown, wire
from antiphon.surfaces.openai.realtime.rendering import Rendering
from antiphon.surfaces.openai.wire import Endpoint, error_body

SUBPROTOCOL, KEY_SUBPROTOCOL, BETA_SUBPROTOCOL = "realtime", "openai-insecure-api-key.", "openai-beta.realtime-v1"
MAX_MESSAGE_BYTES = 21 << 20  # 15 MiB of audio, in base64, in an event
TRANSCRIBING = "transcription"

# RFC 6455, section 7.4.1, and the codes that IANA has for more of them.
POLICY_VIOLATION, INTERNAL_ERROR, TRY_AGAIN_LATER = 1008, 1011, 1013

# OpenAI's codes for what a conversation refuses, by the event and our code; and for its end.
_CODES = {
    ("", "request_timeout"): "session_expired",
    ("input_audio_buffer.commit", "invalid_request"): "input_audio_buffer_commit_empty",
    ("response.create", "conflict"): "conversation_already_has_active_response",
    ("response.cancel", "not_found"): "response_cancel_not_active",
    ("conversation.item.retrieve", "not_found"): "item_retrieve_invalid_item_id",
    ("conversation.item.delete", "not_found"): "item_delete_invalid_item_id",
    ("conversation.item.truncate", "not_found"): "item_truncate_invalid_item_id",
}
# The paths of our fields in OpenAI's events.
_PARAMS = {
    ("session.update", "voice"): "session.audio.output.voice",
    ("session.update", "model"): "session.audio.input.transcription.model",
    ("session.update", "language"): "session.audio.input.transcription.language",
    ("session.update", "languages"): "session.audio.input.transcription.languages",
    ("conversation.item.create", "after"): "previous_item_id",
    ("conversation.item.create", "id"): "item.id",
    ("conversation.item.create", "call_id"): "item.call_id",
    ("conversation.item.truncate", "part"): "content_index",
    ("conversation.item.truncate", "end_ms"): "audio_end_ms",
    ("response.create", "items"): "response.input",
    ("response.create", "voice"): "response.audio.output.voice",
}
_encoder = msgspec.json.Encoder()


class RealtimeEndpoint(Endpoint):
    """`GET /v1/realtime` as a WebSocket."""

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Bearer | None:
        """Return the key; as browsers cannot set a header, it may be one of the offered subprotocols."""
        offered = (each for each in opening.subprotocols if each.startswith(KEY_SUBPROTOCOL))
        key = next(offered, "").removeprefix(KEY_SUBPROTOCOL)
        return super().credential(opening) or bearer(key)

    def negotiate(self, opening: Opening, first: str | bytes | None = None) -> Accepted[ConverseSpec]:
        beta = BETA_SUBPROTOCOL in opening.subprotocols or "realtime=v1" in opening.headers.get("openai-beta", "")
        if beta:
            raise UnsupportedParameter("The beta of the Realtime API is not supported; leave out 'OpenAI-Beta'.")
        spec = _session(opening)
        stem = opening.request_id.replace("-", "")
        chosen = SUBPROTOCOL if SUBPROTOCOL in opening.subprotocols else None
        marks = SYNTHETIC if spec.answers else ()
        return Accepted(spec, Realtime(spec, stem), headers=marks, subprotocol=chosen)


def _session(opening: Opening) -> ConverseSpec:
    """Return the session that the URL and the secret ask for. Raises a `CallerError`."""
    model, intent = _addressed(opening)
    if intent is not None and intent != TRANSCRIBING:
        raise UnsupportedParameter(f"Supported values for 'intent': '{TRANSCRIBING}'.", param="intent")
    if opening.settled is None:
        if model is None and intent is None:
            raise CallerError("you must provide a model parameter", param="model")
        return settings.initial(intent or "realtime", model or "")
    session = settings.settled(opening.settled)
    kind = session.type or "realtime"
    if intent is not None and kind != intent:
        raise CallerError("The client secret is for another type of session.", param="intent")
    if model is not None and session.model not in (None, model):
        raise CallerError("The client secret is for another model.", param="model")
    return settings.updated(settings.initial(kind, model or session.model or ""), session)


def _addressed(opening: Opening) -> tuple[str | None, str | None]:
    """Return the model and the intent in the query."""
    parameters: dict[str, str] = {}
    for name, value in opening.query:
        known = ("model", "intent", *(("api-version", "deployment") if opening.path.startswith(PREFIX) else ()))
        if name not in known:
            raise UnsupportedParameter("This parameter is unknown or not supported by this server.", param=name)
        if name in parameters:
            raise CallerError(f"'{name}' was given more than once.", param=name)
        parameters[name] = value
    return parameters.get("model") or parameters.get("deployment") or None, parameters.get("intent")


class Realtime:
    """One session."""

    def __init__(self, spec: ConverseSpec, stem: str) -> None:
        self._id = f"sess_{stem}"
        self._rendering = Rendering(stem)
        self._spec = spec  # in effect
        self._ahead: ConverseSpec | None = spec  # `None` until `_next_spec` is needed again
        self._updates: deque[settings.SessionIn] = deque()  # sent to the conversation and not answered yet
        self._expires_unix_s: int | None = None  # known once it has begun
        self._closed = False

    # -- from the caller -----------------------------------------------------------------------------------------------

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        if self._closed:
            return NOTHING
        try:
            if isinstance(message, bytes):
                raise events.Malformed(CallerError("Events must be JSON, in text messages."), "")
            event = events.read(message)
        except events.Malformed as malformed:
            return _reject(malformed.error, malformed.event_id)
        try:
            return Step(inputs=(self._input(event),))
        except CallerError as error:
            return _reject(error, event.event_id or "")

    def deadline_ns(self) -> int | None:
        return None

    def expire(self, now_ns: int) -> Step:
        return NOTHING

    def _input(self, event: Any) -> inputs.ConversationInput:
        """Return the event as an input of the conversation. The id includes the type, for the text of a refusal."""
        id = f"{event.type} {event.event_id or ''}"
        match event:
            case events.Append():
                return inputs.AppendAudio(items.audio(event.audio, "audio"), id)
            case events.Update():
                base = self._next_spec
                self._ahead = spec = settings.updated(base, event.session)
                self._updates.append(event.session)
                return inputs.Configure(spec, id, base)
            case events.Commit():
                return inputs.CommitAudio(id)
            case events.ClearInput():
                return inputs.ClearAudio(id)
            case events.CreateItem():
                after = FIRST if event.previous_item_id == "root" else event.previous_item_id
                return inputs.AddItem(items.read(event.item, "item", self._next_spec.input_format), after, id)
            case events.RetrieveItem():
                return inputs.ReadItem(event.item_id, id)
            case events.DeleteItem():
                return inputs.RemoveItem(event.item_id, id)
            case events.TruncateItem():
                return inputs.TruncateItem(event.item_id, event.audio_end_ms, event.content_index, id)
            case events.CreateResponse():
                return self._respond(event.response or settings.ResponseIn(), id)
            case events.CancelResponse():
                return inputs.CancelResponse(event.response_id or "", id)
        raise UnsupportedParameter("Only WebRTC has an output buffer to clear.", param="type")

    def _respond(self, response: settings.ResponseIn, id: str) -> inputs.ConversationInput:
        if not self._next_spec.answers:
            raise CallerError("A transcription session creates no responses.", param="type")
        spec = settings.response(self._next_spec, response)
        settings.check_conversation(response)
        read = None
        if response.input is not None:
            read = items.read_all(response.input, "response.input", self._next_spec.input_format)
        return inputs.Respond(
            spec=spec if spec != self._next_spec else None,
            base=self._next_spec if spec != self._next_spec else None,
            items=read,
            keep=response.conversation != "none",
            metadata=settings.metadata(response),
            event_id=id,
        )

    # -- from the session ----------------------------------------------------------------------------------------------

    def emit(self, event: outputs.ConversationOutput, now_ns: int) -> Step:
        if self._closed:
            return NOTHING
        match event:
            case outputs.Began():
                self._rendering.conversation = f"conv_{event.id.replace('-', '')}"
                self._expires_unix_s = event.expires_unix_s
                self._spec = event.spec
                return self._send(wire.SessionCreated(self._rendering.next_id(), self._shown()))
            case outputs.Configured():
                self._spec = event.spec
                self._answered()
                return self._send(wire.SessionUpdated(self._rendering.next_id(), self._shown()))
            case outputs.Refused():
                return self._refused(event)
            case Failed():
                return self._fail(event.error)
        return self._send(*self._rendering.events(event))

    def _shown(self) -> settings.Object:
        return shown.session(self._spec, self._id, self._expires_unix_s)

    def _refused(self, event: outputs.Refused) -> Step:
        kind, _, event_id = event.event_id.partition(" ")
        if kind == "session.update":
            self._answered()
        return self._error(event.error, event_id, kind)

    def _answered(self) -> None:
        """Forget the oldest unanswered update, which is now in effect or refused."""
        self._updates.popleft()
        self._ahead = None

    @property
    def _next_spec(self) -> ConverseSpec:
        """The settings that are in effect once the conversation has accepted all updates. They are made of those in
        effect now when they are needed, not with each answer: many updates may be answered at once.
        """
        if self._ahead is None:
            self._ahead = self._spec
            for update in self._updates:
                with suppress(CallerError):  # it will be refused
                    self._ahead = settings.updated(self._ahead, update)
        return self._ahead

    def _error(self, error: AntiphonError, event_id: str, kind: str = "") -> Step:
        return self._send(self._error_event(error, event_id, kind))

    def _error_event(self, error: AntiphonError, event_id: str = "", kind: str = "") -> wire.Error:
        fields = error_body(error).error
        code = _CODES.get((kind, error.code), fields.code)
        param = _PARAMS.get((kind, fields.param or ""), fields.param)
        details = wire.ErrorDetails(fields.type, code, fields.message, param, event_id or None)
        return wire.Error(self._rendering.next_id(), details)

    def _fail(self, error: AntiphonError) -> Step:
        """Send an `error` event, then close."""
        self._closed = True
        if isinstance(error, CapacityError):
            code = TRY_AGAIN_LATER
        else:
            code = POLICY_VIOLATION if isinstance(error, (CallerError, PolicyError)) else INTERNAL_ERROR
        return Step(sends=(_write(self._error_event(error)),), close=make_close(code, error.message))

    def _send(self, *server_events: wire.Event) -> Step:
        return Step(sends=tuple(_write(event) for event in server_events))


def _reject(error: CallerError, event_id: str) -> Step:
    """Pass an invalid event to the conversation, too, so that answers keep the order of the events."""
    return Step(inputs=(inputs.Reject(error, f" {event_id}"),))


def _write(event: wire.Event) -> str:
    return _encoder.encode(event).decode()
