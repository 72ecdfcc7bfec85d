"""The requests of callers who were let in: what the vendor's endpoint makes of one becomes an open call.

A request may be a repeated one, and is then charged once; it may refer to resources of its project, or continue earlier
answers, which are found first.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from antiphon.calls.account import TaggedSpec
from antiphon.calls.generation import Generation, Keeping
from antiphon.calls.recognition import Recognition
from antiphon.catalogue.catalogue import ANSWERS
from antiphon.core.audit import Action
from antiphon.core.call import Call
from antiphon.core.endpoints import (
    Accepted,
    AnswerRequest,
    AnswerSurface,
    KeepingEndpoint,
    NeedsResource,
    SuccessiveCalls,
)
from antiphon.core.entry import MAX_TAGS
from antiphon.core.errors import AlreadyAnswered, AntiphonError, CallerError, NotFound
from antiphon.core.events import Completed, TokenUsage
from antiphon.core.identity import Principal
from antiphon.core.jobs import NewJob
from antiphon.core.nesting import FLAT_BYTES, below
from antiphon.core.ports import Clock
from antiphon.core.routing import CallRow, DialogueRow
from antiphon.core.specs import GenerateSpec, content_bytes
from antiphon.core.stores import Claim
from antiphon.core.tags import NAME
from antiphon.core.units import BESIDE_BYTES
from antiphon.core.wire import Body, Close, Opening, Step, Url, Wire
from antiphon.session.dialogue import DialogueConnection
from antiphon.session.lookups import Lookups
from antiphon.session.retries import TRY
from antiphon.session.sessions import IDEMPOTENCY_KEY, Answering, Sessions

T = TypeVar("T")
C = TypeVar("C", bound=TaggedSpec)
S = TypeVar("S", bound="bytes | str | Body")


class HeldBody(Protocol):
    """A body in memory, which counts as held until it is released."""

    def add(self, more_bytes: int) -> None:
        """Count more, which was stored and belongs to the request. Raises `CapacityError`."""

    def keep(self, most_bytes: int) -> None:
        """Drop the body; what remains of it takes at most `most_bytes`."""

    def hand_over(self) -> "HeldBody":
        """Return what holds the body from now on; this one holds nothing any more."""

    def release(self) -> None: ...


Sent = bytes | Body


@dataclass(frozen=True, slots=True)
class OpenCall:
    """An admitted call. `media` is its recording, to be played; `held` must be released."""

    session: Recognition | Answering
    surface: AnswerSurface[Any]
    held: HeldBody
    media: bytes | Url | None = None


class Requests:
    """What callers who were let in ask for."""

    def __init__(self, sessions: Sessions, lookups: Lookups, clock: Clock) -> None:
        self._sessions = sessions
        self._lookups = lookups
        self._clock = clock

    async def open(
        self,
        row: CallRow,
        opening: Opening,
        principal: Principal,
        sent: Sent,
        held: HeldBody,
        tags: tuple[str, ...],
        of_item: Claim | None = None,
        fills: bool = False,
    ) -> OpenCall | Step:
        """Open a call, or return the answer if it is known already. An item of a job comes with the job's claim, and if
        it `fills`, uses only capacity that other calls leave. Raises `AntiphonError`.
        """
        sessions, keeper, id = self._sessions, self._sessions.keeper, opening.request_id
        negotiated = await translate(row.endpoint.negotiate, opening, sent)
        if isinstance(negotiated, NewJob) and _may_be_again(opening):  # known only now: calls must not share an id
            opening = await self.identified(opening, principal, sent)
            negotiated = await translate(row.endpoint.negotiate, opening, sent)
        if isinstance(negotiated, NewJob):
            return await self._lookups.answer(replace(negotiated, tags=tags), principal, row.surface, opening)
        if isinstance(negotiated, NeedsResource):
            negotiated = await self._lookups.resolve(negotiated, principal)
        if isinstance(negotiated, Accepted):
            claim = of_item or await self._claim(opening, principal, sent)
            call = check_tags(Call(id, principal, row.surface, negotiated.spec, claim, fills, tags))
            session = sessions.transcribe(call)
            media = _data(sent) if negotiated.media is None else negotiated.media
            return OpenCall(session, negotiated.surface, held, media)
        request = (
            negotiated
            if isinstance(negotiated, AnswerRequest)
            else (await keeper.resolve(principal, negotiated, held.add))
        )
        spec, keeping = await keeper.begin(principal, request, held.add, tags=tags)
        try:
            claim = of_item or await self._claim(opening, principal, sent)
            held.keep(content_bytes(spec))  # the request is held until the answer ends
            answering = sessions.answer(check_tags(Call(id, principal, row.surface, spec, claim, fills, tags)), keeping)
        except AlreadyAnswered as error:
            return await self._same_answer(row, principal, opening, request, error)
        if request.background and isinstance(answering, Generation):
            sends = await keeper.detach(answering, request.surface, held.hand_over().release)
            return Step(sends=sends, close=Close())
        return OpenCall(answering, request.surface, held)

    async def _claim(self, opening: Opening, principal: Principal, sent: Sent) -> Claim | None:
        """Return a claim if the request may be a repeated one."""
        if not _may_be_again(opening):
            return None
        return await self._sessions.claim(principal, opening, await _fingerprint(opening, sent))

    async def identified(self, opening: Opening, principal: Principal, sent: Sent) -> Opening:
        """Return the opening of a request that makes something, with the id that its repetitions have, too. Raises
        `CallerError`.
        """
        if not _may_be_again(opening):
            return opening
        origin = self._sessions.origin(principal, opening, await _fingerprint(opening, sent))
        return replace(opening, origin=origin)

    async def _same_answer(
        self, row: CallRow, principal: Principal, opening: Opening, request: AnswerRequest, error: AlreadyAnswered
    ) -> Step:
        """Return the same answer, if it is kept and was requested whole; otherwise raise the refusal."""
        refused: AntiphonError = error
        whole = isinstance(request.spec, GenerateSpec) and not request.spec.stream
        if whole and isinstance(row.endpoint, KeepingEndpoint):
            try:
                id = row.endpoint.kept_as(error.session)
                kept = await self._sessions.keeper.read(principal.project, id)
                self._lookups.note(opening, principal, Action.ANSWER_READ, id)
                return self._lookups.hold(principal, row.endpoint.show(opening, *kept))
            except NotFound:
                pass  # it was not kept, or no longer
            except AntiphonError as failure:
                refused = failure
        raise refused

    async def succeed(
        self,
        row: DialogueRow,
        opening: Opening,
        principal: Principal,
        dialogue: DialogueConnection,
        calls: SuccessiveCalls,
        message: str | bytes,
        held: HeldBody,
        tags: tuple[str, ...],
    ) -> OpenCall | Step:
        """Open the call of one message on a connection of successive calls, or return the messages for one that
        generates nothing. Raises `AntiphonError`.
        """
        keeper, recent = self._sessions.keeper, dialogue.recent
        request = await translate(calls.ask, opening, message)
        if not isinstance(request, AnswerRequest):
            request = await keeper.resolve(principal, request, held.add, recent)
        spec, keeping = await keeper.begin(principal, request, held.add, recent, tags)
        assert isinstance(spec, GenerateSpec)
        assert keeping is not None
        held.keep(content_bytes(spec))
        if request.prepared:
            return await self._prepared(principal, spec, request.surface, keeping)
        call = check_tags(Call(opening.request_id, principal, row.surface, spec, tags=tags))
        return OpenCall(self._sessions.generate(call, keeping), request.surface, held)

    async def _prepared(
        self, principal: Principal, spec: GenerateSpec, surface: AnswerSurface[Any], keeping: Keeping
    ) -> Step:
        served = self._sessions.catalogue(principal).resolve(spec.model, ANSWERS)
        _, unmet = served.settle(spec)
        sends: list[Wire] = []
        for event in (served.opened(keeping.stored, unmet), Completed(TokenUsage(0, 0))):
            step = surface.emit(event, self._clock.now_ns())
            if step.keep is not None:
                await keeping.put(step.keep)
            sends += step.sends
        return Step(sends=tuple(sends))


async def translate(by: Callable[[Opening, S], T], opening: Opening, sent: S) -> T:
    """Return what an endpoint's method makes of a request. A large one may hold a million small values, and must not
    block the event loop. Raises `CallerError`.
    """
    size = len(sent.data) if isinstance(sent, Body) else len(sent)
    if size <= FLAT_BYTES:
        return by(opening, sent)
    try:
        if size <= BESIDE_BYTES:
            return below(by, opening, sent)
        return await asyncio.to_thread(below, by, opening, sent)
    except RecursionError:
        raise CallerError("The request is nested too deeply.") from None


def check_tags(call: Call[C]) -> Call[C]:
    """Return the call. Raises `CallerError` if it has more tags than an entry can have."""
    if len(call.tags) + len(call.spec.tags) > MAX_TAGS:
        raise CallerError(f"A call has at most {MAX_TAGS} tags.", param=NAME)
    return call


async def _fingerprint(opening: Opening, sent: Sent) -> str:
    """Return a hash of the request."""
    fields = (sent.fields,) if isinstance(sent, Body) else ()
    hashed = hashlib.sha256(repr((opening.path, opening.query, *fields)).encode())
    data = _data(sent)
    if len(data) <= BESIDE_BYTES:
        hashed.update(data)
    else:
        await asyncio.to_thread(hashed.update, data)
    return hashed.hexdigest()


def _may_be_again(opening: Opening) -> bool:
    """Return whether the caller says that this may be a repeated request."""
    return IDEMPOTENCY_KEY in opening.headers or TRY in opening.headers


def _data(sent: Sent) -> bytes:
    return sent.data if isinstance(sent, Body) else sent
