"""How calls are opened: which model or voice they get, what the policy says, and whether there is a place for them."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, cast, runtime_checkable
from uuid import NAMESPACE_URL, uuid5

from antiphon.calls.generation import Generation, Keeping
from antiphon.calls.recognition import Recognition
from antiphon.calls.services import Services
from antiphon.calls.synthesis import Synthesis
from antiphon.catalogue.catalogue import ANSWERS, RECOGNISES, Catalogue, Permit
from antiphon.catalogue.voices import Voices
from antiphon.conversation.conversation import Conversation
from antiphon.conversation.reply import speech
from antiphon.core.audio import Encoding
from antiphon.core.budgets import RateLimit
from antiphon.core.call import Call
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError, CallerError, ConsentRequired, PolicyError, UnsupportedParameter
from antiphon.core.identity import Principal
from antiphon.core.policy import ConsentPolicy
from antiphon.core.specs import GenerateSpec, SpeakSpec, Spec, TranscribeSpec
from antiphon.core.stores import Claim, check_idempotency_key
from antiphon.core.tags import CONSENT, NAME, value_of
from antiphon.core.units import NS_PER_S
from antiphon.core.wire import Opening
from antiphon.session.dialogue import DialogueConnection
from antiphon.session.keeping import Keeper
from antiphon.session.open_sessions import OpenSessions
from antiphon.session.parts import OpenParts
from antiphon.session.places import CallKind, Places
from antiphon.session.retries import Retries
from antiphon.session.spending import SpendingCache
from antiphon.slo.filling import Interactive, Traffic
from antiphon.slo.shares import Bound
from antiphon.trust.auth import KeyRing
from antiphon.trust.ephemeral import EphemeralSecrets
from antiphon.trust.provenance import Provenance, signs
from antiphon.trust.residency import requirement_of

IDEMPOTENCY_KEY = "idempotency-key"  # a header
MANY = 1 << 16  # places of an engine that reports none


class Live(Protocol):
    """A session on a connection of its own."""

    @property
    def call(self) -> Call[Any]: ...

    @property
    def region(self) -> str: ...

    async def feed(self, event: Any) -> None:
        """Process one input of the caller."""

    def events(self) -> AsyncGenerator[tuple[Any, ...], None]: ...

    async def close(self, delivered: bool) -> None: ...


@runtime_checkable
class SharedEngine(Protocol):
    """An engine that serves interactive calls and items."""

    def traffic(self) -> Traffic: ...


Answering = Generation | Synthesis

SPEAKING, CONVERSING = ({kind: 1} for kind in (CallKind.SPEECH, CallKind.CONVERSATION))


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits on open calls and their duration."""

    places: Mapping[CallKind, Bound]
    generation_s: int = 600
    conversation_s: int = 3600


