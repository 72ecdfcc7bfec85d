"""Which local model answers to a public name. A table from the config; nothing is guessed."""

from collections.abc import Mapping

from antiphon.core.errors import UnknownModel
from antiphon.core.wire import ModelCard


class Models:
    """`names` maps each public name to a local model; local names answer to themselves."""

    def __init__(self, names: Mapping[str, str], created_unix_s: int) -> None:
        self._names = {**{local: local for local in names.values()}, **names}
        self._created_unix_s = created_unix_s

    def resolve(self, name: str) -> str:
        """The local model's name. Raises `UnknownModel`, which lists what there is."""
        try:
            return self._names[name]
        except KeyError:
            offered = ", ".join(sorted(self._names))
            raise UnknownModel(f"There is no model {name[:64]!r} here; there is: {offered}.", param="model") from None

    def cards(self) -> list[ModelCard]:
        return [ModelCard(name, local, self._created_unix_s) for name, local in sorted(self._names.items())]
