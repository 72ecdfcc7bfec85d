"""The choice of what runs next. Pure: no I/O, no clock, bounded by the number of items that wait.

1. `FINAL` and `FIRST` are urgent: earliest deadline first. A `FIRST` whose deadline has passed is no longer urgent and
   becomes elastic; a `FINAL` never does, because someone waits for it.
2. `REFRESH` and `RECORDING` are elastic: they run only if nothing urgent waits, and on the workers kept for urgent work
   only if they are brief. Earliest deadline first here too, so a recording waits behind live streams, but not for
   ever.
3. A batch is filled in that same order while its predicted time stays within a bound and its rows are of similar
   length, so that no running batch delays an urgent item by more than the bound. A row does not join if it would make
   a row late that would have been in time. If the most urgent final is late already, the bound is wider: rows together
   cost less than one by one, and only that catches up.
4. If several projects are at work and not all deadlines can be kept, they take turns by weight (`fair.py`), separately
   for urgent and for elastic work; for recordings always, because nobody waits for their deadlines. No bound is wider
   then, because late work must not delay other projects.

With one project, overload makes this first come, first served among finals, since all are due equally long after their
speech: everybody waits, nobody starves, and interims are dropped first. Preventing overload is the task of admission.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from heapq import nsmallest
from typing import Protocol, TypeVar

from antiphon.core.units import NS_PER_MS
from antiphon.scheduler.fair import ShareClaim, by_share, in_turn


class WorkKind(IntEnum):
    """The purpose of an item."""

    FINAL = 0  # the utterance ended, or pauses and may have ended
    FIRST = 1  # the utterance's first interim
    REFRESH = 2  # a better interim
    RECORDING = 3  # a final of a recording, for which nobody waits live


class WaitingWork(ShareClaim, Protocol):
    """A waiting piece of work, as the choice sees it. `new_audio_ms` is audio that no hypothesis covers yet; `key`
    identifies items and decides when all else is equal, the lower first.
    """

    @property
    def key(self) -> int: ...

    @property
    def kind(self) -> WorkKind: ...

    @property
    def audio_ms(self) -> int: ...

    @property
    def new_audio_ms(self) -> int: ...


Waiting = TypeVar("Waiting", bound=WaitingWork)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of a batch's predicted time: of urgent work, of urgent work that is already late, of elastic work, of
    elastic work on a worker kept for urgent work, and of recordings if nothing else waits. `length_ratio` bounds the
    longest row divided by the shortest.
    """

    rows: int = 16
    urgent_ms: float = 40.0
    late_ms: float = 300.0
    elastic_ms: float = 40.0
    brief_ms: float = 30.0
    recording_ms: float = 600.0
    length_ratio: float = 3.0
    short_ms: int = 1000  # rows below this length count as equal
    look: int = 8  # times `rows`: how many of the most urgent items are considered for a batch


Predict = Callable[[Sequence[WaitingWork]], float]


def schedule(
    now_ns: int,
    waiting: Sequence[Waiting],
    free: int,
    kept: int,
    predict_ms: Predict,
    limits: BatchLimits,
    had: Mapping[str, float],
) -> list[Waiting]:
    """Return the batch that one of the `free` workers should run now, or an empty one.

    `kept` of them run elastic work only if it is brief. `had` is what each active project received, in virtual time; it
    must contain those that wait.
    """
    if not waiting or free < 1:
        return []
    urgent = [i for i in waiting if i.kind is WorkKind.FINAL or (i.kind is WorkKind.FIRST and i.deadline_ns > now_ns)]
    if urgent:
        late = len(had) < 2 and min(i.deadline_ns for i in urgent) < now_ns
        foremost = _foremost(now_ns, urgent, predict_ms, limits, had)
        return _fill(now_ns, foremost, limits.late_ms if late else limits.urgent_ms, predict_ms, limits)
    foremost = _foremost(now_ns, waiting, predict_ms, limits, had)
    if free > kept:
        unhurried = all(i.kind is WorkKind.RECORDING for i in waiting)
        bound_ms = limits.recording_ms if unhurried else limits.elastic_ms
        return _fill(now_ns, foremost, bound_ms, predict_ms, limits)
    brief = [i for i in foremost if predict_ms([i]) <= limits.brief_ms]
    return _fill(now_ns, brief, limits.brief_ms, predict_ms, limits) if brief else []


def _order(item: WaitingWork) -> tuple[int, int, int]:
    return item.deadline_ns, item.kind, item.key


def _foremost(
    now_ns: int, items: Sequence[Waiting], predict_ms: Predict, limits: BatchLimits, had: Mapping[str, float]
) -> list[Waiting]:
    """Return the items to fill a batch from, in order. Recordings keep their places among the others."""
    look = limits.rows * limits.look
    if len(had) < 2:
        return nsmallest(look, items, key=_order)
    each_ns = predict_ms(items) / len(items) * NS_PER_MS
    groups: dict[tuple[str, bool], list[Waiting]] = {}
    for item in items:
        groups.setdefault((item.project, item.kind is WorkKind.RECORDING), []).append(item)
    ordered = sorted((i for group in groups.values() for i in nsmallest(look, group, key=_order)), key=_order)
    live = iter(in_turn([i for i in ordered if i.kind is not WorkKind.RECORDING], now_ns, each_ns, had))
    recorded = iter(by_share([i for i in ordered if i.kind is WorkKind.RECORDING], had))
    return [next(recorded if item.kind is WorkKind.RECORDING else live) for item in ordered][:look]


def _fill(
    now_ns: int, items: Sequence[Waiting], bound_ms: float, predict_ms: Predict, limits: BatchLimits
) -> list[Waiting]:
    """Return the first item and those after it that keep the batch within its bounds."""
    batch: list[Waiting] = []
    shortest = longest = 0
    for item in items:
        length = max(limits.short_ms, item.audio_ms)
        low, high = (min(shortest, length), max(longest, length)) if batch else (length, length)
        took_ms = predict_ms([*batch, item])
        if batch and (high > low * limits.length_ratio or took_ms > bound_ms):
            continue
        batch.append(item)
        shortest, longest = low, high
        left_ms = (item.deadline_ns - now_ns) / NS_PER_MS
        if left_ms >= took_ms:
            bound_ms = min(bound_ms, left_ms)
        if len(batch) == limits.rows:
            break
    return batch
