"""The one door: who is let in to what.

A transport brings what a caller sent: an opening, and a body, a question or a first message. The vendor's endpoint says
where the credential stands and what is asked for; the door says whether the credential holds and allows that, which
requests are one and the same, what an answer goes on from, and opens what was asked for. Nothing else lets anybody in.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from antiphon.calls.generation import Generation, Keeping
from antiphon.calls.recognition import Recognition
from antiphon.catalogue.catalogue import ANSWERS
from antiphon.core.call import Call
from antiphon.core.endpoints import (
    Accepted,
    AnswerRequest,
    AnswerSurface,
    KeepingEndpoint,
    NeedsFirst,
    NeedsResource,
    Succession,
    SuccessiveCalls,
)
from antiphon.core.errors import (
    AlreadyAnswered,
    AntiphonError,
    InternalError,
    InvalidSignature,
    NotFound,
    PolicyError,
    Unauthenticated,
)
from antiphon.core.events import Completed, TokenUsage
from antiphon.core.identity import Principal, Scope
from antiphon.core.jobs import JobDesk
from antiphon.core.ports import Clock
from antiphon.core.routing import CallRow, DialogueRow, LookupRow, Row
from antiphon.core.specs import GenerateSpec, content_bytes
from antiphon.core.stores import Claim, Resources
from antiphon.core.wire import Bearer, Body, Close, Credential, Opening, Pending, Signed, Step, Url, Wire
from antiphon.session.dialogue import DialogueConnection
from antiphon.session.lookups import Lookups
from antiphon.session.retries import TRY
from antiphon.session.sessions import Answering, Live, Sessions
from antiphon.trust.auth import KeyRing
from antiphon.trust.ephemeral import stands_for_a_key
from antiphon.trust.signatures import Replays, holds

BESIDE_BYTES = 128 * 1024  # a body of more is hashed and read beside the event loop
IDEMPOTENCY_KEY = "idempotency-key"

T = TypeVar("T")

log = logging.getLogger(__name__)


class HeldBody(Protocol):
    """A body in memory, which counts as held until it is released."""

    def keep(self, most_bytes: int) -> None:
        """The body is dropped; what is left of it has at most so many."""

    def release(self) -> None: ...


Sent = bytes | Body
Read = Callable[[Principal], Awaitable[tuple[HeldBody, Sent]]]


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A call that was let in. `media` is the recording it brought, to be played; `held` is to be released."""

    session: Recognition | Answering
    surface: AnswerSurface[Any]
    held: HeldBody
    media: bytes | Url | None = None


@dataclass(frozen=True, slots=True)
class OpenStream:
    """A dialogue that was let in, between one surface and one session."""

    session: Live
    accepted: Accepted[Any]


@dataclass(frozen=True, slots=True)
class OpenSuccession:
    """A dialogue of one call after the other that was let in."""

    session: DialogueConnection
    accepted: Succession


OpenDialogue = OpenStream | OpenSuccession


