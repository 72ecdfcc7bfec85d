"""One item of a job: it is called as its caller would have called, by the same door, and charged once.

Its session's id comes from the job's and its number, so does the key under which the ledger remembers what it was
charged for. Where a server died between the charge and the record of the outcome, the item is called again and nothing
more is charged: the ledger says so. An answer is charged as a whole, when it is complete; an item that is stopped
before has cost nothing.
"""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
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
from antiphon.core.jobs import NO_TOKENS, REQUEST, ItemCall, Job, JobKind, LineKind, Outcome
from antiphon.core.ports import Clock
from antiphon.core.routing import CallRow
from antiphon.core.stores import Claim, Ledger
from antiphon.core.wire import Body, Close, Head, Keep, Opening, Step, Wire
from antiphon.jobs.filler import Filler, GaveWay, Turn
from antiphon.jobs.webhook import Webhooks
from antiphon.session.door import Door, OpenCall

MAX_TRIES = 3  # of an item whose engine fails
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
NO_FAULT = CapacityError | LedgerUnavailable | KeysUnavailable  # these pass: for as long as the job may take
SPACE = uuid.UUID("5b0e24a4-6a27-5b6e-8b5c-6d0f53a0b0c1")  # of the sessions' ids


Record = Callable[[Outcome], Awaitable[None]]
ReadFile = Callable[[str], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Services:
    """What items are called with. `rows` are the calls that there are, by surface and path. `webhooks` tells of jobs
    that are over.
    """

    door: Door
    ledger: Ledger
    clock: Clock
    filler: Filler
    rows: Mapping[tuple[str, str], CallRow]
    webhooks: Webhooks


def session_of(job: Job, number: int, again: bool = False) -> str:
    """The id of an item's session, a UUID; another one for where it is answered again, uncharged."""
    return str(uuid.uuid5(SPACE, f"{job.project} {job.id} {number}{' again' if again else ''}"))


class _Unheld:
    """An item's body, which counts as its job's and not as an upload."""

    def keep(self, most_bytes: int) -> None: ...

    def release(self) -> None: ...


class _Heard:
    """A session, as the relay knows it. It notes what the items' outcome needs to be known of."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.fail = session.fail
        self.error: AntiphonError | None = None
        self.usage = NO_TOKENS

    async def events(self) -> AsyncGenerator[tuple[Any, ...], None]:
        async for events in self._session.events():
            last = events[-1]
            if isinstance(last, Failed):
                self.error = last.error
            elif isinstance(last, Completed):
                self.usage = last.usage
            yield events

    async def keep(self, keep: Keep) -> None:
        await self._session.keep(keep)


class _Answer:
    """What would have been sent."""

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
    """One. `record` makes an outcome durable; the session is told whether that went well. That of a job of lines is
    called when it is its turn.
    """

    def __init__(
        self, services: Services, job: Job, kind: JobKind, number: int, line: bytes, read_file: ReadFile
    ) -> None:
        self._services = services
        self._fills = isinstance(kind, LineKind)
        self._read_file = read_file
        self._job = job
        self._kind = kind
        self._number = number
        self._line = line
        self._session: Any = None
        self._stopped = False

    @property
    def called(self) -> bool:
        """Whether it is being answered, so that it comes to an end by itself once it is stopped."""
        return self._session is not None

    def stop(self) -> None:
        """Its job has ended: it is not to be answered any more. One that was charged already is recorded still."""
        self._stopped = True
        if self._session is not None:
            self._session.fail(Cancelled("The job has ended."))

    async def run(self, record: Record) -> None:
        """Returns when its outcome is recorded, or it was stopped before there was one."""
        call, tries, pause_s = self._kind.item(self._line), 0, FIRST_PAUSE_S
        if call.refusal is not None:
            await record(self._refused(call, call.refusal))
            return
        while not self._stopped:
            async with self._turn(call.model) as turn:
                if self._stopped:
                    return
                error = await self._try(call, turn, record, last=tries + 1 >= MAX_TRIES)
            if error is None:
                return
            if isinstance(error, GaveWay):
                await asyncio.sleep(FIRST_PAUSE_S)  # or what gave way would come back at once
                continue
            tries += not isinstance(error, NO_FAULT)
            await asyncio.sleep(max(pause_s, min(error.retry_after_s or 0, LONGEST_PAUSE_S)))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    @asynccontextmanager
    async def _turn(self, model: str) -> AsyncGenerator[Turn, None]:
        if not self._fills:  # its caller waits, as one who calls without a job
            yield Turn(model, asyncio.get_running_loop().create_future())
            return
        turn = await self._services.filler.enter(model)
        try:
            yield turn
        finally:
            self._services.filler.leave(turn)

    async def _try(self, call: ItemCall, turn: Turn, record: Record, last: bool) -> AntiphonError | None:
        """Why it is to be tried again; `None` if its outcome is recorded, or it was stopped."""
        services, row = self._services, self._services.rows[self._kind.surface, call.path]
        try:
            claim = await self._claim(call)
            opening = Opening("POST", call.path, request_id=claim.session, received_unix_ms=services.clock.unix_ms())
            principal = Principal(self._job.project, self._job.key_id, self._job.scopes)
            sent: bytes | Body = call.body
            if call.file:
                sent = Body(await self._read_file(call.file), ((REQUEST, call.body.decode()),))
            opened = await services.door.item(row, opening, principal, sent, _Unheld(), claim, self._fills)
        except AntiphonError as error:
            if _passes(error, last):
                return error
            await record(self._refused(call, error))
            return None
        if isinstance(opened, Step):  # it was answered without a session
            answer = _Answer()
            await answer.send(list(opened.sends), Close())
            await record(self._outcome(claim.session, answer, NO_TOKENS))
            return None
        return await self._answer(opened, claim, turn, record, last)

    async def _answer(
        self, opened: OpenCall, claim: Claim, turn: Turn, record: Record, last: bool
    ) -> AntiphonError | None:
        session = self._session = opened.session
        turn.stop = session.fail
        if self._stopped:
            self.stop()
        heard, answer, recorded = _Heard(session), _Answer(), False
        try:
            async with playing(session, opened.media):
                await relay(heard, opened.surface, self._services.clock, answer.send)
            turn.stop = None
            error = heard.error
            if error is not None and self._stopped:
                return None
            if error is not None and _passes(error, last):
                return error
            if not answer.whole:
                raise InternalError("A surface did not end its answer.")
            await record(self._outcome(session.call.id, answer, heard.usage))
            recorded = error is None
            return None
        finally:
            turn.stop = self._session = None
            await session.close(delivered=recorded)

    async def _claim(self, call: ItemCall) -> Claim:
        """That of the item's own session; or, where that was charged before, one under which nothing more is. Raises
        `LedgerUnavailable`, `Conflict`.
        """
        job, now = self._job, self._services.clock.unix_ms()
        said = hashlib.sha256(repr((job.id, self._number, call.path)).encode() + call.body).hexdigest()
        own, again = session_of(job, self._number), session_of(job, self._number, again=True)
        try:
            found = await self._services.ledger.claim(job.project, f"{job.id} {self._number}", said, again, now)
        except AlreadyAnswered:  # the outcome was recorded, and what recorded it was lost
            return Claim(job.project, "", said, again, now, replay_of=own)
        if found.replay_of is not None:
            return replace(found, key="")
        return replace(found, session=own)

    def _refused(self, call: ItemCall, error: AntiphonError) -> Outcome:
        session, answer = session_of(self._job, self._number), _Answer()
        row = self._services.rows[self._kind.surface, call.path]
        opening = Opening("POST", call.path, request_id=session)
        step = row.endpoint.refuse(opening, error)
        for message in step.sends:
            if isinstance(message, Head):
                answer.status = message.status
            elif isinstance(message, bytes):
                answer.body += message
        return self._outcome(session, answer, NO_TOKENS)

    def _outcome(self, session: str, answer: _Answer, usage: TokenUsage) -> Outcome:
        line = self._kind.answered(self._line, session, answer.status, bytes(answer.body))
        return Outcome(self._number, 200 <= answer.status < 300, line, usage)


def _passes(error: AntiphonError, last: bool) -> bool:
    """Whether there is to be another try; `last` says that this was the last one of those that fail."""
    return isinstance(error, NO_FAULT) or (isinstance(error, EngineError | InternalError) and not last)
