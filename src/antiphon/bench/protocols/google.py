"""Google's `StreamingRecognize`, version 2, over gRPC. Its few messages are encoded and decoded here, field by field,
so that neither Google's library nor message definitions are needed. Interim results have no start: they cover the audio
since the last final.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from typing import Any

import aiohttp

from antiphon.bench.protocols.line import LANGUAGE, Broken, Refused, Result, Target, samples
from antiphon.bench.speech import Span
from antiphon.core.audio import SAMPLE_RATE
from antiphon.core.errors import CallerError, EngineError

METHOD = "/google.cloud.speech.v2.Speech/StreamingRecognize"
RECOGNIZER = "projects/bench/locations/global/recognizers/_"
MAX_AUDIO_BYTES = 25_600  # of audio in a message: Google's own limit
SETTLE_S = 0.5  # a refusal comes at once, as the stream's status; acceptance is not reported
LINEAR16 = 1
# The silence that ends an utterance is one of three.
_SENSITIVITIES = ((200, 2), (300, 3), (1 << 31, 1))
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# -- messages ----------------------------------------------------------------------------------------------------------


def field(number: int, value: bytes | str | int) -> bytes:
    """Return one encoded field of a message (protobuf.dev/programming-guides/encoding)."""
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield the fields of a message, by number. Raises `ValueError` if it is invalid."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _read_varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _read_varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("a field of an unknown kind")
        if at + size > len(message):
            raise ValueError("a field that is cut off")
        yield number, message[at : at + size]
        at += size


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError("a number that is cut off")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _found(message: bytes, number: int) -> list[bytes]:
    return [value for found, value in fields(message) if found == number and isinstance(value, bytes)]


def first_request(target: Target) -> bytes:
    """Return the first message of a stream, which has the configuration."""
    decoding = field(1, LINEAR16) + field(2, SAMPLE_RATE) + field(3, 1)
    wanted = field(2, 1) + field(4, 1)  # times of words, punctuation
    config = field(8, decoding) + field(9, target.model) + field(10, LANGUAGE) + field(2, wanted)
    sensitivity = next(value for most, value in _SENSITIVITIES if target.endpointing_ms <= most)
    streaming = field(1, config) + field(2, field(2, 1) + field(8, sensitivity))  # with interims
    return field(3, RECOGNIZER) + field(6, streaming)


class Reader:
    """The reader of one stream's results, one response after another."""

    def __init__(self) -> None:
        self._end = 0  # of the last final, in samples

    def read(self, response: bytes) -> Iterator[Result]:
        """Yield the results of a response. Raises `ValueError` if it is invalid."""
        for result in _found(response, 6):
            alternatives = _found(result, 1)
            texts = [text.decode() for text in _found(alternatives[0], 1)] if alternatives else []
            starts = (
                [_seconds(each) for word in _found(alternatives[0], 3) for each in _found(word, 1)]
                if alternatives
                else []
            )
            end = samples(next(map(_seconds, _found(result, 4)), 0.0))
            final = (2, 1) in fields(result)
            start = samples(starts[0]) if starts else min(self._end, end)
            if final:
                self._end = end
            yield Result(Span(start, end), final, "".join(texts))


def _seconds(duration: bytes) -> float:
    found = dict(fields(duration))
    seconds, nanos = found.get(1, 0), found.get(2, 0)
    assert isinstance(seconds, int)
    assert isinstance(nanos, int)
    return seconds + nanos / 1e9


# -- the stream --------------------------------------------------------------------------------------------------------


class GoogleLine:
    """Implements `Line`: one stream on a connection of its own."""

    def __init__(self, target: Target, http: aiohttp.ClientSession) -> None:
        self._target = target
        self._reader = Reader()
        self._channel: Any = None
        self._call: Any = None
        self._over: asyncio.Future[Any]

    async def open(self) -> None:
        grpc = _grpc()
        options = (("grpc.use_local_subchannel_pool", 1),)
        address = self._target.address
        if self._target.secure:
            self._channel = grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(), options)
        else:
            self._channel = grpc.aio.insecure_channel(address, options)
        self._call = self._channel.stream_stream(METHOD)(metadata=(("x-goog-api-key", self._target.api_key),))
        self._over = asyncio.ensure_future(self._call.code())
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # if it has ended already
            await self._call.write(first_request(self._target))
        done, _ = await asyncio.wait((self._over,), timeout=SETTLE_S)
        if not done:
            return
        code, details = self._over.result(), await self._call.details()
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise Refused
        if code is grpc.StatusCode.UNAVAILABLE:
            raise EngineError(f"cannot reach {self._target.url}: {details}")
        raise CallerError(f"{self._target.url} refused the stream: {code.name} {details}")

    async def send(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), MAX_AUDIO_BYTES):
            await self._write(field(5, pcm[at : at + MAX_AUDIO_BYTES]))

    async def finish(self) -> None:
        await self._call.done_writing()

    async def _write(self, request: bytes) -> None:
        grpc = _grpc()
        try:
            await self._call.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise Broken(f"closed before its end: {error}") from error

    async def results(self) -> AsyncGenerator[Result, None]:
        grpc = _grpc()
        try:
            async for response in self._call:
                for result in self._reader.read(response):
                    yield result
        except grpc.aio.AioRpcError as error:
            raise Broken(f"closed with {error.code().name}") from error
        except ValueError as error:
            raise Broken(f"a message that is not of the protocol: {error}") from error

    async def close(self) -> None:
        if self._call is not None:
            self._call.cancel()
        if self._channel is not None:
            await self._channel.close()


def _grpc() -> Any:
    """Return the package `grpc`. Raises `CallerError` if it is not installed."""
    try:
        import grpc
        import grpc.aio
    except ImportError as error:
        raise CallerError("this protocol needs gRPC: pip install 'antiphon[grpc]'") from error
    return grpc
