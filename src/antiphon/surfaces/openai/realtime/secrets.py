"""`POST /v1/realtime/client_secrets`: a secret with which a browser or a device opens one Realtime session.

The session begins with these settings, and may change what any session may change.
"""

from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from antiphon.core.capabilities import UnsupportedLanguage
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.endpoints import OneCallSecret
from antiphon.core.errors import AntiphonError
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
    """The body. `None` means absent or null."""

    expires_after: ExpiresAfter | None = None
    session: dict[str, Any] | None = None


_DECODER = msgspec.json.Decoder(ClientSecretRequest)


class ClientSecrets(Endpoint):
    """The endpoint."""

    def ask(self, opening: Opening, body: bytes) -> OneCallSecret:
        """Return the secret to create. Raises a `CallerError`, whose `param` is the path of the field."""
        deployment(opening)
        request = shared.decode(_DECODER, body or b"{}")
        settled = msgspec.json.encode(request.session or {})
        lifetime_s = (request.expires_after or ExpiresAfter()).seconds
        return OneCallSecret(settled, lifetime_s, _agreed(settled), partial(self._grant, opening))

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        if isinstance(error, UnsupportedLanguage):
            path = f"session.audio.input.transcription.{error.param}"
            error = UnsupportedLanguage(error.language, error.languages, path)
        return super().refuse(opening, error)

    def _grant(self, opening: Opening, spec: ConverseSpec, secret: str, expires_unix_s: int) -> Response:
        id = f"sess_{opening.request_id.replace('-', '')}"
        session = shown.session(spec, id, None)
        session.pop("parallel_tool_calls", None)  # OpenAI's SDK has it in a session's events, and not here
        return json_response(opening, 200, wire.ClientSecret(secret, expires_unix_s, session))


def _agreed(data: bytes) -> ConverseSpec:
    session = settings.settled(data)
    return settings.updated(settings.initial(session.type or "realtime", session.model or ""), session)
