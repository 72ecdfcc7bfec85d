"""What runs next: the pure choice. No I/O, no clock, bounded by the number of items that wait.

1. `FINAL` and `FIRST` are urgent: earliest deadline first. A `FIRST` whose deadline has passed has lost what made it
   urgent and becomes elastic; a `FINAL` never does, because someone waits for it.
2. `REFRESH` and `RECORDING` are elastic: only where nothing urgent waits, and on the workers that are kept for what
   is urgent only what is brief. Earliest deadline first here too, so a recording waits behind live streams, and not
   for ever.
3. A batch is filled in that same order while its predicted time stays within a bound and rows stay of like length,
   so no batch, once started, holds an urgent item up for longer than the bound. Nor does a row join that would make
   one late that is in it already and would have been in time. Where the most urgent final is late already, the bound
   is wider: rows together cost less than one by one, and only that catches up.

Under overload this is first come, first served among finals, since all of them are due equally long after their speech:
everybody waits, nobody starves, and interims are given up first. To keep overload out is admission's work.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from heapq import nsmallest
from typing import Protocol, TypeVar

from antiphon.core.units import NS_PER_MS


class Kind(IntEnum):
    """What an item is for."""

    FINAL = 0  # the utterance ended, or pauses and may have ended
    FIRST = 1  # the utterance's first interim
    REFRESH = 2  # a better interim
    RECORDING = 3  # a final of a recording, for which nobody holds a telephone


class Item(Protocol):
    """What the choice looks at in a piece of work that waits. `new_audio_ms` is what no hypothesis covers yet; `key`
    tells items apart and decides where all else is equal, the lower first.
    """

    @property
    def key(self) -> int: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def deadline_ns(self) -> int: ...

    @property
    def audio_ms(self) -> int: ...

    @property
    def new_audio_ms(self) -> int: ...


Waiting = TypeVar("Waiting", bound=Item)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a batch's predicted time: of urgent work, of urgent work that is late already, of elastic work, of
    elastic work on a worker that is kept for what is urgent, and of recordings where nothing else waits.
    `length_ratio` bounds the longest row over the shortest.
    """

    rows: int = 16
    urgent_ms: float = 40.0
    late_ms: float = 300.0
    elastic_ms: float = 40.0
    brief_ms: float = 30.0
    recording_ms: float = 600.0
    length_ratio: float = 3.0
    short_ms: int = 1000  # rows below this length are all alike
    look: int = 8  # times `rows`: how many of the most urgent items are looked at to fill a batch


Predict = Callable[[Sequence[Item]], float]


def schedule(
    now_ns: int, waiting: Sequence[Waiting], free: int, kept: int, predict_ms: Predict, limits: Limits
) -> list[Waiting]:
    """The batch that one of the `free` workers should run now, empty for none.

    `kept` of them are for elastic work only where it is brief.
    """
    if not waiting or free < 1:
        return []
    urgent = [i for i in waiting if i.kind is Kind.FINAL or (i.kind is Kind.FIRST and i.deadline_ns > now_ns)]
    if urgent:
        late = min(i.deadline_ns for i in urgent) < now_ns
        return _fill(now_ns, urgent, limits.late_ms if late else limits.urgent_ms, predict_ms, limits)
    if free > kept:
        unhurried = all(i.kind is Kind.RECORDING for i in waiting)
        bound_ms = limits.recording_ms if unhurried else limits.elastic_ms
        return _fill(now_ns, waiting, bound_ms, predict_ms, limits)
    brief = [i for i in _foremost(waiting, limits) if predict_ms([i]) <= limits.brief_ms]
    return _fill(now_ns, brief, limits.brief_ms, predict_ms, limits) if brief else []


def _order(item: Item) -> tuple[int, int, int]:
    return item.deadline_ns, item.kind, item.key


def _foremost(items: Sequence[Waiting], limits: Limits) -> list[Waiting]:
    return nsmallest(limits.rows * limits.look, items, key=_order)


def _fill(now_ns: int, items: Sequence[Waiting], bound_ms: float, predict_ms: Predict, limits: Limits) -> list[Waiting]:
    """The most urgent item always, then those after it that keep the batch within its bounds."""
    batch: list[Waiting] = []
    shortest = longest = 0
    for item in _foremost(items, limits):
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
