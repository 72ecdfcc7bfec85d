"""`GET /v1/models` and `/v1/models/{id}`: the models of recognition and of speech, by every public name.

A model's UUID is made from the name of its version, so several names may share one; an id is a name or a UUID.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

from antiphon.core.endpoints import Offer
from antiphon.core.errors import NotFound
from antiphon.core.wire import ModelCard, Opening, Response, VoiceCard
from antiphon.surfaces.deepgram import query as q
from antiphon.surfaces.deepgram.endpoint import Endpoint, answer_headers
from antiphon.surfaces.deepgram.query import Parameter, Use
from antiphon.surfaces.deepgram.results import model_uuid
from antiphon.surfaces.deepgram.wire import HearingModel, ModelList, SpeakingModel, VoiceMetadata, write_body

PATH = "/v1/models"
MAX_SHOWN = 64
_TABLE = {"include_outdated": Parameter("include_outdated", Use.BOTH, "There is one version of each model.")}


class SpeechModels(Endpoint):
    """The list, or one model of it."""

    def ask(self, opening: Opening, body: bytes) -> Offer:
        return Offer(lambda offered: self.answer(opening, offered.recognisers, offered.voices))

    def answer(self, opening: Opening, models: Sequence[ModelCard], voices: Sequence[VoiceCard]) -> Response:
        q.flag(q.sorted_by_name(opening.query, _TABLE, Use.FILE), "include_outdated")
        listed = ModelList([_hearing(card) for card in models], [_speaking(card) for card in voices])
        headers = answer_headers(opening.request_id)
        id = opening.path.removeprefix(PATH).strip("/")
        if not id:
            return Response(200, headers, write_body(listed))
        every: Iterable[HearingModel | SpeakingModel] = chain(listed.stt, listed.tts)
        for model in every:
            if id in (model.name, model.uuid):
                return Response(200, headers, write_body(model))
        raise NotFound(f"Model {id[:MAX_SHOWN]!r} not found.")


def _hearing(card: ModelCard) -> HearingModel:
    return HearingModel(card.name, card.name, card.local, list(card.languages), "latest", model_uuid(card.local))


def _speaking(card: VoiceCard) -> SpeakingModel:
    tag = card.language
    languages = list(dict.fromkeys((tag.partition("-")[0], tag)))
    return SpeakingModel(
        card.name, card.name, card.voice, languages, "latest", model_uuid(card.voice), VoiceMetadata(tags=["synthetic"])
    )
