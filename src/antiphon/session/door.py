"""The entry point of all calls: authentication, authorisation, and opening.

A transport brings a caller's opening, and a body, a question or a first message. The vendor's endpoint finds the
credential and translates the request; the door checks the credential and its permissions, recognises repeated requests,
finds the earlier answers that a request continues, and opens the call. There is no other way in. It writes to the audit
log whom it lets in or refuses, and which kept data was returned or deleted.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from antiphon.calls.account import Tagged
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
    KeptAct,
    KeptAnswer,
    NeedsResource,
    SuccessiveCalls,
)
from antiphon.core.entry import MAX_TAGS
from antiphon.core.errors import (
    AlreadyAnswered,
    AntiphonError,
    CallerError,
    InternalError,
    NotFound,
    PolicyError,
    Unauthenticated,
)
from antiphon.core.events import Completed, TokenUsage
from antiphon.core.identity import Principal, Scope
from antiphon.core.jobs import FileAct, JobAct, JobService, NewFile, NewJob, OneFile, OneJob
from antiphon.core.ports import Clock
from antiphon.core.routing import CallRow, DialogueRow, LookupRow, Row
from antiphon.core.specs import GenerateSpec, content_bytes
from antiphon.core.stores import Claim, Resources
from antiphon.core.tags import NAME, taken
from antiphon.core.webhooks import WebhookQuestion
from antiphon.core.wire import Bearer, Body, Close, Credential, Opening, Pending, Step, Url, Wire
from antiphon.session.callers import Callers
from antiphon.session.dialogue import DialogueConnection
from antiphon.session.lookups import Lookups
from antiphon.session.retries import TRY
from antiphon.session.sessions import Answering, Sessions
from antiphon.session.webhooks import ProjectWebhooks
from antiphon.trust.audit import Auditor
from antiphon.trust.auth import KeyRing
from antiphon.trust.oidc import Oidc
from antiphon.trust.pairs import Pairs

BESIDE_BYTES = 128 * 1024  # a larger body is hashed and parsed in a thread
IDEMPOTENCY_KEY = "idempotency-key"

# The recorded action for each operation on kept data.
_KEPT: dict[tuple[type, str], Action] = {
    (KeptAnswer, KeptAct.READ): Action.ANSWER_READ,
    (KeptAnswer, KeptAct.CANCEL): Action.ANSWER_READ,  # as its answer shows the response
    (KeptAnswer, KeptAct.DELETE): Action.ANSWER_DELETE,
    (OneFile, FileAct.READ): Action.FILE_READ,
    (OneFile, FileAct.DELETE): Action.FILE_DELETE,
    (OneJob, JobAct.DELETE): Action.JOB_DELETE,
}

T = TypeVar("T")
C = TypeVar("C", bound=Tagged)

log = logging.getLogger(__name__)


class HeldBody(Protocol):
    """A body in memory, which counts as held until it is released."""

    def keep(self, most_bytes: int) -> None:
        """Drop the body; what remains of it takes at most `most_bytes`."""

    def release(self) -> None: ...


Sent = bytes | Body
Read = Callable[[Principal], Awaitable[tuple[HeldBody, Sent]]]


@dataclass(frozen=True, slots=True)
class OpenCall:
    """An admitted call. `media` is its recording, to be played; `held` must be released."""

    session: Recognition | Answering
    surface: AnswerSurface[Any]
    held: HeldBody
    media: bytes | Url | None = None


class Door:
    """The entry point of all calls."""

    def __init__(
        self,
        sessions: Sessions,
        keys: KeyRing,
        clock: Clock,
        jobs: JobService | None,
        auditor: Auditor,
        resources: Resources | None = None,
        pairs: Pairs | None = None,
        oidc: Oidc | None = None,
        webhooks: ProjectWebhooks | None = None,
    ) -> None:
        """Begin; `jobs` answers questions about jobs. Calls may refer to `resources`, and be signed with one of `pairs`
        instead of a key. With `oidc`, tokens of a provider manage the server.
        """
        self.sessions = sessions
        self._auditor = auditor
        self._keys = keys
        self._clock = clock
        self._lookups = Lookups(sessions, jobs, resources)
        self._webhooks = webhooks
        self._callers = Callers(keys, sessions.secrets, clock, pairs, oidc)

    # -- who -----------------------------------------------------------------------------------------------------------

    def authenticate(
        self, row: Row, opening: Opening, credential: Credential | Pending | None, scope: Scope | None
    ) -> tuple[Principal, Opening]:
        """Return the caller, and the opening with the settings of a one-call secret. Without a scope, any key may call.

        A one-call secret opens a dialogue of its vendor, or makes a call that accepts such secrets, and is used up even
        if the call fails; a token stands for its key on all paths of its vendor, or on the one it was made for. Raises
        `Unauthenticated` for an invalid credential, `PolicyError` for a missing permission, `KeysUnavailable`, and
        `LedgerUnavailable` if the admission cannot be recorded.
        """
        try:
            principal, settled = self._callers.identify(row, opening, credential, scope)
            self._keys.check_limits(principal.key_id, opening.address, row.surface)
        except AntiphonError as error:
            self._auditor.refuse(Action.ACCESS, row.path, error, opening.address, opening.request_id)
            raise
        self._auditor.admit(Action.ACCESS, row.path, principal, opening.address, opening.request_id)
        return principal, settled

    def administer(self, secret: str | None, scope: Scope | None, address: str) -> Principal:
        """Return who manages or inspects the server (`Callers.administrator`)."""
        return self._callers.administrator(secret, scope, address)

    def refuse(self, row: Row, opening: Opening, error: Exception) -> Step:
        """Return the vendor's answer to a refused or failed request. A defect of the server is logged."""
        return row.endpoint.refuse(opening, self.refused(row.surface, opening, error))

    def refused(self, surface: str, opening: Opening, error: Exception) -> AntiphonError:
        """Count an error that ends a call before it has a session, and return it for the caller."""
        refused = error if isinstance(error, AntiphonError) else defect(error, opening)
        self.sessions.refused(surface, refused)
        return refused

    # -- calls ---------------------------------------------------------------------------------------------------------

    async def call(self, row: CallRow, opening: Opening, read: Read) -> OpenCall | Step:
        """Open a call, or return the answer if it is known already. `read` reads the body, once the caller is known.
        Raises `AntiphonError`, and what `read` does.
        """
        principal, opening = self.authenticate(row, opening, row.endpoint.credential(opening), row.scope)
        opening, tags = taken(opening)
        held, sent = await read(principal)
        try:
            opened = await self._open(row, opening, principal, sent, held, tags)
        except BaseException as error:
            held.release()
            self.note_refusal(row, opening, principal, error)
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
        tags: tuple[str, ...] = (),
    ) -> OpenCall | Step:
        """Open a call for an item of a job, for the job's owner, under the job's claim and with its tags; if it
        `fills`, it uses only capacity that other calls leave. Raises as `call` does, also if the owner's key is no
        longer valid, or lacks the scope.
        """
        weight = self._keys.policy(principal.project).weight
        models = self._keys.models(principal.key_id)
        principal = replace(self._callers.owner(principal, row.scope), weight=weight, models=models)
        self._auditor.admit(Action.ACCESS, row.path, principal, opening.address, opening.request_id)
        return await self._open(row, opening, principal, sent, held, tags, claim, fills)

    async def _open(
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
        sessions, keeper, id = self.sessions, self.sessions.keeper, opening.request_id
        if _size(sent) <= BESIDE_BYTES:
            negotiated = row.endpoint.negotiate(opening, sent)
        else:  # it may hold a million small values, and must not block the event loop
            negotiated = await asyncio.to_thread(row.endpoint.negotiate, opening, sent)
        if isinstance(negotiated, NewJob):
            return await self._lookups.answer(replace(negotiated, tags=tags), principal, row.surface)
        if isinstance(negotiated, NeedsResource):
            negotiated = await self.resolve(negotiated, principal)
        if isinstance(negotiated, Accepted):
            claim = of_item or await self._claim(opening, principal, sent)
            call = check_tags(Call(id, principal, row.surface, negotiated.spec, claim, fills, tags))
            session = sessions.transcribe(call)
            media = _data(sent) if negotiated.media is None else negotiated.media
            return OpenCall(session, negotiated.surface, held, media)
        asked = negotiated
        if not isinstance(asked, AnswerRequest):
            asked = await keeper.resolve(principal, asked)
        spec, keeping = await keeper.begin(principal, asked, tags=tags)
        try:
            claim = of_item or await self._claim(opening, principal, sent)
            held.keep(content_bytes(spec))  # the request is held until the answer ends
            answering = sessions.answer(check_tags(Call(id, principal, row.surface, spec, claim, fills, tags)), keeping)
        except AlreadyAnswered as error:
            return await self._again(row, principal, opening, asked, error)
        if asked.background and isinstance(answering, Generation):
            return Step(sends=await keeper.detach(answering, asked.surface), close=Close())
        return OpenCall(answering, asked.surface, held)

    def note_refusal(self, row: Row, opening: Opening, principal: Principal, error: BaseException) -> None:
        """Record that an authenticated caller may not do what they requested."""
        if isinstance(error, PolicyError):
            self._auditor.refuse(Action.ACCESS, row.path, error, opening.address, opening.request_id, principal)

    async def _claim(self, opening: Opening, principal: Principal, sent: Sent) -> Claim | None:
        """Return a claim if the request may be a repeated one."""
        if not _may_be_again(opening):
            return None
        fields = (sent.fields,) if isinstance(sent, Body) else ()
        hashed = hashlib.sha256(repr((opening.path, opening.query, *fields)).encode())
        if _size(sent) <= BESIDE_BYTES:
            hashed.update(_data(sent))
        else:
            await asyncio.to_thread(hashed.update, _data(sent))
        return await self.sessions.claim(principal, opening, hashed.hexdigest())

    async def _again(
        self, row: CallRow, principal: Principal, opening: Opening, asked: AnswerRequest, error: AlreadyAnswered
    ) -> Step:
        """Return the same answer, if it is kept and was requested whole; otherwise raise the refusal."""
        refused: AntiphonError = error
        whole = isinstance(asked.spec, GenerateSpec) and not asked.spec.stream
        if whole and isinstance(row.endpoint, KeepingEndpoint):
            try:
                id = row.endpoint.kept_as(error.session)
                kept = await self.sessions.keeper.read(principal.project, id)
                self._note(opening, principal, Action.ANSWER_READ, id)
                return row.endpoint.show(opening, *kept)
            except NotFound:
                pass  # it was not kept, or no longer
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
        """Open a call on a connection of successive calls, or return the messages for one that generates nothing.
        Raises `AntiphonError`.
        """
        # The key's scopes may have changed since the connection was opened.
        principal, opening = self.authenticate(row, opening, row.endpoint.credential(opening), row.scope)
        opening, tags = taken(opening)
        keeper, recent = self.sessions.keeper, dialogue.recent
        if len(message) <= BESIDE_BYTES:
            asked = calls.ask(opening, message)
        else:
            asked = await asyncio.to_thread(calls.ask, opening, message)
        if not isinstance(asked, AnswerRequest):
            asked = await keeper.resolve(principal, asked, recent)
        spec, keeping = await keeper.begin(principal, asked, recent, tags)
        assert isinstance(spec, GenerateSpec)
        assert keeping is not None
        held.keep(content_bytes(spec))
        if asked.prepared:
            return await self._prepared(principal, spec, asked.surface, keeping)
        call = check_tags(Call(opening.request_id, principal, row.surface, spec, tags=tags))
        generation = self.sessions.generate(call, keeping)
        return OpenCall(generation, asked.surface, held)

    async def _prepared(
        self, principal: Principal, spec: GenerateSpec, surface: AnswerSurface[Any], keeping: Keeping
    ) -> Step:
        served = self.sessions.catalogue(principal).resolve(spec.model, ANSWERS)
        _, unmet = served.settle(spec)
        sends: list[Wire] = []
        for event in (served.opened(keeping.stored, unmet), Completed(TokenUsage(0, 0))):
            step = surface.emit(event, self._clock.now_ns())
            if step.keep is not None:
                await keeping.put(step.keep)
            sends += step.sends
        return Step(sends=tuple(sends))

    async def resolve(self, needs: NeedsResource[T], principal: Principal | None) -> T:
        """Return the request, made with the resources that it needs. Raises `AntiphonError`."""
        if principal is None:
            raise Unauthenticated("the API key belongs in the call's opening")
        made: T | NeedsResource[T] = needs
        while isinstance(made, NeedsResource):
            made = made.resolve(await self._lookups.resource(made.kind, made.name, principal.project))
        return made

    # -- lookups -------------------------------------------------------------------------------------------------------

    async def look_up(self, row: LookupRow, opening: Opening, read: Read) -> Step:
        """Answer a question. Raises as `call` does."""
        credential = row.endpoint.credential(opening)
        principal: Principal | None = None
        body: Sent = b""
        held: HeldBody | None = None
        tags: tuple[str, ...] = ()
        try:
            if not row.open:
                principal, opening = self.authenticate(row, opening, credential, row.scope)
                opening, tags = taken(opening)
                if row.max_body_bytes:
                    held, body = await read(principal)
            if _size(body) <= BESIDE_BYTES:
                question = row.endpoint.ask(opening, body)
            else:
                question = await asyncio.to_thread(row.endpoint.ask, opening, body)
            if isinstance(question, Step):
                return question
            if isinstance(question, Lookups.MAKES_SECRETS):
                principal = self._by_key(opening, credential, row.scope)
            if isinstance(question, NeedsResource):
                question = await self.resolve(question, principal)
            if isinstance(question, NewFile | NewJob):
                question = replace(question, tags=(*tags, *question.tags))
            if isinstance(question, WebhookQuestion):
                assert self._webhooks is not None, "a row asks for webhooks where there are none"
                assert principal is not None, "a row that is open to all asks for what is a project's"
                by = self._auditor.author(principal, opening.address, opening.request_id)
                return await self._webhooks.answer(question, principal.project, by)
            answer = await self._lookups.answer(question, principal, row.surface)
            if principal is not None and isinstance(question, KeptAnswer | OneFile | OneJob):
                action = _KEPT.get((type(question), question.act))
                if action is not None:
                    self._note(opening, principal, action, question.id)
            return answer
        finally:
            if held is not None:
                held.release()

    def _note(self, opening: Opening, principal: Principal, action: Action, id: str) -> None:
        """Record what was done to kept data."""
        self._auditor.event(
            *(action, principal.project, id),
            actor=principal.key_id,
            address=opening.address,
            request=opening.request_id,
        )

    def _by_key(self, opening: Opening, credential: Credential | Pending | None, scope: Scope | None) -> Principal:
        """Return who calls with the key itself. Raises `Unauthenticated`."""
        return self._callers.with_key(
            credential.secret if isinstance(credential, Bearer) else None, scope, opening.address
        )


def check_tags(call: Call[C]) -> Call[C]:
    """Return the call. Raises `CallerError` if it has more tags than an entry can have."""
    if len(call.tags) + len(call.spec.tags) > MAX_TAGS:
        raise CallerError(f"A call has at most {MAX_TAGS} tags.", param=NAME)
    return call


def defect(error: BaseException, opening: Opening) -> InternalError:
    """Log a defect of the server, and return the error for the caller."""
    log.error("request failed", exc_info=error, extra={"session": opening.request_id})
    return InternalError("The server failed; this has been logged.")


def _may_be_again(opening: Opening) -> bool:
    """Return whether the caller says that this may be a repeated request."""
    return IDEMPOTENCY_KEY in opening.headers or TRY in opening.headers


def _data(sent: Sent) -> bytes:
    return sent.data if isinstance(sent, Body) else sent


def _size(sent: Sent) -> int:
    return len(sent.data if isinstance(sent, Body) else sent)
