"""AssemblyAI's SDK with a multilingual Whisper: German in transcripts, in one call and live. It is espeak-ng's."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import assemblyai as aai
import pytest
from assemblyai.streaming.v3 import (
    Encoding,
    StreamingClient,
    StreamingClientOptions,
    StreamingEvents,
    StreamingParameters,
    TerminationEvent,
    TurnEvent,
    WarningEvent,
)

from antiphon.models import Store
from serving import Server, served

pytestmark = pytest.mark.long

SETTINGS = """
[models]
"universal" = "whisper-base"
"universal-3-5-pro" = "whisper-base"
"universal-streaming-multilingual" = "whisper-base"
"nano" = "moonshine-tiny-en"
[engines]
"""
PATIENCE_S = 60


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("multilingual"), models, SETTINGS) as server:
        yield server


@pytest.fixture(scope="module")
def german() -> Path:
    return Path(__file__).parents[2] / "data" / "german.ogg"


@pytest.fixture(autouse=True)
def settings(multilingual: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("base_url", "sync_base_url"):
        monkeypatch.setattr(aai.settings, name, multilingual.base_url)
    monkeypatch.setattr(aai.settings, "api_key", multilingual.api_key)
    monkeypatch.setattr(aai.settings, "polling_interval", 0.2)
    monkeypatch.setattr(aai.Client, "_default", None)


def test_a_language_is_found_out_or_told(german: Path) -> None:
    options = {"expected_languages": ["de", "en"]}
    config = aai.TranscriptionConfig(
        language_detection=True,
        language_confidence_threshold=0.5,
        language_detection_options=options,
        keyterms_prompt=["Berlin"],
    )
    found: Any = aai.Transcriber().transcribe(str(german), config).json_response
    assert "guten morgen" in found["text"].lower()
    assert (found["language_code"], found["language_confidence"] > 0.5) == ("de", True)
    assert "keyterms_prompt" not in str(found["metadata"])  # this model can be guided
    told: Any = aai.Transcriber().transcribe(str(german), aai.TranscriptionConfig(language_code="de")).json_response
    assert (told["language_code"], "Berlin" in told["text"]) == ("de", True)
    english = aai.TranscriptionConfig(language_detection=True, language_confidence_threshold=1)
    refused = aai.Transcriber().transcribe(str(german), english)
    assert refused.status is aai.TranscriptStatus.error
    assert "below the requested confidence threshold" in (refused.error or "")
    with pytest.raises(aai.types.TranscriptError, match="language_detection"):
        aai.Transcriber().submit(
            "https://example.org/a.wav", aai.TranscriptionConfig(language_detection=True, speech_models=["nano"])
        )


def test_a_recording_in_one_call(german: Path) -> None:
    answer = aai.SyncTranscriber().transcribe(german.read_bytes(), aai.SyncTranscriptionConfig(language_codes=["de"]))
    assert "guten morgen" in answer.text.lower()


def test_a_stream_says_what_was_heard(multilingual: Server, german: Path) -> None:
    client = StreamingClient(StreamingClientOptions(api_host=multilingual.ws_url, api_key=multilingual.api_key))
    told: list[Any] = []
    for event in StreamingEvents:
        client.on(event, lambda _, each: told.append(each))
    asked: dict[str, Any] = {"speech_model": "universal-streaming-multilingual", "keyterms_prompt": ["Berlin"]}
    client.connect(StreamingParameters(encoding=Encoding.ogg_opus, language_codes=["de", "en"], **asked))
    client.stream(german.read_bytes())
    client.disconnect(terminate=True)
    deadline = time.monotonic() + PATIENCE_S
    while not any(isinstance(each, TerminationEvent) for each in told) and time.monotonic() < deadline:
        time.sleep(0.1)
    ends = [each for each in told if isinstance(each, TurnEvent) and each.end_of_turn]
    assert "guten morgen" in " ".join(each.transcript for each in ends)
    assert {each.language_code for each in ends} == {"de"}
    assert not [each for each in told if isinstance(each, WarningEvent)]
