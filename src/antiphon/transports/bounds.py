"""The common part of both kinds of connection: bounds that uvicorn lacks.

A request's head must arrive within `HEAD_S`. A peer that reads nothing for `UNREAD_S` is aborted, because closing would
wait for it. The server calls `tick` once a second. Received bytes are parsed in pieces, for at most `TURN_S` before
other tasks run: one read may be full of tiny frames.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

HEAD_S = 15
UNREAD_S = 15
TURN_S = 0.002
PRESENCE = "antiphon.presence"  # in a request's scope


class Presence:
    """Whether a request's caller is still connected: `gone` after it left before the answer was complete. Then
    `on_gone` is called; a waiting task instead would cost each request more than its routing.
    """

    __slots__ = ("gone", "on_gone")

    def __init__(self) -> None:
        self.gone = False
        self.on_gone: Callable[[], None] | None = None

    def leave(self) -> None:
        self.gone = True
        if self.on_gone is not None:
            self.on_gone()


class Bounded(ABC):
    """A mixin before a protocol of uvicorn's. `piece_bytes` are parsed without a look at the time."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    piece_bytes: int
    head_s = HEAD_S
    _unread_bytes = 0
    _unread_s = 0
    _headless_s = 0

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)
        self._unparsed = bytearray()
        self._next_turn: asyncio.Handle | None = None

    @property
    @abstractmethod
    def headless(self) -> bool:
        """Whether the head of a request is awaited."""

    @property
    @abstractmethod
    def may_parse(self) -> bool:
        """Whether more may be parsed now. If not, `parse_soon` is called when it may."""

    @abstractmethod
    def parse(self, piece: bytes) -> None:
        """Parse received bytes."""

    @abstractmethod
    def hold_reading(self) -> None:
        """Stop reading until `go_on_reading`."""

    @abstractmethod
    def go_on_reading(self) -> None:
        """Resume reading: everything received is parsed."""

    def tick(self) -> None:
        unread_bytes = self.transport.get_write_buffer_size()
        self._unread_s = self._unread_s + 1 if unread_bytes and unread_bytes >= self._unread_bytes else 0
        self._unread_bytes = unread_bytes
        self._headless_s = self._headless_s + 1 if self.headless else 0
        if self._unread_s >= UNREAD_S or self._headless_s >= self.head_s:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._unparsed and len(data) <= self.piece_bytes and self.may_parse:
            self.parse(data)
            return
        self._unparsed += data
        if self._next_turn is None and self.may_parse:
            self._take_turn()
        elif self._unparsed:
            self.hold_reading()

    def parse_soon(self) -> None:
        """Parse the rest, if any, in a later turn of the event loop."""
        if self._next_turn is None and self._unparsed:
            self._next_turn = self.loop.call_soon(self._take_turn)

    def forget_unparsed(self) -> None:
        """Drop the rest: the connection has ended, or another protocol took it over."""
        self._unparsed.clear()
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None

    def _take_turn(self) -> None:
        self._next_turn = None
        ends = time.monotonic() + TURN_S
        while self._unparsed and self.may_parse:
            if self.transport.is_closing():
                self.forget_unparsed()
                return
            piece = bytes(self._unparsed[: self.piece_bytes])
            del self._unparsed[: self.piece_bytes]
            self.parse(piece)
            if time.monotonic() >= ends:
                self.parse_soon()
                break
        if self._unparsed:
            self.hold_reading()
        else:
            self.go_on_reading()
