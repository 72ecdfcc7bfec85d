"""Translations, languages and guidance with OpenAI's SDK, by a multilingual Whisper. The speech is German, and
espeak-ng's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.audio import TranscriptionVerbose, Translation, TranslationVerbose

from antiphon.core.text import plain
from antiphon.models import Store
from serving import Server, served

pytestmark = pytest.mark.long

SETTINGS = """
[models]
"whisper-1" = "whisper-base"
"nova-3" = "whisper-base"
"gpt-4o-transcribe" = "moonshine-tiny-en"
[engines]
"""
SAID = "guten morgen ich möchte heute mit dem zug nach berlin fahren"


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("multilingual"), models, SETTINGS) as server:
        yield server


@pytest.fixture
def client(multilingual: Server) -> Iterator[OpenAI]:
    url = f"{multilingual.base_url}/v1"
    with OpenAI(base_url=url, api_key=multilingual.api_key, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def german() -> tuple[str, bytes]:
    return "german.ogg", (Path(__file__).parents[1] / "data" / "german.ogg").read_bytes()


def test_a_translation_is_english(client: OpenAI, german: tuple[str, bytes]) -> None:
    translated = client.audio.translations.create(model="whisper-1", file=german)
    assert isinstance(translated, Translation)
    assert "good morning" in plain(translated.text)


@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
def test_other_formats(client: OpenAI, german: tuple[str, bytes], form: Any) -> None:
    text = client.audio.translations.create(model="whisper-1", file=german, response_format=form, temperature=0)
    assert "Good morning" in text
    assert ("-->" in text) == (form != "text")


def test_a_verbose_translation(client: OpenAI, german: tuple[str, bytes]) -> None:
    told = client.audio.translations.create(
        model="whisper-1", file=german, response_format="verbose_json", prompt="A traveller speaks."
    )
    assert isinstance(told, TranslationVerbose)
    assert told.language == "english"
    assert told.segments
    assert "Good morning" in told.segments[0].text
    assert 6 < told.duration < 8


def test_a_model_that_does_not_translate_is_named(client: OpenAI, german: tuple[str, bytes]) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.translations.create(model="gpt-4o-transcribe", file=german)
    body: Any = refused.value.body
    assert (body["param"], body["code"]) == ("model", "unsupported_parameter")
    assert body["message"] == "The model 'gpt-4o-transcribe' does not support translation."


def test_what_a_translation_has_not(client: OpenAI, german: tuple[str, bytes]) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.translations.create(model="whisper-1", file=german, extra_body={"language": "de"})
    assert refused.value.param == "language"


@pytest.mark.parametrize("language", [None, "de", "de-AT"])
def test_the_language_is_found_out_or_told(client: OpenAI, german: tuple[str, bytes], language: str | None) -> None:
    told = client.audio.transcriptions.create(
        model="whisper-1",
        file=german,
        language=language or openai.omit,
        response_format="verbose_json",
        timestamp_granularities=["word"],
    )
    assert isinstance(told, TranscriptionVerbose)
    assert told.language == "german"
    assert plain(told.text).startswith(SAID)
    assert told.words
    assert told.words[-1].end < 8


def test_a_language_that_the_model_does_not_hear(client: OpenAI, german: tuple[str, bytes]) -> None:
    for model, language in (("whisper-1", "tlh"), ("gpt-4o-transcribe", "de")):
        with pytest.raises(openai.BadRequestError) as refused:
            client.audio.transcriptions.create(model=model, file=german, language=language)
        assert (refused.value.param, refused.value.code) == ("language", "unsupported_parameter")


def test_a_prompt_guides_what_can_be_guided(client: OpenAI, german: tuple[str, bytes]) -> None:
    def told(model: str, **fields: Any) -> tuple[str, str | None]:
        answer = client.audio.transcriptions.with_raw_response.create(model=model, file=german, **fields)
        return answer.parse().text, answer.headers.get("antiphon-no-effect")

    text, unused = told("whisper-1", language="de", prompt="Der Zug fährt nach Bärlien.")
    assert unused is None
    assert plain(text).startswith("guten morgen")
    assert told("gpt-4o-transcribe", prompt="Der Zug.")[1] == "prompt"


def deepgram(server: Server, german: tuple[str, bytes], query: str) -> httpx.Response:
    headers = {"authorization": f"Token {server.api_key}", "content-type": "audio/ogg"}
    return httpx.post(f"{server.base_url}/v1/listen?{query}", headers=headers, content=german[1], timeout=60)


def test_deepgram_finds_out_the_language(multilingual: Server, german: tuple[str, bytes]) -> None:
    for query in ("detect_language=true", "detect_language=de&detect_language=en"):
        answer = deepgram(multilingual, german, f"model=nova-3&{query}&search=Bahnhof&search=heute&keyterm=Zug")
        (channel,) = answer.json()["results"]["channels"]
        assert channel["detected_language"] == "de"
        assert 0.5 < channel["language_confidence"] <= 1
        assert channel["alternatives"][0]["transcript"].startswith(SAID)
        assert [len(each["hits"]) for each in channel["search"]] == [0, 1]
        assert "antiphon-no-effect" not in answer.headers


def test_deepgram_is_told_what_a_model_cannot_do(multilingual: Server, german: tuple[str, bytes]) -> None:
    for query, param in (("detect_language=true", "detect_language"), ("language=de", "language")):
        answer = deepgram(multilingual, german, f"model=gpt-4o-transcribe&{query}")
        assert (answer.status_code, answer.json()["err_code"]) == (400, "INVALID_QUERY_PARAMETER")
        assert param in answer.json()["err_msg"] or "English" in answer.json()["err_msg"]
