"""Admission: whether one more stream fits inside the objectives. Pure.

A stream that is let in and makes everybody late is worse than one that is told to come back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.core.units import NS_PER_MS
from antiphon.slo.shares import Holding, reserved

SILENT = 0.1  # what a stream counts in which nobody has spoken for a while: not all of them begin at once


@dataclass(frozen=True, slots=True)
class Capacity:
    """`live` streams, those that are silent counted for a part; `share` is the part of one worker that one takes;
    `headroom` how much of the workers may be promised, and `reserve` how much more to projects that hold less than
    their share; `late` the share of recent utterances that missed their objective.
    """

    live: float
    workers: int
    share: float
    late: float = 0.0
    headroom: float = 0.85
    reserve: float = 0.1
    most_late: float = 0.05
    most_streams: int = 1000

    def fits(self) -> int:
        """How many live streams fit in all."""
        return min(self.most_streams, int(self._streams(self.headroom)))

    def kept(self) -> float:
        """How many more fit into the reserve, at least one."""
        return max(1.0, self._streams(self.reserve))

    def _streams(self, part: float) -> float:
        return self.workers * part / max(self.share, 1e-6)


@dataclass(frozen=True, slots=True)
class Asker:
    """The project that asks for a stream: what it holds, how late its own utterances were, and the streams of `others`
    in which somebody speaks.
    """

    own: Holding
    late: float
    others: Sequence[Holding]


def admit(capacity: Capacity, streams: int, asker: Asker | None = None) -> bool:
    """Whether `streams` more may come in. While nobody speaks the first is always let in, whatever is estimated: a lone
    caller can make nobody else late. A few connections in which nobody speaks, often its own, are nobody else.

    Where half of the room is empty, what was late a moment ago was so under a load that has gone. A project that holds
    less than its share finds a place where others hold too much, or are late: the scheduler serves it before them.
    """
    wanted, fits = capacity.live + streams, capacity.fits()
    if capacity.live < 1 or 2 * wanted <= fits:
        return True
    if capacity.late <= capacity.most_late and wanted <= fits:
        return True
    if asker is None or asker.late > capacity.most_late:
        return False
    return reserved(asker.own, asker.others, streams, fits, capacity.kept(), first=True)


BURST_NS = 500 * NS_PER_MS  # for so long a queue may be longer than the objective
CALM_NS = 2_000 * NS_PER_MS  # after which somebody who was refused is forgotten
MOST_WAIT_MS = 1000.0  # that anybody may wait, however short the burst


class Queueing:
    """Whether one more may queue for a first result: a burst may wait a little; a queue that stands may not, because it
    makes everybody late for as long as it stands (after CoDel, RFC 8289). By project, because each has its own queue.
    """

    def __init__(self) -> None:
        self._since_ns: dict[str, int] = {}  # since when every one of a project that came found others before it
        self._refused_ns: dict[str, int] = {}  # when the last one was refused

    def admit(self, project: str, first_ms: float, objective_ms: float, queued: bool, now_ns: int) -> bool:
        """`first_ms` is how long its first result would take, `queued` whether others of its project wait before it."""
        if not queued:
            self._since_ns.pop(project, None)
            return True
        if first_ms <= objective_ms:
            return True
        since_ns = self._since_ns.setdefault(project, now_ns)
        calm = now_ns - self._refused_ns.get(project, now_ns - CALM_NS) >= CALM_NS
        if calm and now_ns - since_ns < BURST_NS and bearable(first_ms):
            return True
        self._refused_ns[project] = now_ns
        return False


def bearable(first_ms: float) -> bool:
    """Whether it is not too long for anybody."""
    return first_ms <= MOST_WAIT_MS
