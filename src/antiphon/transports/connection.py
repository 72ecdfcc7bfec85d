"""A connection over which both sides talk, whatever carries it: the only loop that serves one.

Three parts share it: what the caller says is taken as it comes, what there is to say is sent, and time is kept.
Whichever ends first ends all. Every send is bounded in time by the carrier: a caller who does not read is cut off.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from antiphon.calls.relay import relay
from antiphon.core.endpoints import Surface
from antiphon.core.errors import AntiphonError, InternalError
from antiphon.core.events import Failed
from antiphon.core.ports import Clock
from antiphon.core.wire import Close, Step, Wire
from antiphon.session.door import BESIDE_BYTES
from antiphon.session.sessions import Live

IDLE_CHECK_S = 1.0

log = logging.getLogger(__name__)


class Gone(Exception):
    """The caller has gone, or does not read."""


class Over(Exception):
    """The connection has been closed, by whom is no matter."""


class Carrier(Protocol):
    """What carries one connection. Its methods raise `Gone`."""

    async def accept(self, headers: Sequence[tuple[str, str]], subprotocol: str | None) -> None:
        """Answers the opening: the caller may talk from now on. To be called before anything else, but for a refusal
        that begins with a `Head`, which is sent in its place.
        """

    async def receive(self) -> str | bytes:
        """The caller's next message."""

    async def send(self, sends: Sequence[Wire]) -> None:
        """Each message is bounded in time by itself."""

    async def close(self, close: Close) -> None:
        """Bounded in time; `close.code` is one of the carrier's own."""


class Talk(Protocol):
    """What is done over a connection. Each of these may end it by raising `Over`."""

    async def take(self, message: str | bytes) -> None:
        """One message of the caller's."""

    async def tell(self) -> None:
        """Says all there is to say; the connection is over when it returns."""

    async def keep_time(self) -> None:
        """Does what is due at some time."""

    async def fail(self, error: AntiphonError) -> None:
        """A defect ends the connection; the caller is told so."""

    async def end(self) -> None:
        """The connection is over: frees everything."""


class Connection:
    """An accepted connection: what is said at once on it is not mixed."""

    def __init__(self, carrier: Carrier, id: str) -> None:
        self.id = id
        self._carrier = carrier
        self._sending = asyncio.Lock()

    async def say(self, sends: Sequence[Wire], close: Close | None = None) -> None:
        """Raises `Gone`."""
        async with self._sending:
            if sends:
                await self._carrier.send(sends)
            if close is not None:
                await self._carrier.close(close)

    async def run(self, talk: Talk, first: str | bytes | None = None) -> None:
        """Until it is over. `first` is the message that was read already."""
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
        if first is not None:
            await talk.take(first)
        while True:
            await talk.take(await self._carrier.receive())

    def defect(self, error: BaseException) -> InternalError:
        log.error("connection failed", exc_info=error, extra={"session": self.id})
        return InternalError("The server failed; this has been logged.")


class Stream:
    """A surface between a connection and a session: the talk of most dialogues."""

    def __init__(self, connection: Connection, surface: Surface[Any], session: Live, clock: Clock) -> None:
        self._connection = connection
        self._surface = surface
        self._session = session
        self._clock = clock
        self._asking = asyncio.Lock()  # held where something is asked of the surface that may take longer
        self._closed = False
        self._delivered = False

    async def take(self, message: str | bytes) -> None:
        """A large one is read beside the event loop, where the surface is asked nothing else meanwhile."""
        now_ns = self._clock.now_ns()
        if len(message) <= BESIDE_BYTES:
            step = self._surface.receive(message, now_ns)
        else:
            async with self._asking:
                step = await asyncio.to_thread(self._surface.receive, message, now_ns)
        await self._follow(step)

    async def tell(self) -> None:
        await relay(self._session, self._surface, self._clock, self._say, self._asking)
        self._delivered = True

    async def _say(self, sends: Sequence[Wire], close: Close | None) -> None:
        await self._connection.say(sends, close)
        self._closed = close is not None

    async def keep_time(self) -> None:
        while not self._closed:
            deadline_ns = self._surface.deadline_ns()
            now_ns = self._clock.now_ns()
            if deadline_ns is not None and deadline_ns <= now_ns:
                async with self._asking:
                    step = self._surface.expire(now_ns)
                await self._follow(step)
                continue
            wait_s = IDLE_CHECK_S if deadline_ns is None else (deadline_ns - now_ns) / 1e9
            await asyncio.sleep(min(IDLE_CHECK_S, wait_s))

    async def _follow(self, step: Step) -> None:
        for given in step.inputs:
            await self._session.feed(given)
        if step.sends or step.close:
            await self._connection.say(step.sends, step.close)
        if step.close:
            raise Over

    async def fail(self, error: AntiphonError) -> None:
        step = self._surface.emit(Failed(error), self._clock.now_ns())
        await self._connection.say(step.sends, step.close)

    async def end(self) -> None:
        await self._session.close(self._delivered)
