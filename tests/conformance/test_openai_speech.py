"""OpenAI's official SDK, unmodified, has texts spoken by the real server and its embedded voice."""

import base64
import json
import time
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import openai
import pytest
from agents.voice.model import TTSModelSettings
from agents.voice.models.openai_tts import OpenAITTSModel
from openai import AsyncOpenAI, AzureOpenAI, OpenAI
from sound import assert_loud, length_s

from antiphon.core.text import plain

MODEL = "tts-1"
VOICE = "alloy"
TEXT = "The sea was calm in the early morning, and nobody had seen the ship before. It carried wood, salt and wine."
RATE = 24_000
CODECS = {"mp3": "mp3", "opus": "opus", "aac": "aac", "flac": "flac", "wav": "pcm_s16le"}


@pytest.mark.parametrize("form", CODECS)
def test_every_format(client: OpenAI, form: Any) -> None:
    answer = client.audio.speech.create(model=MODEL, voice=VOICE, input=TEXT, response_format=form)
    assert 5 < length_s(answer.content, CODECS[form]) < 12
    headers = answer.response.headers
    assert headers["content-type"] == {"mp3": "audio/mpeg"}.get(form, f"audio/{form}")
    assert headers["ai-disclosure"] == "mode=machine-generated"
    assert len(headers["x-request-id"]) == 36


def test_mp3_is_what_comes_unasked(client: OpenAI, tmp_path: Path) -> None:
    answer = client.audio.speech.create(model="gpt-4o-mini-tts", voice={"id": "alloy"}, input="Hello there.")
    answer.write_to_file(tmp_path / "hello.mp3")
    assert 0.4 < length_s((tmp_path / "hello.mp3").read_bytes(), "mp3") < 3


def test_pcm_at_every_speed(client: OpenAI) -> None:
    lengths = []
    for speed in (0.5, 1.0, 2.0):
        pcm = client.audio.speech.create(
            model=MODEL, voice=VOICE, input=TEXT, response_format="pcm", speed=speed
        ).content
        assert_loud(pcm)
        lengths.append(len(pcm) / 2 / RATE)
    slow, usual, fast = lengths
    assert 1.8 < slow / usual < 2.2
    assert 1.8 < usual / fast < 2.2


def test_it_is_understood(client: OpenAI) -> None:
    """From text to speech and back to text."""
    spoken = client.audio.speech.create(model=MODEL, voice=VOICE, input=TEXT, response_format="wav").content
    heard = client.audio.transcriptions.create(model="whisper-1", file=("speech.wav", spoken)).text
    assert SequenceMatcher(None, plain(heard).split(), plain(TEXT).split()).ratio() > 0.85


async def test_it_streams(async_client: AsyncOpenAI) -> None:
    """The first bytes are there long before the last."""
    begun = time.monotonic()
    arrivals = []
    async with async_client.audio.speech.with_streaming_response.create(
        model=MODEL, voice=VOICE, input=" ".join([TEXT] * 4), response_format="pcm"
    ) as answer:
        sizes = []
        async for chunk in answer.iter_bytes():
            arrivals.append(time.monotonic() - begun)
            sizes.append(len(chunk))
    assert sum(sizes) / 2 / RATE > 20
    assert arrivals[0] < arrivals[-1] / 3


@pytest.mark.parametrize("form", ["mp3", "wav"])
def test_events(client: OpenAI, form: Any) -> None:
    with client.audio.speech.with_streaming_response.create(
        model=MODEL, voice=VOICE, input=TEXT, response_format=form, stream_format="sse"
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    *deltas, done = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert {each["type"] for each in deltas} == {"speech.audio.delta"}
    seconds = length_s(b"".join(base64.b64decode(each["audio"]) for each in deltas), CODECS[form])
    assert done["type"] == "speech.audio.done"
    usage = done["usage"]
    assert usage["input_tokens"] == -(-len(TEXT) // 4)
    assert usage["output_tokens"] == pytest.approx(seconds * 20, abs=4)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


async def test_openai_agents_voice(async_client: AsyncOpenAI) -> None:
    """As the voice pipeline of OpenAI's Agents SDK calls it, instructions included."""
    model = OpenAITTSModel(MODEL, async_client)
    pcm = b"".join([chunk async for chunk in model.run("Hello there.", TTSModelSettings())])
    assert_loud(pcm)


def test_azure(server: Any) -> None:
    with AzureOpenAI(
        azure_endpoint=server.base_url, api_key=server.api_key, api_version="2025-04-01-preview"
    ) as client:
        answer = client.audio.speech.create(model=MODEL, voice=VOICE, input="Hello there.", response_format="wav")
        assert 0.4 < length_s(answer.content, "pcm_s16le") < 3


@pytest.mark.parametrize(
    ("fields", "kind", "param", "code"),
    [
        ({"model": "none"}, openai.NotFoundError, "model", "model_not_found"),
        ({"model": "gpt-4o-mini"}, openai.APIStatusError, "model", None),
        ({"voice": "none"}, openai.NotFoundError, "voice", "voice_not_found"),
        ({"voice": ""}, openai.BadRequestError, "voice", "invalid_value"),
        ({"input": ""}, openai.BadRequestError, "input", "invalid_value"),
        ({"input": "word " * 1000}, openai.BadRequestError, "input", "invalid_value"),
        ({"speed": 5.0}, openai.BadRequestError, "speed", "invalid_value"),
        ({"response_format": "ogg"}, openai.BadRequestError, "response_format", "unsupported_parameter"),
        ({"stream_format": "ws"}, openai.BadRequestError, "stream_format", "unsupported_parameter"),
        ({"extra_body": {"pitch": 1}}, openai.BadRequestError, "pitch", "unsupported_parameter"),
    ],
)
def test_refusals(
    client: OpenAI, fields: dict[str, Any], kind: type[openai.APIStatusError], param: str, code: str | None
) -> None:
    with pytest.raises(kind) as refused:
        client.audio.speech.create(**{"model": MODEL, "voice": VOICE, "input": "Hi", **fields})
    assert refused.value.param == param
    assert code is None or refused.value.code == code
    assert refused.value.status_code in (400, 404)
    assert "word word" not in str(refused.value)


def test_the_list_of_models_holds_those_that_speak(client: OpenAI) -> None:
    assert {"tts-1", "tts-1-hd", "gpt-4o-mini-tts"} <= {model.id for model in client.models.list()}


def test_a_wrong_key(server: Any) -> None:
    client = OpenAI(base_url=f"{server.base_url}/v1", api_key="wrong", max_retries=0)
    with client, pytest.raises(openai.AuthenticationError):
        client.audio.speech.create(model=MODEL, voice=VOICE, input="Hi")
