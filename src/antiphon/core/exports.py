"""Usage on its way to a receiver outside, such as a billing system: events, the batches that they are sent in, and how
far along the ledger that has come.

A batch is what one request carries. Its bytes are stored before they are sent for the first time, and sent again as
they are. Positions are cursors of the ledger, as integers.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class BatchState(StrEnum):
    """Where a batch stands. `REFUSED` and `UNKNOWN` are gaps: a person settles them, or has them sent again."""

    WAITING = "waiting"  # to be sent, or to be sent again
    TAKEN = "taken"  # the receiver has it
    REFUSED = "refused"  # the receiver does not take it, or would not
    UNKNOWN = "unknown"  # it may have been taken, and the receiver may not recognise it any more if it is sent again
    SETTLED = "settled"  # a gap that a person has dealt with


GAPS = frozenset({BatchState.REFUSED, BatchState.UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """So much of one meter, of one project, within one hour, from the entries of the ledger at `first` to `last`.

    `identifier` is what the receiver knows it by if it comes again. `labels` are what else its entries have in common,
    as names and values. A `meter` that is empty says that no meter counts the dimension, which `labels` then name.
    """

    identifier: str
    project: str
    meter: str
    at_unix_ms: int
    quantity: int
    first: int
    last: int
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The events of one request, in order. `number` is the store's, in the order of the ledger; batches with one `lane`
    are sent one after the other. An empty `body` is one that is not made yet.

    `doubtful_unix_ms` is when it was first sent without an answer that says whether it was taken; `reason` is why it
    waits or is a gap; `note` is what was written when it was settled.
    """

    identifier: str
    lane: str
    body: bytes
    events: tuple[UsageEvent, ...]
    state: BatchState = BatchState.WAITING
    reason: str = ""
    number: int = 0
    attempts: int = 0
    next_unix_ms: int = 0
    doubtful_unix_ms: int | None = None
    note: str = ""

    @property
    def oldest_unix_ms(self) -> int:
        """The time of the oldest event; 0 without events."""
        return min((event.at_unix_ms for event in self.events), default=0)


@dataclass(frozen=True, slots=True)
class Mark:
    """What became of sending the batch of that number."""

    number: int
    state: BatchState
    reason: str = ""
    next_unix_ms: int = 0
    doubtful_unix_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """How far along the ledger a target's batches go. `anchor` stands for the entry at that position, so that another
    ledger in its place is noticed; `origin` is in every identifier, so that no other server's are taken for ours.
    """

    position: int
    anchor: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportStatus:
    """A target at one moment: how many of its batches wait, were taken, are gaps or were settled; of those that wait,
    the time of the oldest event.
    """

    target: str
    position: int
    waiting: int = 0
    taken: int = 0
    refused: int = 0
    unknown: int = 0
    settled: int = 0
    oldest_waiting_unix_ms: int | None = None

    @property
    def gaps(self) -> int:
        return self.refused + self.unknown


@dataclass(frozen=True, slots=True)
class Refusal:
    """A receiver's word, after it had taken a batch, that it does not count it."""

    identifier: str
    reason: str


def grown(gap: Batch, more: Batch) -> Batch:
    """A gap of one event that was never sent, and what else of the same sum cannot be sent for the same reason."""
    [before], [new] = gap.events, more.events
    at_unix_ms = max(before.at_unix_ms, new.at_unix_ms)
    event = replace(before, at_unix_ms=at_unix_ms, quantity=before.quantity + new.quantity, last=new.last)
    return replace(gap, events=(event,))


def again(batch: Batch) -> Batch:
    """A gap as it is sent again. One that was refused gets other identifiers, for the receiver may remember the old
    ones, and its body is made anew. One that may have been taken stays as it is: if the receiver remembers it after
    all, nothing is counted twice.
    """
    waiting = replace(batch, state=BatchState.WAITING, reason="", attempts=0, next_unix_ms=0, doubtful_unix_ms=None)
    if batch.state is BatchState.UNKNOWN:
        return waiting
    events = tuple(replace(event, identifier=_next(event.identifier)) for event in batch.events)
    return replace(waiting, identifier=_next(batch.identifier), events=events, body=b"")


def _next(identifier: str) -> str:
    """`a/b`, `a/b/r2`, `a/b/r3`: the same in its next edition."""
    begin, _, edition = identifier.rpartition("/r")
    if begin and edition.isdigit():
        return f"{begin}/r{int(edition) + 1}"
    return f"{identifier}/r2"
