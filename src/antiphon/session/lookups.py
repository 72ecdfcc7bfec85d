"""Questions that are answered at once: no session is opened and nothing is charged. What they did to kept data is
written to the audit log.
"""

import asyncio
from typing import TypeVar

from antiphon.catalogue.catalogue import ANSWERS, RECOGNISES
from antiphon.core.audit import Action
from antiphon.core.call import Call
from antiphon.core.endpoints import (
    Inquiry,
    KeptAct,
    KeptAnswer,
    NeedsResource,
    Offer,
    Offering,
    OneCallSecret,
    Question,
    Spending,
)
from antiphon.core.errors import CapacityError, EngineError, EngineTimeout, Unauthenticated
from antiphon.core.identity import Principal
from antiphon.core.jobs import FileAct, JobAct, JobService, NewJob, OneFile, OneJob
from antiphon.core.ports import Clock, Inferrer
from antiphon.core.resources import ManyResources, OneResource, Resource, ResourceChange
from antiphon.core.stores import Resources
from antiphon.core.tensors import ModelForm
from antiphon.core.webhooks import ManyWebhooks, NewWebhook, WebhookChange, WebhookDeletion
from antiphon.core.wire import Opening, ShortToken, Step
from antiphon.session.parts import OpenParts
from antiphon.session.sending import Sending
from antiphon.session.sessions import Sessions
from antiphon.session.webhooks import ProjectWebhooks
from antiphon.slo.shares import Bound, Shares
from antiphon.trust.audit import Auditor

PATIENCE_S = 10.0  # for an engine to describe its model
MOST_AT_ONCE, MOST_OF_A_PROJECT = 32, 8  # questions to engines
RETRY_AFTER_S = 1

# The recorded action for each operation on kept data.
_ACTIONS: dict[tuple[type, str], Action] = {
    (KeptAnswer, KeptAct.READ): Action.ANSWER_READ,
    (KeptAnswer, KeptAct.CANCEL): Action.ANSWER_READ,  # as its answer shows the response
    (KeptAnswer, KeptAct.DELETE): Action.ANSWER_DELETE,
    (OneFile, FileAct.READ): Action.FILE_READ,
    (OneFile, FileAct.DELETE): Action.FILE_DELETE,
    (OneJob, JobAct.DELETE): Action.JOB_DELETE,
}

T = TypeVar("T")


