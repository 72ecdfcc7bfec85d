"""ElevenLabs' surfaces against their wire scripts, byte by byte, and against the types of ElevenLabs' own SDK."""

import json
from pathlib import Path
from typing import Any

import pytest
from elevenlabs.types import (
    AudioOutput,
    AudioOutputMulti,
    AudioWithTimestampsAndVoiceSegmentsResponseModel,
    AudioWithTimestampsResponse,
    FinalOutput,
    FinalOutputMulti,
    GetVoicesResponse,
    GetVoicesV2Response,
    Model,
    StreamingAudioChunkWithTimestampsAndVoiceSegmentsResponseModel,
    StreamingAudioChunkWithTimestampsResponse,
    Subscription,
    TextToDialogueWebsocketAudioChunkMulti,
    TextToDialogueWebsocketFinalAudioForTurnMulti,
    TextToDialogueWebsocketFinalMulti,
    User,
    Voice,
)
from elevenlabs_script import DIALOGUE, SPEECH, Player
from pydantic import BaseModel

from antiphon.core.wire import Bearer, Opening, Pending
from antiphon.surfaces.elevenlabs.live import LiveSpeechEndpoint
from vendor_types import check

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.wire"))
TYPES: dict[str, tuple[type[BaseModel], ...]] = {
    f"{SPEECH}/with-timestamps": (AudioWithTimestampsResponse,),
    f"{SPEECH}/stream/with-timestamps": (StreamingAudioChunkWithTimestampsResponse,),
    f"{SPEECH}/stream-input": (AudioOutput, FinalOutput),
    f"{SPEECH}/multi-stream-input": (AudioOutputMulti, FinalOutputMulti),
    f"{DIALOGUE}/with-timestamps": (AudioWithTimestampsAndVoiceSegmentsResponseModel,),
    f"{DIALOGUE}/stream/with-timestamps": (StreamingAudioChunkWithTimestampsAndVoiceSegmentsResponseModel,),
    f"{DIALOGUE}/multi-stream-input": (TextToDialogueWebsocketAudioChunkMulti, TextToDialogueWebsocketFinalMulti),
    "/v1/voices": (GetVoicesResponse,),
    "/v1/voices/{voice_id}": (Voice,),
    "/v2/voices": (GetVoicesV2Response,),
    "/v1/models": (Model,),
    "/v1/user/subscription": (Subscription,),
    "/v1/user": (User,),
}


# What clients look up though the SDK's types of several texts do not name it (`isFinal`), and our own note.
UNTYPED = {"isFinal", "warnings"}
# What a last message has because clients look it up in every one, and the other spelling of its end.
UNTYPED_LAST = {"audio", "alignment", "normalizedAlignment", "is_final"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path) -> None:
    script = path.read_text()
    assert Player().play(script) == script


def test_every_message_is_one_of_the_sdks_types() -> None:
    seen = set()
    for path in SCRIPTS:
        player = Player()
        player.play(path.read_text())
        for where, text in player.sent:
            for message in answers(where, text):
                final = message.get("is_final") or ("audio" in message and message["audio"] is None)
                kind = TYPES[where][-1 if final else 0]
                if "is_final_audio_for_turn" in message:
                    kind = TextToDialogueWebsocketFinalAudioForTurnMulti
                check(kind, message, UNTYPED | UNTYPED_LAST if final else UNTYPED)
                seen.add(where)
    assert seen == set(TYPES)


def answers(where: str, text: str) -> list[dict[str, Any]]:
    """Those that are no audio and no error."""
    if where not in TYPES:
        return []
    said = json.loads(text)
    listed = said if isinstance(said, list) else [said]
    return [each for each in listed if "detail" not in each and "error" not in each]


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ('{"text": " ", "xi_api_key": "k"}', "k"),
        ('{"text": " ", "xi-api-key": " k "}', "k"),
        ('{"text": " ", "authorization": "Bearer k"}', "k"),
        ('{"text": " ", "authorization": "k", "context_id": "c"}', "k"),
        ('{"text": " ", "authorization": "Basic k"}', None),
        ('{"text": " "}', None),
        ('{"text": " ", "xi_api_key": 3}', None),
        (b'{"text": " ", "xi_api_key": "k"}', "k"),
        (b"\xff", None),
    ],
)
def test_the_key_in_a_first_message(message: str | bytes, key: str | None) -> None:
    opening = Opening("GET", "/v1/text-to-speech/v/stream-input")
    assert LiveSpeechEndpoint(many=True).credential(opening) is Pending.PENDING
    assert LiveSpeechEndpoint(many=True).credential(opening, message) == (key and Bearer(key))
