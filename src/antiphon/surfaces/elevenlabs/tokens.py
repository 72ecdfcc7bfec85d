"""`POST /v1/single-use-token/{type}`: a token in place of a key, for one call of a browser or a device.

It belongs to the key that made it and to one type of call: a realtime transcription, the transcription of a file, or
text to speech over a WebSocket. A call uses it up, even if the call fails.
"""

from msgspec import Struct

from antiphon.core.wire import Opening, Response, ShortToken
from antiphon.surfaces.elevenlabs import wire
from antiphon.surfaces.elevenlabs.parameters import read_query
from antiphon.surfaces.elevenlabs.voices import NoQuery

LIFETIME_S = 900  # ElevenLabs' own
MAX_BODY_BYTES = 4096  # the body is ignored


class SingleUseToken(Struct, frozen=True):
    token: str


class SingleUseTokens(wire.Endpoint):
    """The endpoint of one type of token."""

    def __init__(self, token_type: str) -> None:
        self._type = token_type

    def ask(self, opening: Opening, body: bytes) -> ShortToken:
        """Return the token to create. Raises `UnsupportedParameter` for a query."""
        read_query(opening, NoQuery)
        return ShortToken(LIFETIME_S, lambda token: _grant(opening, token), once=True, settled=self._type.encode())


def _grant(opening: Opening, token: str) -> Response:
    headers = (*wire.headers(opening, wire.JSON), ("cache-control", "no-store"))
    return Response(200, headers, wire.encode(SingleUseToken(token)))
