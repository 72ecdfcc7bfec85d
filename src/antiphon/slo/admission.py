"""Admission: whether one more stream fits inside the objectives. Pure.

A stream that is let in and makes everybody late is worse than one that is told to come back.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capacity:
    """`share` is the part of one worker that a live stream takes; `headroom` how much of the workers may be promised;
    `late` the share of recent utterances that missed their objective.
    """

    live: int
    workers: int
    share: float
    late: float = 0.0
    headroom: float = 0.85
    most_late: float = 0.05
    most_streams: int = 1000

    def fits(self) -> int:
        """How many live streams fit in all."""
        return min(self.most_streams, int(self.workers * self.headroom / max(self.share, 1e-6)))


def admit(capacity: Capacity, streams: int) -> bool:
    """Whether `streams` more may come in. The first is always let in: a lone caller can make nobody else late.

    Where half of the room is empty, what was late a moment ago was so under a load that has gone.
    """
    wanted, fits = capacity.live + streams, capacity.fits()
    if capacity.live == 0 or 2 * wanted <= fits:
        return True
    return capacity.late <= capacity.most_late and wanted <= fits
