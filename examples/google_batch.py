"""Transcribe recordings that nobody waits for, with Google's own SDK, and print what was said in each.

The server has a port for gRPC (antiphon serve --grpc-port 50051), here without TLS, so that the key must be added to
each call, those of `operation.result()` included.

ANTIPHON_API_KEY=... python examples/google_batch.py https://example.com/speech.wav ...
"""

import os
import sys
from typing import Any

import grpc
from google.cloud import speech_v2
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcTransport


class Key(grpc.UnaryUnaryClientInterceptor):
    def intercept_unary_unary(self, go: Any, details: Any, request: Any) -> Any:
        key = ("x-goog-api-key", os.environ["ANTIPHON_API_KEY"])
        return go(details._replace(metadata=[*(details.metadata or ()), key]), request)


address = os.environ.get("ANTIPHON_GRPC", "127.0.0.1:50051")
channel = grpc.intercept_channel(grpc.insecure_channel(address), Key())
client = speech_v2.SpeechClient(transport=SpeechGrpcTransport(channel=channel))
operation = client.batch_recognize(
    request=speech_v2.BatchRecognizeRequest(
        recognizer="projects/mine/locations/global/recognizers/_",
        config=speech_v2.RecognitionConfig(auto_decoding_config={}, model="long", language_codes=["en-US"]),
        files=[speech_v2.BatchRecognizeFileMetadata(uri=uri) for uri in sys.argv[1:]],
        recognition_output_config={"inline_response_config": {}},
    )
)
for uri, result in operation.result(timeout=3600).results.items():
    transcript = " ".join(each.alternatives[0].transcript for each in result.inline_result.transcript.results)
    print(uri, result.error.message or transcript)