class Door:
    """Lets callers in."""

    def __init__(
        self,
        sessions: Sessions,
        keys: KeyRing,
        clock: Clock,
        jobs: JobDesk | None = None,
        resources: Resources | None = None,
    ) -> None:
        """`jobs` answers what is asked about jobs; `resources` are what calls may refer to."""
        self._sessions = sessions
        self._keys = keys
        self._clock = clock
        self._lookups = Lookups(sessions, jobs, resources)
        self._replays = Replays(clock)

    # -- who -----------------------------------------------------------------------------------------------------------

    def authenticate(
        self, row: Row, opening: Opening, credential: Credential | Pending | None, scope: Scope | None
    ) -> tuple[Principal, Opening]:
        """Who calls, and the opening with what was settled for this call. Without a scope, any key may.

        A secret that was made for one call opens a dialogue of its vendor, or makes a call that may be made so, and is
        used up, whatever comes of that; a token stands for its key on all paths of its vendor. Raises `Unauthenticated`
        for a credential that does not hold, `PolicyError` for one that may not do this, `KeysUnavailable`.
        """
        if isinstance(credential, Bearer):
            secret = credential.secret
            if not stands_for_a_key(secret):
                return self._keys.authenticate(secret, scope), opening
            self._keys.check()
            if isinstance(row, DialogueRow) or (isinstance(row, CallRow) and row.by_secret):
                principal, settled = self._sessions.secrets.redeem(row.surface, secret)
                return self._allowed(principal, scope), replace(opening, settled=settled)
            return self._allowed(self._sessions.secrets.holder(row.surface, secret), scope), opening
        if isinstance(credential, Signed):
            principal = self._keys.authenticate(credential.key_id, scope)
            if not holds(credential, credential.key_id):
                raise InvalidSignature("the request's signature is not valid")
            self._replays.admit(principal.key_id, credential.signature)
            return principal, opening
        return self._keys.authenticate(None, scope), opening

    def administer(self, secret: str | None, scope: Scope | None) -> Principal:
        """Who manages the server or looks into it: with the key itself, for which no other secret stands there. Without
        a scope, any key may. Raises `Unauthenticated`, `PolicyError`, `KeysUnavailable`.
        """
        return self._keys.authenticate(secret, scope)

    def _allowed(self, principal: Principal, scope: Scope | None) -> Principal:
        """Who calls with a secret that stands for a key. Raises `Unauthenticated`, `PolicyError`."""
        if not self._keys.holds(principal.key_id):
            raise Unauthenticated("the API key that the client secret was made for is no longer valid")
        if scope is not None and scope not in principal.scopes:
            raise PolicyError(f"the API key does not have the scope '{scope}'")
        return principal

    def refuse(self, row: Row, opening: Opening, error: Exception) -> Step:
        """What a caller is told who is not let in, or whose request fails. A defect of ours is logged."""
        return row.endpoint.refuse(opening, self.refused(row.surface, opening, error))

    def refused(self, surface: str, opening: Opening, error: Exception) -> AntiphonError:
        """What is counted and told of an error that ends a call before there is a session."""
        refused = error if isinstance(error, AntiphonError) else defect(error, opening)
        self._sessions.refused(surface, refused)
        return refused

    # -- dialogues -----------------------------------------------------------------------------------------------------

    def arrive(self, row: DialogueRow, opening: Opening) -> "Arrival":
        """A caller of a dialogue, who is not let in yet."""
        return Arrival(self, self._sessions, row, opening)

    # -- calls ---------------------------------------------------------------------------------------------------------

    async def call(self, row: CallRow, opening: Opening, read: Read) -> OpenCall | Step:
        """What was opened, or the answer where that is known already. `read` reads the body, once it is known whose it
        is. Raises `AntiphonError`, and what `read` does.
        """
        principal, opening = self.authenticate(row, opening, row.endpoint.credential(opening), row.scope)
        held, sent = await read(principal)
        try:
            opened = await self._open(row, opening, principal, sent, held)
        except BaseException:
            held.release()
            raise
        if isinstance(opened, Step):
            held.release()
        return opened

    async def item(
        self,
        row: CallRow,
        opening: Opening,
        principal: Principal,
        sent: Sent,
        held: HeldBody,
        claim: Claim,
        fills: bool = True,
    ) -> OpenCall | Step:
        """A call that an item of a job makes for the caller who wanted the job, under the job's claim; where it `fills`
        what other calls leave, nobody waits for it. Raises as `call` does where that caller's key does not hold any
        more, or may not do this.
        """
        weight = self._keys.policy(principal.project).weight
        principal = replace(self._allowed(principal, row.scope), weight=weight)
        return await self._open(row, opening, principal, sent, held, claim, fills)

    async def _open(
        self,
        row: CallRow,
        opening: Opening,
        principal: Principal,
        sent: Sent,
        held: HeldBody,
        of_item: Claim | None = None,
        fills: bool = False,
    ) -> OpenCall | Step:
        sessions, keeper, id = self._sessions, self._sessions.keeper, opening.request_id
        if _size(sent) <= BESIDE_BYTES:
            negotiated = row.endpoint.negotiate(opening, sent)
        else:  # it may say a million small things, which must not keep everybody else waiting
            negotiated = await asyncio.to_thread(row.endpoint.negotiate, opening, sent)
        if isinstance(negotiated, NeedsResource):
            negotiated = await self.resolve(negotiated, principal)
        if isinstance(negotiated, Accepted):
            claim = of_item or await self._claim(opening, principal, sent)
            session = sessions.transcribe(Call(id, principal, row.surface, negotiated.spec, claim, item=fills))
            media = _data(sent) if negotiated.media is None else negotiated.media
            return OpenCall(session, negotiated.surface, held, media)
        asked = negotiated
        if not isinstance(asked, AnswerRequest):
            asked = await keeper.resolve(principal, asked)
        spec, keeping = await keeper.begin(principal, asked)
        try:
            claim = of_item or await self._claim(opening, principal, sent)
            held.keep(content_bytes(spec))  # what was asked for is held for as long as the answer takes
            call = Call(id, principal, row.surface, spec, claim, item=fills)
            answering = sessions.answer(call, keeping)
        except AlreadyAnswered as error:
            return await self._again(row, principal.project, opening, asked, error)
        if asked.background and isinstance(answering, Generation):
            return Step(sends=await keeper.detach(answering, asked.surface), close=Close())
        return OpenCall(answering, asked.surface, held)

    async def _claim(self, opening: Opening, principal: Principal, sent: Sent) -> Claim | None:
        """Whether this was asked before, if the caller says that it may have been."""
        if not _may_be_again(opening):
            return None
        fields = (sent.fields,) if isinstance(sent, Body) else ()
        hashed = hashlib.sha256(repr((opening.path, opening.query, *fields)).encode())
        if _size(sent) <= BESIDE_BYTES:
            hashed.update(_data(sent))
        else:
            await asyncio.to_thread(hashed.update, _data(sent))
        return await self._sessions.claim(principal, opening, hashed.hexdigest())

    async def _again(
        self, row: CallRow, project: str, opening: Opening, asked: AnswerRequest, error: AlreadyAnswered
    ) -> Step:
        """The same answer, where it is kept, and was asked for whole; a refusal where not."""
        refused: AntiphonError = error
        whole = isinstance(asked.spec, GenerateSpec) and not asked.spec.stream
        if whole and isinstance(row.endpoint, KeepingEndpoint):
            try:
                kept = await self._sessions.keeper.read(project, row.endpoint.kept_as(error.session))
                return row.endpoint.show(opening, *kept)
            except NotFound:
                pass  # it was not to be kept, or is not any more
            except AntiphonError as failure:
                refused = failure
        raise refused

    async def succeed(
        self,
        row: DialogueRow,
        opening: Opening,
        dialogue: DialogueConnection,
        calls: SuccessiveCalls,
        message: str | bytes,
        held: HeldBody,
    ) -> OpenCall | Step:
        """A call on a connection of such calls: what was opened, or what there is to say of an answer of which nothing
        is generated. Raises `AntiphonError`.
        """
        # What the key may do may have changed since the connection was opened.
        principal, opening = self.authenticate(row, opening, row.endpoint.credential(opening), row.scope)
        keeper, recent = self._sessions.keeper, dialogue.recent
        if len(message) <= BESIDE_BYTES:
            asked = calls.ask(opening, message)
        else:
            asked = await asyncio.to_thread(calls.ask, opening, message)
        if not isinstance(asked, AnswerRequest):
            asked = await keeper.resolve(principal, asked, recent)
        spec, keeping = await keeper.begin(principal, asked, recent)
        assert isinstance(spec, GenerateSpec)
        assert keeping is not None
        held.keep(content_bytes(spec))
        if asked.prepared:
            return await self._prepared(spec, asked.surface, keeping)
        generation = self._sessions.generate(Call(opening.request_id, principal, row.surface, spec), keeping)
        return OpenCall(generation, asked.surface, held)

    async def _prepared(self, spec: GenerateSpec, surface: AnswerSurface[Any], keeping: Keeping) -> Step:
        served = self._sessions.catalogue.resolve(spec.model, ANSWERS)
        _, unmet = served.settle(spec)
        sends: list[Wire] = []
        for event in (served.opened(keeping.stored, unmet), Completed(TokenUsage(0, 0))):
            step = surface.emit(event, self._clock.now_ns())
            if step.keep is not None:
                await keeping.put(step.keep)
            sends += step.sends
        return Step(sends=tuple(sends))

    async def resolve(self, needs: NeedsResource[T], principal: Principal | None) -> T:
        """What is asked for, once the resource is known that it stands in. Raises `AntiphonError`."""
        if principal is None:
            raise Unauthenticated("the API key belongs in the call's opening")
        return needs.resolve(await self._lookups.resource(needs.kind, needs.name, principal.project))

    # -- lookups -------------------------------------------------------------------------------------------------------

    async def look_up(self, row: LookupRow, opening: Opening, read: Read) -> Step:
        """The answer to a question. Raises as `call` does."""
        credential = row.endpoint.credential(opening)
        principal: Principal | None = None
        body: Sent = b""
        held: HeldBody | None = None
        try:
            if not row.open:
                principal, opening = self.authenticate(row, opening, credential, row.scope)
                if row.max_body_bytes:
                    held, body = await read(principal)
            if _size(body) <= BESIDE_BYTES:
                question = row.endpoint.ask(opening, body)
            else:
                question = await asyncio.to_thread(row.endpoint.ask, opening, body)
            if isinstance(question, Step):
                return question
            if isinstance(question, Lookups.MAKES_SECRETS):
                principal = self._by_key(credential, row.scope)
            if isinstance(question, NeedsResource):
                question = await self.resolve(question, principal)
            return await self._lookups.answer(question, principal, row.surface)
        finally:
            if held is not None:
                held.release()

    def _by_key(self, credential: Credential | Pending | None, scope: Scope | None) -> Principal:
        """Who calls with the key itself. Raises `Unauthenticated`."""
        return self.administer(credential.secret if isinstance(credential, Bearer) else None, scope)


