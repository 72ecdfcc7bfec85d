"""Dialogues, from the opening of a connection to its end, over any carrier.

The door admits the caller, with its first message if that holds the credential or the spec. Such a caller must send it
soon, and the number of unauthenticated callers is bounded.
"""

import asyncio
from contextlib import suppress

from antiphon.core.endpoints import NeedsFirst
from antiphon.core.errors import RequestTimeout
from antiphon.core.events import Failed
from antiphon.core.ports import Clock
from antiphon.core.routing import DialogueRow
from antiphon.core.wire import Head, Opening, Step, region_header
from antiphon.session.arrival import Arrival, OpenDialogue, OpenSuccession
from antiphon.session.door import Door
from antiphon.transports.connection import Carrier, Connection, Gone, Stream, Talk
from antiphon.transports.succession import Calls
from antiphon.transports.uploads import Uploads

FIRST_MESSAGE_S = 10.0
MAX_UNNAMED = 256  # unauthenticated callers; above this, the longest waiting is dropped


class Dialogues:
    """The dialogues of one row of the table."""

    def __init__(self, row: DialogueRow, door: Door, clock: Clock, uploads: Uploads) -> None:
        self._row = row
        self._door = door
        self._clock = clock
        self._uploads = uploads
        self._unnamed: dict[asyncio.Timeout, None] = {}

    async def serve(self, carrier: Carrier, opening: Opening) -> None:
        """Serve one connection."""
        with suppress(Gone):
            arrival = Arrival(self._door, self._row, opening)
            try:
                entered = await arrival.enter()
            except Exception as error:
                await _refuse(carrier, self._door.refuse(self._row, opening, error))
            else:
                if isinstance(entered, NeedsFirst):
                    await self._wait(carrier, opening, arrival, entered)
                else:
                    await self._talk(carrier, opening, entered, None)

    async def _wait(self, carrier: Carrier, opening: Opening, arrival: Arrival, needs: NeedsFirst) -> None:
        """Open nothing before the first message. Raises `Gone`."""
        await carrier.accept(needs.headers, needs.subprotocol)
        try:
            first = await self._first(carrier, arrival)
            opened = await arrival.enter(first)
            assert not isinstance(opened, NeedsFirst)
        except Gone:
            return
        except Exception as error:
            failed = Failed(self._door.count_refusal(self._row.surface, opening, error))
            step = needs.surface.emit(failed, self._clock.now_ns())
            await Connection(carrier, opening.request_id).say(step.sends, step.close)
        else:
            await self._talk(carrier, opening, opened, first)

    async def _first(self, carrier: Carrier, arrival: Arrival) -> str | bytes:
        """Return the first message. Raises `RequestTimeout`, `Gone`."""
        try:
            async with asyncio.timeout(FIRST_MESSAGE_S) as patience:
                try:
                    if not arrival.known:
                        self._make_room()
                        self._unnamed[patience] = None
                    return await carrier.receive()
                finally:
                    self._unnamed.pop(patience, None)
        except TimeoutError:
            raise RequestTimeout("No message was received in time.") from None

    def _make_room(self) -> None:
        if len(self._unnamed) >= MAX_UNNAMED:
            longest = next(iter(self._unnamed))
            del self._unnamed[longest]
            if not longest.expired():
                longest.reschedule(0)

    async def _talk(self, carrier: Carrier, opening: Opening, opened: OpenDialogue, first: str | bytes | None) -> None:
        """Serve an admitted caller. `first` is the message that was read already, if the opening is answered. Raises
        `Gone`.
        """
        connection = Connection(carrier, opened.session.call.id)
        talk = self._talk_of(connection, opening, opened)
        try:
            if first is None:
                headers = (*opened.accepted.headers, *region_header(opened.session.region))
                await carrier.accept(headers, opened.accepted.subprotocol)
            await connection.run(talk, first)
        finally:
            await talk.end()

    def _talk_of(self, connection: Connection, opening: Opening, opened: OpenDialogue) -> Talk:
        if isinstance(opened, OpenSuccession):
            row, door, uploads = self._row, self._door, self._uploads
            return Calls(connection, opened, row, opening, door, uploads, self._clock)
        return Stream(connection, opened.accepted.surface, opened.session, self._clock)


async def _refuse(carrier: Carrier, step: Step) -> None:
    """Refuse the connection; or accept it, report the error and close, if the vendor's clients expect that."""
    if not (step.sends and isinstance(step.sends[0], Head)):
        await carrier.accept((), None)
    await carrier.send(step.sends)
    if step.close is not None:
        await carrier.close(step.close)
