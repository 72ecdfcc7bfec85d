"""All open sessions: who may open one, whether there is room, and how they end when a key dies or the server stops."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from antiphon.core.conversation.outputs import Limit
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import (
    AntiphonError,
    CallerError,
    CapacityError,
    Draining,
    InternalError,
    LedgerUnavailable,
    PolicyError,
    Unauthenticated,
    UnsupportedParameter,
)
from antiphon.core.identity import Principal, Scope
from antiphon.core.specs import SpeakSpec, Spec, TranscribeSpec
from antiphon.core.units import NS_PER_S
from antiphon.core.wire import Opening
from antiphon.metering.ledger import Claim
from antiphon.session.converse import Conversation
from antiphon.session.generation import Generation, Keeping
from antiphon.session.keeping import Keeper
from antiphon.session.language import Languages
from antiphon.session.parts import OpenParts
from antiphon.session.reply import speech
from antiphon.session.retries import Retries
from antiphon.session.route import Models
from antiphon.session.services import Services
from antiphon.session.session import Session
from antiphon.session.speaking import Speaking
from antiphon.session.spending import Spending
from antiphon.session.voices import Voices
from antiphon.slo.admission import Capacity, admit
from antiphon.trust.auth import KeyRing
from antiphon.trust.ephemeral import PREFIX, EphemeralSecrets
from antiphon.trust.provenance import Provenance, signs

CHECK_S = 0.25
RETRY_AFTER_S = 5
LAST_WORDS_S = 2.0  # for what sessions that were failed still have to say and to write
MAX_IDEMPOTENCY_KEY = 255

MOST_WAIT_MS = 1000.0  # of a step of synthesis, before more is refused


class Live(Protocol):
    """What a connection of its own opens."""

    @property
    def id(self) -> str: ...

    async def feed(self, given: Any) -> None:
        """One thing the caller did."""

    def events(self) -> AsyncGenerator[tuple[Any, ...], None]: ...

    async def close(self, delivered: bool) -> None: ...


Answering = Generation | Speaking

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be open at once."""

    live: int = 1000
    recordings: int = 32
    generations: int = 2000
    generation_s: int = 600
    speeches: int = 256
    conversation_s: int = 3600


