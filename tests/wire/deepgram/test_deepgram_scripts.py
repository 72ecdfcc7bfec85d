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
from deepgram.types.listen_v1response import ListenV1Response
from deepgram_script import Player
from pydantic import BaseModel

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.wire"))
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
    assert Player(live=path.stem.startswith("live")).play(script) == script


def test_every_message_is_one_of_the_sdks_types() -> None:
    seen = set()
    for path in SCRIPTS:
        player = Player(live=path.stem.startswith("live"))
        player.play(path.read_text())
        for text in player.sent:
            message = json.loads(text)
            if "err_code" in message:
                assert set(message) == {"err_code", "err_msg", "request_id"}
                continue
            kind = LIVE_TYPES[message["type"]] if player.live else ListenV1Response
            assert_no_unknown_field(kind.model_validate_json(text))
            seen.add(kind)
    assert seen == {*LIVE_TYPES.values(), ListenV1Response}


def assert_no_unknown_field(model: BaseModel) -> None:
    assert set(model.model_extra or ()) <= UNTYPED
    for name in type(model).model_fields:
        value = getattr(model, name)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, BaseModel):
                assert_no_unknown_field(item)
