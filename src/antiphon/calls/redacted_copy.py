"""The copy of a recording without what its transcript hides: made of the events that passed the filters, and added to
the last of them.

Hidden text without times covers its whole utterance. Without filters there is no copy.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from antiphon.core.events import Closed, Final, Output
from antiphon.core.redaction import RedactedAudio

if TYPE_CHECKING:
    from antiphon.audio.budget import Hold


class RedactedCopy:
    """The copy of one recording."""

    def __init__(self, wanted: RedactedAudio, held: "Hold") -> None:
        """Begin; `held` counts the copy until the call ends."""
        self._wanted = wanted
        self._held = held
        self._channels: Sequence[memoryview] = ()
        self._hidden_ms: list[tuple[int, int]] = []

    def hear(self, channels: Sequence[memoryview]) -> None:
        """Take the decoded recording."""
        self._channels = channels

    async def follow(self, events: tuple[Output, ...]) -> tuple[Output, ...]:
        """Return the events, the last of all with the copy. Raises `CapacityError`."""
        for event in events:
            if isinstance(event, Final):
                self._hidden_ms += _hidden(event)
        closed = events[-1]
        if not self._channels or not isinstance(closed, Closed):
            return events
        from antiphon.audio.covering import MAX_BYTES, cover

        self._held.take(MAX_BYTES)
        copy = await asyncio.to_thread(cover, self._channels, self._hidden_ms, self._wanted)
        return (*events[:-1], replace(closed, redacted_audio=copy))


def _hidden(final: Final) -> list[tuple[int, int]]:
    whole = final.start_ms, final.end_ms
    return [
        (each.start_ms, each.end_ms) if each.start_ms < each.end_ms else whole
        for each in final.transcript.entities
        if each.hidden
    ]
