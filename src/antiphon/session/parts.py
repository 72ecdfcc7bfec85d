"""The parts of a conversation, opened for its caller as if the caller had opened each itself."""

from dataclasses import replace
from typing import Protocol, TypeVar

from antiphon.calls.generation import Generation
from antiphon.calls.recognition import Recognition
from antiphon.calls.synthesis import Synthesis
from antiphon.catalogue.catalogue import ANSWERS, RECOGNISES, Catalogue
from antiphon.catalogue.voices import Voices
from antiphon.conversation.hearing import recognition_spec
from antiphon.core.budgets import RateLimit
from antiphon.core.call import Call
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import PolicyError, UnknownModel
from antiphon.core.identity import Principal, Scope
from antiphon.core.specs import GenerateSpec, SpeakSpec, Spec, TranscribeSpec

P = TypeVar("P", TranscribeSpec, GenerateSpec, SpeakSpec)


class CallOpener(Protocol):
    """An opener of calls, by the public names of models and voices."""

    def catalogue(self, principal: Principal | None = None) -> Catalogue: ...

    def voices(self, principal: Principal | None = None) -> Voices: ...

    def check(self, principal: Principal, spec: ConverseSpec) -> None:
        """Check the project's policy. Raises `PolicyError` if it does not allow the conversation."""

    def transcribe(self, call: Call[TranscribeSpec]) -> Recognition: ...

    def generate(self, call: Call[Spec], *, held: bool = False) -> Generation: ...

    def speak(self, call: Call[SpeakSpec], part: bool = False) -> Synthesis: ...

    def limits(self, principal: Principal) -> tuple[RateLimit, ...]:
        """Return the caller's limits of rate."""


class OpenParts:
    """An implementation of `conversation.parts.Parts`. An empty name stands for the first available."""

    def __init__(self, sessions: CallOpener, call: Call[ConverseSpec]) -> None:
        self._sessions = sessions
        self._call = call

    @property
    def _catalogue(self) -> Catalogue:
        return self._sessions.catalogue(self._call.principal)

    @property
    def _voices(self) -> Voices:
        return self._sessions.voices(self._call.principal)

    def check(self, spec: ConverseSpec) -> None:
        """Check that the conversation can run. Raises `PolicyError` for what the caller may not do, `UnknownModel`,
        `UnknownVoice`, `UnsupportedLanguage`, or `CallerError` for a model of another kind.
        """
        for scope in _scopes(spec):
            if scope not in self._call.principal.scopes:
                raise PolicyError(f"This needs an API key with the scope '{scope}'.")
        self._sessions.check(self._call.principal, spec)
        self.check_listening(spec)
        if spec.answers:
            self._catalogue.resolve(spec.model, ANSWERS).check(GenerateSpec)
            if spec.speak:
                self._voices.resolve(self._speaker(spec.speech_model, spec.voice), spec.voice)

    def check_listening(self, spec: ConverseSpec) -> None:
        """Check the recogniser. Raises `UnknownModel`, `UnsupportedLanguage`."""
        listening = recognition_spec(spec)
        self._catalogue.resolve(self._recogniser(listening.model), RECOGNISES).settle_speech(listening)

    def complete(self, spec: ConverseSpec) -> ConverseSpec:
        """Return the checked spec, with the names of recogniser and voice in place of empty ones."""
        if spec.transcription is not None and not spec.transcription.model:
            spec = replace(spec, transcription=replace(spec.transcription, model=self._recogniser("")))
        if spec.answers and not spec.voice and self._voices.models():
            _, voice = self._voices.resolve(self._speaker(spec.speech_model, ""), "")
            spec = replace(spec, voice=voice.name)
        return spec

    def transcribe(self, id: str, spec: TranscribeSpec) -> Recognition:
        spec = replace(spec, model=self._recogniser(spec.model))
        return self._sessions.transcribe(self._part(id, spec))

    def generate(self, id: str, spec: GenerateSpec, held: bool) -> Generation:
        return self._sessions.generate(self._part(id, spec), held=held)

    def speak(self, id: str, spec: SpeakSpec) -> Synthesis:
        spec = replace(spec, model=self._speaker(spec.model, spec.voice))
        return self._sessions.speak(self._part(id, spec), part=True)

    def _part(self, id: str, spec: P) -> Call[P]:
        return Call(id, self._call.principal, self._call.surface, spec, tags=self._call.tags)

    def limits(self) -> tuple[RateLimit, ...]:
        return self._sessions.limits(self._call.principal)

    def _recogniser(self, model: str) -> str:
        first = self._catalogue.first(RECOGNISES)
        if not model and first is None:
            raise UnknownModel("This server has no speech recognition model.", param="model")
        return model or (first.version if first else "")

    def _speaker(self, model: str, voice: str) -> str:
        """Return the model that speaks; if none is named, the one that has the voice. If the caller may use none, it is
        one that they may not use.
        """
        cards = self._voices.models() or self._sessions.voices().models()
        if not cards:
            raise UnknownModel("This server has no speech synthesis model.", param="model")
        known = any(card.name == voice for card in self._voices.cards())
        return model or (voice if known else cards[0].name)


def _scopes(spec: ConverseSpec) -> list[Scope]:
    """Return the scopes that a conversation needs."""
    answering = [Scope.GENERATE, *([Scope.SPEAK] if spec.speak else [])] if spec.answers else []
    return [Scope.TRANSCRIBE, *answering]
