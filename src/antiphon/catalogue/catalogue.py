"""The public names of all models: which version serves a name, and for what kind of call. A table from the
configuration.

A name is a version or an alias of one; the answer contains the version. A version may be deprecated (answers say so,
and until when). After its sunset it is gone: the error names the successor.
"""

from collections.abc import Collection, Iterable, Mapping
from copy import copy
from typing import Protocol

from antiphon.catalogue.language import Served, Serves
from antiphon.core.errors import UnknownModel
from antiphon.core.ports import Clock
from antiphon.core.specs import EmbedSpec, GenerateSpec, InferSpec, SpeakSpec, TranscribeSpec
from antiphon.core.wire import ModelCard

RECOGNISES: tuple[Serves, ...] = (TranscribeSpec,)
ANSWERS: tuple[Serves, ...] = (GenerateSpec, EmbedSpec, InferSpec)
SPEAKS: tuple[Serves, ...] = (SpeakSpec,)


class Permit(Protocol):
    """What one caller may use."""

    @property
    def unlimited(self) -> bool: ...

    def serves(self, engines: Iterable[str]) -> bool:
        """Return whether one of these engines may serve the caller."""

    def allows(self, name: str, version: str, engines: Iterable[str]) -> bool:
        """Return whether a model with these engines may be used under this name."""

    def check(self, name: str, version: str, engines: Iterable[str]) -> None:
        """Raise `PolicyError` if it may not."""


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
        self._permit: Permit | None = None

    def limited(self, permit: Permit) -> "Catalogue":
        """Return the catalogue as a caller with this permit sees it."""
        if permit.unlimited:
            return self
        seen = copy(self)
        seen._permit = permit
        return seen

    def resolve(self, name: str, kinds: Collection[Serves], other_name: str = "") -> Served:
        """Return what serves a name; the caller used `other_name` for it, if it is set. Raises `UnknownModel` if there
        is none, or not any more, and `PolicyError` if the caller may not use it.
        """
        served = self.find(name, kinds)
        if served is None:
            offered = ", ".join(card.name for card in self.cards(kinds)) or "none"
            raise UnknownModel(f"Model {name[:64]!r} not found. Available: {offered}.", param="model")
        if self._gone(served):
            instead = f" Use {served.successor!r}." if served.successor else ""
            raise UnknownModel(f"The model {served.version!r} has been retired.{instead}", param="model")
        if self._permit is not None:
            self._permit.check(other_name or name, served.version, served.engines)
        return served

    def find(self, name: str, kinds: Collection[Serves]) -> Served | None:
        """Return what serves a name, or `None`."""
        served = self._served.get(self._aliases.get(name, name))
        return served if served is not None and served.serves in kinds else None

    def first(self, kinds: Collection[Serves]) -> Served | None:
        """Return the first of the configuration, which serves callers that name none. If the caller may use none, it
        is one that they may not use.
        """
        here = [served for served in self._served.values() if served.serves in kinds and not self._gone(served)]
        return next((each for each in here if self._allows(each.version, each)), here[0] if here else None)

    def cards(self, kinds: Collection[Serves]) -> list[ModelCard]:
        """Return every public name that the caller may use."""
        names = {version: version for version in self._served} | dict(self._aliases)
        here = ((name, self._served[version]) for name, version in sorted(names.items()))
        return [
            ModelCard(name, each.version, self._created_unix_s, each.languages)
            for name, each in here
            if each.serves in kinds and not self._gone(each) and self._allows(name, each)
        ]

    def names(self) -> dict[str, Served]:
        """Return what serves each public name, of all kinds."""
        return dict(self._served) | {name: self._served[version] for name, version in self._aliases.items()}

    def _allows(self, name: str, served: Served) -> bool:
        return self._permit is None or self._permit.allows(name, served.version, served.engines)

    def _gone(self, served: Served) -> bool:
        return served.sunset_unix_s is not None and self._clock.unix_ms() >= served.sunset_unix_s * 1000
