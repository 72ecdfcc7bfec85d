"""One item of a job: it is called through the same door as its caller's own calls, and charged once.

Its session's id, and the key under which the ledger remembers its charge, are made from the job's id and its number. If
a server died between the charge and the record of the outcome, the item is called again and, as the ledger knows,
nothing more is charged. An answer is charged when it is complete; an item that is stopped before costs nothing.
"""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from antiphon.calls.playing import playing
from antiphon.calls.relay import relay
from antiphon.core.errors import (
    AlreadyAnswered,
    AntiphonError,
    Cancelled,
    CapacityError,
    EngineError,
    InternalError,
    KeysUnavailable,
    LedgerUnavailable,
)
from antiphon.core.events import Completed, Failed, TokenUsage
from antiphon.core.identity import Principal
from antiphon.core.jobs import NO_TOKENS, REQUEST, ItemCall, ItemOutcome, Job, JobKind, JobState, LineKind, SubjectKind
from antiphon.core.ports import Clock
from antiphon.core.routing import CallRow
from antiphon.core.stores import Claim, Ledger
from antiphon.core.wire import Body, Close, Head, Keep, Opening, Step, Wire
from antiphon.jobs.filler import Filler, GaveWay, Turn
from antiphon.jobs.webhook import Webhooks
from antiphon.session.door import Door, defect
from antiphon.session.requests import OpenCall

MAX_TRIES = 3  # of an item whose engine fails
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
NO_FAULT = CapacityError | LedgerUnavailable | KeysUnavailable  # temporary: retried until the job's deadline
SPACE = uuid.UUID("5b0e24a4-6a27-5b6e-8b5c-6d0f53a0b0c1")  # the namespace of the sessions' ids


