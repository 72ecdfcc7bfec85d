"""Deepgram's surface against its wire scripts, byte by byte, and against the types of Deepgram's own SDK."""

import json
from pathlib import Path

import pytest
from deepgram.listen.v1.types import (
    ListenV1ConfigureFailure,
    ListenV1ConfigureSuccess,
    ListenV1Error,
    ListenV1Metadata,
    ListenV1Results,
    ListenV1SpeechStarted,
    ListenV1UtteranceEnd,
)
from deepgram.speak.v1.types import SpeakV1Cleared, SpeakV1Flushed, SpeakV1Metadata, SpeakV1Warning
from deepgram.types.listen_v1response import ListenV1Response
from deepgram_script import Player
from pydantic import BaseModel

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.wire"))
SPEECH_TYPES: dict[str, type[BaseModel]] = {
    "Cleared": SpeakV1Cleared,
    "Flushed": SpeakV1Flushed,
    "Metadata": SpeakV1Metadata,
    "Warning": SpeakV1Warning,
}
LIVE_TYPES: dict[str, type[BaseModel]] = {
    "ConfigureFailure": ListenV1ConfigureFailure,
    "ConfigureSuccess": ListenV1ConfigureSuccess,
    "Error": ListenV1Error,
    "Metadata": ListenV1Metadata,
    "Results": ListenV1Results,
    "SpeechStarted": ListenV1SpeechStarted,
    "UtteranceEnd": ListenV1UtteranceEnd,
}
# What Deepgram sends and its SDK's types do not name.
UNTYPED = {"models", "model_info", "warnings", "extra", "tags", "punctuated_word"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path) -> None:
    script = path.read_text()
    assert player_of(path).play(script) == script


def player_of(path: Path) -> Player:
    """`live_...` and `files_...` are of the listen API, `speak_live_...` and `speak_...` of the speak API."""
    return Player(live="live" in path.stem.split("_")[:2], speak=path.stem.startswith("speak"))


def test_every_message_is_one_of_the_sdks_types() -> None:
    seen = set()
    for path in SCRIPTS:
        player = player_of(path)
        player.play(path.read_text())
        for text in player.sent:
            message = json.loads(text)
            if "err_code" in message:
                assert set(message) == {"err_code", "err_msg", "request_id"}
                continue
            types = SPEECH_TYPES if player.speak else LIVE_TYPES
            kind = types[message["type"]] if player.live else ListenV1Response
            assert_no_unknown_field(kind.model_validate_json(text))
            seen.add(kind)
    assert seen == {*LIVE_TYPES.values(), *SPEECH_TYPES.values(), ListenV1Response}


def assert_no_unknown_field(model: BaseModel) -> None:
    assert set(model.model_extra or ()) <= UNTYPED
    for name in type(model).model_fields:
        value = getattr(model, name)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, BaseModel):
                assert_no_unknown_field(item)
