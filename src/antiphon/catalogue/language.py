"""What answers in the name of one version of a model."""

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
    """What answers: one version of a model, and which kind of call it serves. `fingerprint` tells sets of weights
    apart, where they are known. The voices of one that speaks are known to `Voices`.
    """

    version: str
    engine: Generator | Embedder | Inferrer | SpeechEngine | None
    serves: Serves
    fingerprint: str = ""
    deprecated_unix_s: int | None = None
    sunset_unix_s: int | None = None
    successor: str = ""

    def check(self, asked: Serves) -> None:
        """Raises `CallerError` if it is a model of another kind."""
        if asked is not self.serves:
            raise CallerError(f"{self.version!r} is not {_KINDS[asked]}.", param="model")

    def settle(self, spec: Spec) -> tuple[Spec, frozenset[Ability]]:
        """What the engine is asked, and what of it has no effect on that. Raises `CallerError` if it is a model of
        another kind, `Incapable` for what its engine cannot do.
        """
        self.check(type(spec))
        return settle(spec, self.generator().abilities) if isinstance(spec, GenerateSpec) else (spec, frozenset())

    def settle_speech(self, spec: TranscribeSpec) -> tuple[TranscribeSpec, frozenset[SpeechAbility]]:
        """The same, of speech that is to be recognised. Raises `UnsupportedLanguage`, too."""
        return settle_speech(spec, self.recogniser().capabilities)

    @property
    def languages(self) -> tuple[str, ...]:
        """What a model that recognises speech hears (BCP 47); empty for any other."""
        return tuple(sorted(self.recogniser().capabilities.languages)) if self.serves is TranscribeSpec else ()

    def opened(self, kept: bool, unmet: frozenset[Ability] = frozenset(), remembered: bool = False) -> Opened:
        """The first event of a session that this answers."""
        retires = self.deprecated_unix_s, self.sunset_unix_s
        return Opened(self.version, self.fingerprint, *retires, kept, remembered, unmet)

    def recogniser(self) -> SpeechEngine:
        """Raises `CallerError` if it recognises no speech."""
        self.check(TranscribeSpec)
        return cast(SpeechEngine, self.engine)

    def generator(self) -> Generator:
        """Raises `CallerError` if it is no language model."""
        self.check(GenerateSpec)
        return cast(Generator, self.engine)

    def embedder(self) -> Embedder:
        """Raises `CallerError` if it is no embedding model."""
        self.check(EmbedSpec)
        return cast(Embedder, self.engine)

    def inferrer(self) -> Inferrer:
        """Raises `CallerError` if it is no model of tensors."""
        self.check(InferSpec)
        return cast(Inferrer, self.engine)
