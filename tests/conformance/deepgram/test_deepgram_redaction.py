"""Personal data that is spoken to the real server, through Deepgram's SDK and others: no answer has any of it."""

import re
import threading
import time
from typing import Any

import httpx
import pytest
from deepgram import DeepgramClient
from deepgram.listen.v1.types import ListenV1Results

from serving import Server

RATE = 16_000
SAID = (
    "My name is Daniel Okafor. You can call me at four one five, five five five, oh one three two. "
    "The card number is four one one one, one one one one, one one one one, one one one one."
)
SECRET = re.compile(r"daniel|okafor|415|555|0132|1111|one one one|five five five", re.IGNORECASE)


@pytest.fixture(scope="module")
def spoken(server: Server) -> bytes:
    """What is said, as 16 kHz samples, with a pause at the end."""
    form = {"model": "aura-2-thalia-en", "encoding": "linear16", "sample_rate": str(RATE), "container": "none"}
    headers = {"authorization": f"Token {server.api_key}"}
    answer = httpx.post(f"{server.base_url}/v1/speak", params=form, json={"text": SAID}, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.content + bytes(RATE)


def listen(client: DeepgramClient, pcm: bytes, **query: Any) -> list[ListenV1Results]:
    """Results of a live stream, twice as fast as speech."""
    asked = {"encoding": "linear16", "sample_rate": RATE, "interim_results": True, "punctuate": True, **query}
    with client.listen.v1.connect(model="nova-3", **asked) as connection:

        def speak() -> None:
            for at in range(0, len(pcm), RATE // 5):
                connection.send_media(pcm[at : at + RATE // 5])
                time.sleep(0.05)
            connection.send_close_stream()

        speaker = threading.Thread(target=speak)
        speaker.start()
        messages = [message for message in connection if isinstance(message, ListenV1Results)]
        speaker.join()
    return messages


def test_nothing_of_it_is_in_any_result_of_a_stream(client: DeepgramClient, spoken: bytes) -> None:
    results = listen(client, spoken, redact="pii")
    for result in results:
        heard = result.channel.alternatives[0]
        assert not SECRET.search(heard.transcript), heard
        assert not SECRET.search(" ".join(f"{word.word} {word.punctuated_word}" for word in heard.words))
    text = " ".join(result.channel.alternatives[0].transcript for result in results if result.is_final)
    assert "[NAME_1]" in text
    assert "[PHONE_NUMBER_1]" in text
    assert "[CREDIT_CARD_1]" in text
    assert any(not result.is_final and result.channel.alternatives[0].transcript for result in results)


def test_a_projects_policy_holds_on_every_surface(server: Server, spoken: bytes) -> None:
    """The caller asks for nothing, over another vendor's protocol."""
    bearer = {"authorization": f"Bearer {server.api_key}"}
    with httpx.Client(base_url=server.base_url, timeout=60) as http:
        project = {"id": "discreet", "redact": "all", "redact_as": "hash"}
        assert http.post("/admin/v1/projects", headers=bearer, json=project).status_code == 201
        key = http.post("/admin/v1/keys", headers=bearer, json={"project": "discreet"}).json()["key"]
        form = {"model": "whisper-1", "response_format": "verbose_json", "timestamp_granularities[]": "word"}
        wav = {"file": ("said.wav", _wav(spoken), "audio/wav")}
        answer = http.post("/v1/audio/transcriptions", headers={"authorization": f"Bearer {key}"}, data=form, files=wav)
        assert answer.status_code == 200, answer.text
        assert not SECRET.search(answer.text)
        assert "####" in answer.json()["text"]


def _wav(pcm: bytes) -> bytes:
    import io
    import wave

    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(pcm)
    return file.getvalue()
