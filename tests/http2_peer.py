"""A client of HTTP/2 that sends whatever frames a test wants: nothing of it keeps to the rules by itself."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit

from hpack import Decoder, Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITISED = 0x4, 0x8, 0x20
WHOLE = END_STREAM | END_HEADERS
NO_ERROR, PROTOCOL_ERROR, _, FLOW_CONTROL_ERROR, _, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM = range(8)
CANCEL, COMPRESSION_ERROR, _, ENHANCE_YOUR_CALM = range(8, 12)

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of an error."""
        at = 4 if self.kind == GOAWAY else 0
        return int.from_bytes(self.payload[at : at + 4])


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    sizes: tuple[int, ...]  # of the frames that it came in


class Peer:
    """One connection, past its beginning unless `greets` is false."""

    def __init__(self, url: str, settings: Sequence[tuple[int, int]] = (), *, greets: bool = True) -> None:
        place = urlsplit(url)
        self.host = place.netloc
        self._socket = socket.create_connection((place.hostname, place.port), 10)
        self._buffer = b""
        self.encoder, self.decoder = Encoder(), Decoder()
        if greets:
            self.raw(PREFACE)
            self.settings(settings)
            self.send(SETTINGS, ACK)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._socket.close()

    def raw(self, data: bytes) -> None:
        """What the other end no longer takes is lost."""
        with suppress(OSError):
            self._socket.sendall(data)

    def send(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        self.raw(frame(kind, flags, stream, payload))

    def settings(self, values: Sequence[tuple[int, int]]) -> None:
        self.send(SETTINGS, payload=b"".join(key.to_bytes(2) + value.to_bytes(4) for key, value in values))

    def block(self, method: str = "GET", path: str = "/healthz", more: Fields = ()) -> bytes:
        """The fields of a request, encoded."""
        return self.encode(
            [(":method", method), (":scheme", "http"), (":path", path), (":authority", self.host), *more]
        )

    def encode(self, fields: Fields) -> bytes:
        encoded: bytes = self.encoder.encode(fields)
        return encoded

    def ask(self, stream: int = 1, **named: object) -> None:
        self.send(HEADERS, WHOLE, stream, self.block(**named))  # type: ignore[arg-type]

    def read(self, patience_s: float = 10) -> Frame | None:
        """The next frame; `None` once the connection is closed. Raises `TimeoutError`."""
        while len(self._buffer) < 9 or len(self._buffer) < 9 + int.from_bytes(self._buffer[:3]):
            self._socket.settimeout(patience_s)
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionError:
                return None
            if not data:
                return None
            self._buffer += data
        end = 9 + int.from_bytes(self._buffer[:3])
        head, payload, self._buffer = self._buffer[:9], self._buffer[9:end], self._buffer[end:]
        return Frame(head[3], head[4], int.from_bytes(head[5:9]) & 0x7FFFFFFF, payload)

    def drain(self) -> bool:
        """Whether the other end closes the connection, whatever it says before."""
        self._socket.settimeout(20)
        try:
            while self._socket.recv(1 << 16):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def next(self, *kinds: int, patience_s: float = 10) -> Frame:
        """The next frame of these kinds."""
        while (found := self.read(patience_s)) is not None:
            if found.kind in kinds and not (found.kind == SETTINGS and not found.flags & ACK):
                return found
        raise AssertionError("the connection was closed")

    def answer(self, stream: int = 1) -> Answer:
        status, body, sizes = 0, b"", []
        while True:
            found = self.read()
            assert found is not None, "the connection was closed"
            assert found.kind not in (GOAWAY, RST_STREAM), found
            if found.kind == HEADERS:
                fields = dict(self.decoder.decode(found.payload))
                status = int(fields[":status"]) if found.stream == stream else status
            elif found.kind == DATA and found.stream == stream:
                body += found.payload
                sizes.append(len(found.payload))
            if found.stream == stream and found.kind in (DATA, HEADERS) and found.flags & END_STREAM:
                return Answer(status, body, tuple(sizes))

    def ended(self, *, stream: bool = False) -> int | None:
        """The code that ended the connection, or the `stream` if that will do; `None` if it was just closed."""
        while (found := self.read()) is not None:
            if found.kind == GOAWAY or (stream and found.kind == RST_STREAM and found.code != NO_ERROR):
                return found.code
        return None


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload
