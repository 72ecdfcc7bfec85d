"""The part of a stream's audio that may still be needed, and when each part of it arrived.

Positions are samples from the start of the stream. The stream says what may be forgotten; the tape never guesses.
"""

from antiphon.core.arrivals import Arrivals
from antiphon.core.audio import BYTES_PER_SAMPLE
from antiphon.scheduler.endpoint import FRAME

SLACK = 8 * FRAME  # forgetting less than this is not worth moving memory
QUIET_BLOCKS = 3  # of a frame each: how long the quietest point must be quiet


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
        """The samples of `start..end`, which must still be held."""
        return bytes(self._pcm[(start - self.begin) * BYTES_PER_SAMPLE : (end - self.begin) * BYTES_PER_SAMPLE])

    def quietest(self, begin: int, end: int) -> int:
        """The middle of the quietest stretch of `QUIET_BLOCKS` frames in `begin..end`."""
        import numpy as np  # here, as servers without speech need none

        samples = np.frombuffer(self.cut(begin, end), dtype="<i2").astype(np.float64)
        blocks = np.square(samples[: len(samples) // FRAME * FRAME]).reshape(-1, FRAME).sum(axis=1)
        loudness = np.convolve(blocks, np.ones(QUIET_BLOCKS), mode="valid")
        return begin + int(np.argmin(loudness)) * FRAME + QUIET_BLOCKS * FRAME // 2

    def forget(self, before: int) -> None:
        """What came before that position is not needed any more."""
        if before - self.begin > SLACK:
            del self._pcm[: (before - self.begin) * BYTES_PER_SAMPLE]
            self.begin = before
        self._arrivals.forget(before)