class Arrival:
    """One caller of a dialogue, until it is let in."""

    def __init__(self, door: Door, sessions: Sessions, row: DialogueRow, opening: Opening) -> None:
        self._door = door
        self._sessions = sessions
        self._row = row
        self._opening = opening
        self._principal: Principal | None = None

    @property
    def known(self) -> bool:
        """Whether it is known who calls."""
        return self._principal is not None

    async def enter(self, first: str | bytes | None = None) -> OpenDialogue | NeedsFirst:
        """To be called again with the first message where that is needed. Raises `AntiphonError`."""
        row = self._row
        if self._principal is None:
            credential = row.endpoint.credential(self._opening, first)
            if first is not None or credential is not Pending.PENDING:
                self._principal, self._opening = self._door.authenticate(row, self._opening, credential, row.scope)
        accepted = row.endpoint.negotiate(self._opening, first)
        if isinstance(accepted, NeedsFirst):
            if first is not None:
                raise InternalError("A surface needs more than the first message.")
            return accepted
        if isinstance(accepted, NeedsResource):
            accepted = await self._door.resolve(accepted, self._principal)
        id = self._opening.request_id
        if isinstance(accepted, Succession):
            if self._principal is None:
                raise Unauthenticated("the API key belongs in the connection's opening")
            return OpenSuccession(self._sessions.dialogue(Call(id, self._principal, row.surface, None)), accepted)
        if self._principal is None:
            return NeedsFirst(accepted.surface, accepted.headers, accepted.subprotocol)
        session = self._sessions.open(Call(id, self._principal, row.surface, accepted.spec))
        unmet = session.unmet if isinstance(session, Recognition) else ()
        return OpenStream(session, replace(accepted, headers=accepted.headers_without(unmet)))


def defect(error: BaseException, opening: Opening) -> InternalError:
    """What the caller is told of an error of ours, which is logged."""
    log.error("request failed", exc_info=error, extra={"session": opening.request_id})
    return InternalError("The server failed; this has been logged.")


def _may_be_again(opening: Opening) -> bool:
    """Whether the caller says that this may have been asked before."""
    return IDEMPOTENCY_KEY in opening.headers or TRY in opening.headers


def _data(sent: Sent) -> bytes:
    return sent.data if isinstance(sent, Body) else sent


def _size(sent: Sent) -> int:
    return len(sent.data if isinstance(sent, Body) else sent)
