"""The engines that speak, by public names of models and voices. Tables from the configuration.

A model is one or more voices, each an engine of its own; its first speaks if the caller names none. Some vendors name
only a voice, so a voice's name alone also selects its model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from antiphon.catalogue.catalogue import SPEAKS, Catalogue
from antiphon.core.errors import UnknownModel, UnknownVoice, UnsupportedParameter
from antiphon.core.ports import Aligner, Synthesiser
from antiphon.core.wire import ModelCard, VoiceCard
from antiphon.scheduler.steps import Steps


@dataclass(frozen=True, slots=True)
class Voice:
    """One engine, whose work goes through `steps`. `name` is its own, `gain` the factor that makes its samples as loud
    as others, `language` a BCP 47 tag.
    """

    name: str
    engine: Synthesiser
    steps: Steps
    gain: float = 1.0
    language: str = "en"

    def check(self, language: str) -> None:
        """Raise `UnsupportedParameter` for a language that it does not speak; an empty one means any."""
        if language and _primary(language) != _primary(self.language):
            raise UnsupportedParameter(f"This voice speaks '{_primary(self.language)}' only.", param="language")


class Voices:
    """`voices` maps each version of `catalogue` that speaks to its voices, `names` other public names to a voice's own.
    `aligner`, if there is one, finds when words are spoken.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        voices: Mapping[str, Sequence[Voice]],
        names: Mapping[str, str],
        aligner: Aligner | None = None,
    ) -> None:
        self.aligner = aligner
        self._catalogue = catalogue
        self._voices = voices
        self._names = names

    def resolve(self, model: str, voice: str) -> tuple[str, Voice]:
        """Return the version that answers, and its voice. Raises `UnknownModel`, `UnknownVoice`."""
        own = self._names.get(voice, voice)
        if self._catalogue.find(model, SPEAKS):
            version = self._catalogue.resolve(model, SPEAKS).version
        else:
            version = self._version_with(self._names.get(model, model))
        speakers = self._voices[version]
        if not voice:
            return version, speakers[0]
        for speaker in speakers:
            if speaker.name == own:
                return version, speaker
        offered = ", ".join(card.name for card in self.cards())
        raise UnknownVoice(f"Voice {voice[:64]!r} not found. Available: {offered}.", param="voice")

    def beside(self, model: str, first: Voice, name: str) -> Voice:
        """Return another voice of a dialogue. Raises the errors of `resolve`, or `UnsupportedParameter` if its sample
        rate differs.
        """
        voice = self.resolve(model, name)[1]
        if voice.engine.sample_rate != first.engine.sample_rate:
            raise UnsupportedParameter("The voices of a dialogue must have the same sample rate.", param="voice")
        return voice

    def _version_with(self, own: str) -> str:
        for version, speakers in self._voices.items():
            if any(speaker.name == own for speaker in speakers):
                return self._catalogue.resolve(version, SPEAKS).version
        offered = ", ".join(card.name for card in self.models())
        raise UnknownModel(f"No speech model of that name. Available: {offered or 'none'}.", param="model")

    def cards(self) -> list[VoiceCard]:
        """Return every public name of a voice."""
        voices = {voice.name: voice for speakers in self._voices.values() for voice in speakers}
        names = {**{own: own for own in voices}, **self._names}
        return [
            VoiceCard(name, own, voices[own].language, voices[own].engine.sample_rate)
            for name, own in sorted(names.items())
            if own in voices
        ]

    def models(self) -> list[ModelCard]:
        """Return every public name of a model that speaks."""
        return self._catalogue.cards(SPEAKS)


def _primary(tag: str) -> str:
    """Return the language of a BCP 47 tag, without its region and script (RFC 5646, section 2.2.1)."""
    return tag.partition("-")[0].lower()
