"""The listings that Open WebUI asks for."""

import json

from antiphon.core.wire import ModelCard, Opening, VoiceCard
from antiphon.surfaces.openai.voices import SpeechModels, Voices

VOICES = [VoiceCard("alloy", "joe", "en-US", 22_050), VoiceCard("joe", "joe", "en-US", 22_050)]
MODELS = [ModelCard("tts-1", "piper", 0)]


def test_voices_have_an_id_and_a_name() -> None:
    answer = Voices().answer(Opening("GET", "/v1/audio/voices"), VOICES)
    assert json.loads(answer.body) == {"voices": [{"id": "alloy", "name": "alloy"}, {"id": "joe", "name": "joe"}]}


def test_models_that_speak_have_an_id_and_a_name() -> None:
    answer = SpeechModels().answer(Opening("GET", "/v1/audio/models"), MODELS)
    assert json.loads(answer.body) == {"models": [{"id": "tts-1", "name": "tts-1"}]}
