"""The part of a stream's audio that may still be needed, and when each part of it arrived.

Positions are samples from the start of the stream. The stream says what may be forgotten; the tape never guesses.
"""

from collections import deque

from antiphon.core.audio import BYTES_PER_SAMPLE, SAMPLE_RATE
from antiphon.core.units import NS_PER_S
from antiphon.scheduler.endpoint import FRAME

SLACK = 8 * FRAME  # forgetting less than this is not worth moving memory
HEAD_START_NS = 5 * NS_PER_S
QUIET_BLOCKS = 3  # of a frame each: how long the quietest point must be quiet


class Tape:
    """16 kHz mono int16 audio from some position to the last sample received.

    Audio counts as arrived no sooner than `HEAD_START_NS` before it could have been spoken: one who sends faster than
    that gets what is left over from those who speak, and is not late for not having been served first.
    """

    def __init__(self) -> None:
        self._pcm = bytearray()
        self._begin = 0
        self._arrivals: deque[tuple[int, int]] = deque()  # (position after a piece, when it came)
        self._origin_ns: int | None = None  # when the first sample was spoken, at the latest

    @property
    def end(self) -> int:
        """Samples received so far."""
        return self._begin + len(self._pcm) // BYTES_PER_SAMPLE

    def append(self, pcm: bytes, now_ns: int) -> None:
        before = self.end
        self._pcm += pcm
        if self._origin_ns is None:
            self._origin_ns = now_ns - _duration_ns(self.end)
        now_ns = max(now_ns, self._origin_ns + _duration_ns(self.end) - HEAD_START_NS)
        # Pieces far below a frame share one time, or a caller who sends sample by sample would fill the memory.
        if len(self._arrivals) > 1 and before - self._arrivals[-2][0] < FRAME:
            self._arrivals.pop()
        self._arrivals.append((self.end, now_ns))

    def cut(self, start: int, end: int) -> bytes:
        """The samples of `start..end`, which must still be held."""
        return bytes(self._pcm[(start - self._begin) * BYTES_PER_SAMPLE : (end - self._begin) * BYTES_PER_SAMPLE])

    def arrival_ns(self, position: int) -> int:
        """When the sample before `position` arrived; of what is forgotten or to come, the nearest that is known."""
        for end, at_ns in self._arrivals:
            if end >= position:
                return at_ns
        return self._arrivals[-1][1] if self._arrivals else 0

    def quietest(self, begin: int, end: int) -> int:
        """The middle of the quietest stretch of `QUIET_BLOCKS` frames in `begin..end`."""
        import numpy as np  # here, as servers without speech need none

        samples = np.frombuffer(self.cut(begin, end), dtype="<i2").astype(np.float64)
        blocks = np.square(samples[: len(samples) // FRAME * FRAME]).reshape(-1, FRAME).sum(axis=1)
        loudness = np.convolve(blocks, np.ones(QUIET_BLOCKS), mode="valid")
        return begin + int(np.argmin(loudness)) * FRAME + QUIET_BLOCKS * FRAME // 2

    def forget(self, before: int) -> None:
        """What came before that position is not needed any more."""
        if before - self._begin > SLACK:
            del self._pcm[: (before - self._begin) * BYTES_PER_SAMPLE]
            self._begin = before
        while self._arrivals and self._arrivals[0][0] < before:
            self._arrivals.popleft()


def _duration_ns(samples: int) -> int:
    return samples * NS_PER_S // SAMPLE_RATE
