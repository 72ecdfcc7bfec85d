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
from deepgram.listen.v2.types import (
    ListenV2ConfigureFailure,
    ListenV2ConfigureSuccess,
    ListenV2Connected,
    ListenV2FatalError,
    ListenV2TurnInfo,
    ListenV2Warning,
)
from deepgram.speak.v1.types import SpeakV1Cleared, SpeakV1Flushed, SpeakV1Metadata, SpeakV1Warning
from deepgram.speak.v2 import types as speak_v2
from deepgram.types.listen_v1response import ListenV1Response
from deepgram_script import Player
from pydantic import BaseModel

from vendor_types import check

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
FLUX_TYPES: dict[str, type[BaseModel]] = {
    "ConfigureFailure": ListenV2ConfigureFailure,
    "ConfigureSuccess": ListenV2ConfigureSuccess,
    "Connected": ListenV2Connected,
    "Error": ListenV2FatalError,
    "TurnInfo": ListenV2TurnInfo,
    "Warning": ListenV2Warning,
}
FLUX_SPEECH_TYPES: dict[str, type[BaseModel]] = {
    name: getattr(speak_v2, f"SpeakV2{name}")
    for name in (
        *("Connected", "SpeechStarted", "SpeechMetadata", "SpeechInterrupted", "Flushed", "SessionMetadata"),
        *("ConfigureSuccess", "ConfigureFailure", "Warning", "Error"),
    )
}
# What Deepgram sends and its SDK's types do not name.
UNTYPED = {"models", "model_info", "warnings", "extra", "tags", "punctuated_word", "search", "language_confidence"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path) -> None:
    script = path.read_text()
    assert player_of(path).play(script) == script


def player_of(path: Path) -> Player:
    """`live_...` and `files_...` are of the listen API, `speak_live_...` and `speak_...` of the speak API, `flux_...`
    and `flux_speak_...` of their second versions.
    """
    flux = path.stem.startswith("flux")
    live = flux or "live" in path.stem.split("_")[:2]
    return Player(live, path.stem.removeprefix("flux_").startswith("speak"), flux)


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
            types = FLUX_TYPES if player.flux else LIVE_TYPES
            if player.speak:
                types = FLUX_SPEECH_TYPES if player.flux else SPEECH_TYPES
            kind = types[message["type"]] if player.live else ListenV1Response
            check(kind, message, UNTYPED)
            seen.add(kind)
    every = (LIVE_TYPES, SPEECH_TYPES, FLUX_TYPES, FLUX_SPEECH_TYPES)
    assert seen == {ListenV1Response, *(kind for types in every for kind in types.values())}
