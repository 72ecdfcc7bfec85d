"""What one decoder process does with one caller's bytes: containers and Opus packets become 16 kHz int16.

It runs within the limits that `worker` has set, on input that may be hostile. All that it opens is listed here: no
other demuxer or codec is reachable, so neither are playlists, concatenations, pictures and subtitles.
"""

import contextlib
import io
import os
import resource
import socket
import wave
from collections.abc import Callable, Iterator
from typing import Any

import av
import av.subtitles.codeccontext
import av.subtitles.stream
import av.video.codeccontext
import av.video.stream  # PyAV imports these four when it meets such a stream; inside the limits it no longer could

from antiphon.audio.frames import HEADER, PID, Job, Kind, Verdict, header
from antiphon.audio.resample import Resampler, check_shape
from antiphon.audio.signatures import begins_container
from antiphon.audio.wav_file import recordings
from antiphon.core.audio import BYTES_PER_MS
from antiphon.core.errors import AntiphonError, BadMedia, TooLarge

DEMUXERS = ("aac", "flac", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "mp3", "mpeg", "ogg", "wav")
CODECS = (
    *("aac", "alac", "flac", "mp1float", "mp2", "mp2float", "mp3", "mp3float", "opus", "vorbis"),
    *("pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
    *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_mulaw", "pcm_alaw"),
    *("adpcm_ima_wav", "adpcm_ms", "gsm_ms"),  # of telephone recorders
)
# 24 bits in 32: FFmpeg takes them for an old editor's floating point, but recorders write integers, with the lowest
# bits 0 (Microsoft, WAVEFORMATEXTENSIBLE: valid bits are the highest of their container).
_INTEGERS = {"pcm_f24le": "pcm_s32le"}
# FFmpeg reads the header of a big-endian WAV file, and then takes its samples for little-endian ones.
_BIG_ENDIAN_WAV = b"RIFX"
_BIG_ENDIAN = {f"pcm_{kind}le": f"pcm_{kind}be" for kind in ("s16", "s24", "s32", "f32", "f64")}
_OPTIONS = {
    "format_whitelist": ",".join(DEMUXERS),
    "codec_whitelist": ",".join(CODECS),
    "protocol_whitelist": "none",
    "threads": "1",
    "max_streams": "16",
    # Do not test every packet of a plain wav for another format: that takes ten times as long as decoding.
    "max_probe_packets": "1",
}
# A live stream must not wait for seconds of audio before its first sample.
_LIVE_OPTIONS = {"analyzeduration": "1", "probesize": "4096", "formatprobesize": "65536", "max_size": "1024"}

_MP4_MAGIC = b"ftyp"  # after four bytes of length
_PART_BYTES = 65_536
_BAD_PACKETS_IN_A_ROW = 64


class Gone(Exception):
    """The server has closed the socket: nobody waits for the result."""


class Link:
    """The decoder's end of the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def receive(self) -> tuple[Kind, bytearray]:
        kind, _, length = HEADER.unpack(self._exactly(HEADER.size))
        return Kind(kind), self._exactly(length)

    def send(self, kind: Kind, payload: bytes = b"", channels: int = 0) -> None:
        try:
            self._sock.sendall(header(kind, len(payload), channels) + payload)
        except OSError:
            raise Gone from None

    def _exactly(self, length: int) -> bytearray:
        data = bytearray(length)
        view, done = memoryview(data), 0
        while done < length:
            count = self._sock.recv_into(view[done:])
            if not count:
                raise Gone
            done += count
        return data


class LiveSource:
    """The caller's bytes as FFmpeg reads them: an endless file without seeking, whose reads ask for more."""

    def __init__(self, more: Callable[[], bytes], first: bytes) -> None:
        self._more, self._rest = more, memoryview(first)
        self._ended = not first

    def read(self, size: int) -> bytes:
        if not self._rest and not self._ended:
            self._rest = memoryview(self._more())
            self._ended = not self._rest
        part, self._rest = self._rest[:size], self._rest[size:]
        return bytes(part)


class Output:
    """Resamples decoded frames, counts them against the limit, and sends them in larger parts."""

    def __init__(self, link: Link, job: Job) -> None:
        self._link, self._job = link, job
        self._resampler: Resampler | None = None
        self._parts: list[bytearray] = []
        self._decoded_bytes = 0
        self.has_audio = False

    def add(self, frame: av.AudioFrame) -> None:
        if self._resampler is None or not self._resampler.accepts(frame):
            self._change(frame)
        assert self._resampler is not None
        self._gather(self._resampler.push(frame))

    def flush(self) -> None:
        if any(self._parts):
            self._link.send(Kind.PCM, b"".join(self._parts), len(self._parts))
            for part in self._parts:
                part.clear()

    def new_message(self) -> None:
        self._decoded_bytes = 0

    def finish(self) -> None:
        if self._resampler is not None:
            self._gather(self._resampler.finish())
        self.flush()

    def _change(self, frame: av.AudioFrame) -> None:
        """Take the first frame, or one of another shape: a recording may change its rate."""
        channels = frame.layout.nb_channels
        check_shape(frame.sample_rate, channels)
        if self._resampler is not None:
            self._gather(self._resampler.finish())
        fresh = Resampler(
            sample_format=frame.format.name,
            layout=frame.layout.name,
            rate=frame.sample_rate,
            channels=channels,
            split=self._job.split,
        )
        if self._parts and fresh.channels != len(self._parts):
            raise BadMedia(
                "The number of channels changes within the audio, so channels cannot be transcribed separately."
            )
        self._resampler = fresh
        self._parts = self._parts or [bytearray() for _ in range(fresh.channels)]

    def _gather(self, pcm: list[bytes]) -> None:
        for part, new in zip(self._parts, pcm, strict=True):
            part += new
            self._decoded_bytes += len(new)
        if any(pcm):
            self.has_audio = True
        if self._decoded_bytes > self._job.max_audio_ms * BYTES_PER_MS:
            unit = "message" if self._job.live else "recording"
            raise TooLarge(f"The {unit} decodes to more than the {self._job.max_audio_ms // 1000} s that are allowed.")
        if len(self._parts[0]) >= _PART_BYTES:
            self.flush()


class Decoding:
    """One job, from its first byte to `DONE` or `FAIL`."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._bad_packets = 0

    def run(self) -> None:
        kind, payload = self._link.receive()
        if kind is not Kind.JOB:
            raise Gone
        self._job = Job.decode(payload)
        self._output = Output(self._link, self._job)
        self._allow_cpu()
        self._link.send(Kind.MORE, PID.pack(os.getpid()))
        try:
            self._decode()
            self._output.finish()
            if not self._output.has_audio:
                raise BadMedia("No audio found: not one sample could be decoded.")
        except Gone:
            raise
        except AntiphonError as error:
            self._fail(Verdict.TOO_LARGE if isinstance(error, TooLarge) else Verdict.BAD_MEDIA, error.message)
        except MemoryError:
            self._fail(Verdict.TOO_LARGE, "Decoding it takes more memory than is allowed.")
        except av.error.FFmpegError as error:
            self._fail(*_explain(error))
        except Exception as error:
            self._fail(Verdict.DEFECT, type(error).__name__)
        else:
            self._link.send(Kind.DONE)

    def _fail(self, verdict: Verdict, message: str) -> None:
        self._link.send(Kind.FAIL, bytes([verdict]) + message.encode())

    def _allow_cpu(self) -> None:
        """Let the kernel end this process after the processor time of one recording, or one message."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = int(used.ru_utime + used.ru_stime) + 1 + self._job.cpu_s
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard if self._job.live else soft + 1))

    # -- input ---------------------------------------------------------------------------------------------------------

    def _whole(self) -> bytes:
        parts = bytearray()
        while True:
            kind, payload = self._link.receive()
            if kind is Kind.END:
                return bytes(parts)
            parts += payload

    def _message(self) -> bytes:
        """Return the caller's next message; empty at the end."""
        kind, payload = self._link.receive()
        self._output.new_message()
        self._allow_cpu()
        return b"" if kind is Kind.END else bytes(payload)

    def _next_message(self) -> bytes:
        """Return the next message, once the output of the last one has been sent."""
        self._output.flush()
        self._link.send(Kind.MORE)
        return self._message()

    # -- decoding ------------------------------------------------------------------------------------------------------

    def _decode(self) -> None:
        if not self._job.live:
            for recording in recordings(self._whole()):
                self._decode_container(io.BytesIO(recording), _OPTIONS, _substitutes(recording))
            return
        first = self._message()
        if self._job.opus_channels and not begins_container(first):
            self._decode_opus(first)
            return
        try:
            source = LiveSource(self._next_message, first)
            self._decode_container(source, _OPTIONS | _LIVE_OPTIONS, _substitutes(first))
        except av.error.FFmpegError:
            if first[4:8] != _MP4_MAGIC:
                raise
            raise BadMedia(
                "MP4 and M4A can be streamed only if fragmented or with the index at the beginning."
            ) from None

    def _decode_container(
        self, source: io.BytesIO | LiveSource, options: dict[str, str], substitutes: dict[str, str]
    ) -> None:
        with av.open(source, mode="r", options=options, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise BadMedia("No audio found that can be decoded.")
            stream = container.streams.audio[0]
            codec = stream.codec_context
            if codec is not None and codec.name in substitutes:
                codec = _as(substitutes[codec.name], codec)
            if codec is None or codec.name not in CODECS:
                raise BadMedia("The audio codec is not supported.")
            if codec.sample_rate and codec.channels:
                check_shape(codec.sample_rate, codec.channels)
            codec.thread_count = 1
            for packet in container.demux(stream):
                self._add(codec, packet)

    def _decode_opus(self, first: bytes) -> None:
        """Decode bare Opus packets (RFC 6716) as in RTP: one per message, always at 48 kHz."""
        codec = av.CodecContext.create("opus", "r")
        codec.sample_rate = 48_000
        codec.layout = f"{self._job.opus_channels}c"
        codec.thread_count = 1
        message = first
        while message:
            self._add(codec, av.Packet(message))
            message = self._next_message()

    def _add(self, codec: av.AudioCodecContext, packet: "av.Packet[Any]") -> None:
        """Decode one packet, or the codec's last samples if it is empty. Occasional damage is skipped."""
        try:
            for frame in _frames(codec, packet):
                self._output.add(frame)
            self._bad_packets = 0
        except av.error.InvalidDataError:
            self._bad_packets += 1
            if self._bad_packets > _BAD_PACKETS_IN_A_ROW:
                raise BadMedia("The audio is damaged: many packets in a row cannot be decoded.") from None


def _substitutes(data: bytes) -> dict[str, str]:
    """Return the codecs to use instead of those that FFmpeg finds in such a file."""
    return _BIG_ENDIAN if data.startswith(_BIG_ENDIAN_WAV) else _INTEGERS


def _as(name: str, declared: av.AudioCodecContext) -> av.AudioCodecContext:
    codec = av.CodecContext.create(name, "r")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate, codec.layout = declared.sample_rate, declared.layout
    return codec


def _frames(codec: av.AudioCodecContext, packet: "av.Packet[Any]") -> Iterator[av.AudioFrame]:
    for frame in codec.decode(packet if packet.size else None):
        if frame.samples:
            yield frame


def _explain(error: av.error.FFmpegError) -> tuple[Verdict, str]:
    if isinstance(error, av.error.MemoryError):
        return Verdict.TOO_LARGE, "Decoding it takes more memory than is allowed."
    return Verdict.BAD_MEDIA, (
        "It could not be read as audio: wav, mp3, mp4, m4a, mpeg, aac, flac, ogg and webm are. "
        "Headerless samples need their encoding and sample rate declared."
    )


def warm_up() -> None:
    """Do once what every decoder would repeat: build the tables of codecs and filters, from silence of our own."""
    for name in CODECS:
        codec = av.CodecContext.create(name, "r")
        codec.thread_count = 1
        if isinstance(codec, av.AudioCodecContext):
            codec.sample_rate, codec.layout = 48_000, "stereo"
        with contextlib.suppress(av.error.FFmpegError):  # some need a header to open
            codec.open()
    silence = io.BytesIO()
    with wave.open(silence, "wb") as wav:
        wav.setparams((1, 2, 8_000, 0, "NONE", ""))
        wav.writeframes(bytes(1_600))
    silence.seek(0)
    with av.open(silence, mode="r", options=_OPTIONS) as container:
        for frame in container.decode(audio=0):
            Resampler(sample_format="s16", layout="1c", rate=8_000, channels=1, split=False).push(frame)
