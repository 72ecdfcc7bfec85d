"""uvicorn's WebSockets, with the bounds that it lacks.

A message has at most `MAX_FRAGMENTS` frames, and at most `MAX_CONTROL_FRAMES` pings and pongs are accepted per second;
above that the peer gets the reason and is closed. After `FRAMES_AT_ONCE`, a connection is read at `FRAMES_PER_S`, and
at most `MAX_WAITING` messages are read ahead of their processing. What connections hold of messages beyond the usual
size is bounded in all: `MOST_LARGE_BYTES`.
"""

import asyncio
import codecs
import select
import socket
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from antiphon.transports.bounds import Bounded
from antiphon.transports.connections import Connections

MAX_FRAGMENTS = 1000
MAX_CONTROL_FRAMES = 100
FRAMES_AT_ONCE = 1000
FRAMES_PER_S = 500  # pieces of 20 ms at ten times real time
MAX_WAITING = 32
MOST_LARGE_BYTES = 256 << 20
RECEIVE_BYTES = 128 * 1024  # of the system's receive buffer of one connection
PAUSE_S = 0.05  # of a connection that sent too much
LINGER_S = 2.0

_TextDecoder = codecs.getincrementaldecoder("utf-8")


class FrameParser(ServerProtocol):
    """The parser of frames, with further checks of RFC 6455."""

    _decoder: codecs.IncrementalDecoder | None = None  # of the text message under way

    def recv_frame(self, frame: Frame) -> None:
        """Check each frame of a text as it arrives (section 8.1), not the message at its end. Raises `ProtocolError`
        and `UnicodeDecodeError`.
        """
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # a peer may close within a message (sections 5.4 and 5.5.1)
        super().recv_frame(frame)
        if frame.opcode is Opcode.TEXT:
            self._decoder = _TextDecoder()
        elif frame.opcode is not Opcode.CONT:
            return
        if self._decoder is not None:
            try:
                self._decoder.decode(frame.data, frame.fin)
            except UnicodeDecodeError:
                self.events.pop()
                raise
            if frame.fin:
                self._decoder = None


@dataclass(slots=True)
class LargeMessages:
    """The bytes that all connections hold beyond the usual size of a message."""

    most_bytes: int = MOST_LARGE_BYTES
    held_bytes: int = 0


