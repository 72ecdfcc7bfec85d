"""Stream a WAV file as if it were a microphone, with Amazon's own SDK, and print words as they are recognised.

ANTIPHON_URL=https://127.0.0.1:8080 SSL_CERT_FILE=... ANTIPHON_API_KEY=... python examples/amazon_live.py speech.wav

The SDK insists on TLS: `antiphon serve --tls-self-signed` says where its authority is.
"""

import asyncio
import os
import sys
import wave

from amazon_transcribe.auth import StaticCredentialResolver
from amazon_transcribe.client import TranscribeStreamingClient
from amazon_transcribe.endpoints import StaticEndpointResolver

CHUNK_S = 0.1

key = os.environ["ANTIPHON_API_KEY"]
client = TranscribeStreamingClient(
    region="us-east-1",
    endpoint_resolver=StaticEndpointResolver(os.environ.get("ANTIPHON_URL", "https://127.0.0.1:8080")),
    credential_resolver=StaticCredentialResolver("antiphon", key, key),  # the key is the secret and the session token
)


async def main() -> None:
    with wave.open(sys.argv[1]) as speech:
        stream = await client.start_stream_transcription(
            language_code="en-US",
            media_sample_rate_hz=speech.getframerate(),
            media_encoding="pcm",
            number_of_channels=speech.getnchannels(),
        )

        async def speak() -> None:
            while chunk := speech.readframes(int(speech.getframerate() * CHUNK_S)):
                await stream.input_stream.send_audio_event(audio_chunk=chunk)
                await asyncio.sleep(CHUNK_S)
            await stream.input_stream.end_stream()

        async def listen() -> None:
            async for event in stream.output_stream:
                for result in event.transcript.results:
                    print("interim" if result.is_partial else "final  ", result.alternatives[0].transcript, flush=True)

        await asyncio.gather(speak(), listen())


asyncio.run(main())