Settled = Callable[[int], Awaitable[bool]]
CheckRoom = Callable[[], Awaitable[None]]
Record = Callable[[ItemOutcome], Awaitable[None]]
ReadFile = Callable[[str], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Services:
    """The services that items are called with. `rows` are the routes of calls, by surface and path; `webhooks` reports
    the end of jobs.
    """

    door: Door
    ledger: Ledger
    clock: Clock
    filler: Filler
    rows: Mapping[tuple[str, str], CallRow]
    webhooks: Webhooks


def session_of(job: Job, number: int, again: bool = False) -> str:
    """Return the id of an item's session, a UUID; with `again` that of a second, uncharged answer."""
    return str(uuid.uuid5(SPACE, f"{job.project} {job.id} {number}{' again' if again else ''}"))


class _Unheld:
    """An item's body, counted as its job's and not as an upload."""

    def add(self, more_bytes: int) -> None: ...

    def keep(self, most_bytes: int) -> None: ...

    def hand_over(self) -> "_Unheld":
        return self

    def release(self) -> None: ...


class _ItemSession:
    """A session as the relay uses it. It records what the item's outcome needs."""

    region = ""  # the outcome has no headers

    def __init__(self, session: Any) -> None:
        self._session = session
        self.fail = session.fail
        self.error: AntiphonError | None = None
        self.usage = NO_TOKENS

    async def events(self) -> AsyncGenerator[tuple[Any, ...], None]:
        async with aclosing(self._session.events()) as stream:  # so that it ends before the session is closed
            async for events in stream:
                last = events[-1]
                if isinstance(last, Failed):
                    self.error = last.error
                elif isinstance(last, Completed):
                    self.usage = last.usage
                yield events

    async def keep(self, keep: Keep) -> None:
        await self._session.keep(keep)


class _Answer:
    """The answer that would have been sent."""

    def __init__(self) -> None:
        self.status = 0
        self.body = bytearray()
        self.whole = False

    async def send(self, messages: list[Wire], close: Close | None) -> None:
        for message in messages:
            if isinstance(message, Head):
                self.status = message.status
            else:
                self.body += message.encode() if isinstance(message, str) else message
        self.whole = close is not None


class Item:
    """One item. `record` makes an outcome durable; the session gets its success or failure. Items of a job of lines
    wait for their turn.
    """

    def __init__(
        self,
        services: Services,
        job: Job,
        kind: JobKind,
        number: int,
        line: bytes,
        read_file: ReadFile,
        settled: Settled,
        check_room: CheckRoom,
    ) -> None:
        self._services = services
        self._check_room = check_room
        self._settled = settled
        self._fills = isinstance(kind, LineKind)
        self._read_file = read_file
        self._job = job
        self._kind = kind
        self.number = number
        self._line = line
        self._session: Any = None
        self._stopped = False

    @property
    def called(self) -> bool:
        """Whether its call runs, so that it ends by itself once it is stopped."""
        return self._session is not None

    def stop(self) -> None:
        """Stop the item: its job has ended. If it is already charged, it is still recorded."""
        self._stopped = True
        if self._session is not None:
            self._session.fail(Cancelled("The job has ended."))

    async def run(self, record: Record) -> None:
        """Run the item until its outcome is recorded, or it is stopped before it has one. Raises `StorageFull` before
        it is called.
        """
        if await self._erased(record):
            return
        call, tries, pause_s = self._kind.item(self._line), 0, FIRST_PAUSE_S
        if call.refusal is not None:
            await record(self._refused(call, call.refusal))
            return
        while not self._stopped:
            async with self._turn(call.model) as turn:
                if self._stopped or await self._erased(record):
                    return
                await self._check_room()  # what is charged must be recorded
                error = await self._try(call, turn, record, last=tries + 1 >= MAX_TRIES)
            if error is None:
                return
            if isinstance(error, GaveWay):
                await asyncio.sleep(FIRST_PAUSE_S)  # else a stopped item would return at once
                continue
            tries += not isinstance(error, NO_FAULT)
            await asyncio.sleep(max(pause_s, min(error.retry_after_s or 0, LONGEST_PAUSE_S)))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _erased(self, record: Record) -> bool:
        """Return whether the line was erased, before it was read or after; its outcome is recorded then."""
        if not isinstance(self._kind, SubjectKind):
            return False
        about = self._kind.about(self._line)
        if about is None or not about.erased:
            return await self._settled(self.number)
        line = self._kind.unanswered(self._line, session_of(self._job, self.number), JobState.FAILED)
        await record(ItemOutcome(self.number, False, line))
        return True

    @asynccontextmanager
    async def _turn(self, model: str) -> AsyncGenerator[Turn, None]:
        if not self._fills:  # its caller waits, as in a call without a job
            yield Turn(model, asyncio.get_running_loop().create_future())
            return
        turn = await self._services.filler.enter(model)
        try:
            yield turn
        finally:
            self._services.filler.leave(turn)

    async def _try(self, call: ItemCall, turn: Turn, record: Record, last: bool) -> AntiphonError | None:
        """Call it once. Returns the error if it must be retried; `None` if its outcome is recorded, or it was
        stopped.
        """
        services, row = self._services, self._services.rows[self._kind.surface, call.path]
        opening = Opening("POST", call.path, received_unix_ms=services.clock.unix_ms())
        try:
            claim = await self._claim(call)
            opening = replace(opening, request_id=claim.session)
            principal = Principal(self._job.project, self._job.key_id, self._job.scopes)
            sent: bytes | Body = call.body
            if call.file:
                sent = Body(await self._read_file(call.file), ((REQUEST, call.body.decode()),))
            tags = self._job.tags
            opened = await services.door.item(row, opening, principal, sent, _Unheld(), claim, self._fills, tags)
        except Exception as raised:
            error = raised if isinstance(raised, AntiphonError) else defect(raised, opening)
            if _passes(error, last):
                return error
            await record(self._refused(call, error))
            return None
        if isinstance(opened, Step):  # answered without a session
            answer = _Answer()
            opened.release()  # a job's answers are bounded otherwise
            await answer.send(list(opened.sends), Close())
            await record(self._outcome(claim.session, answer, NO_TOKENS))
            return None
        return await self._answer(call, opening, opened, turn, record, last)

    async def _answer(
        self, call: ItemCall, opening: Opening, opened: OpenCall, turn: Turn, record: Record, last: bool
    ) -> AntiphonError | None:
        session = self._session = opened.session
        turn.stop = session.fail
        if self._stopped:
            self.stop()
        item_session, answer, recorded = _ItemSession(session), _Answer(), False
        failure: AntiphonError | None = None  # a defect: the line has no answer, and the others go on
        try:
            try:
                async with playing(session, opened.media):
                    await relay(item_session, opened.surface, self._services.clock, answer.send)
            except Exception as raised:
                failure = raised if isinstance(raised, AntiphonError) else defect(raised, opening)
            turn.stop = None
            error = failure or item_session.error
            if error is not None and self._stopped:
                return None
            if error is not None and _passes(error, last):
                return error
            if failure is None and not answer.whole:
                failure = InternalError("A surface did not end its answer.")
            if failure is not None:
                await record(self._refused(call, failure))
                return None
            await record(self._outcome(session.call.id, answer, item_session.usage))
            recorded = error is None
            return None
        finally:
            turn.stop = self._session = None
            await session.close(delivered=recorded)

    async def _claim(self, call: ItemCall) -> Claim:
        """Return the claim of the item's own session, or, if that was charged before, one without a further charge.
        Raises `LedgerUnavailable`, `Conflict`.
        """
        job, now = self._job, self._services.clock.unix_ms()
        digest = hashlib.sha256(repr((job.id, self.number, call.path)).encode() + call.body).hexdigest()
        own, again = session_of(job, self.number), session_of(job, self.number, again=True)
        try:
            found = await self._services.ledger.claim(job.project, f"{job.id} {self.number}", digest, again, now)
        except AlreadyAnswered:  # the outcome was recorded, and what recorded it was lost
            return Claim(job.project, "", digest, again, now, replay_of=own)
        if found.replay_of is not None:
            return replace(found, key="")
        return replace(found, session=own)

    def _refused(self, call: ItemCall, error: AntiphonError) -> ItemOutcome:
        session, answer = session_of(self._job, self.number), _Answer()
        row = self._services.rows[self._kind.surface, call.path]
        opening = Opening("POST", call.path, request_id=session)
        step = row.endpoint.refuse(opening, error)
        for message in step.sends:
            if isinstance(message, Head):
                answer.status = message.status
            elif isinstance(message, bytes):
                answer.body += message
        return self._outcome(session, answer, NO_TOKENS)

    def _outcome(self, session: str, answer: _Answer, usage: TokenUsage) -> ItemOutcome:
        line = self._kind.answered(self._line, session, answer.status, bytes(answer.body))
        return ItemOutcome(self.number, 200 <= answer.status < 300, line, usage)


def _passes(error: AntiphonError, last: bool) -> bool:
    """Return whether to retry; `last`: this was the last of the limited tries."""
    return isinstance(error, NO_FAULT) or (isinstance(error, EngineError | InternalError) and not last)
