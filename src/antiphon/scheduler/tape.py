"""The part of a stream's audio that may still be needed, and when it arrived.

Positions are samples from the start of the stream. The stream decides what to drop.
"""

from antiphon.core.arrivals import Arrivals
from antiphon.core.audio import BYTES_PER_SAMPLE
from antiphon.scheduler.endpoint import FRAME

SLACK = 8 * FRAME  # dropping less is not worth moving memory
QUIET_BLOCKS = 3  # of a frame each: the length of the quietest stretch


class Tape:
    """16 kHz mono int16 audio from the position `begin` to the last sample received."""

    def __init__(self) -> None:
        self.begin = 0
        self._pcm = bytearray()
        self._arrivals = Arrivals()
        self.arrival_ns = self._arrivals.at_ns

    @property
    def end(self) -> int:
        """Samples received so far."""
        return self._arrivals.received

    def append(self, pcm: bytes, now_ns: int) -> None:
        self._pcm += pcm
        self._arrivals.add(len(pcm) // BYTES_PER_SAMPLE, now_ns)

    def cut(self, start: int, end: int) -> bytes:
        """Return the samples of `start..end`, which must still be on the tape."""
        return bytes(self._pcm[(start - self.begin) * BYTES_PER_SAMPLE : (end - self.begin) * BYTES_PER_SAMPLE])

    def quietest(self, begin: int, end: int) -> int:
        """Return the middle of the quietest stretch of `QUIET_BLOCKS` frames in `begin..end`."""
        import numpy as np  # here, as servers without speech need none

        samples = np.frombuffer(self.cut(begin, end), dtype="<i2").astype(np.float64)
        blocks = np.square(samples[: len(samples) // FRAME * FRAME]).reshape(-1, FRAME).sum(axis=1)
        loudness = np.convolve(blocks, np.ones(QUIET_BLOCKS), mode="valid")
        return begin + int(np.argmin(loudness)) * FRAME + QUIET_BLOCKS * FRAME // 2

    def forget(self, before: int) -> None:
        """Drop the audio before a position."""
        if before - self.begin > SLACK:
            del self._pcm[: (before - self.begin) * BYTES_PER_SAMPLE]
            self.begin = before
        self._arrivals.forget(before)
