"""`GET /v3/token`: a token that opens one stream in place of the caller's key, for a browser or a device."""

from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.wire import Opening, Response, ShortToken
from antiphon.surfaces.assemblyai import wire
from antiphon.surfaces.assemblyai.endpoint import JSON, Endpoint
from antiphon.surfaces.assemblyai.values import whole

# AssemblyAI's own bounds (https://www.assemblyai.com/docs/api-reference/streaming-api/generate-streaming-token).
MAX_LIFETIME_S = 600
MIN_SESSION_S, MAX_SESSION_S = 60, 10_800
NAMES = ("expires_in_seconds", "max_session_duration_seconds", "token")  # the last is a place of the key
MAX_SHOWN = 64


class TokenEndpoint(Endpoint):
    """The endpoint. `expires_in_seconds` limits when the stream is opened, not its length."""

    def ask(self, opening: Opening, body: bytes) -> ShortToken:
        values = dict(opening.query)
        for name in values:
            if name not in NAMES:
                raise UnsupportedParameter(f"Unknown parameter {name[:MAX_SHOWN]!r}.", param=name[:MAX_SHOWN])
            if [each for each, _ in opening.query].count(name) > 1:
                raise CallerError(f"`{name}` was given more than once.", param=name)
        lifetime_s = whole(values, "expires_in_seconds", 1, MAX_LIFETIME_S)
        if lifetime_s is None:
            raise CallerError("`expires_in_seconds` is required.", param="expires_in_seconds")
        longest_s = whole(values, "max_session_duration_seconds", MIN_SESSION_S, MAX_SESSION_S) or MAX_SESSION_S

        def tell(token: str) -> Response:
            headers = (*JSON, ("cache-control", "no-store"))
            return Response(200, headers, wire.write_body(wire.Token(token, lifetime_s)))

        return ShortToken(lifetime_s, tell, once=True, settled=str(longest_s).encode())


def longest_session_s(opening: Opening) -> int:
    """Return the longest duration of a stream in seconds, as set when its token was made."""
    return int(opening.settled) if opening.settled else MAX_SESSION_S
