"""Deepgram's live protocol: audio in binary messages, results with their window."""

from collections.abc import Mapping

import msgspec

from antiphon.bench.protocols.line import Result, samples
from antiphon.bench.protocols.sockets import SocketLine
from antiphon.bench.speech import Span
from antiphon.core.audio import SAMPLE_RATE


class _Alternative(msgspec.Struct):
    transcript: str = ""


class _Channel(msgspec.Struct):
    alternatives: list[_Alternative]


class _Message(msgspec.Struct):
    """The needed fields of all messages of the server; `channel` differs by type, so it is decoded later."""

    type: str
    is_final: bool = False
    start: float = 0.0
    duration: float = 0.0
    channel: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(_Message).decode
_decode_channel = msgspec.json.Decoder(_Channel).decode


def result(text: str) -> Result | None:
    """Return a message's result, `None` if it has none. Raises `msgspec.MsgspecError`."""
    message = _decode(text)
    if message.type != "Results":
        return None
    alternatives = _decode_channel(message.channel).alternatives
    window = Span(samples(message.start), samples(message.start + message.duration))
    return Result(window, message.is_final, alternatives[0].transcript if alternatives else "")


class DeepgramLine(SocketLine):
    """One stream."""

    path = "/v1/listen"

    def query(self) -> Mapping[str, str]:
        return {
            "model": self.target.model,
            "encoding": "linear16",
            "sample_rate": str(SAMPLE_RATE),
            "channels": "1",
            "interim_results": "true",
            "endpointing": str(self.target.endpointing_ms),
        }

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Token {self.target.api_key}"}

    def audio(self, pcm: bytes) -> bytes:
        return pcm

    async def finish(self) -> None:
        await self.say('{"type":"CloseStream"}')

    def read(self, text: str) -> Result | None:
        return result(text)
