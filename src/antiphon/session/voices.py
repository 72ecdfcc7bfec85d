"""Which engine speaks: for a public model name and a public voice name. A table from the config; nothing is guessed.

A model is one or more voices, each an engine of its own; its first speaks where the caller names none. Some vendors
have a name for a voice only, so a voice's name alone stands for the model that has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from antiphon.core.errors import UnknownModel, UnknownVoice
from antiphon.core.ports import Aligner, Synthesiser
from antiphon.core.wire import ModelCard, VoiceCard
from antiphon.scheduler.steps import Steps


@dataclass(frozen=True, slots=True)
class Voice:
    """One engine, whose work goes through `steps`. `name` is its own, `gain` what its samples are multiplied by to be
    as loud as others, `language` a BCP 47 tag.
    """

    name: str
    engine: Synthesiser
    steps: Steps
    gain: float = 1.0
    language: str = "en"


class Voices:
    """`models` maps each version to its voices, `aliases` other public names to a version, `names` public names of
    voices to a voice's own. `aligner` finds when words are said, where there is one.
    """

    def __init__(
        self,
        models: Mapping[str, Sequence[Voice]],
        aliases: Mapping[str, str],
        names: Mapping[str, str],
        created_unix_s: int,
        aligner: Aligner | None = None,
    ) -> None:
        self.aligner = aligner
        self._models = models
        self._aliases = aliases
        self._names = names
        self._created_unix_s = created_unix_s

    def resolve(self, model: str, voice: str) -> tuple[str, Voice]:
        """The version that answers, and its voice. Raises `UnknownModel`, `UnknownVoice`."""
        version = self._aliases.get(model, model)
        own = self._names.get(voice, voice)
        if version not in self._models:
            version = self._version_with(self._names.get(model, model))
        speakers = self._models[version]
        if not voice:
            return version, speakers[0]
        for speaker in speakers:
            if speaker.name == own:
                return version, speaker
        offered = ", ".join(card.name for card in self.cards())
        raise UnknownVoice(f"There is no voice {voice[:64]!r} here; there is: {offered}.", param="voice")

    def _version_with(self, own: str) -> str:
        for version, speakers in self._models.items():
            if any(speaker.name == own for speaker in speakers):
                return version
        offered = ", ".join(card.name for card in self.models())
        raise UnknownModel(f"There is no model of that name that speaks; there is: {offered or 'none'}.", param="model")

    def cards(self) -> list[VoiceCard]:
        """Every public name of a voice."""
        voices = {voice.name: voice for speakers in self._models.values() for voice in speakers}
        names = {**{own: own for own in voices}, **self._names}
        return [
            VoiceCard(name, own, voices[own].language, voices[own].engine.sample_rate)
            for name, own in sorted(names.items())
            if own in voices
        ]

    def models(self) -> list[ModelCard]:
        """Every public name of a model that speaks."""
        names = {version: version for version in self._models} | dict(self._aliases)
        return [ModelCard(name, version, self._created_unix_s) for name, version in sorted(names.items())]
