"""The conversion of ASGI's scope to an `Opening`, the same for every transport."""

import time
import uuid
from urllib.parse import parse_qsl

from starlette.types import Scope

from antiphon.core.units import NS_PER_MS
from antiphon.core.wire import Opening

REQUEST_ID = "antiphon.request_id"  # in a request's scope: the id that its answer will have


def opening_of(scope: Scope) -> Opening:
    return Opening(
        method=scope.get("method", "GET"),
        path=scope["path"],
        query=tuple(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
        headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
        subprotocols=tuple(scope.get("subprotocols", ())),
        request_id=scope.get(REQUEST_ID) or str(uuid.uuid4()),
        received_unix_ms=time.time_ns() // NS_PER_MS,
    )