class WebSocketProtocol(Bounded, WebSocketsSansIOProtocol):
    """A WebSocket connection. `larger` are higher bounds of message bytes, by path; `places` are the server's
    connections, `large` what they all hold of such messages.
    """

    larger: ClassVar[Mapping[str, int]] = {}
    large: ClassVar[LargeMessages] = LargeMessages()
    places: ClassVar[Connections] = Connections(most=1 << 20, per_address=1 << 20)
    piece_bytes = 1024
    _control_frames = 0  # in this second
    _refused = False
    _large_bytes = 0  # counted in `large`
    _waiting_bytes = 0  # of whole messages, until the next one is asked for
    _taken_bytes = 0  # of the last one that was given

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.conn = FrameParser(max_size=self.config.ws_max_size, logger=self.logger)
        self._sizes: deque[int] = deque()  # of the messages that wait

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # If it could grow, it would hold minutes of tiny frames, and an end behind them would not be seen.
        if receiving := transport.get_extra_info("socket"):
            receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self._frames_left = float(FRAMES_AT_ONCE)
        self._counted_s = time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        self.places.leave(self.transport)
        self.forget_unparsed()
        self.large.held_bytes -= self._large_bytes
        self._large_bytes = 0
        super().connection_lost(exc)

    @property
    def headless(self) -> bool:
        return not self.handshake_initiated

    def handle_connect(self, event: Request) -> None:
        path = "/" + event.path.partition("?")[0].strip("/")  # as `Entrance` reads it
        self.conn.max_message_size = self.larger.get(path, self.conn.max_message_size)
        super().handle_connect(event)

    def tick(self) -> None:
        """Abort a connection whose peer left while reading is paused, then check the bounds."""
        self._control_frames = 0
        if self._unparsed and _has_left(self.transport):
            self.transport.abort()
        super().tick()

    # -- in turns ------------------------------------------------------------------------------------------------------

    @property
    def may_parse(self) -> bool:
        """Whether to parse: not before the connection is accepted; while it is closing, to its end."""
        if self._frames_left <= 0:
            now_s = time.monotonic()
            self._frames_left += min(FRAMES_AT_ONCE, (now_s - self._counted_s) * FRAMES_PER_S)
            self._counted_s = now_s
        if self.close_sent:
            return True
        return self.handshake_complete and self.queue.qsize() <= MAX_WAITING and self._frames_left > 0

    def hold_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()
        if self._frames_left <= 0 and self._next_turn is None:
            self._next_turn = self.loop.call_later(PAUSE_S, self._take_turn)

    def go_on_reading(self) -> None:
        if self.read_paused and (self.close_sent or self.queue.empty()):
            self.read_paused = False
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated:
            super().data_received(data)
        else:
            self.parse(data)  # the head, received already

    def parse(self, piece: bytes) -> None:
        """Parse received bytes. Frames before an invalid one are still processed."""
        if self.conn.parser_exc is not None or self._refused:
            return
        self.conn.receive_data(piece)
        self.handle_events()
        self._count_large()
        if self.conn.parser_exc is not None:
            self.handle_parser_exception()

    def _count_large(self) -> None:
        """Count what the connection holds beyond a usual message. Too much in all ends the one that holds more now."""
        partial_bytes = len(self.conn.reader.buffer) + (self.conn.current_size or 0)
        large_bytes = max(0, partial_bytes + self._waiting_bytes - (self.config.ws_max_size or 0))
        more_bytes, self._large_bytes = large_bytes - self._large_bytes, large_bytes
        self.large.held_bytes += more_bytes
        if more_bytes > 0 and self.large.held_bytes > self.large.most_bytes:
            self._refuse(CloseCode.TRY_AGAIN_LATER, "Too many large messages are being received.")

    async def receive(self) -> ASGIReceiveEvent:
        self._waiting_bytes -= self._taken_bytes
        self._taken_bytes = 0
        if self._large_bytes and not self.disconnected:
            self._count_large()
        message = await self.queue.get()
        if message["type"] == "websocket.receive":
            self._taken_bytes = self._sizes.popleft()
        if self.queue.empty():
            self._go_on()
        return message

    async def send(self, message: ASGISendEvent) -> None:
        before = self.handshake_complete, self.close_sent
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # otherwise a refusal would be logged as a defect
        if (self.handshake_complete, self.close_sent) != before:
            self._go_on()

    def _go_on(self) -> None:
        if self._unparsed:
            self.parse_soon()
        else:
            self.go_on_reading()

    # -- what the parser finds -----------------------------------------------------------------------------------------

    def handle_events(self) -> None:
        self._frames_left -= len(self.conn.events)
        super().handle_events()

    def send_receive_event_to_app(self) -> None:
        if not self.close_sent:
            self._sizes.append(sum(map(len, self.frames)))
            self._waiting_bytes += self._sizes[-1]
        super().send_receive_event_to_app()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= MAX_FRAGMENTS:
            self._refuse(CloseCode.MESSAGE_TOO_BIG, f"A message has at most {MAX_FRAGMENTS} fragments.")
        elif not self._refused:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer a ping, unless the peer reads no pongs: they would fill the memory."""
        if self._is_control_taken():
            if self.writable.is_set():
                super().handle_ping()
            else:
                self.conn.data_to_send()

    def handle_pong(self, event: Frame) -> None:
        if self._is_control_taken():
            super().handle_pong(event)

    def handle_parser_exception(self) -> None:
        """End after an invalid or too large message. More of it is read and dropped for a while: closing at once could
        lose the close frame with the reason.
        """
        sent = self.conn.close_sent
        assert sent is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": sent.code, "reason": sent.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.read_paused = False
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _is_control_taken(self) -> bool:
        """Count a control frame, and end the connection after too many."""
        self._control_frames += 1
        if self._control_frames > MAX_CONTROL_FRAMES:
            self._refuse(CloseCode.POLICY_VIOLATION, f"More than {MAX_CONTROL_FRAMES} control frames came in a second.")
        return not self._refused

    def _refuse(self, code: CloseCode, reason: str) -> None:
        if not self._refused and not self.close_sent:
            self._refused = True
            self.conn.fail(code, reason)
            self.handle_parser_exception()


def _has_left(transport: asyncio.Transport) -> bool:
    """Return whether the peer has ended the connection, after the bytes it sent before."""
    poller = select.poll()
    poller.register(transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
    return bool(poller.poll(0))
