"""How many connections there are, in common and from one address, and who gives way where there are too many.

A connection beyond the bound takes the place of the one that has been idle the longest: no request of it is under way.
Where all are busy, or one address has too many, it is let in as a surplus one, which may only ask for what must always
be answered (`always_served`); of those there are `SURPLUS`, and an idle one among them gives way in turn, or else the
one that came first: who is answered at once is never that one, whatever the others wait for. Descriptors for them and
for what the server itself opens are kept back by `most_connections`.
"""

from collections import Counter
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from starlette.types import Receive, Scope, Send

SURPLUS = 64
RESERVED_DESCRIPTORS = 512  # of what the system allows, or half of it where that is less
RETRY_AFTER_S = 5

_ALWAYS = ("/healthz", "/readyz", "/metrics", "/admin/v1/")
_FULL = b"There are too many connections.\n"
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nretry-after: %d\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (RETRY_AFTER_S, len(_FULL), _FULL)
)


class Droppable(Protocol):
    """A transport."""

    def abort(self) -> None: ...


def most_connections(descriptors: int) -> int:
    """How many connections there is room for, where the system allows so many descriptors."""
    return max(1, descriptors - min(RESERVED_DESCRIPTORS, descriptors // 2))


def always_served(path: str) -> bool:
    """Whether operators ask for it, whatever callers do."""
    return path.startswith(_ALWAYS)


async def full(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI app: there is no room."""
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
    """All of a server, by their transports. `refused` counts who found no room, `dropped` who gave way."""

    most: int
    per_address: int
    refused: int = 0
    dropped: int = 0
    _addresses: dict[Droppable, str] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)
    _idle: dict[Droppable, None] = field(default_factory=dict)  # in the order in which they became idle
    _surplus: dict[Droppable, bool] = field(default_factory=dict)  # whether it is idle

    def __len__(self) -> int:
        return len(self._addresses) + len(self._surplus)

    def enter(self, transport: Droppable, address: str) -> bool:
        """A new one, idle. Whether it is one like any other; otherwise it is a surplus one."""
        source = _source(address)
        if self._counts[source] < self.per_address and self._room():
            self._addresses[transport] = source
            self._counts[source] += 1
            self._idle[transport] = None
            return True
        if not self._counts[source]:
            del self._counts[source]
        self.refused += 1
        if len(self._surplus) >= SURPLUS:
            self._drop(next((each for each, is_idle in self._surplus.items() if is_idle), next(iter(self._surplus))))
        self._surplus[transport] = True
        return False

    def busy(self, transport: Droppable) -> None:
        """A request of it is under way."""
        self._idle.pop(transport, None)
        if transport in self._surplus:
            self._surplus[transport] = False

    def idle(self, transport: Droppable) -> None:
        """No request of it is under way any more."""
        if transport in self._addresses:
            self._idle[transport] = None
        elif transport in self._surplus:
            self._surplus[transport] = True

    def leave(self, transport: Droppable) -> None:
        """It has ended."""
        source = self._addresses.pop(transport, None)
        if source is not None:
            self._counts[source] -= 1
            if not self._counts[source]:
                del self._counts[source]
        self._idle.pop(transport, None)
        self._surplus.pop(transport, None)

    def _room(self) -> bool:
        """Whether there is some, or can be made."""
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
    """What counts as one address: of IPv6, the network of 64 bits that one subscriber has."""
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or (int(parsed) >> 64))
    return address
