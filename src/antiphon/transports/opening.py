"""The conversion of ASGI's scope to an `Opening`, the same for every transport."""

import time
import uuid
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.types import Scope

from antiphon.core.units import NS_PER_MS
from antiphon.core.wire import REQUEST_ID, Opening


def opening_of(scope: Scope) -> Opening:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    query = scope["query_string"].decode("latin-1")
    return Opening(
        method=scope.get("method", "GET"),
        path=scope["path"],
        query=tuple(parse_qsl(query, keep_blank_values=True)) if query else (),
        headers=headers,
        subprotocols=tuple(scope.get("subprotocols", ())),
        request_id=scope.get(REQUEST_ID) or str(uuid.uuid4()),
        received_unix_ms=time.time_ns() // NS_PER_MS,
        address=address_of(scope),
        scheme=_scheme(scope, headers),
    )


def _scheme(scope: Scope, headers: Mapping[str, str]) -> str:
    """Return the scheme of the caller's URL, of which a proxy that ends TLS reports its own."""
    reported = headers.get("x-forwarded-proto", "")
    return reported if reported in ("http", "https") else str(scope.get("scheme", "http"))


def address_of(scope: Scope) -> str:
    """Return the peer's address: a proxy's, if there is one. Addresses that a proxy reports are not used."""
    client = scope.get("client")
    return client[0] if client else ""
