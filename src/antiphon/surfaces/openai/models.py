"""`GET /v1/models` and `GET /v1/models/{id}`, also below `/openai`: the public names this server answers to."""

from collections.abc import Sequence

from antiphon.core.endpoints import Offer
from antiphon.core.errors import UnknownModel
from antiphon.core.wire import ModelCard, Opening, Response
from antiphon.surfaces.openai.wire import Endpoint, Model, ModelList, json_response


class Models(Endpoint):
    """The list, or the one model whose id ends the path."""

    def ask(self, opening: Opening, body: bytes) -> Offer:
        return Offer(lambda offered: self.answer(opening, offered.models))

    def answer(self, opening: Opening, models: Sequence[ModelCard]) -> Response:
        name = opening.path.partition("/models")[2].removeprefix("/")
        if not name:
            return json_response(opening, 200, ModelList([_model(card) for card in models]))
        for card in models:
            if card.name == name:
                return json_response(opening, 200, _model(card))
        offered = ", ".join(card.name for card in models)
        missing = UnknownModel(f"Model {name[:64]!r} not found. Available: {offered}.", param="model")
        return self.refuse(opening, missing)


def _model(card: ModelCard) -> Model:
    return Model(id=card.name, created=card.created_unix_s, owned_by="antiphon")
