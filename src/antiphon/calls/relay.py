"""The one way in which what a session says becomes what a caller is sent: over any connection, or kept alone."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Protocol

from antiphon.core.endpoints import AnswerSurface
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Failed
from antiphon.core.ports import Clock
from antiphon.core.wire import BROKEN_OFF, Close, Keep, Step, Wire


class Says(Protocol):
    """A session, as far as its events go."""

    def events(self) -> AsyncGenerator[tuple[Any, ...], None]: ...


class Keeps(Says, Protocol):
    """One whose answer may be kept."""

    async def keep(self, keep: Keep) -> None:
        """Raises `AntiphonError` where that fails."""

    def fail(self, error: AntiphonError) -> None: ...


Send = Callable[[list[Wire], Close | None], Awaitable[None]]


async def relay(
    session: Says, surface: AnswerSurface[Any], clock: Clock, send: Send, busy: asyncio.Lock | None = None
) -> None:
    """Sends everything that the session says: what came at once is sent at once, after what is to be kept of it is
    kept. Returns when all has been said and sent. What follows on a close is not sent; one that breaks an answer off
    ends it at once. While `busy` is locked, the surface is asked nothing.

    Raises what goes wrong in the surface, and what `send` does.
    """
    ended = False
    async with aclosing(session.events()) as said:
        async for events in said:
            if ended:
                continue  # as with what follows on an answer that could not be kept
            if busy is not None and busy.locked():
                async with busy:
                    pass
            now_ns = clock.now_ns()
            sends: list[Wire] = []
            close: Close | None = None
            for event in events:
                step = surface.emit(event, now_ns)
                if step.keep is not None:
                    step = await _kept(session, surface, step, step.keep, now_ns)
                sends += step.sends
                close = step.close
                if close is not None:
                    break
            if sends or close is not None:
                await send(sends, close)
            if close == BROKEN_OFF:
                return
            ended = close is not None


async def _kept(session: Any, surface: AnswerSurface[Any], step: Step, keep: Keep, now_ns: int) -> Step:
    """The step, once what it wants kept is kept; where that fails, what the surface says to that."""
    keeps: Keeps = session  # only a generation's surface asks for it
    try:
        await keeps.keep(keep)
    except AntiphonError as error:
        keeps.fail(error)
        return surface.emit(Failed(error), now_ns)
    return step
