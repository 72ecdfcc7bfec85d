"""The only way from a session's events to messages for the caller: over any connection, or only kept."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Protocol

from antiphon.core.endpoints import AnswerSurface
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Failed, Inferred
from antiphon.core.ports import Clock
from antiphon.core.units import BESIDE_BYTES
from antiphon.core.wire import BROKEN_OFF, Close, Head, Keep, Step, Wire, region_header


class EventSource(Protocol):
    """A session with events. `region` is where the engine is that answers, where callers must be told."""

    @property
    def region(self) -> str: ...

    def events(self) -> AsyncGenerator[tuple[Any, ...], None]: ...


class KeepingSource(EventSource, Protocol):
    """A session whose answer may be kept."""

    async def keep(self, keep: Keep) -> None:
        """Keep an answer. Raises `AntiphonError` if that fails."""

    def fail(self, error: AntiphonError) -> None: ...


Send = Callable[[list[Wire], Close | None], Awaitable[None]]


async def relay(
    session: EventSource,
    surface: AnswerSurface[Any],
    clock: Clock,
    send: Send,
    busy: asyncio.Lock | None = None,
    begun: asyncio.Event | None = None,
) -> None:
    """Send everything that the session yields: events that came together are sent together, after their answer is kept.
    Return when all is sent. Events after a close are not sent; a close that breaks an answer off returns at once. While
    `busy` is locked, the surface is not called. `begun` is set once the surface has had the first events.

    Raises the surface's exceptions, and those of `send`.
    """
    ended = False
    async with aclosing(session.events()) as batches:
        async for events in batches:
            if ended:
                continue  # such as events after an answer that could not be kept
            if busy is not None and busy.locked():
                async with busy:
                    pass
            now_ns = clock.now_ns()
            sends: list[Wire] = []
            close: Close | None = None
            for event in events:
                if isinstance(event, Inferred):
                    step = await _emitted(surface, event, now_ns)
                else:
                    step = surface.emit(event, now_ns)
                if step.keep is not None:
                    step = await _kept(session, surface, step, step.keep, now_ns)
                sends += step.sends
                close = step.close
                if close is not None:
                    break
            if sends and isinstance(head := sends[0], Head) and session.region:
                sends[0] = Head(head.status, head.headers + region_header(session.region))
            if sends or close is not None:
                await send(sends, close)
            if begun is not None:
                begun.set()
            if close == BROKEN_OFF:
                return
            ended = close is not None


async def _emitted(surface: AnswerSurface[Any], event: Inferred, now_ns: int) -> Step:
    """Return the surface's step for tensors. Large ones may become JSON: in a thread, or the event loop would be
    blocked.
    """
    if sum(len(each.data) for each in event.outputs) > BESIDE_BYTES:
        return await asyncio.to_thread(surface.emit, event, now_ns)
    return surface.emit(event, now_ns)


async def _kept(session: Any, surface: AnswerSurface[Any], step: Step, keep: Keep, now_ns: int) -> Step:
    """Return the step, once its answer is kept; if that fails, the surface's step for the failure."""
    keeps: KeepingSource = session  # only a generation's surface asks for it
    try:
        await keeps.keep(keep)
    except AntiphonError as error:
        keeps.fail(error)
        return surface.emit(Failed(error), now_ns)
    return step
