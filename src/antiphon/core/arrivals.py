"""The arrival time of each part of an audio stream, by sample positions."""

from collections import deque

from antiphon.core.audio import SAMPLE_RATE
from antiphon.core.units import NS_PER_S

FRAME = 512  # samples; smaller pieces that follow each other have one time, that of the last
HEAD_START_NS = 5 * NS_PER_S
MOST_MARKS = 256  # whose times are kept


class Arrivals:
    """The arrival times of one stream. Positions are samples from its start, times are of one host's monotonic clock.

    Audio counts as arrived at the earliest `HEAD_START_NS` before it could have been spoken: a caller who sends faster
    gets the capacity that live speakers leave, and its results do not count as late.
    """

    def __init__(self) -> None:
        self.received = 0  # samples
        self._times: deque[tuple[int, int]] = deque()  # (position after a piece, when it came)
        self._marks: deque[tuple[int, int]] = deque(maxlen=MOST_MARKS)
        self._origin_ns: int | None = None  # when the first sample was spoken, at the latest

    def add(self, samples: int, now_ns: int) -> None:
        """Record that `samples` more samples arrived at `now_ns`."""
        before, self.received = self.received, self.received + samples
        duration_ns = self.received * NS_PER_S // SAMPLE_RATE
        if self._origin_ns is None:
            self._origin_ns = now_ns - duration_ns
        now_ns = max(now_ns, self._origin_ns + duration_ns - HEAD_START_NS)
        # A caller who sends sample by sample would fill the memory.
        if len(self._times) > 1 and before - self._times[-2][0] < FRAME:
            self._times.pop()
        self._times.append((self.received, now_ns))

    def at_ns(self, position: int) -> int:
        """Return when the sample before `position` arrived; if it is unknown, the nearest known time."""
        for end, at_ns in self._times:
            if end >= position:
                return at_ns
        return self._times[-1][1] if self._times else 0

    def mark(self, now_ns: int) -> None:
        """Record that a flush or the end arrived now, after the audio received so far."""
        self._marks.append((self.received, now_ns))

    def marked_ns(self, position: int) -> int:
        """Return when the first mark at `position` arrived. Each mark is returned once, in order."""
        while self._marks and self._marks[0][0] < position:
            self._marks.popleft()
        if self._marks and self._marks[0][0] == position:
            return self._marks.popleft()[1]
        return self.at_ns(position)

    def forget(self, before: int) -> None:
        """Forget the times before the position `before`."""
        while self._times and self._times[0][0] < before:
            self._times.popleft()
