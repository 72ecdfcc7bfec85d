"""ElevenLabs' realtime speech to text: JSON in both directions, audio in base64. Partial transcripts have no times:
they cover the audio since the last committed one. A stream has no end but the close, so the client commits the last
audio and waits for the answer.
"""

import asyncio
import base64
from collections.abc import AsyncGenerator, Mapping

import aiohttp
import msgspec

from antiphon.bench.protocols.line import Broken, Refused, Result, Target, samples
from antiphon.bench.protocols.sockets import SocketLine
from antiphon.bench.speech import Span
from antiphon.core.audio import BYTES_PER_SAMPLE, SAMPLE_RATE
from antiphon.core.errors import CallerError

NO_ROOM = ("rate_limited", "resource_exhausted", "queue_overflow")
MIN_SILENCE_S = 0.3  # ElevenLabs' own


class _Word(msgspec.Struct):
    start: float
    end: float


class _Message(msgspec.Struct):
    """The needed fields of all messages of the server."""

    message_type: str
    text: str = ""
    words: list[_Word] = []
    error: str = ""


_decode = msgspec.json.Decoder(_Message).decode


class ElevenLabsLine(SocketLine):
    """One stream."""

    path = "/v1/speech-to-text/realtime"

    def __init__(self, target: Target, http: aiohttp.ClientSession) -> None:
        super().__init__(target, http)
        self._sent = self._committed = 0  # samples
        self._ending = asyncio.Event()

    def query(self) -> Mapping[str, str]:
        return {
            "model_id": self.target.model,
            "audio_format": f"pcm_{SAMPLE_RATE}",
            "commit_strategy": "vad",
            "vad_silence_threshold_secs": str(max(MIN_SILENCE_S, self.target.endpointing_ms / 1000)),
            "include_timestamps": "true",
        }

    def headers(self) -> Mapping[str, str]:
        return {"xi-api-key": self.target.api_key}

    async def open(self) -> None:
        """Wait for the first message: the server accepts every connection, and refuses a stream only then."""
        await super().open()
        first = await self.receive(_decode)
        if first.message_type in NO_ROOM:
            raise Refused
        if first.message_type != "session_started":
            raise CallerError(f"{self.target.url} refused the stream: {first.error}")

    def audio(self, pcm: bytes) -> str:
        self._sent += len(pcm) // BYTES_PER_SAMPLE
        return _chunk(pcm, commit=False)

    async def finish(self) -> None:
        self._ending.set()
        await self.say(_chunk(b"", commit=True))

    async def results(self) -> AsyncGenerator[Result, None]:
        async for result in super().results():
            if result.text:
                yield result
            if result.final and self._ending.is_set():
                return

    def read(self, text: str) -> Result | None:
        message = _decode(text)
        match message.message_type:
            case "partial_transcript":
                return Result(Span(self._committed, self._sent), False, message.text)
            case "committed_transcript_with_timestamps":
                span = Span(self._committed, self._committed)
                if message.words:
                    span = Span(samples(message.words[0].start), samples(message.words[-1].end))
                self._committed = span.end
                return Result(span, True, message.text)
        if message.error:
            raise Broken(message.error)
        return None


def _chunk(pcm: bytes, *, commit: bool) -> str:
    message = {
        "message_type": "input_audio_chunk",
        "audio_base_64": base64.b64encode(pcm).decode(),
        "commit": commit,
        "sample_rate": SAMPLE_RATE,
    }
    return msgspec.json.encode(message).decode()
