"""Incoming HTTP/2, cut into frames before they are processed: floods end here, cheaply.

Frames that need an answer or memory without a request are counted per second, and per block of headers. A GOAWAY
without an error is dropped: it says that the peer will open no more streams, while open ones continue (RFC 9113 section
6.8); Node's clients send it right after their request, and `h2` would end the connection.
"""

from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
MAX_FRAME_BYTES = 16_384  # RFC 9113 section 4.2: the minimum, and no more is offered
MAX_BLOCK_BYTES = 64 * 1024  # of one block of headers
MAX_CONTINUATIONS = 8


class Kind(IntEnum):
    """The types of frames, RFC 9113 section 6."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


END_STREAM = ACK = 0x1
END_HEADERS = 0x4
EMPTY_DATA, UNKNOWN = -1, -2
# The most per second; honest clients send far fewer.
MAX_A_SECOND = {
    Kind.PING: 50,
    Kind.SETTINGS: 20,
    Kind.RST_STREAM: 100,
    Kind.PRIORITY: 200,
    Kind.WINDOW_UPDATE: 10_000,
    EMPTY_DATA: 100,
    UNKNOWN: 50,
}
_KINDS = frozenset(Kind)


class Flood(Exception):
    """The peer sends too many frames or bytes of a kind (RFC 9113 section 10.5)."""


class WrongSize(Exception):
    """A frame that must be empty is not; `h2` would use another error code."""


class Frames:
    """The frames of one connection, in order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._prefaced = False
        self._counts: dict[int, int] = {}
        self._block_bytes = 0
        self._continuations = 0
        self._in_block = False
        self._took = False  # a frame, since the last tick

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def tick(self) -> bool:
        """Reset the counts; call it once a second. Return whether the rest of a block of headers is awaited, or of a
        frame, and no frame was completed since the last call: in a body that arrives, one is nearly always incomplete.
        """
        self._counts.clear()
        took, self._took = self._took, False
        return self._in_block or (bool(self._buffer) and not took)

    def take(self) -> bytes | None:
        """Return the next frame, with its header; `None` until it is complete. A too large one is returned incomplete:
        its header is enough to refuse it. Raises `Flood`, `WrongSize`.
        """
        if not self._prefaced:
            return self._preface()
        while len(self._buffer) >= HEADER_BYTES:
            length = int.from_bytes(self._buffer[:3])
            whole = HEADER_BYTES + length
            if length <= MAX_FRAME_BYTES and len(self._buffer) < whole:
                return None
            frame = bytes(self._buffer[:whole])
            del self._buffer[:whole]
            self._took = True
            if self._is_wanted(frame, length):
                return frame
        return None

    def _preface(self) -> bytes | None:
        """Return the preface. An invalid one is returned as it is."""
        if len(self._buffer) < len(PREFACE) and PREFACE.startswith(self._buffer):
            return None
        self._prefaced = True
        preface = bytes(self._buffer[: len(PREFACE)])
        del self._buffer[: len(PREFACE)]
        return preface

    def _is_wanted(self, frame: bytes, length: int) -> bool:
        kind, flags = frame[3], frame[4]
        if kind == Kind.GOAWAY and length >= 8 and not any(frame[5:9]) and not any(frame[13:17]):
            return False
        if kind == Kind.SETTINGS and flags & ACK and length:
            raise WrongSize
        if kind in (Kind.HEADERS, Kind.CONTINUATION):
            self._count_block(kind, flags, length)
        counted = kind if kind in _KINDS else UNKNOWN
        if kind == Kind.DATA and not length and not flags & END_STREAM:
            counted = EMPTY_DATA
        most = MAX_A_SECOND.get(counted)
        if most is not None:
            count = self._counts[counted] = self._counts.get(counted, 0) + 1
            if count > most:
                raise Flood(f"more than {most} frames of type {kind} in a second")
        return True

    def _count_block(self, kind: int, flags: int, length: int) -> None:
        if kind == Kind.HEADERS:
            self._block_bytes = self._continuations = 0
        else:
            self._continuations += 1
        self._block_bytes += length
        self._in_block = not flags & END_HEADERS
        if self._continuations > MAX_CONTINUATIONS or self._block_bytes > MAX_BLOCK_BYTES:
            raise Flood("a block of headers that is too large")
