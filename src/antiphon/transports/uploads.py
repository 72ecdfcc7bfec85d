"""The bodies that callers send: bounded in bytes while they are read, and in time.

What is held is bounded for one body and all together. Half of the room is for whoever comes first; of the other half
only those have something who hold no more than their share, a key its own and a project half of all. Small bodies have
room of their own, which no large ones take. A body must go on coming, not slower than `SLOWEST_BYTES_PER_S` in each
`PROGRESS_S`.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from antiphon.core.errors import CapacityError, RequestTimeout, TooLarge, UnsupportedCoding
from antiphon.core.identity import Principal
from antiphon.core.wire import Opening

PROGRESS_S = 15.0
SLOWEST_BYTES_PER_S = 4_000
SLOWEST_LARGE_BYTES_PER_S = 16_000  # of one that is larger than `SMALL_BYTES`
SMALL_BYTES = 1 << 20
SMALL_PER_KEY_BYTES = 16 << 20
SMALL_SHARE = 4  # small bodies together have this part of what large ones have
RETRY_AFTER_S = 5
COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress"})  # RFC 9110, section 8.4.1, and later


@dataclass(slots=True)
class _Room:
    """A budget of bytes, and what each key and project has of it."""

    all_bytes: int
    key_bytes: int
    held: int = 0
    by_key: Counter[str] = field(default_factory=Counter)
    by_project: Counter[str] = field(default_factory=Counter)

    def fits(self, principal: Principal, more: int) -> bool:
        half_bytes = self.all_bytes // 2
        if self.held + more <= half_bytes:
            return True
        return (
            self.held + more <= self.all_bytes
            and self.by_key[principal.key_id] + more <= self.key_bytes
            and self.by_project[principal.project] + more <= max(half_bytes, self.key_bytes)
        )

    def take(self, principal: Principal, more: int) -> None:
        """`more` may be negative."""
        self.held += more
        for counter, name in ((self.by_key, principal.key_id), (self.by_project, principal.project)):
            counter[name] += more
            if not counter[name]:
                del counter[name]


@dataclass(slots=True)
class _Held:
    """What one body has taken, and of which budget."""

    principal: Principal
    small: _Room
    large: _Room
    room: _Room
    taken: int = 0

    def take(self, more: int) -> None:
        """Raises `CapacityError`."""
        if self.room is self.small and (self.taken + more > SMALL_BYTES or not self.small.fits(self.principal, more)):
            self.small.take(self.principal, -self.taken)
            more, self.taken, self.room = self.taken + more, 0, self.large
        if self.room is self.large and not self.large.fits(self.principal, more):
            raise CapacityError("Too much data is being uploaded at once.", retry_after_s=RETRY_AFTER_S)
        self.room.take(self.principal, more)
        self.taken += more

    def keep(self, most_bytes: int) -> None:
        kept = min(self.taken, most_bytes)
        self.room.take(self.principal, kept - self.taken)
        self.taken = kept


@dataclass(slots=True)
class Upload:
    """A body that was read. It counts as held until it is released."""

    data: bytearray
    _held: _Held

    def take(self) -> bytes:
        """The body, which is held once from then on."""
        body = bytes(self.data)
        self.data = bytearray()
        return body

    def keep(self, most_bytes: int) -> None:
        """The body is dropped; what is left of it has at most so many."""
        self._held.keep(most_bytes)

    def release(self) -> None:
        self._held.keep(0)


class Uploads:
    """What is held in memory, of all routes together: at most `each_bytes` for one body and `all_bytes` for all, of
    which `key_bytes` are one key's share; and small bodies beside them.
    """

    def __init__(self, each_bytes: int, all_bytes: int, key_bytes: int = 0) -> None:
        """The share is a quarter where nothing is said, and one body in any case."""
        self.each_bytes = each_bytes
        self._large = _Room(all_bytes, max(key_bytes or all_bytes // 4, each_bytes))
        small_bytes = all_bytes // SMALL_SHARE
        self._small = _Room(small_bytes, min(SMALL_PER_KEY_BYTES, small_bytes))

    @property
    def held(self) -> int:
        return self._large.held + self._small.held

    async def read(
        self, principal: Principal, opening: Opening, receive: Receive, most_bytes: int, slack_bytes: int = 0
    ) -> Upload:
        """A body, to be released.

        It may have `slack_bytes` around what is bounded. Raises `UnsupportedCoding`, `TooLarge`, `RequestTimeout`,
        `CapacityError`, and Starlette's `ClientDisconnect`.
        """
        coding = opening.headers.get("content-encoding", "").strip().lower()
        if coding in COMPRESSIONS:
            raise UnsupportedCoding(
                f"Compressed request bodies ({coding}) are not supported; send it without Content-Encoding."
            )
        most_bytes = min(most_bytes, self.each_bytes)
        said = opening.headers.get("content-length", "")
        declared = int(said) if said.isdecimal() else 0
        if declared > most_bytes + slack_bytes:
            raise _too_large(most_bytes)
        held = _Held(principal, self._small, self._large, self._small)
        if declared > SMALL_BYTES:
            held.room = self._large
            if not self._large.fits(principal, declared):  # or it would be read in vain
                raise CapacityError("Too much data is being uploaded at once.", retry_after_s=RETRY_AFTER_S)
        body = bytearray()
        try:
            if not await self._collect(receive, body, held, most_bytes + slack_bytes):
                raise _too_large(most_bytes)
        except BaseException as error:
            held.keep(0)
            if isinstance(error, TimeoutError):
                raise RequestTimeout("The request body arrives too slowly.") from None
            raise
        return Upload(body, held)

    def hold(self, principal: Principal, size_bytes: int) -> Upload:
        """For what came whole, as a message does; to be released. Raises `CapacityError`."""
        held = _Held(principal, self._small, self._large, self._small)
        held.take(size_bytes)
        return Upload(bytearray(), held)

    async def _collect(self, receive: Receive, body: bytearray, held: _Held, most_bytes: int) -> bool:
        """Whether that is all of it. Raises `TimeoutError` where it comes too slowly."""
        now = asyncio.get_running_loop().time
        ends, missing, more = 0.0, 0.0, True
        while more:
            if missing <= 0:
                pace = SLOWEST_BYTES_PER_S if len(body) <= SMALL_BYTES else SLOWEST_LARGE_BYTES_PER_S
                ends, missing = now() + PROGRESS_S, pace * PROGRESS_S
            async with asyncio.timeout_at(ends):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            more = message.get("more_body", False)
            missing -= len(chunk)
            if len(body) + len(chunk) > most_bytes:
                return False
            held.take(len(chunk))
            body += chunk
        return True


def _too_large(most_bytes: int) -> TooLarge:
    return TooLarge(f"The request body is larger than {most_bytes} bytes.")
