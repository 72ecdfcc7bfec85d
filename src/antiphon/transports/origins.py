"""Calls by pages in browsers, which ask first whether they may (CORS: WHATWG Fetch, section 3.3).

A page needs a key, as everybody does: a browser adds none by itself, and no answer says that it may send cookies. So
pages of any origin may call what vendors let them call, unless the operator names some. What is for operators stays
closed to pages: whom `/metrics` is open to depends on the address alone, and a browser has one of the inside.

A browser does not ask before a WebSocket, so that one of a page that may not call is refused here (RFC 6455, section
10.2).
"""

import re
from collections.abc import Awaitable, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ANY = "*"
MAX_AGE_S = 7200  # how long a browser need not ask again; Chromium's own bound

_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]*")  # of header fields, and of methods
_PREFLIGHT = (
    (b"access-control-request-method", b"access-control-allow-methods"),
    (b"access-control-request-headers", b"access-control-allow-headers"),
)
_ALLOW_ORIGIN = b"access-control-allow-origin"

Fields = list[tuple[bytes, bytes]]


class Origins:
    """An ASGI app around another. Pages of `allowed` origins may call the paths that match `open_to_pages`."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str], open_to_pages: re.Pattern[str]) -> None:
        self._app = app
        self._any = ANY in allowed
        self._allowed = frozenset(each.encode() for each in allowed)
        self._open = open_to_pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = _value(scope, b"origin") if scope["type"] in ("http", "websocket") else None
        if origin is None or not self._open.match(scope["path"]):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            if self._any or origin in self._allowed or _is_own(origin, scope):
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close"})  # 403
            return
        fields = self._fields(origin)
        if scope["method"] == "OPTIONS" and fields[0][0] == _ALLOW_ORIGIN:
            fields += _preflight(scope)

        def send_with_fields(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *fields]}
            return send(message)

        await self._app(scope, receive, send_with_fields)

    def _fields(self, origin: bytes) -> Fields:
        if self._any:
            return [(_ALLOW_ORIGIN, b"*"), (b"access-control-expose-headers", b"*")]
        vary = (b"vary", b"origin")
        if origin not in self._allowed:
            return [vary]
        return [(_ALLOW_ORIGIN, origin), (b"access-control-expose-headers", b"*"), vary]


def _is_own(origin: bytes, scope: Scope) -> bool:
    """Return whether it is the server's own: some clients that are no browsers name that."""
    host = _value(scope, b"host")
    return host is not None and origin.lower().partition(b"://")[2] == host.lower()


def _preflight(scope: Scope) -> Fields:
    """Return the answer to a browser that asks before a call: what it asks for is allowed, since the call is judged
    when it comes.
    """
    fields = [(b"access-control-max-age", str(MAX_AGE_S).encode())]
    for request_header, allowed in _PREFLIGHT:
        names = _value(scope, request_header)
        if names and _NAMES.fullmatch(names):
            fields.append((allowed, names))
    return fields


def _value(scope: Scope, name: bytes) -> bytes | None:
    value: bytes | None = next((value for each, value in scope["headers"] if each == name), None)
    return value
