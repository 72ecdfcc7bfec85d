"""The rows of the table of routes, one type for each kind of endpoint. They hold all that the transports need."""

from dataclasses import dataclass
from typing import Any

from antiphon.core.endpoints import CallEndpoint, DialogueEndpoint, LookupEndpoint
from antiphon.core.identity import Scope


@dataclass(frozen=True, slots=True)
class DialogueRow:
    """Both sides send messages, on a WebSocket or, if `duplex`, in the two bodies of a `POST` over HTTP/2. `scope` is
    what a key needs to open it; `message_bytes` is the vendor's largest message, if that is more than the configured
    one.
    """

    path: str
    surface: str
    endpoint: DialogueEndpoint
    scope: Scope = Scope.TRANSCRIBE
    message_bytes: int = 0
    duplex: bool = False


@dataclass(frozen=True, slots=True)
class CallRow:
    """`POST` of one request, with one answer or a stream. `scope` is what a key needs for it. If the body is a `form`
    or a plain file (RFC 7578), the endpoint gets a `Body`, else `bytes`. With `by_secret` a one-call secret is
    accepted. `file` is the name of the form's part with the file.
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
    """A question that is answered at once. Without a `scope` any key may ask; if `open`, no key is needed. A body is
    read up to `max_body_bytes`; a `form` is passed as a `Body`. Several vendors may share a path: `header` and the
    start of its value (in lower case) identify a vendor's callers; the row without `header` gets all others.
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
