"""Amazon Transcribe's `StartStreamTranscription` over HTTP/2: request and answer at the same time, each a sequence of
events, which are signed or not.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import aiohttp
import msgspec

from antiphon.bench.protocols.eventstream import Frame, Signer, audio_event, utc_now, whole_frames
from antiphon.bench.protocols.line import LANGUAGE, Broken, Refused, Result, Target, samples
from antiphon.bench.speech import Span
from antiphon.core.audio import SAMPLE_RATE
from antiphon.core.errors import CallerError, EngineError

PATH = "/stream-transcription"
STREAM = 1  # the first stream of a client in HTTP/2
READ_BYTES = 1 << 16
OVER_CAPACITY = frozenset({429, 503})


class _Alternative(msgspec.Struct, rename="pascal"):
    transcript: str = ""


class _Result(msgspec.Struct, rename="pascal"):
    start_time: float
    end_time: float
    is_partial: bool
    alternatives: list[_Alternative]


class _Transcript(msgspec.Struct, rename="pascal"):
    results: list[_Result]


class _TranscriptEvent(msgspec.Struct, rename="pascal"):
    transcript: _Transcript


_decode = msgspec.json.Decoder(_TranscriptEvent).decode


def results(frame: Frame) -> Iterator[Result]:
    """Yield the results of an event. Raises `Broken` for an exception, `msgspec.MsgspecError`."""
    if frame.headers.get(":message-type") == "exception":
        raise Broken(f"{frame.headers.get(':exception-type')}: {frame.payload.decode(errors='replace')}")
    for each in _decode(frame.payload).transcript.results:
        window = Span(samples(each.start_time), samples(each.end_time))
        yield Result(window, not each.is_partial, each.alternatives[0].transcript if each.alternatives else "")


class AmazonLine:
    """Implements `Line`: one stream on a connection of its own."""

    def __init__(self, target: Target, http: aiohttp.ClientSession) -> None:
        self._target = target
        self._signer = Signer(target.api_key)
        self._buffer = bytearray()
        self._status = 0
        self._ended = False
        self._window = asyncio.Event()
        self._state: Any = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        host, _, port = self._target.address.rpartition(":")
        tls = self._target.tls()
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        try:
            self._reader, self._writer = await asyncio.open_connection(host, int(port), ssl=tls)
        except (OSError, ValueError) as error:
            raise EngineError(f"cannot reach {self._target.url}: {error}") from error
        self._state = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._state.initiate_connection()
        self._state.send_headers(STREAM, self._head())
        await self._flush()
        while not self._status:
            try:
                await self._receive()
            except Broken as error:
                raise EngineError(f"{self._target.url}: {error}") from error
        if self._status in OVER_CAPACITY:
            raise Refused
        if self._status != 200:
            while not self._ended:
                await self._receive()
            reason = self._buffer.decode(errors="replace")
            raise CallerError(f"{self._target.url} refused the stream: {self._status} {reason}")

    def _head(self) -> list[tuple[str, str]]:
        options = {
            "language-code": LANGUAGE,
            "language-model-name": self._target.model,
            "media-encoding": "pcm",
            "sample-rate": str(SAMPLE_RATE),
            "session-id": str(uuid.uuid4()),  # so that no two streams have one signature
        }
        headers = {f"x-amzn-transcribe-{name}": value for name, value in options.items()}
        signed = self._signer.opening(PATH, {"host": self._target.address, **headers}, utc_now())
        authority = signed.pop("host")
        pseudo = {":method": "POST", ":scheme": "https" if self._target.secure else "http", ":path": PATH}
        return [*pseudo.items(), (":authority", authority), *signed.items()]

    async def send(self, pcm: bytes) -> None:
        await self._say(self._signer.event(audio_event(pcm), utc_now()))

    async def finish(self) -> None:
        await self._say(self._signer.event(b"", utc_now()), end=True)

    async def _say(self, data: bytes, *, end: bool = False) -> None:
        """Send data as far as the peer's flow control window allows; the reading task reports when the window grows."""
        while data or end:
            if self._ended:
                raise Broken("closed before its end")
            room = min(self._state.local_flow_control_window(STREAM), self._state.max_outbound_frame_size)
            if not room:
                self._window.clear()
                await self._window.wait()
                continue
            piece, data = data[:room], data[room:]
            self._state.send_data(STREAM, piece, end_stream=end and not data)
            end = end and bool(data)
            await self._flush()

    async def results(self) -> AsyncGenerator[Result, None]:
        while True:
            try:
                for frame in whole_frames(self._buffer):
                    for result in results(frame):
                        yield result
            except (ValueError, msgspec.MsgspecError) as error:
                raise Broken(f"a message that is not of the protocol: {error}") from error
            if self._ended:
                return
            await self._receive()

    async def _receive(self) -> None:
        """Read whatever comes next. Raises `Broken`."""
        from h2 import events
        from h2.exceptions import ProtocolError

        try:
            data = await self._reader.read(READ_BYTES)
            happened = self._state.receive_data(data)
        except (OSError, ProtocolError) as error:
            self._end()
            raise Broken(f"{type(error).__name__}: {error}") from error
        for event in happened:
            match event:
                case events.ResponseReceived():
                    self._status = int(dict(event.headers)[b":status"])
                case events.DataReceived():
                    self._buffer += event.data
                    self._state.acknowledge_received_data(event.flow_controlled_length, STREAM)
                case events.WindowUpdated() | events.RemoteSettingsChanged():
                    self._window.set()
                case events.StreamEnded():
                    self._end()
                case events.StreamReset():
                    self._end()
                    raise Broken(f"reset with {event.error_code}")
        await self._flush()
        if not data and not self._ended:
            self._end()
            raise Broken("the connection was lost")

    def _end(self) -> None:
        self._ended = True
        self._window.set()

    async def _flush(self) -> None:
        assert self._writer is not None
        if data := self._state.data_to_send():
            self._writer.write(data)
            await self._writer.drain()

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
