"""The bodies that callers send, bounded in bytes and time while they are read, and stored answers that they refer to.

Memory is bounded per body and in all. Half of it is first come, first served; the other half is only for those within
their share: a key its own, and a project half of all. Small bodies have memory of their own, which large ones cannot
use. A body must arrive at `SLOWEST_BYTES_PER_S` or faster in each `PROGRESS_S`.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from antiphon.core.errors import CapacityError, RequestTimeout, TooLarge, UnsupportedCoding
from antiphon.core.identity import Principal
from antiphon.core.wire import Opening

PROGRESS_S = 15.0
SLOWEST_BYTES_PER_S = 4_000
SLOWEST_LARGE_BYTES_PER_S = 16_000  # of a body larger than `SMALL_BYTES`
SMALL_BYTES = 1 << 20
SMALL_PER_KEY_BYTES = 16 << 20
SMALL_SHARE = 4  # small bodies together have 1/SMALL_SHARE of the large ones' memory
RETRY_AFTER_S = 5
COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress"})  # RFC 9110, section 8.4.1, and later


@dataclass(slots=True)
class _Room:
    """A budget of bytes, and how much each key and project uses."""

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
        """Take `more` bytes, which may be negative."""
        if not more:
            return
        self.held += more
        for counter, name in ((self.by_key, principal.key_id), (self.by_project, principal.project)):
            counter[name] += more
            if not counter[name]:
                del counter[name]


@dataclass(slots=True)
class _Held:
    """The bytes that one body holds, and their budget."""

    principal: Principal
    small: _Room
    large: _Room
    room: _Room
    taken: int = 0

    def take(self, more: int) -> None:
        """Take `more` bytes. Raises `CapacityError`."""
        if self.room is self.small and (self.taken + more > SMALL_BYTES or not self.small.fits(self.principal, more)):
            self.small.take(self.principal, -self.taken)
            more, self.taken, self.room = self.taken + more, 0, self.large
        if self.room is self.large and not self.large.fits(self.principal, more):
            raise CapacityError("Too much data of requests is in memory.", retry_after_s=RETRY_AFTER_S)
        self.room.take(self.principal, more)
        self.taken += more

    def empty(self) -> "_Held":
        """Return one for the same caller that holds nothing."""
        return _Held(self.principal, self.small, self.large, self.small)

    def keep(self, most_bytes: int) -> None:
        kept = min(self.taken, most_bytes)
        self.room.take(self.principal, kept - self.taken)
        self.taken = kept


@dataclass(slots=True)
class Upload:
    """A body that was read. It counts as held until it is released."""

    data: bytes
    _held: _Held

    def take(self) -> bytes:
        """Return the body, and drop it here, so that it is freed with its last user."""
        body, self.data = self.data, b""
        return body

    def add(self, more_bytes: int) -> None:
        """Count more, which was stored and belongs to the request. Raises `CapacityError`."""
        self._held.take(more_bytes)

    def keep(self, most_bytes: int) -> None:
        """Drop the body; what remains of it takes at most `most_bytes`."""
        self._held.keep(most_bytes)

    def hand_over(self) -> "Upload":
        """Return an upload that holds what this one held, which holds nothing any more."""
        held, self._held = self._held, self._held.empty()
        return Upload(b"", held)

    def release(self) -> None:
        self._held.keep(0)


class Uploads:
    """The memory for bodies of all routes: at most `each_bytes` for one and `all_bytes` for all, of which `key_bytes`
    are one key's share; and more for small bodies.
    """

    def __init__(self, each_bytes: int, all_bytes: int, key_bytes: int = 0) -> None:
        """Set the bounds. A key's share is by default a quarter, and at least one body."""
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
        """Read a body, which must be released.

        It may have `slack_bytes` more than `most_bytes`. Raises `UnsupportedCoding`, `TooLarge`, `RequestTimeout`,
        `CapacityError`, and Starlette's `ClientDisconnect`.
        """
        coding = opening.headers.get("content-encoding", "").strip().lower()
        if coding in COMPRESSIONS:
            raise UnsupportedCoding(
                f"Compressed request bodies ({coding}) are not supported; send it without Content-Encoding."
            )
        most_bytes = min(most_bytes, self.each_bytes)
        length = opening.headers.get("content-length", "")
        declared = int(length) if length.isdecimal() and len(length) < 20 else 0  # however long, what comes is counted
        if declared > most_bytes + slack_bytes:
            raise _too_large(most_bytes)
        held = _Held(principal, self._small, self._large, self._small)
        if declared > SMALL_BYTES:
            held.room = self._large
            if not self._large.fits(principal, declared):  # refuse before reading
                raise CapacityError("Too much data of requests is in memory.", retry_after_s=RETRY_AFTER_S)
        try:
            body = await self._collect(receive, held, most_bytes + slack_bytes)
            if body is None:
                raise _too_large(most_bytes)
        except BaseException as error:
            held.keep(0)
            if isinstance(error, TimeoutError):
                raise RequestTimeout("The request body arrives too slowly.") from None
            raise
        return Upload(body, held)

    def hold(self, principal: Principal, size_bytes: int) -> Upload:
        """Count a message that arrived whole; must be released. Raises `CapacityError`."""
        held = _Held(principal, self._small, self._large, self._small)
        held.take(size_bytes)
        return Upload(b"", held)

    async def _collect(self, receive: Receive, held: _Held, most_bytes: int) -> bytes | None:
        """Return the whole body, or `None` if it is too large. Raises `TimeoutError` if it arrives too slowly."""
        now = asyncio.get_running_loop().time
        body = BytesIO()  # gives its bytes away uncopied: a copy of a large body would stop every other call
        ends, missing, more = 0.0, 0.0, True
        while more:
            if missing <= 0:
                pace = SLOWEST_BYTES_PER_S if body.tell() <= SMALL_BYTES else SLOWEST_LARGE_BYTES_PER_S
                ends, missing = now() + PROGRESS_S, pace * PROGRESS_S
            async with asyncio.timeout_at(ends):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            missing -= len(chunk)
            if body.tell() + len(chunk) > most_bytes:
                return None
            held.take(len(chunk))
            if not more and not body.tell():
                return chunk
            body.write(chunk)
        return body.getvalue()


def _too_large(most_bytes: int) -> TooLarge:
    return TooLarge(f"The request body is larger than {most_bytes} bytes.")
