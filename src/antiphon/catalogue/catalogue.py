"""The public names of all models: which version serves a name, and for what kind of call. A table from the
configuration.

A name is a version or an alias of one; the answer contains the version. A version may be deprecated (answers say so,
and until when). After its sunset it is gone: the error names the successor.
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
    """`served` maps each version to what serves it, `aliases` other public names to a version. To a call of another
    kind, a version's name is unknown.
    """

    def __init__(
        self, served: Mapping[str, Served], aliases: Mapping[str, str], clock: Clock, created_unix_s: int
    ) -> None:
        self._served = served
        self._aliases = aliases
        self._clock = clock
        self._created_unix_s = created_unix_s

    def resolve(self, name: str, kinds: Collection[Serves]) -> Served:
        """Return what serves a name. Raises `UnknownModel` if there is none, or not any more."""
        served = self.find(name, kinds)
        if served is None:
            offered = ", ".join(card.name for card in self.cards(kinds)) or "none"
            raise UnknownModel(f"Model {name[:64]!r} not found. Available: {offered}.", param="model")
        if self._gone(served):
            instead = f" Use {served.successor!r}." if served.successor else ""
            raise UnknownModel(f"The model {served.version!r} has been retired.{instead}", param="model")
        return served

    def find(self, name: str, kinds: Collection[Serves]) -> Served | None:
        """Return what serves a name, or `None`."""
        served = self._served.get(self._aliases.get(name, name))
        return served if served is not None and served.serves in kinds else None

    def first(self, kinds: Collection[Serves]) -> Served | None:
        """Return the first of the configuration, which serves callers that name none."""
        here = (served for served in self._served.values() if served.serves in kinds and not self._gone(served))
        return next(here, None)

    def cards(self, kinds: Collection[Serves]) -> list[ModelCard]:
        """Return every public name."""
        names = {version: version for version in self._served} | dict(self._aliases)
        return [
            ModelCard(name, version, self._created_unix_s, self._served[version].languages)
            for name, version in sorted(names.items())
            if self._served[version].serves in kinds and not self._gone(self._served[version])
        ]

    def _gone(self, served: Served) -> bool:
        return served.sunset_unix_s is not None and self._clock.unix_ms() >= served.sunset_unix_s * 1000
