"""What serves one version of a model."""

from dataclasses import dataclass
from typing import cast

from antiphon.core.capabilities import Ability, SpeechAbility, settle, settle_speech
from antiphon.core.errors import CallerError
from antiphon.core.events import Opened
from antiphon.core.ports import Embedder, Generator, Inferrer
from antiphon.core.specs import EmbedSpec, GenerateSpec, InferSpec, SpeakSpec, Spec, TranscribeSpec
from antiphon.core.speech import SpeechEngine

Serves = type[Spec] | type[TranscribeSpec] | type[SpeakSpec]

_KINDS: dict[Serves, str] = {
    TranscribeSpec: "a model that recognises speech",
    SpeakSpec: "a model that speaks",
    GenerateSpec: "a language model",
    EmbedSpec: "an embedding model",
    InferSpec: "a model of tensors",
}


@dataclass(frozen=True, slots=True)
class Served:
    """One version of a model, with the engine and the kind of call that it serves. `fingerprint` identifies the
    weights, if known. `by_others`: an engine that others operate may answer. `engines` are the names of its engines.
    `Voices` has the voices of one that speaks.
    """

    version: str
    engine: Generator | Embedder | Inferrer | SpeechEngine | None
    serves: Serves
    fingerprint: str = ""
    deprecated_unix_s: int | None = None
    sunset_unix_s: int | None = None
    successor: str = ""
    by_others: bool = False
    engines: tuple[str, ...] = ()

    def check(self, kind: Serves) -> None:
        """Raise `CallerError` if it is a model of another kind."""
        if kind is not self.serves:
            raise CallerError(f"{self.version!r} is not {_KINDS[kind]}.", param="model")

    def settle(self, spec: Spec) -> tuple[Spec, frozenset[Ability]]:
        """Return what the engine is asked, and which abilities have no effect. Raises `CallerError` if it is a model of
        another kind, `Incapable` if its engine cannot do it.
        """
        self.check(type(spec))
        return settle(spec, self.generator().abilities) if isinstance(spec, GenerateSpec) else (spec, frozenset())

    def settle_speech(self, spec: TranscribeSpec) -> tuple[TranscribeSpec, frozenset[SpeechAbility]]:
        """Return the same for speech recognition. Also raises `UnsupportedLanguage`."""
        return settle_speech(spec, self.recogniser().capabilities)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages (BCP 47) that a model recognises; empty for other kinds of models."""
        return tuple(sorted(self.recogniser().capabilities.languages)) if self.serves is TranscribeSpec else ()

    def opened(self, kept: bool, unmet: frozenset[Ability] = frozenset(), remembered: bool = False) -> Opened:
        """Return the first event of a session that this serves."""
        retires = self.deprecated_unix_s, self.sunset_unix_s
        return Opened(self.version, self.fingerprint, *retires, kept, remembered, unmet)

    def recogniser(self) -> SpeechEngine:
        """Return the engine. Raises `CallerError` if it does not recognise speech."""
        self.check(TranscribeSpec)
        return cast(SpeechEngine, self.engine)

    def generator(self) -> Generator:
        """Return the engine. Raises `CallerError` if it is not a language model."""
        self.check(GenerateSpec)
        return cast(Generator, self.engine)

    def embedder(self) -> Embedder:
        """Return the engine. Raises `CallerError` if it is not an embedding model."""
        self.check(EmbedSpec)
        return cast(Embedder, self.engine)

    def inferrer(self) -> Inferrer:
        """Return the engine. Raises `CallerError` if it is not a model of tensors."""
        self.check(InferSpec)
        return cast(Inferrer, self.engine)
