"""AssemblyAI's streaming API, version 3. Turns end like utterances: by silence alone, of the requested length. The
window of a result is that of its words.
"""

from collections.abc import Mapping

import msgspec

from antiphon.bench.protocols.line import Broken, Refused, Result
from antiphon.bench.protocols.sockets import SocketLine
from antiphon.bench.speech import Span
from antiphon.core.audio import SAMPLE_RATE, ms_to_samples
from antiphon.core.errors import CallerError

TOO_MANY_SESSIONS = 3009


class _Word(msgspec.Struct):
    start: int
    end: int
    text: str


class _Message(msgspec.Struct):
    """The needed fields of all messages of the server."""

    type: str
    end_of_turn: bool = False
    words: list[_Word] = []
    error_code: int = 0
    error: str = ""


_decode = msgspec.json.Decoder(_Message).decode


def result(text: str) -> Result | None:
    """Return a message's result, `None` if it has none. Raises `Broken` for an error, `msgspec.MsgspecError`."""
    message = _decode(text)
    if message.type == "Error":
        raise Broken(message.error)
    if message.type != "Turn" or not message.words:
        return None
    window = Span(ms_to_samples(message.words[0].start), ms_to_samples(message.words[-1].end))
    return Result(window, message.end_of_turn, " ".join(word.text for word in message.words))


class AssemblyAiLine(SocketLine):
    """One stream."""

    path = "/v3/ws"

    def query(self) -> Mapping[str, str]:
        silence_ms = str(self.target.endpointing_ms)
        return {
            "speech_model": self.target.model,
            "encoding": "pcm_s16le",
            "sample_rate": str(SAMPLE_RATE),
            "end_of_turn_confidence_threshold": "1",
            "min_turn_silence": silence_ms,
            "max_turn_silence": silence_ms,
        }

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": self.target.api_key}

    async def open(self) -> None:
        """Wait for the first message: the server accepts every connection, and refuses a stream only then."""
        await super().open()
        first = await self.receive(_decode)
        if first.error_code == TOO_MANY_SESSIONS:
            raise Refused
        if first.type != "Begin":
            raise CallerError(f"{self.target.url} refused the stream: {first.error}")

    def audio(self, pcm: bytes) -> bytes:
        return pcm

    async def finish(self) -> None:
        await self.say('{"type":"Terminate"}')

    def read(self, text: str) -> Result | None:
        return result(text)
