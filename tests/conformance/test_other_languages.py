"""Languages other than English with Amazon's and ElevenLabs' SDKs, by a multilingual Whisper: found out, told, refused.
The speech is German, and espeak-ng's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from amazon_client import Secure, client, secured
from amazon_transcribe import exceptions
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError

from antiphon.core.text import plain
from antiphon.models import Store
from serving import API_KEY

pytestmark = pytest.mark.long

SETTINGS = """
[models]
"amazon-transcribe" = "whisper-base"
"scribe_v2" = "whisper-base"
"scribe_v1" = "moonshine-tiny-en"
[engines]
"""
SAID = "guten morgen ich möchte heute mit dem zug nach berlin fahren"
GERMAN = (Path(__file__).parents[1] / "data" / "german.ogg").read_bytes()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[Secure]:
    with secured(tmp_path_factory.mktemp("languages"), models, SETTINGS) as server:
        yield server


async def finals(secure: Secure, **asked: Any) -> list[Any]:
    options = {"media_sample_rate_hz": 48_000, "media_encoding": "ogg-opus", **asked}
    stream = await client(secure.url, API_KEY).start_stream_transcription(**options)
    await stream.input_stream.send_audio_event(audio_chunk=GERMAN)
    await stream.input_stream.end_stream()
    heard = [result async for event in stream.output_stream for result in event.transcript.results]
    return [result for result in heard if not result.is_partial and result.alternatives[0].transcript]


async def test_amazon(secure: Secure) -> None:
    told = await finals(secure, language_code="de-DE")
    assert plain(" ".join(result.alternatives[0].transcript for result in told)).startswith(SAID)
    assert {result.language_code for result in told} == {"de-DE"}
    asked = {"identify_language": True, "language_options": ["en-US", "de-AT"], "preferred_language": "en-US"}
    identified = await finals(secure, language_code=None, **asked)
    assert {result.language_code for result in identified} == {"de-AT"}
    with pytest.raises(exceptions.BadRequestException, match="does not support the language 'tlh'"):
        await finals(secure, language_code="tlh")
    with pytest.raises(exceptions.BadRequestException, match="identify-language"):
        await finals(secure, language_code=None, language_model_name="scribe_v1", **asked)


def test_scribe(secure: Secure) -> None:
    scribe = ElevenLabs(base_url=secure.url, api_key=API_KEY, timeout=60).speech_to_text
    found: Any = scribe.convert(model_id="scribe_v2", file=GERMAN, tag_audio_events=False)
    assert plain(found.text).startswith(SAID)
    assert found.language_code == "deu"
    assert 0.5 < found.language_probability < 1
    told = scribe.with_raw_response.convert(
        model_id="scribe_v2", file=GERMAN, language_code="de", keyterms=["Antiphon"]
    )
    assert (told.data.language_code, told.data.language_probability) == ("deu", 1.0)  # type: ignore[union-attr]
    assert told.headers["antiphon-no-effect"] == "tag_audio_events"
    with pytest.raises(ApiError, match="does not support the language 'de'") as caught:
        scribe.convert(model_id="scribe_v1", file=GERMAN, language_code="deu")
    assert caught.value.status_code == 400
