"""The public names of all models: which version answers to a name, and what kind of call it serves. A table from the
configuration; nothing is guessed.

A name is a version of its own, or an alias of one; the answer says which version answered. A version may be deprecated
(answers say so, and until when), and after its sunset it is gone: a clear error, which names the successor.
"""

from collections.abc import Collection, Mapping

from antiphon.catalogue.language import Served, Serves
from antiphon.core.errors import UnknownModel
from antiphon.core.ports import Clock
from antiphon.core.specs import EmbedSpec, GenerateSpec, InferSpec, SpeakSpec, TranscribeSpec
from antiphon.core.wire import ModelCard

RECOGNISES: tuple[Serves, ...] = (TranscribeSpec,)
ANSWERS: tuple[Serves, ...] = (GenerateSpec, EmbedSpec, InferSpec)
SPEAKS: tuple[Serves, ...] = (SpeakSpec,)


class Catalogue:
    """`served` maps each version to what answers, `aliases` other public names to a version. Names of versions that
    serve other kinds of calls than those asked for are unknown names.
    """

    def __init__(
        self, served: Mapping[str, Served], aliases: Mapping[str, str], clock: Clock, created_unix_s: int
    ) -> None:
        self._served = served
        self._aliases = aliases
        self._clock = clock
        self._created_unix_s = created_unix_s

    def resolve(self, name: str, kinds: Collection[Serves]) -> Served:
        """Raises `UnknownModel` for a name there is not or is no more."""
        served = self.find(name, kinds)
        if served is None:
            offered = ", ".join(card.name for card in self.cards(kinds)) or "none"
            raise UnknownModel(f"Model {name[:64]!r} not found. Available: {offered}.", param="model")
        if self._gone(served):
            instead = f" Use {served.successor!r}." if served.successor else ""
            raise UnknownModel(f"The model {served.version!r} has been retired.{instead}", param="model")
        return served

    def find(self, name: str, kinds: Collection[Serves]) -> Served | None:
        """`None` for a name there is not."""
        served = self._served.get(self._aliases.get(name, name))
        return served if served is not None and served.serves in kinds else None

    def first(self, kinds: Collection[Serves]) -> Served | None:
        """The first one of the configuration, which answers where the caller names none."""
        here = (served for served in self._served.values() if served.serves in kinds and not self._gone(served))
        return next(here, None)

    def cards(self, kinds: Collection[Serves]) -> list[ModelCard]:
        """Every public name."""
        names = {version: version for version in self._served} | dict(self._aliases)
        return [
            ModelCard(name, version, self._created_unix_s, self._served[version].languages)
            for name, version in sorted(names.items())
            if self._served[version].serves in kinds and not self._gone(self._served[version])
        ]

    def _gone(self, served: Served) -> bool:
        return served.sunset_unix_s is not None and self._clock.unix_ms() >= served.sunset_unix_s * 1000