class Lookups:
    """The answers to questions."""

    MAKES_SECRETS = OneCallSecret | ShortToken

    def __init__(
        self,
        sessions: Sessions,
        auditor: Auditor,
        jobs: JobService | None,
        resources: Resources | None,
        webhooks: ProjectWebhooks | None,
        clock: Clock,
    ) -> None:
        self._sessions = sessions
        self._auditor = auditor
        self._jobs = jobs
        self._resources = resources
        self._webhooks = webhooks
        self._sending = Sending(clock)
        self._asking = Shares(Bound(MOST_AT_ONCE, per_project=MOST_OF_A_PROJECT))

    async def answer(self, question: Question, principal: Principal | None, surface: str, opening: Opening) -> Step:
        """Answer a question; `principal` is set if the caller is known. The answer must be released. Raises
        `AntiphonError`.
        """
        answer = await self._answer(question, principal, surface, opening)
        if principal is not None:
            answer = self.hold(principal, answer)
        if isinstance(question, KeptAnswer | OneFile | OneJob) and principal is not None:
            action = _ACTIONS.get((type(question), question.act))
            if action is not None:
                self.note(opening, principal, action, question.id)
        return answer

    def hold(self, principal: Principal, answer: Step) -> Step:
        """Count the memory of a large answer until it is sent. Raises `CapacityError`."""
        return self._sending.hold(principal, answer)

    def note(self, opening: Opening, principal: Principal, action: Action, id: str) -> None:
        """Record what was done to kept data."""
        self._auditor.event(
            *(action, principal.project, id),
            actor=principal.key_id,
            address=opening.address,
            request=opening.request_id,
        )

    async def _answer(self, question: Question, principal: Principal | None, surface: str, opening: Opening) -> Step:
        sessions = self._sessions
        match question:
            case Offer():
                catalogue, voices = sessions.catalogue(principal), sessions.voices(principal)
                recognisers, languages = catalogue.cards(RECOGNISES), catalogue.cards(ANSWERS)
                return question.tell(Offering(recognisers, languages, voices.models(), voices.cards()))
            case Inquiry(model=""):
                return question.tell(sessions.ready, None)
        assert principal is not None, "a row that is open to all asks for what is a project's"
        match question:
            case Inquiry():
                return question.tell(*await self._inquire(question, principal))
            case Spending():
                since = question.since_unix_ms
                return question.tell(await sessions.spending.since(principal.project, question.dimension, since))
            case KeptAnswer():
                keeper = sessions.keeper
                acts = {KeptAct.READ: keeper.read, KeptAct.CANCEL: keeper.cancel, KeptAct.DELETE: keeper.delete}
                return question.tell(*await acts[question.act](principal.project, question.id))
            case OneCallSecret():
                sessions.check(principal, question.spec)
                parts, transcription = (
                    OpenParts(sessions, Call("", principal, surface, question.spec)),
                    question.spec.transcription,
                )
                if transcription is not None and (transcription.language or transcription.languages):
                    parts.check_listening(question.spec)
                minted = sessions.secrets.mint(principal, surface, question.settled, question.lifetime_s)
                spec = parts.complete(question.spec)
                return question.tell(spec, minted.secret, minted.expires_unix_s)
            case ShortToken():
                return self._token(question, principal, surface)
            case OneResource() | ManyResources() | ResourceChange():
                return await self._of_resources(question, principal.project)
            case ManyWebhooks() | NewWebhook() | WebhookChange() | WebhookDeletion():
                assert self._webhooks is not None, "a row asks for webhooks where there are none"
                by = self._auditor.author(principal, opening.address, opening.request_id)
                return await self._webhooks.answer(question, principal.project, by)
            case _:
                if isinstance(question, NewJob) and question.webhook is not None:
                    sessions.check_webhook(principal, question.webhook)
                if isinstance(question, NewJob) and question.spec is not None:
                    sessions.check_consent(principal, question.tags)
                    served = sessions.catalogue(principal).resolve(question.spec.model, RECOGNISES)
                    served.settle_speech(question.spec)
                assert self._jobs is not None, "a row asks for jobs where there is nobody to answer for them"
                answered = await self._jobs.answer(question, principal)
                if isinstance(answered, ShortToken):
                    return self._token(answered, principal, surface)
                return answered

    def _token(self, question: ShortToken, principal: Principal, surface: str) -> Step:
        secrets = self._sessions.secrets
        minted = secrets.mint(principal, surface, question.settled, question.lifetime_s, question.once, question.path)
        return question.tell(minted.secret)

    async def resolve(self, needs: NeedsResource[T], principal: Principal | None) -> T:
        """Return the request, made with the resources that it needs. Raises `AntiphonError`."""
        if principal is None:
            raise Unauthenticated("the API key belongs in the call's opening")
        made: T | NeedsResource[T] = needs
        while isinstance(made, NeedsResource):
            made = made.resolve(await self._resource(made.kind, made.name, principal.project))
        return made

    async def _resource(self, kind: str, name: str, project: str) -> Resource:
        assert self._resources is not None, "a row refers to resources where there are none"
        return await self._resources.get(project, kind, name)

    async def _of_resources(self, question: OneResource | ManyResources | ResourceChange, project: str) -> Step:
        assert self._resources is not None, "a row asks for resources where there are none"
        match question:
            case OneResource():
                return question.tell(await self._resource(question.kind, question.name, project))
            case ManyResources():
                which = question.kind, question.prefix, question.after, question.limit, question.deleted
                return question.tell(*await self._resources.listed(project, *which))
            case ResourceChange():
                changed = await self._resources.change(
                    project, question.kind, question.name, question.change, question.preview
                )
                return question.tell(changed)

    async def _inquire(self, question: Inquiry, principal: Principal) -> tuple[bool, ModelForm | None]:
        """Return whether the model is ready, and its form if requested."""
        model = self._sessions.catalogue(principal).resolve(question.model, ANSWERS).inferrer()
        if not self._asking.fits(principal, 1):
            raise CapacityError("Too many requests for information about models.", retry_after_s=RETRY_AFTER_S)
        place = self._asking.hold(principal, 1, 0)
        try:
            return await _ask(model, question.version, question.described)
        finally:
            self._asking.let_go(place)


async def _ask(model: Inferrer, version: str, described: bool) -> tuple[bool, ModelForm | None]:
    """Ask the engine what `_inquire` returns. Raises `EngineError`, also if it does not answer in time."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            if described:
                return True, await model.describe(version)
            try:
                await model.check()
            except EngineError:
                return False, None
            return True, None
    except TimeoutError:
        raise EngineTimeout("The model does not answer.") from None
