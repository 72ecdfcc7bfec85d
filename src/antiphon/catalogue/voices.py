"""The engines that speak, by public names of models and voices. Tables from the configuration.

A model is one or more voices, each an engine of its own; its first speaks if the caller names none. Some vendors name
only a voice, so a voice's name alone also selects its model.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass

from antiphon.catalogue.catalogue import SPEAKS, Catalogue, Permit
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
        self._permit: Permit | None = None

    def limited(self, permit: Permit) -> "Voices":
        """Return the voices as a caller with this permit sees them."""
        if permit.unlimited:
            return self
        seen = copy(self)
        seen._catalogue = self._catalogue.limited(permit)
        seen._permit = permit
        return seen

    def resolve(self, model: str, voice: str) -> tuple[str, Voice]:
        """Return the version that answers, and its voice. Raises `UnknownModel`, `UnknownVoice`, and `PolicyError` if
        the caller may use neither this model nor this voice.
        """
        own = self._names.get(voice, voice)
        if self._catalogue.find(model, SPEAKS):
            version = self._catalogue.resolve(model, SPEAKS).version
        else:
            version = self._version_with(model)
        speakers = self._voices[version]
        if not voice:
            return version, next(each for each in speakers if self._may_speak(each))
        for speaker in speakers:
            if speaker.name == own:
                if self._permit is not None and not self._may_speak(speaker):
                    self._permit.check(model, version, (speaker.name,))
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

    def _version_with(self, name: str) -> str:
        """Return the version with the voice of that name."""
        own = self._names.get(name, name)
        for version, speakers in self._voices.items():
            if any(speaker.name == own for speaker in speakers):
                return self._catalogue.resolve(version, SPEAKS, other_name=name).version
        offered = ", ".join(card.name for card in self.models())
        raise UnknownModel(f"No speech model of that name. Available: {offered or 'none'}.", param="model")

    def cards(self) -> list[VoiceCard]:
        """Return every public name of a voice that the caller may use."""
        versions = {card.local for card in self.models()}
        here = (voice for version, speakers in self._voices.items() if version in versions for voice in speakers)
        voices = {voice.name: voice for voice in here if self._may_speak(voice)}
        names = {**{own: own for own in voices}, **self._names}
        return [
            VoiceCard(name, own, voices[own].language, voices[own].engine.sample_rate)
            for name, own in sorted(names.items())
            if own in voices
        ]

    def models(self) -> list[ModelCard]:
        """Return every public name of a model that speaks."""
        return self._catalogue.cards(SPEAKS)

    def _may_speak(self, voice: Voice) -> bool:
        return self._permit is None or self._permit.serves((voice.name,))


def _primary(tag: str) -> str:
    """Return the language of a BCP 47 tag, without its region and script (RFC 5646, section 2.2.1)."""
    return tag.partition("-")[0].lower()