class Sessions:
    """How to open sessions; `all` are those that are open."""

    def __init__(
        self,
        services: Services,
        keys: KeyRing,
        catalogue: Catalogue,
        voices: Voices,
        keeper: Keeper,
        provenance: Provenance | None,
        bounds: Bounds,
        permit: Callable[[Principal], Permit] | None = None,
        region: Callable[[str, str], str] | None = None,
    ) -> None:
        """Begin with no open sessions; `provenance` is set if there is a voice. `permit` returns what a caller may use;
        without it, everything. `region` returns where an engine is that serves a project, if it requires a region.
        """
        self._catalogue = catalogue
        self._voices = voices
        self._permit = permit
        self.keeper = keeper
        self.secrets = EphemeralSecrets(services.clock)
        self.spending = SpendingCache(services)
        self._services = services
        self._keys = keys
        self._provenance = provenance
        self._bounds = bounds
        self._retries = Retries(services.clock)
        self._places = Places(services, bounds.places)
        self.all = OpenSessions(services, keys, self._places, self._retries, region)

    def catalogue(self, principal: Principal | None = None) -> Catalogue:
        """Return the models that the caller may use, or all."""
        if principal is None or self._permit is None:
            return self._catalogue
        return self._catalogue.limited(self._permit(principal))

    def voices(self, principal: Principal | None = None) -> Voices:
        """Return the voices that the caller may use, or all."""
        if principal is None or self._permit is None:
            return self._voices
        return self._voices.limited(self._permit(principal))

    @property
    def ready(self) -> bool:
        return self.trouble is None

    @property
    def trouble(self) -> str | None:
        """Why not everything is served, in words for the operator; `None` if it is."""
        if self.all.draining:
            return "the server is stopping"
        services = self._services
        return services.ledger.trouble or self._keys.trouble or services.observer.trouble()

    async def claim(self, principal: Principal, opening: Opening, fingerprint: str) -> Claim | None:
        """Return a claim for a request with an `Idempotency-Key`, or an SDK's retry: it says whether it was charged
        before. Raises `StillRunning`, `AlreadyAnswered`, `Conflict`, `CallerError`, `LedgerUnavailable`.
        """
        key = opening.headers.get(IDEMPOTENCY_KEY)
        if not key:
            await self._retries.wait(principal, opening, fingerprint)
            return self._retries.claim(principal, opening, fingerprint)
        self._retries.check(principal.project, key, fingerprint)
        now = self._keys.unix_ms()  # which never goes backwards
        return await self._services.ledger.claim(principal.project, key, fingerprint, opening.request_id, now)

    def origin(self, principal: Principal, opening: Opening, fingerprint: str) -> str:
        """Return the id that stands for this request and all its repetitions: those with its `Idempotency-Key` and the
        same content, or an SDK's retries. Raises `CallerError`.
        """
        key = opening.headers.get(IDEMPOTENCY_KEY)
        if not key:
            return self._retries.first(principal, opening, fingerprint)
        check_idempotency_key(key)
        return str(uuid5(NAMESPACE_URL, f"urn:antiphon:request:{principal.project}:{fingerprint}:{key}"))

    def count_refusal(self, surface: str, error: AntiphonError) -> None:
        """Count a call that ended before it had a session."""
        self._services.observer.refused(surface, error.code)

    def open(
        self,
        call: Call[TranscribeSpec | SpeakSpec | ConverseSpec],
    ) -> Live:
        """Open a call over a connection of its own. Raises as `transcribe`, `speak` or `converse` does."""
        match call.spec:
            case TranscribeSpec():
                return self.transcribe(cast("Call[TranscribeSpec]", call))
            case SpeakSpec():
                return self.speak(cast("Call[SpeakSpec]", call))
            case ConverseSpec():
                return self.converse(cast("Call[ConverseSpec]", call))

    def answer(
        self,
        call: Call[Spec | SpeakSpec],
        keeping: Keeping | None = None,
    ) -> Answering:
        """Open a call whose input is complete. Raises as `speak` or `generate` does."""
        if isinstance(call.spec, SpeakSpec):
            return self.speak(cast("Call[SpeakSpec]", call))
        return self.generate(cast("Call[Spec]", call), keeping)

    def transcribe(self, call: Call[TranscribeSpec]) -> Recognition:
        """Open a transcription. Raises `UnknownModel`, `PolicyError` for a model that the caller may not use,
        `Incapable` or `UnsupportedLanguage` for what its engine cannot do, `Draining`, `LedgerUnavailable`, or
        `CapacityError` if one more would be too many.
        """
        served = self.catalogue(call.principal).resolve(call.spec.model, RECOGNISES)
        self.check_consent(call.principal, (*call.tags, *call.spec.tags))
        spec, unmet = served.settle_speech(call.spec)
        call, principal = replace(call, spec=spec), call.principal
        model, engine = served.version, served.recogniser()
        self.all.check_accepting()
        if spec.live:
            # Separate channels count as that many streams.
            wanted = {CallKind.LIVE: spec.format.channels if spec.multichannel else 1}
            if spec.format.encoding in (Encoding.CONTAINER, Encoding.OPUS):
                wanted[CallKind.DECODER] = 1
        else:
            wanted = {CallKind.ITEM if call.item else CallKind.RECORDING: 1}
        self._places.check(principal, wanted)
        if spec.live:
            self._places.check_streams(principal, wanted[CallKind.LIVE], engine)
        session = Recognition(self._services, call, model, engine, self.all.remove, unmet)
        session.serving.engine = next(iter(served.engines), "")
        self.all.add(session, wanted, recogniser=engine)
        return session

    def generate(
        self,
        call: Call[Spec],
        keeping: Keeping | None = None,
        held: bool = False,
    ) -> Generation:
        """Open a generation; a `held` one waits to be confirmed. Raises `UnknownModel`, `CallerError` for a model of
        another kind, `Incapable` for what its engine cannot do, `Draining`, `LedgerUnavailable`, or `CapacityError` if
        one more would be too many.
        """
        served = self.catalogue(call.principal).resolve(call.spec.model, ANSWERS)
        spec, unmet = served.settle(call.spec)
        if spec is not call.spec:
            call = replace(call, spec=spec)
        self.all.check_accepting()
        # Each choice is computed separately. A call for more choices than places is admitted if all are free.
        choices = spec.choices if isinstance(spec, GenerateSpec) else 1
        kind = CallKind.ITEM if call.item else CallKind.GENERATION
        wanted = {kind: choices if choices == 1 else min(choices, self._places.most(kind))}
        self._places.check(call.principal, wanted)
        deadline_ns = self._services.clock.now_ns() + self._bounds.generation_s * NS_PER_S
        generation = Generation(self._services, call, served, deadline_ns, self.all.remove, keeping, held, unmet)
        self.all.add(generation, wanted)
        return generation

    def speak(
        self,
        call: Call[SpeakSpec],
        part: bool = False,
    ) -> Synthesis:
        """Open a synthesis; `part` says that it belongs to a conversation. Raises `UnknownModel`, `UnknownVoice`,
        `UnsupportedParameter`, `Draining`, `LedgerUnavailable`, `CapacityError` if one more would be too many, or
        `PolicyError` if the speech cannot be marked as the project requires.
        """
        spec, principal = call.spec, call.principal
        voices = self.voices(principal)
        model, voice = voices.resolve(spec.model, spec.voice or next((line.voice for line in spec.lines), ""))
        beside = partial(voices.beside, spec.model, voice)
        if spec.voice or not spec.live:  # else the voice comes with the text
            voice.check(spec.language)
        for line in spec.lines:
            beside(line.voice).check(spec.language)
        if spec.timings and voices.aligner is None:
            raise UnsupportedParameter("Timestamps need a speech recognition model, and this server has none.")
        self.all.check_accepting()
        sign = None
        if self._provenance and self._signs(principal, spec):
            spec = replace(spec, stream=False)
            call = replace(call, spec=spec)
            sign = partial(self._provenance.sign, format=spec.format, model=model)
        self._places.check(principal, SPEAKING)
        self._places.check_speech(principal, voice, part)
        session = Synthesis(self._services, call, model, voice, self.all.remove, sign, voices.aligner, part, beside)
        session.serving.engine = voice.name
        self.all.add(session, SPEAKING)
        return session

    def converse(self, call: Call[ConverseSpec]) -> Conversation:
        """Open a conversation. Raises as `transcribe`, with which it begins; `PolicyError`, `UnknownModel`,
        `UnknownVoice` or `CallerError` if the spec is not allowed or not possible.
        """
        self.check_consent(call.principal, (*call.tags, *call.spec.tags))
        self._places.check(call.principal, CONVERSING)
        parts = OpenParts(self, call)
        disclosure = self._keys.policy(call.principal.project).disclosure
        longest_s = self._bounds.conversation_s
        conversation = Conversation(self._services, call, parts, longest_s, self.all.remove, disclosure)
        self.all.add(conversation, CONVERSING)
        return conversation

    def dialogue(self, call: Call[None]) -> DialogueConnection:
        """Open a connection for successive calls, which holds the place of a conversation. Raises `Draining`,
        `LedgerUnavailable`, or `CapacityError` if one more would be too many.
        """
        self.all.check_accepting()
        self._places.check(call.principal, CONVERSING)
        recent = self.keeper.recents.open(call.principal)
        dialogue = DialogueConnection(self._services, call, recent, self._bounds.conversation_s, self.all.remove)
        self.all.add(dialogue, CONVERSING)
        return dialogue

    def check_consent(self, principal: Principal, tags: tuple[str, ...]) -> None:
        """Raise `ConsentRequired` if somebody is heard whose consent the policy requires and the tags do not have."""
        needed = self._keys.policy(principal.project).consent is ConsentPolicy.VOICE
        if needed and not value_of(tags, CONSENT):
            raise ConsentRequired(
                "This project's policy requires consent to the processing of a voice: say which in a tag"
                f" '{CONSENT}=...', for example in the header '{NAME}'.",
                param=NAME,
            )

    def check(self, principal: Principal, spec: ConverseSpec) -> None:
        """Raise `PolicyError` if replies are spoken and cannot be marked as the project requires."""
        if spec.answers and spec.speak:
            self._signs(principal, speech(spec))

    def check_webhook(self, principal: Principal, webhook: str) -> None:
        """Raise `CallerError` if the caller's project does not have this webhook, or any if it is empty, and
        `PolicyError` if its policy says where content may go: nothing is known of the receivers.
        """
        if requirement_of(self._keys.policy(principal.project)) is not None:
            raise PolicyError(
                "This project's policy says where and by whom content is processed, and nothing is known of the"
                " receivers of its webhooks. Read the transcript instead.",
                param="webhook",
            )
        known = self._keys.webhooks(principal.project)
        if not known or not (webhook or any(each.settings.subscribed for each in known)):
            raise CallerError("This project has no webhooks.", param="webhook")
        if webhook and webhook not in (each.id for each in known):
            raise CallerError("This project has no webhook with that id, or it is disabled.", param="webhook_id")

    def _signs(self, principal: Principal, spec: SpeakSpec) -> bool:
        """Return whether it is delivered whole and signed. Raises `PolicyError` if it must be and cannot."""
        if self._provenance is None:
            return False
        return signs(self._keys.policy(principal.project).marking, spec.format, spec.stream, spec.live)

    def limits(self, principal: Principal) -> tuple[RateLimit, ...]:
        """Return the caller's limits of rate; without any, how many generations may run at once, and how many more
        could start now.
        """
        allowances = self._services.allowances
        if allowances is not None and (rates := allowances.rates(principal.project, principal.key_id)):
            return rates
        generations = self._places.shares[CallKind.GENERATION]
        most = generations.bound.most
        return (RateLimit("requests", most, max(0, most - generations.held), 0),)

    @property
    def interactive(self) -> Interactive:
        """The calls that people wait for now."""
        observer = self._services.observer
        return Interactive(self._places.interactive, observer.late(), observer.slow())

    def traffic(self, model: str) -> tuple[str, Traffic]:
        """Return the version behind a model name, and its load. If no call may begin, there are no places. Raises
        `UnknownModel`.
        """
        served = self._catalogue.resolve(model, (*ANSWERS, *RECOGNISES))
        if self.all.draining or not self._services.ledger.healthy:
            return served.version, Traffic(0, 0)
        if served.serves in RECOGNISES:
            return served.version, self._places.recordings()
        pool = served.engine
        return served.version, pool.traffic() if isinstance(pool, SharedEngine) else Traffic(MANY, 0)
