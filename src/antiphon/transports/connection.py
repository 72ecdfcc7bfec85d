"""A connection on which both sides send, over any carrier: the only loop that serves one.

Three tasks share it: one takes the caller's messages, one sends, one keeps deadlines. The first to end ends all. The
carrier bounds every send in time: a caller who does not read is disconnected.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from antiphon.calls.relay import relay
from antiphon.core.endpoints import Surface
from antiphon.core.errors import AntiphonError, InternalError
from antiphon.core.events import Failed
from antiphon.core.nesting import below
from antiphon.core.ports import Clock
from antiphon.core.units import BESIDE_BYTES
from antiphon.core.wire import NOTHING, Close, Step, Wire
from antiphon.session.sessions import Live
from antiphon.transports.bounds import TURN_S

IDLE_CHECK_S = 1.0

log = logging.getLogger(__name__)


class Gone(Exception):
    """The caller has disconnected, or does not read."""


class Over(Exception):
    """The connection has been closed by either side."""


class Carrier(Protocol):
    """The carrier of one connection. Its methods raise `Gone`."""

    async def accept(self, headers: Sequence[tuple[str, str]], subprotocol: str | None) -> None:
        """Answer the opening, so that the caller may send. Call it first, except before a refusal that begins with a
        `Head`, which is sent in its place.
        """

    async def receive(self) -> str | bytes:
        """Return the caller's next message."""

    async def send(self, sends: Sequence[Wire]) -> None:
        """Send messages; each is bounded in time separately."""

    async def close(self, close: Close) -> None:
        """Close, in bounded time; `close.code` is one of the carrier's own."""


class Talk(Protocol):
    """The use of a connection. Each method may end it by raising `Over`."""

    async def take(self, message: str | bytes) -> None:
        """Process one message of the caller."""

    async def tell(self) -> None:
        """Send all there is to send; the connection is over when this returns."""

    async def keep_time(self) -> None:
        """Do what is due at certain times."""

    async def fail(self, error: AntiphonError) -> None:
        """Report a defect to the caller, and end the connection."""

    async def end(self) -> None:
        """Free everything, after the connection is over."""


class Connection:
    """An accepted connection; concurrent sends on it do not interleave."""

    def __init__(self, carrier: Carrier, id: str) -> None:
        self.id = id
        self._carrier = carrier
        self._sending = asyncio.Lock()

    async def say(self, sends: Sequence[Wire], close: Close | None = None) -> None:
        """Send, and close if given. Raises `Gone`."""
        async with self._sending:
            if sends:
                await self._carrier.send(sends)
            if close is not None:
                await self._carrier.close(close)

    async def run(self, talk: Talk, first: str | bytes | None = None) -> None:
        """Serve until it is over. `first` is the message that was read already."""
        parts = (self._hear(talk, first), talk.tell(), talk.keep_time())
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error and not isinstance(error, Gone | Over):
                    with suppress(Gone):
                        await talk.fail(self.defect(error))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hear(self, talk: Talk, first: str | bytes | None) -> None:
        """Take messages; those that came together in turns, since nothing in between waits for anything."""
        message = first if first is not None else await self._carrier.receive()
        turn_s = 0.0
        while True:
            begun_s = time.monotonic()
            await talk.take(message)
            turn_s += time.monotonic() - begun_s
            if turn_s >= TURN_S:
                turn_s = 0.0
                await asyncio.sleep(0)
            message = await self._carrier.receive()

    def defect(self, error: BaseException) -> InternalError:
        log.error("connection failed", exc_info=error, extra={"session": self.id})
        return InternalError("The server failed; this has been logged.")


class Stream:
    """A surface between a connection and a session: the `Talk` of most dialogues."""

    def __init__(self, connection: Connection, surface: Surface[Any], session: Live, clock: Clock) -> None:
        self._connection = connection
        self._surface = surface
        self._session = session
        self._clock = clock
        self._asking = asyncio.Lock()  # held during calls of the surface that may take longer
        self._begun = asyncio.Event()  # the surface knows what answers, and the caller was told
        self._closed = False
        self._delivered = False

    async def take(self, message: str | bytes) -> None:
        """Process a message, once the session has begun: what answers to it cannot come before the vendor's first
        message. A large one is parsed in a thread, and the surface is not called meanwhile.
        """
        await self._begun.wait()
        now_ns = self._clock.now_ns()
        if len(message) <= BESIDE_BYTES:
            step = self._surface.receive(message, now_ns)
        else:
            async with self._asking:
                step = await asyncio.to_thread(below, self._surface.receive, message, now_ns)
        await self._follow(step)

    async def tell(self) -> None:
        await relay(self._session, self._surface, self._clock, self._say, self._asking, self._begun)
        self._delivered = True

    async def _say(self, sends: Sequence[Wire], close: Close | None) -> None:
        await self._connection.say(sends, close)
        self._closed = close is not None

    async def keep_time(self) -> None:
        while not self._closed:
            async with self._asking:  # a message that is being read may move the deadline
                deadline_ns = self._surface.deadline_ns()
                now_ns = self._clock.now_ns()
                due = deadline_ns is not None and deadline_ns <= now_ns
                step = self._surface.expire(now_ns) if due else NOTHING
            await self._follow(step)
            if not due:
                wait_s = IDLE_CHECK_S if deadline_ns is None else (deadline_ns - now_ns) / 1e9
                await asyncio.sleep(min(IDLE_CHECK_S, wait_s))

    async def _follow(self, step: Step) -> None:
        for each in step.inputs:
            await self._session.feed(each)
        if step.sends or step.close:
            await self._connection.say(step.sends, step.close)
        if step.close:
            raise Over

    async def fail(self, error: AntiphonError) -> None:
        step = self._surface.emit(Failed(error), self._clock.now_ns())
        await self._connection.say(step.sends, step.close)

    async def end(self) -> None:
        await self._session.close(self._delivered)
