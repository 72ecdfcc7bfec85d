"""Calls of a language model over one connection: each message is a call, answered before the next one.

Messages are read while an answer is made, to notice a cancellation or a disconnect; waiting messages are bounded in
number and bytes. Each call is metered, bounded and authenticated as over HTTP.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from antiphon.calls.generation import Generation
from antiphon.calls.relay import relay
from antiphon.core.errors import AntiphonError, Cancelled, CapacityError, NotFound
from antiphon.core.ports import Clock
from antiphon.core.routing import DialogueRow
from antiphon.core.wire import Close, Opening, Step, Wire
from antiphon.session.arrival import OpenSuccession
from antiphon.session.door import Door
from antiphon.session.requests import OpenCall
from antiphon.transports.connection import Connection, Gone
from antiphon.transports.uploads import Upload, Uploads

MOST_WAITING = 64  # messages, with at most the bytes that one may have
MOST_KNOWN = 64  # ids of answers that may be cancelled too late
RETRY_AFTER_S = 1


class Calls:
    """The `Talk` of one connection."""

    def __init__(
        self,
        connection: Connection,
        opened: OpenSuccession,
        row: DialogueRow,
        opening: Opening,
        door: Door,
        uploads: Uploads,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._calls = opened.accepted.calls
        self._dialogue = opened.session
        self._row = row
        self._opening = opening
        self._door = door
        self._uploads = uploads
        self._clock = clock
        self._waiting: deque[tuple[str | bytes, Upload]] = deque()
        self._waiting_bytes = 0
        self._came = asyncio.Event()
        self._running: Generation | None = None
        self._begins = False  # whether a message is taken whose answer does not run yet
        self._cancelled = False  # whether the next answer is cancelled already
        self._known: deque[str] = deque(maxlen=MOST_KNOWN)  # the last is the running one, if any

    # -- in ------------------------------------------------------------------------------------------------------------

    async def take(self, message: str | bytes) -> None:
        try:
            self._take(message)
        except AntiphonError as error:
            await self._refuse(message, error)

    def _take(self, message: str | bytes) -> None:
        """Queue a message, or cancel an answer. Raises `NotFound` for an unknown answer, `CapacityError`."""
        answer = self._calls.cancelled(message)
        if answer is not None:
            self._take_back(answer)
            return
        size = _size_bytes(message)
        if len(self._waiting) >= MOST_WAITING or self._waiting_bytes + size > self._calls.max_message_bytes:
            raise CapacityError("Too many requests are waiting on this connection.", retry_after_s=RETRY_AFTER_S)
        upload = self._uploads.hold(self._dialogue.call.principal, size)
        self._waiting.append((message, upload))
        self._waiting_bytes += size
        self._came.set()

    def _take_back(self, answer: str) -> None:
        """Cancel the answer. One that has ended meanwhile is left unchanged."""
        if self._running is not None and answer in ("", self._known[-1]):
            self._running.fail(Cancelled("This was cancelled."))
        elif not answer:
            self._cancelled = self._begins or bool(self._waiting)
        elif answer not in self._known:
            raise NotFound("This connection has no active response with this id.", param="response_id")

    # -- out -----------------------------------------------------------------------------------------------------------

    async def tell(self) -> None:
        """Answer messages until the connection is to end."""
        while await self._next():
            message, upload = self._waiting.popleft()
            self._waiting_bytes -= _size_bytes(message)
            try:
                await self._answer(message, upload)
            finally:
                self._cancelled = False
                upload.release()

    async def _next(self) -> bool:
        """Wait for a message; return whether to answer it."""
        ending = self._dialogue.ending
        while not self._waiting and not ending.is_set():
            self._came.clear()
            waits = [asyncio.create_task(event.wait()) for event in (self._came, ending)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waits:
                    each.cancel()
        return not ending.is_set()

    async def _answer(self, message: str | bytes, upload: Upload) -> None:
        """Answer a message. Raises `Gone`, and the surface's exceptions."""
        opening = replace(self._opening, request_id=str(uuid.uuid4()), received_unix_ms=self._clock.unix_ms())
        self._begins = True
        try:
            opened = await self._door.succeed(self._row, opening, self._dialogue, self._calls, message, upload)
        except Exception as error:
            await self._refuse(message, error, opening)
            return
        finally:
            self._begins = False
        self._known.append(self._calls.answer_id(opening.request_id))
        if isinstance(opened, Step):
            await self._connection.say(opened.sends)
        else:
            await self._tell(opened)

    async def _tell(self, opened: OpenCall) -> None:
        generation = opened.session
        assert isinstance(generation, Generation)
        ended = False
        self._running = generation
        if self._cancelled:
            self._take_back("")
        try:
            await relay(generation, opened.surface, self._clock, self._say)
            ended = True
        finally:
            self._running = None
            if ended:
                generation.end(delivered=True)
            else:
                await generation.close(delivered=False)

    async def _say(self, sends: Sequence[Wire], close: Close | None) -> None:
        """Send without the close: an answer does not close the connection."""
        await self._connection.say(sends)

    async def _refuse(self, message: str | bytes, error: Exception, opening: Opening | None = None) -> None:
        refused = self._door.count_refusal(self._row.surface, opening or self._opening, error)
        await self._connection.say(self._calls.error(message, refused).sends)

    # -- the end -------------------------------------------------------------------------------------------------------

    async def keep_time(self) -> None:
        """Wait until the connection fails, which ends it at once; other ends wait for the running answer."""
        await self._dialogue.failed.wait()

    async def fail(self, error: AntiphonError) -> None:
        self._dialogue.fail(error)

    async def end(self) -> None:
        for _, upload in self._waiting:
            upload.release()
        try:
            if error := self._dialogue.error:
                step = self._calls.error("", error)
                with suppress(Gone):
                    await self._connection.say(step.sends, step.close)
        finally:
            self._dialogue.close()


def _size_bytes(message: str | bytes) -> int:
    return len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())
