"""Which language or embedding model answers to a public name, in which version. A table from the config.

A name is a version of its own, or an alias of one; the answer says which version answered. A version may be deprecated
(answers say so, and until when), and after its sunset it is gone: a clear error, which names the successor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from antiphon.core.errors import CallerError, UnknownModel
from antiphon.core.ports import Clock, Embedder, Generator, Inferrer
from antiphon.core.specs import EmbedSpec, GenerateSpec, InferSpec, Spec
from antiphon.core.wire import ModelCard

_KINDS: dict[type[Spec], str] = {
    GenerateSpec: "a language model",
    EmbedSpec: "an embedding model",
    InferSpec: "a model of tensors",
}


@dataclass(frozen=True, slots=True)
class Served:
    """What answers: one version of a model, and which kind of call it serves. `fingerprint` tells sets of weights
    apart, where they are known.
    """

    version: str
    engine: Generator | Embedder | Inferrer
    serves: type[Spec]
    fingerprint: str = ""
    deprecated_unix_s: int | None = None
    sunset_unix_s: int | None = None
    successor: str = ""

    def check(self, asked: type[Spec]) -> None:
        """Raises `CallerError` if it is a model of another kind."""
        if asked is not self.serves:
            raise CallerError(f"{self.version!r} is not {_KINDS[asked]}.", param="model")

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


class Languages:
    """`served` maps each version to what answers, `aliases` other public names to a version."""

    def __init__(
        self, served: Mapping[str, Served], aliases: Mapping[str, str], clock: Clock, created_unix_s: int
    ) -> None:
        self._served = served
        self._aliases = aliases
        self._clock = clock
        self._created_unix_s = created_unix_s

    def resolve(self, name: str) -> Served:
        """Raises `UnknownModel` for a name there is not or is no more."""
        served = self._served.get(self._aliases.get(name, name))
        if served is None:
            offered = ", ".join(card.name for card in self.cards())
            raise UnknownModel(f"There is no model {name[:64]!r} here; there is: {offered}.", param="model")
        if self._gone(served):
            instead = f" Use {served.successor!r}." if served.successor else ""
            raise UnknownModel(f"The model {served.version!r} has been retired.{instead}", param="model")
        return served

    def cards(self) -> list[ModelCard]:
        names = {version: version for version in self._served} | dict(self._aliases)
        return [
            ModelCard(name, version, self._created_unix_s)
            for name, version in sorted(names.items())
            if not self._gone(self._served[version])
        ]

    def _gone(self, served: Served) -> bool:
        return served.sunset_unix_s is not None and self._clock.unix_ms() >= served.sunset_unix_s * 1000
