"""Audio output: 16-bit mono samples of any rate become every format offered, as a stream.

FFmpeg's codecs and muxers do it, set so that bytes are sent as soon as the codec has them, without waiting for a full
buffer or page. Equal samples give equal bytes, however they are split. Every container that holds tags says that the
speech is synthetic, and no caller can turn that off. All of it blocks: on one core, a second of speech costs 1 ms (pcm
at its own rate) to 15 ms (aac, opus).
"""

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import av

from antiphon.core.audio import BYTES_PER_SAMPLE, SYNTHETIC_TAGS, Codec, Container, SpeechFormat
from antiphon.core.errors import UnsupportedParameter

RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
_FLAC_FRAMES_A_SECOND = 50


@dataclass(frozen=True, slots=True)
class _Kind:
    """The muxer, encoder and sample format in FFmpeg for a codec in a container; `bit_rate` is the default."""

    muxer: str
    encoder: str
    sample_format: str = "s16"
    rates: tuple[int, ...] = RATES
    bit_rate: int | None = None
    encoder_options: dict[str, str] = field(default_factory=dict)
    muxer_options: dict[str, str] = field(default_factory=dict)


_KINDS = {
    (Codec.LINEAR16, Container.NONE): _Kind("s16le", "pcm_s16le"),
    (Codec.LINEAR16, Container.WAV): _Kind("wav", "pcm_s16le"),
    (Codec.MULAW, Container.NONE): _Kind("mulaw", "pcm_mulaw"),
    (Codec.MULAW, Container.WAV): _Kind("wav", "pcm_mulaw"),
    (Codec.ALAW, Container.NONE): _Kind("alaw", "pcm_alaw"),
    (Codec.ALAW, Container.WAV): _Kind("wav", "pcm_alaw"),
    # Without the bit reservoir no frame waits for the next; level 7 costs half of the default and suffices for speech.
    (Codec.MP3, Container.NONE): _Kind(
        *("mp3", "libmp3lame", "s16p"),
        bit_rate=64_000,
        encoder_options={"reservoir": "0", "compression_level": "7"},
    ),
    # The muxer writes a page once it has more than this many microseconds and the next packet has come.
    (Codec.OPUS, Container.OGG): _Kind(
        *("ogg", "libopus"),
        rates=_OPUS_RATES,
        bit_rate=32_000,
        muxer_options={"page_duration": "1"},
    ),
    (Codec.AAC, Container.NONE): _Kind(*("adts", "aac", "fltp"), bit_rate=48_000, muxer_options={"write_id3v2": "1"}),
    (Codec.FLAC, Container.NONE): _Kind("flac", "flac", muxer_options={"metadata_header_padding": "0"}),
}

_RESAMPLER_HOLDS_MS = 3
_OPUS_BIT_RATES = range(500, 256_001)
# Kilobits per second of a layer III frame: ISO/IEC 11172-3, 2.4.2.3, and ISO/IEC 13818-3, 2.4.2.3, for rates below 32
# kHz. The extension to 8 kHz has at most 64.
_MPEG1_LEAST_RATE = 32_000
_MPEG1_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_AAC_LEAST_BIT_RATE = 16_000  # FFmpeg's minimum
_AAC_FRAME_SAMPLES, _AAC_FRAME_BITS = 1_024, 6_144  # ISO/IEC 14496-3, 4.5.3: the most bits of a channel in a frame


def check(format: SpeechFormat) -> None:
    """Check a format. Raises `UnsupportedParameter`, with `param` naming the field of `SpeechFormat`, if no encoder
    makes it.
    """
    kind = _KINDS.get((format.codec, format.container))
    if kind is None:
        raise UnsupportedParameter(f"{format.codec} is not supported in {format.container}", param="container")
    if format.sample_rate not in kind.rates:
        offered = ", ".join(map(str, kind.rates))
        raise UnsupportedParameter(f"{format.codec} supports {offered} Hz", param="sample_rate")
    if format.bit_rate is None:
        return
    if kind.bit_rate is None:
        raise UnsupportedParameter(f"{format.codec} has no selectable bit rate", param="bit_rate")
    if format.bit_rate not in (offered_rates := _bit_rates(format)):
        raise UnsupportedParameter(
            f"{format.codec} at {format.sample_rate} Hz supports {_shown(offered_rates)} bits per second",
            param="bit_rate",
        )


