"""A server with TLS and Amazon's own Python client of it."""

import asyncio
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from amazon_transcribe.auth import StaticCredentialResolver
from amazon_transcribe.client import TranscribeStreamingClient
from amazon_transcribe.endpoints import StaticEndpointResolver

from antiphon.models import Store
from antiphon.trust.authority import AUTHORITY_NAME
from serving import start

SPEECH_ONLY = '[models]\n"amazon-transcribe" = "moonshine-tiny-en"\n[engines]\n'
CHUNK_S = 0.1
PACE = 2  # times as fast as speech


@dataclass(frozen=True, slots=True)
class Secure:
    url: str
    data_dir: Path
    authority: Path


@contextmanager
def secured(data_dir: Path, models: Store, settings: str) -> Iterator[Secure]:
    """A server with TLS, whose authority is trusted meanwhile."""
    process, url = start(data_dir, models, settings, flags=("--offline", "--tls-self-signed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(data_dir / AUTHORITY_NAME))
        yield Secure(url, data_dir, data_dir / AUTHORITY_NAME)
    process.terminate()
    assert process.wait(20) == 0


def client(url: str, secret: str, token: str | None = None) -> TranscribeStreamingClient:
    return TranscribeStreamingClient(
        region="eu-west-1",
        endpoint_resolver=StaticEndpointResolver(url),
        credential_resolver=StaticCredentialResolver("anything", secret, token or secret),
    )


def speech(path: Path) -> tuple[int, bytes]:
    with wave.open(str(path)) as file:
        return file.getframerate(), file.readframes(file.getnframes())


async def transcribed(client: TranscribeStreamingClient, path: Path, **asked: Any) -> tuple[Any, list[Any]]:
    """The stream, and every result of it."""
    rate, pcm = speech(path)
    options = {"language_code": "en-US", "media_sample_rate_hz": rate, "media_encoding": "pcm", **asked}
    stream = await client.start_stream_transcription(**options)
    size = int(rate * CHUNK_S) * 2

    async def speak() -> None:
        for at in range(0, len(pcm), size):
            await stream.input_stream.send_audio_event(audio_chunk=pcm[at : at + size])
            await asyncio.sleep(CHUNK_S / PACE)
        await stream.input_stream.end_stream()

    async def listen() -> list[Any]:
        return [result async for event in stream.output_stream for result in event.transcript.results]

    async with asyncio.timeout(60):
        _, results = await asyncio.gather(speak(), listen())
    return stream, results
