"""AssemblyAI's synchronous and dictation SDKs, against the real server and its models."""

import io
import time
import wave
from collections.abc import Iterator
from typing import Any

import assemblyai as aai
import httpx
import pytest

pytestmark = pytest.mark.long

RATE = 16_000


@pytest.fixture(autouse=True)
def settings(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("base_url", "sync_base_url", "dictation_base_url"):
        monkeypatch.setattr(aai.settings, name, server.base_url)
    monkeypatch.setattr(aai.settings, "api_key", server.api_key)


def in_wav(pcm: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(pcm)
    return file.getvalue()


def test_a_recording(sentence: bytes, payer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aai.settings, "api_key", payer.key)
    client = aai.Client(settings=aai.settings)
    transcriber = aai.SyncTranscriber(client=client)
    assert transcriber.warm()
    answer = transcriber.transcribe(in_wav(sentence), aai.SyncTranscriptionConfig(timestamps=True))
    assert answer.text.startswith("The ship was painted blue")
    assert " ".join(word.text for word in answer.words) == answer.text
    assert all(word.start is not None and word.end is not None and word.start < word.end for word in answer.words)
    assert answer.audio_duration_ms == len(sentence) // 32
    assert 0.3 < answer.confidence <= 1
    assert payer.charged_ms() == answer.audio_duration_ms
    assert payer.entries()[-1][0] == "completed"


def test_raw_audio_as_it_is_spoken(sentence: bytes) -> None:
    def spoken() -> Iterator[bytes]:
        for at in range(0, len(sentence), 3_200):
            yield sentence[at : at + 3_200]
            time.sleep(0.02)

    config = aai.SyncTranscriptionConfig(sample_rate=RATE, channels=1, keyterms_prompt=["ship"], language_codes=["en"])
    answer = aai.SyncTranscriber().transcribe_live(spoken(), config)
    assert answer.text.startswith("The ship was painted blue")
    assert answer.words[0].start is None


def test_a_dictation(sentence: bytes) -> None:
    config = aai.DictationConfig(llm_instruction="Write it in capitals.")
    with aai.DictationTranscriber() as transcriber, transcriber.open_live(config) as session:
        assert transcriber.warm()
        session.write(in_wav(sentence))
    answer = session.result()
    assert answer.text.startswith("The ship was painted blue")
    assert answer.llm_response is None
    assert answer.llm_error
    assert answer.final_text == answer.text


async def test_with_asyncio(sentence: bytes) -> None:
    transcriber = aai.AsyncSyncTranscriber()
    assert await transcriber.warm()
    answer = await transcriber.transcribe(in_wav(sentence))
    assert answer.text.startswith("The ship was painted blue")


@pytest.mark.parametrize(
    ("audio", "config", "status", "code"),
    [
        (b"RIFF no audio", {}, 400, "bad_audio"),
        (bytes(3_200), {"language_codes": ["de"]}, 400, "invalid_request"),
        (bytes(3_200), {"model": "universal-99"}, 404, "unknown_model"),
        (bytes(3_200), {"sample_rate": 1, "channels": 1}, 400, "invalid_request"),
    ],
)
def test_what_is_refused(audio: bytes, config: dict[str, Any], status: int, code: str) -> None:
    with pytest.raises(aai.SyncTranscriptError) as refused:
        aai.SyncTranscriber().transcribe(audio, aai.SyncTranscriptionConfig(**config))
    assert (refused.value.status_code, refused.value.error_code) == (status, code)


def test_a_wrong_key(monkeypatch: pytest.MonkeyPatch, sentence: bytes) -> None:
    monkeypatch.setattr(aai.settings, "api_key", "wrong")
    client = aai.Client(settings=aai.settings)
    with pytest.raises(aai.SyncTranscriptError) as refused:
        aai.SyncTranscriber(client=client).transcribe(in_wav(sentence))
    assert (refused.value.status_code, refused.value.error_code) == (401, "unauthorized")


def test_the_audio_belongs_in_its_own_part(server: Any, sentence: bytes) -> None:
    key = {"authorization": server.api_key}
    url = f"{server.base_url}/v1/transcribe/live"
    wrong = httpx.post(url, headers=key, files={"file": ("a.wav", in_wav(sentence))}, timeout=60)
    assert (wrong.status_code, wrong.json()["title"]) == (400, "Bad Audio")
    none = httpx.post(url, headers=key, data={"config": "{}"}, timeout=60)
    assert (none.status_code, none.json()["title"]) == (400, "Invalid Request")
