"""Other languages than English with Google's SDK, by a multilingual Whisper. The speech is German, and espeak-ng's."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import speech_v1, speech_v2
from google.cloud.speech_v1.services.speech.transports import SpeechGrpcTransport as TransportV1
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcTransport
from google_requests import NAME, Key, free_port

from antiphon.models import Store
from serving import API_KEY, start

pytestmark = pytest.mark.long

MODELS = """
[models]
"long" = "whisper-base"
"default" = "whisper-base"
[engines]
"""
SAID = "guten morgen"


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory, models: Store) -> Iterator[grpc.Channel]:
    port = free_port()
    process, _ = start(tmp_path_factory.mktemp("data"), models, f"[grpc]\nport = {port}\n{MODELS}")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield grpc.intercept_channel(channel, Key(API_KEY))
    process.terminate()
    assert process.wait(30) == 0


@pytest.fixture(scope="module")
def german() -> bytes:
    return (Path(__file__).parents[2] / "data" / "german.ogg").read_bytes()


@pytest.mark.parametrize(
    ("codes", "told"), [(["de-DE"], "de-de"), (["en-US", "de-AT"], "de-at"), (["auto"], "de"), ([], "de")]
)
def test_what_is_spoken_is_heard_and_named(channel: grpc.Channel, german: bytes, codes: list[str], told: str) -> None:
    client = speech_v2.SpeechClient(transport=SpeechGrpcTransport(channel=channel))
    config = speech_v2.RecognitionConfig(
        auto_decoding_config={},
        model="long",
        language_codes=codes,
        adaptation={"phrase_sets": [{"inline_phrase_set": {"phrases": [{"value": "Berlin"}]}}]},
    )
    request = speech_v2.RecognizeRequest(recognizer=NAME, config=config, content=german)
    heard, call = client.transport.grpc_channel.unary_unary(
        "/google.cloud.speech.v2.Speech/Recognize",
        request_serializer=speech_v2.RecognizeRequest.serialize,
        response_deserializer=speech_v2.RecognizeResponse.deserialize,
    ).with_call(request)
    assert SAID in heard.results[0].alternatives[0].transcript.lower()
    assert {result.language_code for result in heard.results} == {told}
    assert "antiphon-no-effect" not in dict(call.trailing_metadata())


def test_what_is_not_heard_is_refused_by_name(channel: grpc.Channel, german: bytes) -> None:
    client = speech_v1.SpeechClient(transport=TransportV1(channel=channel))
    config = speech_v1.RecognitionConfig(language_code="de-DE", alternative_language_codes=["fr-FR"])
    heard = client.recognize(config=config, audio={"content": german})
    assert SAID in heard.results[0].alternatives[0].transcript.lower()
    assert heard.results[0].language_code == "de-de"
    config.alternative_language_codes = ["tlh"]
    with pytest.raises(exceptions.InvalidArgument, match="tlh"):
        client.recognize(config=config, audio={"content": german})
