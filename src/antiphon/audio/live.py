"""A live stream's bytes to 16 kHz int16, as they arrive.

Raw samples, also those behind a plain WAV header, are converted here, in place; Opus packets and other containers in a
decoder process of their own. What a message leaves over (half a sample, half a page) waits for the next: nothing is
dropped.
"""

import asyncio
from typing import Protocol

from antiphon.audio.decode import Channel, Decoder, bounded
from antiphon.audio.frames import Kind
from antiphon.audio.g711 import alaw_to_pcm, mulaw_to_pcm
from antiphon.audio.resample import Resampler, check_shape
from antiphon.audio.wav import PlainWav, plain_header
from antiphon.core.audio import SAMPLE_RATE, AudioFormat, Encoding
from antiphon.core.errors import BadMedia, InternalError, TooLarge

_PIECE_BYTES = 256 * 1024
_SAMPLE_FORMATS = {
    Encoding.LINEAR16: ("s16", 2),
    Encoding.LINEAR32: ("flt", 4),
    Encoding.MULAW: ("s16", 1),
    Encoding.ALAW: ("s16", 1),
}


class _Path(Protocol):
    @property
    def channels(self) -> int | None: ...

    async def feed(self, data: bytes) -> list[bytes]: ...

    async def finish(self) -> list[bytes]: ...

    def close(self) -> None: ...


class LiveDecoder:
    """One stream. `channels` is how many parts `feed` and `finish` return: known at once for raw samples, for
    containers once the first audio has come out; `None`, and no parts, until then. Mixed down to one unless
    `multichannel`.

    Calls must not overlap. After an error only `close` may follow; it may be called at any time, and more than once.
    """

    def __init__(self, decoder: Decoder, audio_format: AudioFormat, *, multichannel: bool = False) -> None:
        """Raises `BadMedia` when the declared rate or channel count is out of range."""
        if audio_format.encoding in _SAMPLE_FORMATS:
            self._path: _Path = _Raw(audio_format, multichannel, decoder.limits.max_audio_ms)
        elif audio_format.encoding is Encoding.OPUS:
            check_shape(SAMPLE_RATE, audio_format.channels)
            self._path = _Guarded(decoder, multichannel, audio_format.channels)
        else:
            self._path = _Container(decoder, multichannel)

    @property
    def channels(self) -> int | None:
        return self._path.channels

    async def feed(self, data: bytes) -> list[bytes]:
        """All that `data` makes audible: new samples of each channel, of equal length, possibly empty.

        Raises `BadMedia` or `TooLarge`; for containers also `CapacityError`, `EngineError` or `InternalError`.
        """
        return await self._path.feed(data)

    async def finish(self) -> list[bytes]:
        """The last samples; raises `BadMedia` when a container held none at all."""
        return await self._path.finish()

    def close(self) -> None:
        self._path.close()


class _Raw:
    """Headerless samples, as declared: linear32 is 32-bit floating point (Deepgram's `encoding`)."""

    def __init__(self, audio_format: AudioFormat, multichannel: bool, max_audio_ms: int) -> None:
        channels, rate = audio_format.channels, audio_format.sample_rate
        check_shape(rate, channels)
        self.channels = channels if multichannel else 1
        name, sample_bytes = _SAMPLE_FORMATS[audio_format.encoding]
        self._frame_bytes = sample_bytes * channels
        self._max_bytes = max_audio_ms * rate // 1000 * self._frame_bytes // self.channels
        self._expand = {Encoding.MULAW: mulaw_to_pcm, Encoding.ALAW: alaw_to_pcm}.get(audio_format.encoding)
        self._rest = b""
        self._resampler = None
        if (name, rate, channels) != ("s16", SAMPLE_RATE, 1):
            self._resampler = Resampler(
                sample_format=name, layout=f"{channels}c", rate=rate, channels=channels, split=multichannel
            )

    async def feed(self, data: bytes) -> list[bytes]:
        if len(data) <= _PIECE_BYTES:
            return self._convert(data)
        if len(data) > self._max_bytes:
            raise TooLarge("The audio is longer than is allowed.")
        parts = [bytearray() for _ in range(self.channels)]
        for start in range(0, len(data), _PIECE_BYTES):
            for part, new in zip(parts, self._convert(data[start : start + _PIECE_BYTES]), strict=True):
                part += new
            await asyncio.sleep(0)  # a whole recording must not hold the other streams up
        return [bytes(part) for part in parts]

    def _convert(self, data: bytes) -> list[bytes]:
        if self._rest:
            data, self._rest = self._rest + data, b""
        if over := len(data) % self._frame_bytes:
            data, self._rest = data[:-over], data[-over:]
        if self._expand is not None:
            data = self._expand(data)
        if self._resampler is None:
            return [data]
        return self._resampler.push_bytes(data) if data else [b""] * self.channels

    async def finish(self) -> list[bytes]:
        return [b""] if self._resampler is None else self._resampler.finish()

    def close(self) -> None:
        """Nothing is held."""


