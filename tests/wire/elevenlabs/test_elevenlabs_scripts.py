"""ElevenLabs' surfaces against their wire scripts, byte by byte, and against the types of ElevenLabs' own SDK."""

import json
from pathlib import Path
from typing import Any

import pytest
from elevenlabs.types import (
    AudioOutput,
    AudioOutputMulti,
    AudioWithTimestampsResponse,
    FinalOutput,
    FinalOutputMulti,
    GetVoicesResponse,
    GetVoicesV2Response,
    Model,
    StreamingAudioChunkWithTimestampsResponse,
    Subscription,
    User,
    Voice,
)
from elevenlabs_script import SPEECH, Player
from pydantic import BaseModel

from antiphon.surfaces.elevenlabs.live import LiveSpeechEndpoint

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.wire"))
TYPES: dict[str, tuple[type[BaseModel], ...]] = {
    f"{SPEECH}/with-timestamps": (AudioWithTimestampsResponse,),
    f"{SPEECH}/stream/with-timestamps": (StreamingAudioChunkWithTimestampsResponse,),
    f"{SPEECH}/stream-input": (AudioOutput, FinalOutput),
    f"{SPEECH}/multi-stream-input": (AudioOutputMulti, FinalOutputMulti),
    "/v1/voices": (GetVoicesResponse,),
    "/v1/voices/{voice_id}": (Voice,),
    "/v2/voices": (GetVoicesV2Response,),
    "/v1/models": (Model,),
    "/v1/user/subscription": (Subscription,),
    "/v1/user": (User,),
}


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
                final = "audio" in message and message["audio"] is None
                typed = TYPES[where][-1 if final else 0].model_validate(message)
                assert typed.model_dump(by_alias=True, exclude_unset=True).items() >= sent(message).items(), message
                seen.add(where)
    assert seen == set(TYPES)


def answers(where: str, text: str) -> list[dict[str, Any]]:
    """Those that are no audio and no error."""
    if where not in TYPES:
        return []
    said = json.loads(text)
    listed = said if isinstance(said, list) else [said]
    return [each for each in listed if "detail" not in each and "error" not in each]


def sent(message: dict[str, Any]) -> dict[str, Any]:
    """Of its values, those that the SDK's types take as they are."""
    return {name: value for name, value in message.items() if isinstance(value, (str, bool, int))}


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
    assert LiveSpeechEndpoint(many=True).credential_in(message) == key
