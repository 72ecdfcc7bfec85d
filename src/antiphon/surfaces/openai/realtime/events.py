"""The events that a client of the Realtime API sends: each decoded by its type, unknown fields refused."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.surfaces.openai import generation as shared
from antiphon.surfaces.openai.realtime.settings import ResponseIn, SessionIn

MAX_EVENT_ID = 512
MAX_ITEM_ID = 256

EventId = Annotated[str, Meta(max_length=MAX_EVENT_ID)]
ItemId = Annotated[str, Meta(min_length=1, max_length=MAX_ITEM_ID)]


class _Named(Struct, frozen=True):
    """The fields that are decoded first, so that an error always names its event."""

    type: Any = None
    event_id: Any = None


class ClientEvent(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    type: str
    event_id: EventId | None = None


class Update(ClientEvent, frozen=True, kw_only=True):
    session: SessionIn


class Append(ClientEvent, frozen=True, kw_only=True):
    audio: str


class Commit(ClientEvent, frozen=True, kw_only=True): ...


class ClearInput(ClientEvent, frozen=True, kw_only=True): ...


class ClearOutput(ClientEvent, frozen=True, kw_only=True): ...


class CreateItem(ClientEvent, frozen=True, kw_only=True):
    item: Raw
    previous_item_id: ItemId | None = None


class RetrieveItem(ClientEvent, frozen=True, kw_only=True):
    item_id: ItemId


class DeleteItem(ClientEvent, frozen=True, kw_only=True):
    item_id: ItemId


class TruncateItem(ClientEvent, frozen=True, kw_only=True):
    item_id: ItemId
    content_index: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    audio_end_ms: Annotated[int, Meta(ge=0, le=2**31 - 1)]


class CreateResponse(ClientEvent, frozen=True, kw_only=True):
    response: ResponseIn | None = None


class CancelResponse(ClientEvent, frozen=True, kw_only=True):
    response_id: ItemId | None = None


_KINDS: dict[str, msgspec.json.Decoder[Any]] = {
    "session.update": msgspec.json.Decoder(Update),
    "input_audio_buffer.append": msgspec.json.Decoder(Append),
    "input_audio_buffer.commit": msgspec.json.Decoder(Commit),
    "input_audio_buffer.clear": msgspec.json.Decoder(ClearInput),
    "output_audio_buffer.clear": msgspec.json.Decoder(ClearOutput),
    "conversation.item.create": msgspec.json.Decoder(CreateItem),
    "conversation.item.retrieve": msgspec.json.Decoder(RetrieveItem),
    "conversation.item.delete": msgspec.json.Decoder(DeleteItem),
    "conversation.item.truncate": msgspec.json.Decoder(TruncateItem),
    "response.create": msgspec.json.Decoder(CreateResponse),
    "response.cancel": msgspec.json.Decoder(CancelResponse),
}
_NAMED = msgspec.json.Decoder(_Named)


class Malformed(Exception):
    """An invalid event; `event_id` is the caller's, if it has one."""

    def __init__(self, error: CallerError, event_id: str) -> None:
        super().__init__(error.message)
        self.error = error
        self.event_id = event_id


def read(message: str) -> Any:
    """Return one of the events above. Raises `Malformed`."""
    event_id = ""
    try:
        data = message.encode()
        named = shared.decode(_NAMED, data)
        if isinstance(named.event_id, str) and len(named.event_id) <= MAX_EVENT_ID:
            event_id = named.event_id
        return shared.decode(_decoder(named.type), data)
    except UnicodeEncodeError:
        raise Malformed(CallerError("Events must be text messages."), "") from None
    except CallerError as error:
        raise Malformed(error, event_id) from None


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    if kind is None:
        raise CallerError("Missing required parameter: 'type'.", param="type")
    decoder = _KINDS.get(kind) if isinstance(kind, str) else None
    if decoder is None:
        supported = ", ".join(f"'{each}'" for each in _KINDS)
        raise UnsupportedParameter(f"Supported values for 'type': {supported}.", param="type")
    return decoder
