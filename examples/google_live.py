"""Stream a WAV file as if it were a microphone, with Google's own SDK, and print words as they are recognised.

The server has a port for gRPC (antiphon serve --grpc-port 50051), here without TLS, so the key goes with the call.

ANTIPHON_API_KEY=... python examples/google_live.py speech.wav
"""

import os
import sys
import time
import wave
from collections.abc import Iterator

import grpc
from google.cloud import speech_v2
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcTransport

CHUNK_S = 0.1

address = os.environ.get("ANTIPHON_GRPC", "127.0.0.1:50051")
client = speech_v2.SpeechClient(transport=SpeechGrpcTransport(channel=grpc.insecure_channel(address)))


def requests(speech: wave.Wave_read) -> Iterator[speech_v2.StreamingRecognizeRequest]:
    decoding = speech_v2.ExplicitDecodingConfig(
        encoding="LINEAR16", sample_rate_hertz=speech.getframerate(), audio_channel_count=speech.getnchannels()
    )
    features = speech_v2.RecognitionFeatures(enable_automatic_punctuation=True)
    config = speech_v2.RecognitionConfig(
        explicit_decoding_config=decoding, model="long", language_codes=["en-US"], features=features
    )
    streaming = speech_v2.StreamingRecognitionConfig(config=config, streaming_features={"interim_results": True})
    yield speech_v2.StreamingRecognizeRequest(
        recognizer="projects/mine/locations/global/recognizers/_", streaming_config=streaming
    )
    while chunk := speech.readframes(int(speech.getframerate() * CHUNK_S)):
        yield speech_v2.StreamingRecognizeRequest(audio=chunk)
        time.sleep(CHUNK_S)


with wave.open(sys.argv[1]) as speech:
    key = ("x-goog-api-key", os.environ["ANTIPHON_API_KEY"])
    for response in client.streaming_recognize(requests=requests(speech), metadata=[key]):
        for result in response.results:
            print("final  " if result.is_final else "interim", result.alternatives[0].transcript, flush=True)