class SpeechEncoder:
    """One stream of speech in one format. What the codec holds back comes with the next piece, or at the end.

    A stream's header cannot contain the length, and says so in the way of its format. With `whole`, everything is
    returned at the end instead, and the header contains the length.

    `flush_ms` of silence push out all earlier speech without an end: a stream that ended and began again would contain
    a second header, which not every player skips.
    """

    def __init__(
        self, format: SpeechFormat, rate: int, whole: bool = False, tags: Mapping[str, str] = SYNTHETIC_TAGS
    ) -> None:
        """Open the encoder. `rate` (Hz) is that of the samples to push. Only a recording of people has other `tags`.
        Raises `UnsupportedParameter`.
        """
        check(format)
        kind = _KINDS[format.codec, format.container]
        self._rate, self._whole = rate, whole
        self.flush_ms = -(-_held_samples(format) * 1000 // format.sample_rate)
        if rate != format.sample_rate:
            self.flush_ms += _RESAMPLER_HOLDS_MS
        self._sink = io.BytesIO() if whole else _Sink()
        self._container = av.open(
            self._sink,
            "w",
            format=kind.muxer,
            options={"flush_packets": "1", "fflags": "+bitexact"} | kind.muxer_options,
        )
        self._container.metadata.update(tags)
        options = {"flags": "+bitexact"} | kind.encoder_options
        if format.codec is Codec.FLAC:
            options["frame_size"] = str(format.sample_rate // _FLAC_FRAMES_A_SECOND)
        stream = self._container.add_stream(
            kind.encoder,
            rate=format.sample_rate,
            layout="mono",
            format=kind.sample_format,
            bit_rate=format.bit_rate or kind.bit_rate or 0,
            options=options,
        )
        assert isinstance(stream, av.AudioStream)
        stream.codec_context.thread_count = 1
        self._stream = stream
        stream.codec_context.open()
        self._begun = False

    def push(self, pcm: bytes) -> bytes:
        """Return what is ready after these samples (16-bit little-endian); may be empty."""
        if pcm:
            frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // BYTES_PER_SAMPLE)
            frame.sample_rate = self._rate
            frame.planes[0].update(pcm)
            with contextlib.nullcontext() if self._begun else _one_processor():
                packets = self._stream.encode(frame)
            self._begun = True
            self._container.mux(packets)
        return self._take()

    def finish(self) -> bytes:
        """Return the rest. Nothing may be pushed afterwards."""
        if self._begun:
            self._container.mux(self._stream.encode(None))
        else:
            self._container.start_encoding()
        self._container.close()
        self._whole = False
        return self._take()

    def _take(self) -> bytes:
        if self._whole:
            return b""
        data = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return data


class _Sink(io.BytesIO):
    """A stream that a muxer cannot seek in to fill in lengths."""

    def seekable(self) -> bool:
        return False


@contextlib.contextmanager
def _one_processor() -> Iterator[None]:
    """Restrict this thread to one processor. FFmpeg would give the filters before an encoder a thread for each
    processor, up to sixteen a stream, and PyAV offers no choice. They have nothing to do in parallel.
    """
    allowed: set[int] = set()
    with contextlib.suppress(AttributeError, OSError):  # only Linux has it, and a sandbox may forbid it
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        with contextlib.suppress(AttributeError, OSError):
            os.sched_setaffinity(0, allowed)


def _held_samples(format: SpeechFormat) -> int:
    """Return the most samples that a codec holds back, with the silence it puts before the first."""
    match format.codec:
        case Codec.MP3:
            return 3 * 1_152 if format.sample_rate >= _MPEG1_LEAST_RATE else 4 * 576
        case Codec.AAC:
            return 3 * _AAC_FRAME_SAMPLES
        case Codec.OPUS:
            return format.sample_rate // 20  # its frame of 20 ms, the page before, and 6.5 ms of look-ahead
        case Codec.FLAC:
            return format.sample_rate // _FLAC_FRAMES_A_SECOND
        case _:
            return 0


def _bit_rates(format: SpeechFormat) -> range | tuple[int, ...]:
    """Return the bit rates of a codec at that sample rate."""
    if format.codec is Codec.OPUS:
        return _OPUS_BIT_RATES
    if format.codec is Codec.AAC:
        most = format.sample_rate * _AAC_FRAME_BITS // _AAC_FRAME_SAMPLES
        return range(_AAC_LEAST_BIT_RATE, most + 1)
    steps = _MPEG1_KBPS if format.sample_rate >= _MPEG1_LEAST_RATE else _MPEG2_KBPS
    return tuple(1000 * step for step in steps if format.sample_rate >= 16_000 or step <= 64)


def _shown(numbers: range | tuple[int, ...]) -> str:
    return f"{numbers[0]} to {numbers[-1]}" if isinstance(numbers, range) else ", ".join(map(str, numbers))
