"""`GET /v1/audio/voices` and `GET /v1/audio/models`: the voices, and the models that speak.

OpenAI has no such lists. Open WebUI requests them from every other server (backend/open_webui/routers/audio.py), and
without a key, so they require none.
"""

from collections.abc import Sequence

from msgspec import Struct

from antiphon.core.endpoints import Offer
from antiphon.core.wire import ModelCard, Opening, Response, VoiceCard
from antiphon.surfaces.openai.wire import Endpoint, json_response


class Named(Struct, frozen=True):
    id: str
    name: str


class VoiceList(Struct, frozen=True):
    voices: list[Named]


class SpeechModelList(Struct, frozen=True):
    models: list[Named]


class Voices(Endpoint):
    """The names of all voices."""

    def ask(self, opening: Opening, body: bytes) -> Offer:
        return Offer(lambda offered: self.answer(opening, offered.voices))

    def answer(self, opening: Opening, voices: Sequence[VoiceCard]) -> Response:
        return json_response(opening, 200, VoiceList([Named(card.name, card.name) for card in voices]))


class SpeechModels(Endpoint):
    """The names of all models that speak."""

    def ask(self, opening: Opening, body: bytes) -> Offer:
        return Offer(lambda offered: self.answer(opening, offered.speakers))

    def answer(self, opening: Opening, models: Sequence[ModelCard]) -> Response:
        return json_response(opening, 200, SpeechModelList([Named(card.name, card.name) for card in models]))
