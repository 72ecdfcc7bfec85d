"""The boundary between a transport and a surface: values that cross it, without sockets."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum
from typing import Protocol

from antiphon.core.conversation.inputs import ConversationInput
from antiphon.core.events import Input, Opened
from antiphon.core.specs import Message

REQUEST_ID = "antiphon.request_id"  # in a request's ASGI scope: the id that its answer will have


@dataclass(frozen=True, slots=True)
class Opening:
    """The opening of a call. Header names are lower case. `request_id` is a UUID made by the transport;
    `received_unix_ms` is the wall clock at arrival, for vendors that report it; `address` is the peer's. `settled` are
    the settings that came with a one-call secret, `None` for a key. `signed_with` is the secret of its valid signature,
    if it has one: later messages may be signed with it, too. `scheme` is that of the URL that the caller used.
    `origin` is an id that all repetitions of this request have, if it may be repeated.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    subprotocols: tuple[str, ...] = ()
    request_id: str = ""
    received_unix_ms: int = 0
    settled: bytes | None = None
    signed_with: str = field(default="", repr=False)
    address: str = ""
    scheme: str = "http"
    origin: str = ""

    @property
    def new_id(self) -> str:
        """The id, a UUID, of what the request makes. What is made twice under one id is made once."""
        return self.origin or self.request_id


@dataclass(frozen=True, slots=True)
class Bearer:
    """A secret that was sent in plain form."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature over the request as it came: `signature` was made of the bytes `signed`. `secret` is the key itself
    if the scheme sends it, too (Amazon's session token), else `id` names the pair that signed.
    """

    scheme: str
    id: str
    signed: bytes
    signature: bytes
    secret: str = field(default="", repr=False)


Credential = Bearer | Signed


def bearer(secret: str) -> Bearer | None:
    """Return the secret without surrounding spaces; `None` if it is empty."""
    secret = secret.strip()
    return Bearer(secret) if secret else None


class Pending(Enum):
    """A surface's result if the opening has no credential, but the first message may have one."""

    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Body:
    """A request's whole body. For `multipart/form-data`, `fields` are the text parts in order and `data` is the one
    file part, else `data` is the raw body. `has_file` distinguishes an empty file from none.
    """

    data: bytes = b""
    fields: tuple[tuple[str, str], ...] = ()
    filename: str = ""
    has_file: bool = False


@dataclass(frozen=True, slots=True)
class Url:
    """Media for the server to fetch, through the guarded fetcher."""

    url: str


@dataclass(frozen=True, slots=True)
class Head:
    """The start of an HTTP answer; body bytes follow."""

    status: int
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Close:
    """The end of the connection. On a WebSocket, a close code and a reason of at most 123 bytes; over gRPC, its status
    with more `trailers`; over HTTP, `BROKEN_OFF` for an answer that has begun and has no place for an error.
    """

    code: int = 1000
    reason: str = ""
    trailers: tuple[tuple[str, str | bytes], ...] = ()


MAX_REASON_BYTES = 123  # of a WebSocket's close frame (RFC 6455, section 5.5)


def make_close(code: int, reason: str) -> Close:
    """Return a close with as much of the reason as fits into a WebSocket's close frame."""
    return Close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))


BROKEN_OFF = Close(1011)  # so that the caller does not take an incomplete answer for a complete one

# A carrier's value in place of a message when the caller sends no more but still listens. Messages are bytes there.
HALF_CLOSED = ""

Wire = str | bytes | Head


@dataclass(frozen=True, slots=True)
class Keep:
    """An answer to store under its id, in place of its earlier state. `body` is the surface's, to show it again.
    `conversation` is this turn and its answer; the store prepends that of the turns before it. Without one, no later
    call can continue from it. `subjects` are the pseudonyms of the people whom it is about.
    """

    id: str
    body: bytes
    conversation: tuple[Message, ...] = ()
    subjects: tuple[str, ...] = ()


class Rest(Protocol):
    """The rest of a whole answer, which is read while it is sent, and the memory that the answer takes until then. It
    must be released.
    """

    @property
    def left_bytes(self) -> int: ...

    async def read(self) -> bytes:
        """Return the next bytes, none at the end. Raises `AntiphonError` if they cannot be read, or were changed."""

    def release(self) -> None:
        """Give back what it takes. Releasing again does nothing."""


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one event: inputs for the session, messages for the caller, perhaps the close. After the messages
    of a whole answer over HTTP its `rest` follows.
    """

    inputs: tuple[Input | ConversationInput, ...] = ()
    sends: tuple[Wire, ...] = ()
    close: Close | None = None
    keep: Keep | None = None
    rest: Rest | None = None

    def release(self) -> None:
        """Give back what the answer takes until it is sent."""
        if self.rest is not None:
            self.rest.release()


class Response(Step):
    """A whole HTTP answer, as a step: for a refused call, or one that needs no session. At the opening of a connection
    it means that the connection is refused.
    """

    __slots__ = ()

    def __init__(self, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
        super().__init__(sends=(Head(status, headers), body), close=Close())

    @property
    def head(self) -> Head:
        head = self.sends[0]
        assert isinstance(head, Head)
        return head

    @property
    def status(self) -> int:
        return self.head.status

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return self.head.headers

    @property
    def body(self) -> bytes:
        body = self.sends[1]
        assert isinstance(body, bytes)
        return body


@dataclass(frozen=True, slots=True)
class ShortToken:
    """A request for a token that replaces the caller's key on the vendor's paths for a short time. `tell` gets the
    token. It needs the key itself. A token for a single dialogue (`once`) may carry settings for it; one with a `path`
    is good for nothing else.
    """

    lifetime_s: int
    tell: Callable[[str], Step]
    once: bool = False
    settled: bytes = b""
    path: str = ""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A public model name and the model behind it. `languages` (BCP 47) are those of a speech recogniser."""

    name: str
    local: str
    created_unix_s: int
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VoiceCard:
    """A public voice name and the voice behind it. `language` is a BCP 47 tag."""

    name: str
    voice: str
    language: str
    sample_rate: int


NOTHING = Step()

# A header of every answer with synthetic speech, in any form: draft-abaris-aicdh-01, AI Content
# Disclosure Header. There is no agreed standard yet, only this proposal.
SYNTHETIC: tuple[tuple[str, str], ...] = (("ai-disclosure", "mode=machine-generated"),)


def no_effect(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the header that lists accepted parameters without effect; nothing if there are none."""
    listed = ", ".join(names)
    return (("antiphon-no-effect", listed),) if listed else ()


def region_header(region: str) -> tuple[tuple[str, str], ...]:
    """Return the header that says where the engine is that answers; nothing if the policy does not require a region."""
    return (("antiphon-region", region),) if region else ()


def lifecycle(opened: Opened) -> tuple[tuple[str, str], ...]:
    """Return headers that say when a model is deprecated (RFC 9745) and when it will be removed (RFC 8594)."""
    headers: tuple[tuple[str, str], ...] = ()
    if opened.deprecated_unix_s is not None:
        headers += (("deprecation", f"@{opened.deprecated_unix_s}"),)
    if opened.sunset_unix_s is not None:
        headers += (("sunset", formatdate(opened.sunset_unix_s, usegmt=True)),)
    return headers
