"""`POST /v1/auth/grant`: a short-lived token in place of the caller's key, for a browser or a device."""

from typing import Annotated

import msgspec
from msgspec import Meta

from antiphon.core.errors import CallerError
from antiphon.core.wire import Opening, Response, ShortToken
from antiphon.surfaces.deepgram.endpoint import Endpoint, answer_headers
from antiphon.surfaces.deepgram.wire import Granted, write_body

# Deepgram's own (https://developers.deepgram.com/reference/auth/tokens/grant).
USUAL_LIFETIME_S, MAX_LIFETIME_S = 30, 3600
MAX_BODY_BYTES = 4096


class GrantRequest(msgspec.Struct, frozen=True):
    """The body. The SDKs send seconds as a fraction."""

    ttl_seconds: Annotated[float, Meta(ge=1, le=MAX_LIFETIME_S)] | None = None


_decoder = msgspec.json.Decoder(GrantRequest)


class GrantEndpoint(Endpoint):
    """The endpoint."""

    def ask(self, opening: Opening, body: bytes) -> ShortToken:
        lifetime_s = self._lifetime_s(body)
        return ShortToken(lifetime_s, lambda token: self._grant(opening, token, lifetime_s))

    def _lifetime_s(self, body: bytes) -> int:
        """Return whole seconds. Raises `CallerError`."""
        try:
            request = _decoder.decode(body.strip() or b"{}")
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise CallerError(
                f"The body must be a JSON object, with `ttl_seconds` a number from 1 to {MAX_LIFETIME_S}."
            ) from None
        return USUAL_LIFETIME_S if request.ttl_seconds is None else int(request.ttl_seconds)

    def _grant(self, opening: Opening, token: str, lifetime_s: int) -> Response:
        headers = (*answer_headers(opening.request_id), ("cache-control", "no-store"))
        return Response(200, headers, write_body(Granted(token, lifetime_s)))
