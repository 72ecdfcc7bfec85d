"""`/v1/workspace/webhooks`: the webhooks of the project, which transcriptions with `webhook=true` report to.

A new webhook is subscribed to `speech_to_text`, the one event that happens here. ElevenLabs' `is_auto_disabled` is
never true: a webhook that fails stays as it is.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from antiphon.core.errors import AntiphonError, CallerError
from antiphon.core.identity import Webhook, WebhookSettings
from antiphon.core.webhooks import ManyWebhooks, NewWebhook, PostFailure, WebhookChange, WebhookDeletion
from antiphon.core.wire import Opening, Response, no_effect
from antiphon.surfaces.elevenlabs import wire
from antiphon.surfaces.elevenlabs.parameters import read_query

WEBHOOKS = "/v1/workspace/webhooks"
MAX_BODY_BYTES = 64 << 10
EVENT, USAGE = "speech_to_text", "Speech to Text"

MAX_EVENTS = 64

Headers = dict[str, str | None]  # a header that is null is left out
EventName = Annotated[str, Meta(pattern=r"^[a-z_]{1,64}\Z")]  # one without effect is named in a header of the answer


class ListQuery(Struct, frozen=True, forbid_unknown_fields=True):
    include_usages: bool = False


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a new webhook."""

    name: str
    webhook_url: str
    auth_type: Literal["hmac"] = "hmac"
    request_headers: Headers | None = None


class Create(Struct, frozen=True, forbid_unknown_fields=True):
    settings: Settings


class Update(Struct, frozen=True, forbid_unknown_fields=True):
    """Null is the same as leaving it out."""

    is_disabled: bool
    name: str
    retry_enabled: bool | None = None
    request_headers: Headers | None = None
    events: Annotated[list[EventName], Meta(max_length=MAX_EVENTS)] | None = None


class Created(Struct, frozen=True):
    webhook_id: str
    webhook_secret: str


class Usage(Struct, frozen=True):
    usage_type: str


class Listed(Struct, frozen=True):
    """One webhook; `usage` and `events` are shown if they are asked for."""

    name: str
    webhook_id: str
    webhook_url: str
    is_disabled: bool
    is_auto_disabled: bool
    created_at_unix: int
    auth_type: str
    most_recent_failure_error_code: int | None
    most_recent_failure_timestamp: int | None
    usage: list[Usage] | UnsetType = UNSET
    events: list[str] | UnsetType = UNSET


_create = msgspec.json.Decoder(Create)
_update = msgspec.json.Decoder(Update)


class ListWebhooks(wire.Endpoint):
    """`GET`."""

    def ask(self, opening: Opening, body: bytes) -> ManyWebhooks:
        query = read_query(opening, ListQuery)

        def tell(found: Sequence[tuple[Webhook, PostFailure | None]]) -> Response:
            shown = [_listed(*each, usages=query.include_usages) for each in found]
            return wire.json_response(opening, 200, {"webhooks": shown})

        return ManyWebhooks(tell)


class CreateWebhook(wire.Endpoint):
    """`POST`. The answer has the secret, this once."""

    def ask(self, opening: Opening, body: bytes) -> NewWebhook:
        request = wire.read(lambda: _create.decode(body)).settings
        settings = WebhookSettings(headers=_headers(request.request_headers))
        return NewWebhook(
            request.name,
            request.webhook_url,
            settings,
            lambda webhook: wire.json_response(opening, 200, Created(webhook.id, webhook.secret)),
        )

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        """Return the error, with ElevenLabs' name of the field."""
        if type(error) is CallerError and error.param in _FIELDS:
            error = CallerError(error.message, param=_FIELDS[error.param])
        return super().refuse(opening, error)


class UpdateWebhook(wire.Endpoint):
    """`PATCH`. What is left out, of the last three fields, stays as it is."""

    def ask(self, opening: Opening, body: bytes) -> WebhookChange:
        request = wire.read(lambda: _update.decode(body))
        absent = tuple(f"events.{each}" for each in request.events or () if each != EVENT)

        def change(before: WebhookSettings) -> WebhookSettings:
            return replace(
                before,
                disabled=request.is_disabled,
                subscribed=before.subscribed if request.events is None else EVENT in request.events,
                retries=before.retries if request.retry_enabled is None else request.retry_enabled,
                headers=before.headers if request.request_headers is None else _headers(request.request_headers),
            )

        def tell(webhook: Webhook) -> Response:
            return Response(200, wire.headers(opening, wire.JSON) + no_effect(absent), b'{"status":"ok"}')

        return WebhookChange(_id(opening), request.name, change, tell)


class DeleteWebhook(wire.Endpoint):
    """`DELETE`."""

    def ask(self, opening: Opening, body: bytes) -> WebhookDeletion:
        return WebhookDeletion(_id(opening), lambda webhook: wire.json_response(opening, 200, {"status": "ok"}))


_FIELDS = {
    "name": "settings.name",
    "url": "settings.webhook_url",
    "request_headers": "settings.request_headers",
    "project": "settings",
}


def _listed(webhook: Webhook, failure: PostFailure | None, *, usages: bool) -> Listed:
    subscribed = webhook.settings.subscribed
    return Listed(
        name=webhook.name,
        webhook_id=webhook.id,
        webhook_url=webhook.url,
        is_disabled=webhook.disabled,
        is_auto_disabled=False,
        created_at_unix=webhook.created_unix_ms // 1000,
        auth_type="hmac",
        most_recent_failure_error_code=failure.status if failure else None,
        most_recent_failure_timestamp=failure.at_unix_ms // 1000 if failure else None,
        usage=UNSET if not usages else [Usage(USAGE)] if subscribed else [],
        events=UNSET if not usages else [EVENT] if subscribed else [],
    )


def _headers(headers: Headers | None) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in (headers or {}).items() if value is not None)


def _id(opening: Opening) -> str:
    return opening.path.removeprefix(f"{WEBHOOKS}/")
