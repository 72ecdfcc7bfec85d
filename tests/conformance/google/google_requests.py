"""What Google's clients send in the tests, and to which models."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import grpc
from google.cloud import speech_v2

NAME = "projects/p/locations/global/recognizers/_"
CHUNK_BYTES = 3_200  # 100 ms
GOOGLE_MODELS = """
[models]
"long" = "moonshine-tiny-en"
"default" = "moonshine-tiny-en"
[engines]
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def chunks(audio: bytes, size: int) -> list[bytes]:
    return [audio[at : at + size] for at in range(0, len(audio), size)]


def config_v2(*, auto: bool = False) -> speech_v2.RecognitionConfig:
    explicit = speech_v2.ExplicitDecodingConfig(encoding="LINEAR16", sample_rate_hertz=16_000, audio_channel_count=1)
    features = speech_v2.RecognitionFeatures(
        enable_word_time_offsets=True,
        enable_word_confidence=True,
        enable_automatic_punctuation=True,
        enable_spoken_emojis=True,
    )
    decoding = {"auto_decoding_config": {}} if auto else {"explicit_decoding_config": explicit}
    return speech_v2.RecognitionConfig(model="long", language_codes=["en-US"], features=features, **decoding)


def speech_v2_requests(
    pcm: bytes, size: int = CHUNK_BYTES, pace_s: float = 0
) -> Iterator[speech_v2.StreamingRecognizeRequest]:
    """The configuration, then the audio, which is 16 kHz mono int16."""
    features = speech_v2.StreamingRecognitionFeatures(interim_results=True, enable_voice_activity_events=True)
    config = speech_v2.StreamingRecognitionConfig(config=config_v2(), streaming_features=features)
    yield speech_v2.StreamingRecognizeRequest(recognizer=NAME, streaming_config=config)
    for piece in chunks(pcm, size):
        yield speech_v2.StreamingRecognizeRequest(audio=piece)
        time.sleep(pace_s)


class Key(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):  # type: ignore[misc]
    """Sends the key with every call of a plain channel: some helpers of the SDK lose a call's own metadata."""

    def __init__(self, key: str) -> None:
        self._pair = ("x-goog-api-key", key)

    def intercept_unary_unary(self, go: Any, details: Any, request: Any) -> Any:
        return go(self._added(details), request)

    def intercept_stream_stream(self, go: Any, details: Any, requests: Any) -> Any:
        return go(self._added(details), requests)

    def _added(self, details: Any) -> Any:
        return details._replace(metadata=[*(details.metadata or ()), self._pair])
