"""The number of connections, in all and from one address, and which is closed if there are too many.

A connection beyond the bound replaces the one that has been idle the longest, without a request in progress. If all are
busy, or one address has too many, it is accepted as surplus, and may only request what must always be answered
(`always_served`). There are at most `SURPLUS` of those; beyond that an idle one is closed, otherwise the oldest: a
request that is answered at once is never that one. `most_connections` reserves descriptors for them and for the server
itself.
"""

from collections import Counter
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from starlette.types import Receive, Scope, Send

SURPLUS = 64
RESERVED_DESCRIPTORS = 512  # of the system's limit, at most half of it
RETRY_AFTER_S = 5

_ALWAYS = ("/healthz", "/readyz", "/metrics", "/admin/v1/")
_FULL = b"There are too many connections.\n"
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nretry-after: %d\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (RETRY_AFTER_S, len(_FULL), _FULL)
)


class Droppable(Protocol):
    """A transport that can be aborted."""

    def abort(self) -> None: ...


def most_connections(descriptors: int) -> int:
    """Return how many connections fit into that limit of descriptors."""
    return max(1, descriptors - min(RESERVED_DESCRIPTORS, descriptors // 2))


def always_served(path: str) -> bool:
    """Return whether the path is for operators, and served even when there are too many connections."""
    return path.startswith(_ALWAYS)


async def full(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 503 as an ASGI app: there are too many connections."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(_FULL)).encode()),
        (b"retry-after", str(RETRY_AFTER_S).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": _FULL})


@dataclass(slots=True)
class Connections:
    """All connections of a server, by their transports. `refused` counts the surplus ones, `dropped` those closed for
    others.
    """

    most: int
    per_address: int
    refused: int = 0
    dropped: int = 0
    _addresses: dict[Droppable, str] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)
    _idle: dict[Droppable, None] = field(default_factory=dict)  # in the order of becoming idle
    _surplus: dict[Droppable, bool] = field(default_factory=dict)  # whether it is idle

    def __len__(self) -> int:
        return len(self._addresses) + len(self._surplus)

    def enter(self, transport: Droppable, address: str) -> bool:
        """Add a new, idle connection. Returns whether it is regular; otherwise it is surplus."""
        source = _source(address)
        if self._counts[source] < self.per_address and self._room():
            self._addresses[transport] = source
            self._counts[source] += 1
            self._idle[transport] = None
            return True
        self.refused += 1
        if len(self._surplus) >= SURPLUS:
            self._drop(next((each for each, is_idle in self._surplus.items() if is_idle), next(iter(self._surplus))))
        self._surplus[transport] = True
        return False

    def busy(self, transport: Droppable) -> None:
        """Record that it has a request in progress."""
        self._idle.pop(transport, None)
        if transport in self._surplus:
            self._surplus[transport] = False

    def idle(self, transport: Droppable) -> None:
        """Record that it has no request in progress any more."""
        if transport in self._addresses:
            self._idle[transport] = None
        elif transport in self._surplus:
            self._surplus[transport] = True

    def leave(self, transport: Droppable) -> None:
        """Remove a connection that has ended."""
        source = self._addresses.pop(transport, None)
        if source is not None:
            self._counts[source] -= 1
            if not self._counts[source]:
                del self._counts[source]
        self._idle.pop(transport, None)
        self._surplus.pop(transport, None)

    def _room(self) -> bool:
        """Return whether there is a place, or one can be freed."""
        if len(self._addresses) < self.most:
            return True
        longest = next(iter(self._idle), None)
        if longest is None:
            return False
        self._drop(longest)
        return True

    def _drop(self, transport: Droppable) -> None:
        self.leave(transport)
        self.dropped += 1
        transport.abort()


def _source(address: str) -> str:
    """Return what counts as one address: for IPv6, the network of 64 bits that one subscriber has."""
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or (int(parsed) >> 64))
    return address
