"""Golden wire scripts of AssemblyAI's surfaces, and its SDK's types for every message in them."""

import json
from pathlib import Path

import pytest
from assemblyai import types
from assemblyai.dictation.v1 import DictationConfig, DictationResponse
from assemblyai.streaming.v3 import models
from assemblyai_script import Player, check_event

from antiphon.config import VENDOR_NAMES
from antiphon.core.events import Cause, Final, Transcript, Word
from antiphon.core.wire import Opening
from antiphon.surfaces.assemblyai import parameters, sync, transcript_parameters
from antiphon.surfaces.assemblyai.live import MAX_TURN_WORDS, StreamEndpoint
from antiphon.surfaces.assemblyai.parameters import Use
from vendor_types import check

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.wire"))
SENT = {"Begin", "SpeechStarted", "Turn", "Heartbeat", "Silence", "Termination", "Warning", "Error"}
PAGE = Path(__file__).parents[3] / "docs" / "surfaces" / "assemblyai.md"


def player_of(path: Path) -> Player:
    return Player(path.stem.split("_")[0])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path) -> None:
    script = path.read_text()
    assert player_of(path).play(script) == script


def test_every_message_is_one_of_the_sdks_types() -> None:
    seen = set()
    for path in SCRIPTS:
        player = player_of(path)
        player.play(path.read_text())
        for text in player.sent:
            message = json.loads(text)
            if player.kind == "stream":
                check_event(message)
                seen.add(message["type"])
            elif player.kind == "sync" and "title" not in message:
                types.SyncTranscriptResponse.parse_obj(message)
                check(DictationResponse, {**message, "words": []})
            else:
                assert set(message) in ({"status", "title", "detail"}, {"error"}, {"token", "expires_in_seconds"})
    assert seen == SENT


def test_a_turn_without_a_pause_ends_after_some_words() -> None:
    surface = StreamEndpoint().negotiate(Opening("GET", "/v3/ws", (("sample_rate", "16000"),))).surface
    words = tuple(Word("on", 0, 1, 1.0) for _ in range(MAX_TURN_WORDS // 2))
    part = Final(0, 0, 1, Transcript("on", 1.0, words), Cause.LENGTH, turn_over=1.0)
    told = [json.loads(send) for _ in range(3) for send in surface.emit(part, 0).sends]
    ends = [(turn["turn_order"], turn["end_of_turn"], turn["end_of_turn_confidence"]) for turn in told]
    assert ends == [(0, False, 0.0), (0, True, 0.0), (1, False, 0.0)]


def test_the_table_has_every_parameter_of_the_sdk() -> None:
    named = {row.name for row in parameters.TABLE}
    assert set(models.StreamingParameters.model_fields) <= named
    updatable = {row.name for row in parameters.TABLE if row.use is Use.UPDATABLE}
    opened = {"language_codes"}  # a stream hears what it was opened with
    assert updatable >= set(models.StreamingSessionParameters.model_fields) - opened - {
        row.name for row in parameters.TABLE if row.use is Use.NO_EFFECT
    }
    config = set(types.SyncTranscriptionConfig.__fields__) - {"model"} | set(DictationConfig.model_fields)
    assert config == sync.HONOURED | set(sync.GUIDING) | sync.WITHOUT_EFFECT | {sync.REWRITES}
    named = {row.name for row in transcript_parameters.TABLE}
    assert set(types.RawTranscriptionConfig.__fields__) - {"language_detection_results"} <= named


def test_the_page_has_every_parameter() -> None:
    page = PAGE.read_text()
    for row in parameters.TABLE:
        assert f"| `{row.name}` | {row.use} | {row.how} |" in page
    for row in transcript_parameters.TABLE:
        use = "honoured" if row.use is Use.HONOURED else row.use
        assert f"| `{row.name}` | {use} | {row.how} |" in page
    for name in sync.HONOURED | set(sync.GUIDING) | sync.WITHOUT_EFFECT | {sync.REWRITES}:
        assert f"`{name}`" in page


def test_every_model_of_the_sdk_has_an_answer_by_default() -> None:
    names = {model.value for kind in (models.SpeechModel, types.SpeechModel) for model in kind}
    names |= {parameters.DEFAULT_MODEL, sync.DEFAULT_MODEL, transcript_parameters.DEFAULT_MODEL}
    assert names <= set(VENDOR_NAMES)
