"""Admission: whether one more stream fits inside the objectives. Pure.

A stream that makes all others late is worse than one that is refused and tries again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.core.units import NS_PER_MS
from antiphon.slo.shares import Holding, reserved

SILENT = 0.1  # what a silent stream counts, since not all of them begin to speak at once


@dataclass(frozen=True, slots=True)
class Capacity:
    """The capacity for live streams. `live` counts the open ones, silent ones in part; `share` is the part of a worker
    that one takes; `headroom` is how much of the workers may be promised, and `reserve` how much more to projects with
    less than their share; `late` is the share of recent utterances that missed their objective.
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
        """Return how many live streams fit in all."""
        return min(self.most_streams, int(self._streams(self.headroom)))

    def kept(self) -> float:
        """Return how many more fit into the reserve, at least one."""
        return max(1.0, self._streams(self.reserve))

    def _streams(self, part: float) -> float:
        return self.workers * part / max(self.share, 1e-6)


@dataclass(frozen=True, slots=True)
class Asker:
    """The project that asks for a stream: what it holds, how late its own utterances were, and what `others` hold in
    streams with speech.
    """

    own: Holding
    late: float
    others: Sequence[Holding]


def admit(capacity: Capacity, streams: int, asker: Asker | None = None) -> bool:
    """Return whether `streams` more may open.

    While nobody speaks, the first is always admitted, whatever is estimated: it can make nobody else late, and a few
    silent connections, often its own, do not count. If less than half is in use, recent lateness came from a load that
    has gone. A project with less than its share finds a place if others hold too much or are late: the scheduler serves
    it first.
    """
    wanted, fits = capacity.live + streams, capacity.fits()
    if capacity.live < 1 or 2 * wanted <= fits:
        return True
    if capacity.late <= capacity.most_late and wanted <= fits:
        return True
    if asker is None or asker.late > capacity.most_late:
        return False
    return reserved(asker.own, asker.others, streams, fits, capacity.kept(), first=True)


BURST_NS = 500 * NS_PER_MS  # how long a queue may be longer than the objective
CALM_NS = 2_000 * NS_PER_MS  # after which a refusal is forgotten
MOST_WAIT_MS = 1000.0  # the longest wait for anybody, however short the burst


class Queueing:
    """Whether one more may queue for a first result: a burst may wait a little; a standing queue may not, because it
    makes all late while it lasts (after CoDel, RFC 8289). By project, because each has its own queue.
    """

    def __init__(self) -> None:
        self._since_ns: dict[str, int] = {}  # since when every arrival of a project found others before it
        self._refused_ns: dict[str, int] = {}  # time of the last refusal

    def admit(self, project: str, first_ms: float, objective_ms: float, queued: bool, now_ns: int) -> bool:
        """Return whether one more may queue. `first_ms` is how long its first result would take, `queued` whether
        others of its project wait before it.
        """
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
    """Return whether a wait is short enough for anybody."""
    return first_ms <= MOST_WAIT_MS
