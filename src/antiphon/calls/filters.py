"""A chain of filters between a session and all its receivers, one chain for each call.

A session's events pass the chain before they are charged and yielded, so nothing bypasses it: clients, items of a
conversation and prompts made of them, captions, kept answers and those made in the background all get filtered events.
A filter that raises ends the call, and none of the events passed to it are sent.
"""

from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Any

from antiphon.core.call import Call
from antiphon.core.events import AllSpoken, Closed, Completed
from antiphon.core.ports import EventFilter

Filters = Callable[[Call[Any]], Sequence[EventFilter]]  # raises `AntiphonError` if the call is not allowed

_LAST = (Closed, Completed, AllSpoken)


class FilterError(Exception):
    """An exception in a filter. Its text may quote the filtered content, so only its type is reported."""


class Chain:
    """The chain of one call."""

    def __init__(self, filters: Sequence[EventFilter]) -> None:
        self._filters = filters

    async def push(self, events: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return which of these events, and of those held back, to send now. The session's own last event is always
        sent, after what the filters still hold. Raises `FilterError`.
        """
        ends = isinstance(events[-1], _LAST)
        last, events = (events[-1:], events[:-1]) if ends else ((), events)
        try:
            for each in self._filters:
                events = tuple(await _settled(each.push(events))) if events else ()
                if ends:
                    events += tuple(await _settled(each.finish()))
        except Exception as error:
            raise FilterError(type(error).__name__) from None
        return events + last

    async def finish(self) -> tuple[Any, ...]:
        """Return what is held back, because no more events come. Raises `FilterError`."""
        events: tuple[Any, ...] = ()
        try:
            for each in self._filters:
                events = tuple(await _settled(each.push(events))) if events else ()
                events += tuple(await _settled(each.finish()))
        except Exception as error:
            raise FilterError(type(error).__name__) from None
        return events


async def _settled(result: tuple[Any, ...] | Awaitable[tuple[Any, ...]]) -> tuple[Any, ...]:
    return await result if isawaitable(result) else result


def no_filters(call: Call[Any]) -> Sequence[EventFilter]:
    """Return no filters: everybody gets events unchanged."""
    return ()