class _Container:
    """A stream whose first bytes say what it is."""

    def __init__(self, decoder: Decoder, multichannel: bool) -> None:
        self._decoder, self._multichannel = decoder, multichannel
        self._path: _Path | None = None

    @property
    def channels(self) -> int | None:
        return None if self._path is None else self._path.channels

    async def feed(self, data: bytes) -> list[bytes]:
        if self._path is None:
            if not data:
                return []
            plain = plain_header(data)
            if plain is None:
                self._path = _Guarded(self._decoder, self._multichannel)
            else:
                self._path = _Wav(plain, self._multichannel, self._decoder.limits.max_audio_ms)
        return await self._path.feed(data)

    async def finish(self) -> list[bytes]:
        if self._path is None:
            raise BadMedia("There is no audio in it: not one byte came.")
        return await self._path.finish()

    def close(self) -> None:
        if self._path is not None:
            self._path.close()


class _Wav(_Raw):
    """Plain samples behind a header, up to the length it tells."""

    def __init__(self, wav: PlainWav, multichannel: bool, max_audio_ms: int) -> None:
        super().__init__(AudioFormat(Encoding.LINEAR16, wav.sample_rate, wav.channels), multichannel, max_audio_ms)
        self._skip, self._left = wav.offset, wav.data_bytes
        self._heard = False

    async def feed(self, data: bytes) -> list[bytes]:
        data, self._skip = data[self._skip :], 0
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        self._heard = self._heard or len(data) >= self._frame_bytes
        return await super().feed(data)

    async def finish(self) -> list[bytes]:
        if not self._heard:
            raise BadMedia("There is no audio in it: its header is followed by no samples.")
        return await super().finish()


class _Guarded:
    """Bytes that a decoder process reads: bare Opus packets when `opus_channels` is set, or a container."""

    def __init__(self, decoder: Decoder, multichannel: bool, opus_channels: int = 0) -> None:
        self.channels: int | None = None
        self._decoder, self._split, self._opus_channels = decoder, multichannel, opus_channels
        self._channel: Channel | None = None

    async def feed(self, data: bytes) -> list[bytes]:
        return await self._exchange(Kind.DATA, data, until=Kind.MORE) if data else self._empty()

    async def finish(self) -> list[bytes]:
        return await self._exchange(Kind.END, b"", until=Kind.DONE)

    def close(self) -> None:
        if self._channel is not None:
            channel, self._channel = self._channel, None
            self._decoder.close_live(channel)

    def _empty(self) -> list[bytes]:
        return [b""] * (self.channels or 0)

    async def _exchange(self, kind: Kind, data: bytes, until: Kind) -> list[bytes]:
        if self._channel is None:
            self._channel = await self._decoder.open_live(split=self._split, opus_channels=self._opus_channels)
        parts: list[bytearray] = [bytearray() for _ in range(self.channels or 0)]
        async with bounded(self._decoder.limits.step_wall_s):
            await self._channel.send(kind, data)
            while True:
                got, pcm = await self._channel.receive()
                if got is until:
                    return [bytes(part) for part in parts]
                if got is not Kind.PCM or len(pcm) != (self.channels or len(pcm)):
                    raise InternalError("A decoder process broke its protocol.")
                if self.channels is None:
                    self.channels = len(pcm)
                    parts = [bytearray() for _ in pcm]
                for part, plane in zip(parts, pcm, strict=True):
                    part += plane
