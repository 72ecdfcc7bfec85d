"""A live stream's bytes become 16 kHz int16 as they arrive.

Raw samples, also after a plain WAV header, are converted here; Opus packets and other containers in a decoder process.
What a message leaves incomplete (half a sample, half a page) waits for the next: nothing is dropped.
"""

import asyncio
from typing import Protocol

from antiphon.audio.channel import Channel
from antiphon.audio.decode import DecodeLimits, Decoder
from antiphon.audio.frames import Kind
from antiphon.audio.g711 import alaw_to_pcm, mulaw_to_pcm
from antiphon.audio.resample import Resampler, check_shape
from antiphon.audio.signatures import begins_container, begins_packed
from antiphon.audio.wav import HEADER_BYTES, Bytes, PlainWav, begins_wav, chunk_bytes, endless, plain_header
from antiphon.core.audio import BYTES_PER_MS, BYTES_PER_SAMPLE, SAMPLE_RATE, AudioFormat, Encoding
from antiphon.core.errors import BadMedia, InternalError, TooLarge

_PIECE_BYTES = 256 * 1024
_SAMPLE_FORMATS = {
    Encoding.LINEAR16: ("s16", 2),
    Encoding.LINEAR32: ("flt", 4),
    Encoding.MULAW: ("s16", 1),
    Encoding.ALAW: ("s16", 1),
}


def most_pcm_bytes(data_bytes: int, audio_format: AudioFormat, multichannel: bool, limits: DecodeLimits) -> int:
    """Return how many bytes so many bytes without a container become at most, all channels together."""
    if audio_format.encoding not in _SAMPLE_FORMATS:
        return limits.max_burst_ms * BYTES_PER_MS
    frame_bytes = _SAMPLE_FORMATS[audio_format.encoding][1] * audio_format.channels
    parts = audio_format.channels if multichannel else 1
    pcm_bytes = data_bytes // frame_bytes * SAMPLE_RATE // audio_format.sample_rate * BYTES_PER_SAMPLE * parts
    return min(pcm_bytes, limits.max_audio_ms * BYTES_PER_MS)


class _Path(Protocol):
    @property
    def channels(self) -> int | None: ...

    async def feed(self, data: bytes) -> list[bytes]: ...

    async def finish(self) -> list[bytes]: ...

    def close(self) -> None: ...


class LiveDecoder:
    """The decoder of one stream. `channels` is how many parts `feed` and `finish` return: known at once for raw
    samples, for containers once the first audio has come; until then `None`, and no parts. Mixed down to one unless
    `multichannel`.

    Calls must not overlap. After an error only `close` may follow; it may be called at any time, and more than once.
    """

    def __init__(self, decoder: Decoder, audio_format: AudioFormat, *, multichannel: bool = False) -> None:
        """Choose the decoder. Raises `BadMedia` if the declared rate or channel count is out of range."""
        self._max_audio_ms = decoder.limits.max_audio_ms
        self._multichannel = multichannel
        self._begins = False  # whether a header may still come before samples
        if audio_format.encoding in _SAMPLE_FORMATS:
            self._path: _Path = _Raw(audio_format, multichannel, self._max_audio_ms)
            self._begins = True
        elif audio_format.encoding is Encoding.OPUS:
            check_shape(SAMPLE_RATE, audio_format.channels)
            self._path = _Guarded(decoder, multichannel, audio_format.channels)
        else:
            self._path = _Container(decoder, multichannel)

    @property
    def channels(self) -> int | None:
        return self._path.channels

    async def feed(self, data: bytes) -> list[bytes]:
        """Return the new samples of each channel, of equal length, possibly empty.

        Raises `BadMedia` or `TooLarge`; for containers also `CapacityError`, `EngineError` or `InternalError`.
        """
        if self._begins and data:
            self._begins = False
            # Clients send files and declare an encoding as well, which would make noise of them. Only a header that
            # needs no decoder process counts, since no place for one is held.
            if begins_packed(data):
                raise BadMedia(
                    "The audio is a file (WebM, Ogg, FLAC, MP4 or MP3), not the raw samples that were declared."
                )
            if not self._multichannel and plain_header(data) is not None:
                self._path = _Wav(multichannel=False, max_audio_ms=self._max_audio_ms)
        return await self._path.feed(data)

    async def finish(self) -> list[bytes]:
        """Return the last samples. Raises `BadMedia` if a container held none at all."""
        return await self._path.finish()

    def close(self) -> None:
        self._path.close()


class _Raw:
    """Headerless samples, as declared. linear32 is 32-bit floating point (Deepgram's `encoding`)."""

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
            raise TooLarge("The audio exceeds the maximum length.")
        parts = [bytearray() for _ in range(self.channels)]
        for start in range(0, len(data), _PIECE_BYTES):
            for part, new in zip(parts, self._convert(data[start : start + _PIECE_BYTES]), strict=True):
                part += new
            await asyncio.sleep(0)  # a whole recording must not delay the other streams
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

    def realign(self) -> None:
        """Drop half a sample: what follows begins with a whole one."""
        self._rest = b""

    async def finish(self) -> list[bytes]:
        return [b""] if self._resampler is None else self._resampler.finish()

    def close(self) -> None:
        """Do nothing: nothing is held."""


