"""`POST /v1/realtime/client_secrets`: a secret for one Realtime session, for a browser or a device to open it with.

What is settled here holds when the session is opened, which may then change what it could change anyway.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.ports import SecretAsked
from antiphon.core.wire import Opening, Response
from antiphon.surfaces.openai import generation as shared
from antiphon.surfaces.openai.addressing import deployment
from antiphon.surfaces.openai.realtime import settings, shown, wire
from antiphon.surfaces.openai.wire import Endpoint, json_response

MAX_BODY_BYTES = 256 << 10
USUAL_LIFETIME_S = 600


class ExpiresAfter(Struct, frozen=True, forbid_unknown_fields=True):
    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7200)] = USUAL_LIFETIME_S


class ClientSecretRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body. `None` is absent, as null is."""

    expires_after: ExpiresAfter | None = None
    session: dict[str, Any] | None = None


_DECODER = msgspec.json.Decoder(ClientSecretRequest)


class ClientSecrets(Endpoint):
    """The endpoint."""

    max_body_bytes = MAX_BODY_BYTES

    def negotiate(self, opening: Opening, body: bytes) -> SecretAsked:
        """Raises some `CallerError`, whose `param` is the path of the field."""
        deployment(opening)
        asked = shared.decode(_DECODER, body or b"{}")
        settled = msgspec.json.encode(asked.session or {})
        return SecretAsked(settled, (asked.expires_after or ExpiresAfter()).seconds, _agreed(settled))

    def grant(self, opening: Opening, asked: SecretAsked, secret: str, expires_unix_s: int) -> Response:
        id = f"sess_{opening.request_id.replace('-', '')}"
        session = shown.session(asked.spec, id, None)
        return json_response(opening, 200, wire.ClientSecret(secret, expires_unix_s, session))


def _agreed(data: bytes) -> ConverseSpec:
    given = settings.settled(data)
    return settings.updated(settings.initial(given.type or "realtime", given.model or ""), given)
