"""Speech-like audio in every format that callers send, made by PyAV's encoders."""

import io
import random
from array import array

import av
import numpy as np

# name -> (container, codec, sample rate, options of the muxer)
FORMATS: dict[str, tuple[str, str, int, dict[str, str]]] = {
    "wav": ("wav", "pcm_s16le", 16_000, {}),
    "wav-24bit": ("wav", "pcm_s24le", 44_100, {}),
    "wav-float": ("wav", "pcm_f32le", 48_000, {}),
    "wav-alaw": ("wav", "pcm_alaw", 16_000, {}),
    "wav-ima-adpcm": ("wav", "adpcm_ima_wav", 16_000, {}),
    "wav-ms-adpcm": ("wav", "adpcm_ms", 16_000, {}),
    "mp3": ("mp3", "libmp3lame", 44_100, {}),
    "mp4": ("mp4", "aac", 48_000, {}),
    "mp4-fragmented": ("mp4", "aac", 48_000, {"movflags": "frag_keyframe+empty_moov", "frag_duration": "200000"}),
    "m4a": ("ipod", "aac", 44_100, {}),
    "mpeg": ("mpeg", "mp2", 44_100, {}),
    "mpga": ("mp2", "mp2", 44_100, {}),
    "aac": ("adts", "aac", 44_100, {}),
    "flac": ("flac", "flac", 16_000, {}),
    "webm-opus": ("webm", "libopus", 48_000, {}),
    "ogg-opus": ("ogg", "libopus", 48_000, {"page_duration": "100000"}),
    "ogg-vorbis": ("ogg", "vorbis", 44_100, {}),
}


def murmur(seconds: float, seed: int = 1) -> bytes:
    """16 kHz int16: smoothed noise in syllables, which no two stretches of share a shape."""
    rng = random.Random(seed)
    out, level, low, lower = array("h"), 0.0, 0.0, 0.0
    for index in range(int(seconds * 16_000)):
        if index % 1_600 == 0:
            level = rng.uniform(0.1, 1.0)
        low += 0.2 * (rng.uniform(-1, 1) - low)
        lower += 0.2 * (low - lower)
        out.append(int(32_000 * level * lower))
    return out.tobytes()


def encode(pcm: bytes, name: str, *, channels: int = 1, opposed: bool = False) -> bytes:
    """`pcm` (16 kHz int16) as a file in format `name`; with two channels the second is silent, or takes the first away
    where both are added.
    """
    container_name, codec, rate, options = FORMATS[name]
    layout = "stereo" if channels == 2 else "mono"
    file = io.BytesIO()
    with av.open(file, "w", format=container_name, options=options) as container:
        # FFmpeg's own Vorbis encoder, the only one at hand, is marked experimental and wants two channels.
        extra = {"strict": "-2"} if codec == "vorbis" else {}
        stream = container.add_stream(codec, rate=rate, layout="stereo" if codec == "vorbis" else layout, options=extra)
        context = stream.codec_context
        resampler = av.AudioResampler(context.format, context.layout, rate, frame_size=context.frame_size or 1_024)
        frame = av.AudioFrame(format="s16", layout=layout, samples=len(pcm) // 2)
        frame.sample_rate = 16_000
        frame.planes[0].update(pcm if channels == 1 else _stereo(pcm, opposed))
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.getvalue()


def opus_packets(pcm: bytes, *, channels: int = 1, opposed: bool = False) -> list[bytes]:
    """Bare Opus packets of 20 ms, as they stand in RTP."""
    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format = 48_000, "stereo" if channels == 2 else "mono", "s16"
    codec.open()
    resampler = av.AudioResampler("s16", codec.layout, 48_000, frame_size=960)
    frame = av.AudioFrame(format="s16", layout=codec.layout.name, samples=len(pcm) // 2)
    frame.sample_rate = 16_000
    frame.planes[0].update(pcm if channels == 1 else _stereo(pcm, opposed))
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    return [bytes(packet) for part in [*parts, None] for packet in codec.encode(part)]


def likeness(got: bytes, wanted: bytes, *, within: int = 1_600) -> float:
    """The highest correlation (1 is equal) of the two over delays of up to `within` samples."""
    ours = np.frombuffer(got, np.int16).astype(np.float64)
    theirs = np.frombuffer(wanted, np.int16).astype(np.float64)[within : len(ours) - within]
    size = len(ours) + len(theirs)
    dots = np.fft.irfft(np.fft.rfft(ours, size) * np.conj(np.fft.rfft(theirs, size)), size)[: 2 * within]
    sums = np.concatenate(([0.0], np.cumsum(ours**2)))
    energies = sums[len(theirs) : len(theirs) + 2 * within] - sums[: 2 * within]
    return float(np.max(dots / np.sqrt(energies * np.sum(theirs**2) + 1)))


def _stereo(pcm: bytes, opposed: bool) -> bytes:
    both = array("h", bytes(2 * len(pcm)))
    both[0::2] = array("h", pcm)
    if opposed:
        both[1::2] = array("h", (-sample for sample in array("h", pcm)))
    return both.tobytes()