class _Container:
    """A stream whose first bytes tell its format. It may start again with a header, at the beginning of a message, as
    restarted recorders do.
    """

    def __init__(self, decoder: Decoder, multichannel: bool) -> None:
        self._decoder, self._multichannel = decoder, multichannel
        self._path: _Path | None = None
        self._count = 0  # of parts, once it is known

    @property
    def channels(self) -> int | None:
        return None if self._path is None else self._path.channels

    async def feed(self, data: bytes) -> list[bytes]:
        if self._path is None:
            if not data:
                return []
            self._path, data = self._begin(data)
        elif isinstance(self._path, _Guarded) and self._path.channels is not None and begins_container(data):
            last = await self._path.finish()
            self._path.close()
            self._path, data = self._begin(data)
            more = self._alike(await self._path.feed(data)) or [b""] * len(last)
            return [a + b for a, b in zip(last, more, strict=True)]
        return self._alike(await self._path.feed(data))

    def _alike(self, parts: list[bytes]) -> list[bytes]:
        """Return the parts. Raises `BadMedia` if they are not as many as before the stream began again."""
        self._count = self._count or len(parts)
        if parts and len(parts) != self._count:
            raise _changed()
        return parts

    def _begin(self, data: bytes) -> tuple[_Path, bytes]:
        if plain_header(data) is not None:
            return _Wav(self._multichannel, self._decoder.limits.max_audio_ms), data
        return _Guarded(self._decoder, self._multichannel), endless(data) if begins_wav(data) else data

    async def finish(self) -> list[bytes]:
        if self._path is None:
            raise BadMedia("No audio was received.")
        try:
            return self._alike(await self._path.finish())
        except BadMedia:
            if not self._count or self._path.channels is not None:
                raise
            return [b""] * self._count  # it began again, and ended before there were any samples

    def close(self) -> None:
        if self._path is not None:
            self._path.close()


def _changed() -> BadMedia:
    return BadMedia("The number of channels changes within the audio, so channels cannot be transcribed separately.")


class _Wav:
    """Plain samples after a header. The stream may be longer than its header says: after the declared samples, chunks
    without sound are skipped, a new header is obeyed, and all else is more samples.
    """

    def __init__(self, multichannel: bool, max_audio_ms: int) -> None:
        self._multichannel, self._max_audio_ms = multichannel, max_audio_ms
        self._format: AudioFormat | None = None
        self._raw: _Raw | None = None
        self._held = b""  # too short to tell what it is
        self._skip = 0  # bytes of a header or a chunk that are still to come
        self._left: int | None = 0  # declared bytes of samples that are still to come, `None` without end
        self._has_audio = False

    @property
    def channels(self) -> int | None:
        return None if self._raw is None else self._raw.channels

    async def feed(self, data: bytes) -> list[bytes]:
        out: list[bytearray] = []
        if self._left is None and begins_wav(data):
            self._left = 0
        view, self._held = memoryview(self._held + data), b""
        while view:
            if self._skip:
                view, self._skip = view[self._skip :], max(0, self._skip - len(view))
            elif self._left == 0:
                before = self._raw
                if not self._look(view):
                    self._held = bytes(view)
                    break
                await asyncio.sleep(0)  # a message of nothing but headers must not delay the other streams
                if before is not None and self._raw is not before:
                    out = _joined(out, await before.finish())
            else:
                samples = bytes(view[: self._left])
                view = view[len(samples) :]
                self._left = None if self._left is None else self._left - len(samples)
                out = _joined(out, await self._hear(samples))
        return [bytes(part) for part in out] or [b""] * (self.channels or 0)

    def _look(self, data: Bytes) -> bool:
        """Take what follows the declared samples. Returns `False` if more bytes are needed to tell what it is."""
        if begins_wav(data):
            header = plain_header(data)
            if header is None:
                if len(data) < HEADER_BYTES:
                    return False
                raise BadMedia("The stream starts again with an invalid WAV header.")
            self._open(header)
        elif chunk := chunk_bytes(data):
            self._skip = chunk
        elif len(data) < 12:
            return False
        else:
            self._left = None
        return True

    def _open(self, wav: PlainWav) -> None:
        audio_format = AudioFormat(Encoding.LINEAR16, wav.sample_rate, wav.channels)
        if self._raw is not None and audio_format == self._format:
            self._raw.realign()
        else:
            before, self._format = self.channels, audio_format
            self._raw = _Raw(audio_format, self._multichannel, self._max_audio_ms)
            if self._raw.channels != (before or self._raw.channels):
                raise _changed()
        self._skip, self._left = wav.offset, wav.data_bytes

    async def _hear(self, samples: bytes) -> list[bytes]:
        assert self._raw is not None
        parts = await self._raw.feed(samples)
        self._has_audio = self._has_audio or any(parts)
        return parts

    async def finish(self) -> list[bytes]:
        if self._raw is None or not self._has_audio:
            raise BadMedia("No audio found: the header is followed by no samples.")
        return await self._raw.finish()

    def close(self) -> None:
        """Do nothing: nothing is held."""


def _joined(parts: list[bytearray], more: list[bytes]) -> list[bytearray]:
    parts = parts or [bytearray() for _ in more]
    for part, new in zip(parts, more, strict=True):
        part += new
    return parts


class _Guarded:
    """Bytes that a decoder process reads: bare Opus packets if `opus_channels` is set, else a container."""

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
        limits = self._decoder.limits
        async with self._decoder.awaited(self._channel, limits.step_wall_s, limits.step_cpu_s):
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
