"""Transcribes a WAV file with Amazon's newer SDK for Python: `transcribe.py URL KEY FILE [OPTION=VALUE...]`, with the
options as the SDK names them. The last line says what came, as JSON.
"""

import asyncio
import json
import sys
import wave
from typing import Any

from aws_sdk_transcribe_streaming.client import AsyncTranscribeStreamingClient
from aws_sdk_transcribe_streaming.config import AsyncTranscribeStreamingConfig
from aws_sdk_transcribe_streaming.models import (
    AudioEvent,
    AudioStreamAudioEvent,
    StartStreamTranscriptionInput,
    TranscriptResultStreamTranscriptEvent,
)
from smithy_http.aio.crt import AWSCRTHTTPClient

CHUNK_S = 0.1
PACE = 2  # times as fast as speech


async def transcribe(url: str, key: str, path: str, options: dict[str, Any]) -> dict[str, Any]:
    with wave.open(path) as file:
        rate, pcm = file.getframerate(), file.readframes(file.getnframes())
    config = await AsyncTranscribeStreamingConfig.resolve(
        endpoint_uri=url,
        region="eu-west-1",
        aws_access_key_id="anything",
        aws_secret_access_key=key,
        aws_session_token=key,
        transport=AWSCRTHTTPClient(),
    )
    asked = {"language_code": "en-US", "media_sample_rate_hertz": rate, "media_encoding": "pcm", **options}
    told: dict[str, Any] = {"texts": [], "partials": 0, "error": None}
    try:
        stream = await AsyncTranscribeStreamingClient(config=config).start_stream_transcription(
            StartStreamTranscriptionInput(**asked)
        )

        async def speak() -> None:
            size = int(rate * CHUNK_S) * 2
            for at in range(0, len(pcm), size):
                event = AudioStreamAudioEvent(value=AudioEvent(audio_chunk=pcm[at : at + size]))
                await stream.input_stream.send(event)
                await asyncio.sleep(CHUNK_S / PACE)
            await stream.input_stream.close()

        async def listen() -> None:
            answer, events = await stream.await_output()
            told["answer"] = {name: value for name, value in vars(answer).items() if isinstance(value, str | int)}
            async for event in events:
                if not isinstance(event, TranscriptResultStreamTranscriptEvent):
                    told["error"] = type(event).__name__
                    continue
                for result in event.value.transcript.results:
                    if result.is_partial:
                        told["partials"] += 1
                    else:
                        told["texts"].append(result.alternatives[0].transcript)

        speaking = asyncio.create_task(speak())
        try:
            await listen()
        finally:
            speaking.cancel()
    except Exception as error:  # the tests look for its name
        told["error"], told["message"] = type(error).__name__, str(error)
    return told


def main() -> None:
    url, key, path, *pairs = sys.argv[1:]
    options = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in pairs)}
    print(json.dumps(asyncio.run(transcribe(url, key, path, options))))


if __name__ == "__main__":
    main()
