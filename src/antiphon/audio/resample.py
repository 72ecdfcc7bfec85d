"""Conversion from any rate, channel count and sample format to 16 kHz int16, as a stream.

It uses libswresample, whose filter holds back 1 to 2 ms of audio, where soxr's stream holds back up to 115 ms at 8 kHz.
The filter graph is made here, because that of `av.AudioResampler` starts a thread.
"""

from fractions import Fraction

import av
from av.filter import Graph
from av.filter.context import FilterContext

from antiphon.audio.mix import Mixer
from antiphon.core.audio import MAX_CHANNELS, MAX_RATE, MIN_RATE, SAMPLE_RATE
from antiphon.core.errors import BadMedia


def check_shape(rate: int, channels: int) -> None:
    """Check rate (Hz) and channel count. Raises `BadMedia` if no honest recording has them."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise BadMedia(f"The audio has a sample rate of {rate} Hz; {MIN_RATE} to {MAX_RATE} Hz are supported.")
    if not 1 <= channels <= MAX_CHANNELS:
        raise BadMedia(f"The audio has {channels} channels; 1 to {MAX_CHANNELS} are supported.")


def to_house_rate(pcm: bytes, rate: int) -> bytes:
    """Convert a whole 16-bit mono recording at `rate` Hz to 16 kHz."""
    resampler = Resampler(sample_format="s16", layout="mono", rate=rate, channels=1, split=False)
    return b"".join((*resampler.push_bytes(pcm), *resampler.finish()))


class Resampler:
    """The conversion of one stream. Frames must keep the shape of the first: see `accepts`.

    Output is one bytes object per channel: all of them if `split`, otherwise one, mixed down (see `mix`).
    """

    def __init__(self, *, sample_format: str, layout: str, rate: int, channels: int, split: bool) -> None:
        check_shape(rate, channels)
        self._shape = (sample_format, layout, rate)
        self._frame_bytes = av.AudioFormat(sample_format).bytes * channels
        self._count, self.channels = channels, channels if split else 1
        graph = Graph()
        graph.threads = 1
        source = graph.add(
            "abuffer",
            sample_rate=str(rate),
            sample_fmt=sample_format,
            channel_layout=layout,
            time_base=str(Fraction(1, rate)),
        )
        self._in_mix = _channels_in_mix(layout, channels)
        self._mixer = None if split or channels == 1 else Mixer(len(self._in_mix))
        if self._mixer is None:
            self._sinks = [_sink(graph, source, 0, layout)]
        else:
            both = mono = graph.add("asplit")
            source.link_to(both)
            if _undeclared(layout, channels):  # FFmpeg would take the third of them for a subwoofer
                mono = graph.add("pan", "mono|c0<" + "+".join(f"c{n}" for n in range(channels)))
                both.link_to(mono, output_idx=0)
            self._sinks = [_sink(graph, mono, 0, "mono"), _sink(graph, both, 1, layout)]
        graph.configure()
        # The filters refer to their graph weakly: it lives as long as this object holds it.
        self._graph, self._source = graph, source

    def accepts(self, frame: av.AudioFrame) -> bool:
        return (frame.format.name, frame.layout.name, frame.sample_rate) == self._shape

    def push(self, frame: av.AudioFrame) -> list[bytes]:
        """Return what is ready after `frame`: a part for each channel, possibly empty."""
        frame.pts = None
        self._source.push(frame)
        return self._drain()

    def push_bytes(self, data: bytes) -> list[bytes]:
        """Return the same for packed samples: whole sample frames, in the format and layout given at the start."""
        sample_format, layout, rate = self._shape
        frame = av.AudioFrame(format=sample_format, layout=layout, samples=len(data) // self._frame_bytes)
        frame.sample_rate = rate
        frame.planes[0].update(data)
        return self.push(frame)

    def finish(self) -> list[bytes]:
        """Return the samples that the filter still held. Nothing may be pushed afterwards."""
        self._source.push(None)
        parts = self._drain()
        return parts if self._mixer is None else [parts[0] + self._mixer.finish()]

    def _drain(self) -> list[bytes]:
        if self._mixer is None:
            return _pulled(self._sinks[0], self.channels)
        mix, channels = (_pulled(sink, count) for sink, count in zip(self._sinks, (1, self._count), strict=True))
        return [self._mixer.push(mix[0], [channels[n] for n in self._in_mix])]


def _undeclared(layout: str, channels: int) -> bool:
    """Return whether the purpose of each channel is unknown."""
    return layout in (f"{channels}c", f"{channels} channels")


def _channels_in_mix(layout: str, channels: int) -> list[int]:
    """Return the channels that FFmpeg mixes down: all except low frequencies."""
    if _undeclared(layout, channels):
        return list(range(channels))
    return [n for n, channel in enumerate(av.AudioLayout(layout).channels) if channel.name not in ("LFE", "LFE2")]


def _sink(graph: Graph, source: FilterContext, output: int, layout: str) -> FilterContext:
    """Return a sink for that output of a filter: 16 kHz int16."""
    wanted = graph.add("aformat", sample_rates=str(SAMPLE_RATE), sample_fmts="s16p", channel_layouts=layout)
    sink = graph.add("abuffersink")
    source.link_to(wanted, output_idx=output)
    wanted.link_to(sink)
    return sink


def _pulled(sink: FilterContext, channels: int) -> list[bytes]:
    """Return what is ready there, for each channel."""
    parts: list[list[bytes]] = [[] for _ in range(channels)]
    while True:
        try:
            frame = sink.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return [b"".join(part) for part in parts]
        assert isinstance(frame, av.AudioFrame)
        length = frame.samples * 2
        for part, plane in zip(parts, frame.planes, strict=False):
            part.append(bytes(plane)[:length])
