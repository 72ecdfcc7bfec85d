"""Questions that are answered at once: no session is opened and nothing is charged."""

import asyncio

from antiphon.catalogue.catalogue import ANSWERS, RECOGNISES
from antiphon.core.call import Call
from antiphon.core.endpoints import Inquiry, KeptAct, KeptAnswer, Offer, Offered, OneCallSecret, Question, Spending
from antiphon.core.errors import CapacityError, EngineError, EngineTimeout
from antiphon.core.identity import Principal
from antiphon.core.jobs import JobService, NewJob
from antiphon.core.ports import Inferrer
from antiphon.core.resources import ManyResources, OneResource, Resource, ResourceChange
from antiphon.core.stores import Resources
from antiphon.core.tensors import ModelForm
from antiphon.core.wire import ShortToken, Step
from antiphon.session.parts import OpenParts
from antiphon.session.sessions import Sessions
from antiphon.slo.shares import Bound, Shares

PATIENCE_S = 10.0  # for an engine to describe its model
MOST_AT_ONCE, MOST_OF_A_PROJECT = 32, 8  # questions to engines
RETRY_AFTER_S = 1


class Lookups:
    """The answers to questions."""

    MAKES_SECRETS = OneCallSecret | ShortToken

    def __init__(self, sessions: Sessions, jobs: JobService | None, resources: Resources | None) -> None:
        self._sessions = sessions
        self._jobs = jobs
        self._resources = resources
        self._asking = Shares(Bound(MOST_AT_ONCE, per_project=MOST_OF_A_PROJECT))

    async def answer(self, question: Question, principal: Principal | None, surface: str) -> Step:
        """Answer a question; `principal` is set if the caller is known. Raises `AntiphonError`."""
        sessions = self._sessions
        match question:
            case Offer():
                catalogue, voices = sessions.catalogue(principal), sessions.voices(principal)
                recognisers, languages = catalogue.cards(RECOGNISES), catalogue.cards(ANSWERS)
                return question.tell(Offered(recognisers, languages, voices.models(), voices.cards()))
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
                parts, heard = (
                    OpenParts(sessions, Call("", principal, surface, question.spec)),
                    question.spec.transcription,
                )
                if heard is not None and (heard.language or heard.languages):
                    parts.check_listening(question.spec)
                minted = sessions.secrets.mint(principal, surface, question.settled, question.lifetime_s)
                spec = parts.filled(question.spec)
                return question.tell(spec, minted.secret, minted.expires_unix_s)
            case ShortToken():
                return self._token(question, principal, surface)
            case OneResource() | ManyResources() | ResourceChange():
                return await self._of_resources(question, principal.project)
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

    def _token(self, asked: ShortToken, principal: Principal, surface: str) -> Step:
        secrets = self._sessions.secrets
        minted = secrets.mint(principal, surface, asked.settled, asked.lifetime_s, asked.once, asked.path)
        return asked.tell(minted.secret)

    async def resource(self, kind: str, name: str, project: str) -> Resource:
        """Return a resource of the project. Raises `NotFound`."""
        assert self._resources is not None, "a row refers to resources where there are none"
        return await self._resources.get(project, kind, name)

    async def _of_resources(self, asked: OneResource | ManyResources | ResourceChange, project: str) -> Step:
        assert self._resources is not None, "a row asks for resources where there are none"
        match asked:
            case OneResource():
                return asked.tell(await self.resource(asked.kind, asked.name, project))
            case ManyResources():
                which = asked.kind, asked.prefix, asked.after, asked.limit, asked.deleted
                return asked.tell(*await self._resources.listed(project, *which))
            case ResourceChange():
                changed = await self._resources.change(project, asked.kind, asked.name, asked.change, asked.preview)
                return asked.tell(changed)

    async def _inquire(self, asked: Inquiry, principal: Principal) -> tuple[bool, ModelForm | None]:
        """Return whether the model is ready, and its form if requested."""
        model = self._sessions.catalogue(principal).resolve(asked.model, ANSWERS).inferrer()
        if not self._asking.fits(principal, 1):
            raise CapacityError("Too many requests for information about models.", retry_after_s=RETRY_AFTER_S)
        place = self._asking.hold(principal, 1, 0)
        try:
            return await _told(model, asked.version, asked.described)
        finally:
            self._asking.let_go(place)


async def _told(model: Inferrer, version: str, described: bool) -> tuple[bool, ModelForm | None]:
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
