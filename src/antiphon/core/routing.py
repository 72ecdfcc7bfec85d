"""The rows of the table of routes, one for each shape of endpoint. What serves them looks at nothing else."""

from dataclasses import dataclass
from typing import Any

from antiphon.core.endpoints import CallEndpoint, DialogueEndpoint, LookupEndpoint
from antiphon.core.identity import Scope


@dataclass(frozen=True, slots=True)
class DialogueRow:
    """Both sides talk, on a WebSocket or, where it is `duplex`, in the two bodies of a `POST` over HTTP/2. `scope` is
    what a key must be allowed to open it; `message_bytes` how large a message the vendor's protocol lets be, where that
    is more than the configuration does.
    """

    path: str
    surface: str
    endpoint: DialogueEndpoint
    scope: Scope = Scope.TRANSCRIBE
    message_bytes: int = 0
    duplex: bool = False


@dataclass(frozen=True, slots=True)
class CallRow:
    """`POST` of one request, answered once or by a stream. `scope` is what a key must be allowed to make it. Where it
    is a `form` or a file by itself (RFC 7578), the endpoint is given a `Body`, else `bytes`. With `by_secret` a secret
    that was made for one call may make it. `file` is the name of the form's part with the file.
    """

    path: str
    surface: str
    endpoint: CallEndpoint[Any]
    scope: Scope = Scope.GENERATE
    form: bool = False
    by_secret: bool = False
    file: str = "file"


@dataclass(frozen=True, slots=True)
class LookupRow:
    """A question that is answered at once. Without a `scope` any key may ask, and where it is `open` anybody. A body is
    read where there may be one, up to `max_body_bytes`; one that is a `form` is given as a `Body`. Several vendors may
    have one path: `header` and how its value begins (in lower case) say whose callers these are; the row without is
    everybody else's.
    """

    path: str
    surface: str
    endpoint: LookupEndpoint[Any]
    method: str = "GET"
    scope: Scope | None = None
    open: bool = False
    max_body_bytes: int = 0
    form: bool = False
    header: tuple[str, str] | None = None


Row = DialogueRow | CallRow | LookupRow