class Sessions:
    """Opens sessions and knows those that are open."""

    def __init__(
        self,
        services: Services,
        keys: KeyRing,
        models: Models,
        languages: Languages,
        voices: Voices,
        keeper: Keeper,
        provenance: Provenance | None,
        bounds: Bounds,
    ) -> None:
        """`provenance` is there where anything speaks."""
        self.models = models
        self.languages = languages
        self.voices = voices
        self.keeper = keeper
        self.secrets = EphemeralSecrets(services.clock)
        self.spending = Spending(services)
        self._services = services
        self._keys = keys
        self._provenance = provenance
        self._bounds = bounds
        self._retries = Retries(services.clock)
        self._open: set[Session | Generation | Speaking | Conversation] = set()
        self._generating = 0  # of those; counted, because there are many
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False

    @property
    def ready(self) -> bool:
        return not self._draining and self._services.ledger.healthy

    def authenticate(self, secret: str | None, scope: Scope | None) -> Principal:
        """Raises `Unauthenticated` for a key that does not hold, `PolicyError` for one that may not do this. Without
        a scope, any key may.
        """
        return self._keys.authenticate(secret, scope)

    def admit(self, surface: str, secret: str | None, scope: Scope) -> tuple[Principal, bytes | None]:
        """As `authenticate`, for a call that a secret made for it may open, too; with what was settled when that was
        made. The secret is used up, whatever comes of the call.
        """
        if not secret or not secret.startswith(PREFIX):
            return self._keys.authenticate(secret, scope), None
        principal, settled = self.secrets.redeem(surface, secret)
        if not self._keys.holds(principal.key_id):
            raise Unauthenticated("the API key that the client secret was made for is no longer valid")
        if scope not in principal.scopes:
            raise PolicyError(f"the API key does not have the scope '{scope}'")
        return principal, settled

    async def claim(self, principal: Principal, opening: Opening, fingerprint: str) -> Claim | None:
        """For a request with an `Idempotency-Key`, or an SDK's retry: whether it has been charged before."""
        key = opening.headers.get("idempotency-key")
        if not key:
            return self._retries.claim(principal, opening, fingerprint)
        if len(key) > MAX_IDEMPOTENCY_KEY:
            raise CallerError(f"An Idempotency-Key has at most {MAX_IDEMPOTENCY_KEY} characters.")
        now = self._services.clock.unix_ms()
        return await self._services.ledger.claim(principal.project, key, fingerprint, opening.request_id, now)

    def refused(self, surface: str, error: AntiphonError) -> None:
        """A call ended before there was a session."""
        self._services.observer.refused(surface, error.code)

    def open(
        self, principal: Principal, surface: str, id: str, spec: TranscribeSpec | SpeakSpec | ConverseSpec
    ) -> Live:
        """A call over a connection of its own. Raises as what it opens does."""
        match spec:
            case TranscribeSpec():
                return self.transcribe(principal, surface, id, spec)
            case SpeakSpec():
                return self.speak(principal, surface, id, spec)
            case ConverseSpec():
                return self.converse(principal, surface, id, spec)

    def answer(
        self,
        principal: Principal,
        surface: str,
        id: str,
        spec: Spec | SpeakSpec,
        claim: Claim | None = None,
        keeping: Keeping | None = None,
    ) -> Answering:
        """A call that brought all it had to say. Raises as what it opens does."""
        if isinstance(spec, SpeakSpec):
            return self.speak(principal, surface, id, spec, claim)
        return self.generate(principal, surface, id, spec, claim, keeping)

    def transcribe(
        self, principal: Principal, surface: str, id: str, spec: TranscribeSpec, claim: Claim | None = None
    ) -> Session:
        """Raises `UnknownModel`, `Draining`, `LedgerUnavailable`, or `CapacityError` if one more would be too many."""
        model = self.models.resolve(spec.model)
        self._make_sure_of_room(spec)
        session = Session(self._services, id, principal, surface, model, spec, self._closed, claim)
        self._opened(session)
        return session

    def generate(
        self,
        principal: Principal,
        surface: str,
        id: str,
        spec: Spec,
        claim: Claim | None = None,
        keeping: Keeping | None = None,
        held: bool = False,
    ) -> Generation:
        """One that is `held` waits to be confirmed. Raises `UnknownModel`, `CallerError` for a model of another kind,
        `Draining`, `LedgerUnavailable`, or `CapacityError` if one more would be too many.
        """
        served = self.languages.resolve(spec.model)
        served.check(type(spec))
        self._make_sure_it_may_begin()
        if self._generating >= self._bounds.generations:
            raise CapacityError("Too many generations are running.", retry_after_s=RETRY_AFTER_S)
        deadline_ns = self._services.clock.now_ns() + self._bounds.generation_s * NS_PER_S
        generation = Generation(
            self._services, id, principal, surface, served, spec, deadline_ns, self._closed, claim, keeping, held
        )
        self._generating += 1
        self._opened(generation)
        return generation

    def speak(
        self,
        principal: Principal,
        surface: str,
        id: str,
        spec: SpeakSpec,
        claim: Claim | None = None,
        part: bool = False,
    ) -> Speaking:
        """`part` says that it is one of a conversation. Raises `UnknownModel`, `UnknownVoice`, `UnsupportedParameter`,
        `Draining`, `LedgerUnavailable`, `CapacityError` if one more would be too many, or `PolicyError` where the
        speech could not be marked as the project requires.
        """
        model, voice = self.voices.resolve(spec.model, spec.voice)
        if spec.timings and self.voices.aligner is None:
            raise UnsupportedParameter("Times need the speech recognition model, which is not served here.")
        self._make_sure_it_may_begin()
        sign = None
        if self._provenance and self._signs(principal, spec):
            spec = replace(spec, stream=False)
            sign = partial(self._provenance.sign, format=spec.format, model=model)
        speaking = sum(isinstance(s, Speaking) for s in self._open)
        if speaking >= self._bounds.speeches or voice.steps.wait_ms() > MOST_WAIT_MS:
            raise CapacityError("Too much is being spoken.", retry_after_s=RETRY_AFTER_S)
        session = Speaking(
            *(self._services, id, principal, surface, model, voice, spec, self._closed),
            *(claim, sign, self.voices.aligner, part),
        )
        self._opened(session)
        return session

    def converse(self, principal: Principal, surface: str, id: str, spec: ConverseSpec) -> Conversation:
        """Raises as `transcribe` does, with which it begins; `PolicyError`, `UnknownModel`, `UnknownVoice` or
        `CallerError` for what it may not or cannot be.
        """
        parts = OpenParts(self, principal, surface)
        conversation = Conversation(
            self._services, id, principal, surface, parts, spec, self._bounds.conversation_s, self._closed
        )
        self._opened(conversation)
        return conversation

    def check(self, principal: Principal, spec: ConverseSpec) -> None:
        """Raises `PolicyError` where its replies are spoken and could not be marked as the project requires."""
        if spec.answers and spec.speak:
            self._signs(principal, speech(spec))

    def _signs(self, principal: Principal, spec: SpeakSpec) -> bool:
        """Whether it is delivered whole and signed. Raises `PolicyError` where it must be and cannot."""
        if self._provenance is None:
            return False
        return signs(self._keys.marking(principal.project), spec.format, spec.stream, spec.live)

    def limits(self) -> tuple[Limit, ...]:
        """How many generations may run at once, and how many more could begin now."""
        most = self._bounds.generations
        return (Limit("requests", most, max(0, most - self._generating), 0),)

    def _make_sure_it_may_begin(self) -> None:
        if self._draining:
            raise Draining("The server is stopping.", retry_after_s=RETRY_AFTER_S)
        if not self._services.ledger.healthy:
            raise _unrecorded()

    def _make_sure_of_room(self, spec: TranscribeSpec) -> None:
        self._make_sure_it_may_begin()
        live = sum(isinstance(s, Session) and s.live for s in self._open)
        if not spec.live:
            if sum(isinstance(s, Session) for s in self._open) - live >= self._bounds.recordings:
                raise CapacityError("Too many recordings are being transcribed.", retry_after_s=RETRY_AFTER_S)
            return
        load = self._services.runner.load()
        capacity = Capacity(
            live=max(live, load.live),
            workers=load.workers,
            share=load.stream_share,
            late=self._services.observer.late(),
            most_streams=self._bounds.live,
        )
        # A caller who asks for channels of their own is let in as that many streams.
        if not admit(capacity, spec.format.channels if spec.multichannel else 1):
            raise CapacityError("There is no room for another live stream now.", retry_after_s=RETRY_AFTER_S)

    async def watch(self) -> None:
        """Runs for ever: within a second, a revoked or expired key ends its open sessions, a failed ledger all."""
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                self._keys.refresh()
            except InternalError as error:  # what was read last holds until it can be read again
                log.error("keys cannot be read", exc_info=error)
            for session in tuple(self._open):
                if not self._keys.holds(session.principal.key_id):
                    session.fail(Unauthenticated("The API key is no longer valid."))
                elif not self._services.ledger.healthy:
                    session.fail(_unrecorded())

    async def drain(self, bound_s: float) -> None:
        """No new sessions; open ones are finalised, and failed after `bound_s` seconds."""
        self._draining = True
        for session in tuple(self._open):
            session.drain()
        if not await self._all_closed(bound_s):
            for session in tuple(self._open):
                session.fail(Draining("The server is stopping."))
            await self._all_closed(LAST_WORDS_S)

    async def settle(self) -> None:
        """After the transports have ended: what sessions still write is written."""
        if not await self._all_closed(LAST_WORDS_S):
            log.error("sessions could not be closed")

    async def _all_closed(self, bound_s: float) -> bool:
        try:
            async with asyncio.timeout(bound_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def _opened(self, session: Session | Generation | Speaking | Conversation) -> None:
        self._open.add(session)
        self._empty.clear()
        self._services.observer.opened(session.surface)

    def _closed(self, session: Session | Generation | Speaking | Conversation) -> None:
        if session in self._open:
            self._open.remove(session)
            self._generating -= isinstance(session, Generation)
            self._retries.ended(session.id, session.charged_whole)
        if not self._open:
            self._empty.set()


def _unrecorded() -> LedgerUnavailable:
    return LedgerUnavailable("Usage cannot be recorded now, so nothing is served.", retry_after_s=RETRY_AFTER_S)
