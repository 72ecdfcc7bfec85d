"""Usage on its way to an external receiver, such as a billing system: events, their batches, and the position in the
ledger.

A batch is the content of one request. Its bytes are stored before they are first sent, and resent unchanged. Positions
are cursors of the ledger, as integers.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class BatchState(StrEnum):
    """The state of a batch. `REFUSED` and `UNKNOWN` are gaps: a person settles them, or has them sent again."""

    WAITING = "waiting"  # to be sent, or to be sent again
    TAKEN = "taken"  # the receiver has it
    REFUSED = "refused"  # the receiver does not take it, or would not
    UNKNOWN = "unknown"  # it may have been taken, and the receiver may not recognise it any more if it is sent again
    SETTLED = "settled"  # a gap that a person has dealt with


GAPS = frozenset({BatchState.REFUSED, BatchState.UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """The quantity of one meter, of one project, within one hour, from the ledger's entries `first` to `last`.

    The receiver recognises a repeated event by its `identifier`. `labels` are further names and values that its entries
    share. An empty `meter` says that no meter counts the dimension, which `labels` then name.
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
    """The events of one request, in order. `number` is the store's, in ledger order; batches with one `lane` are sent
    one after the other. An empty `body` is not made yet.

    `doubtful_unix_ms` is when it was first sent without a clear answer; `reason` is why it waits or is a gap; `note`
    was written when it was settled.
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
    """The result of sending the batch with that number."""

    number: int
    state: BatchState
    reason: str = ""
    next_unix_ms: int = 0
    doubtful_unix_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """The ledger position that a target's batches have reached. `anchor` identifies the entry there, so that a replaced
    ledger is noticed; `origin` is in every identifier, so that batches of another server are not confused with ours.
    """

    position: int
    anchor: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportStatus:
    """A target's state at one moment: how many of its batches wait, were taken, are gaps or were settled, and the time
    of the oldest event that waits.
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
    """A receiver's notice, after it took a batch, that it does not count it."""

    identifier: str
    reason: str


def add_to_gap(gap: Batch, more: Batch) -> Batch:
    """Return a gap of one never-sent event, with `more` added to it, which cannot be sent for the same reason."""
    [before], [new] = gap.events, more.events
    at_unix_ms = max(before.at_unix_ms, new.at_unix_ms)
    event = replace(before, at_unix_ms=at_unix_ms, quantity=before.quantity + new.quantity, last=new.last)
    return replace(gap, events=(event,))


def renew(batch: Batch) -> Batch:
    """Return a gap in the form to be sent again. A refused one gets new identifiers, because the receiver may remember
    the old ones, and a new body. One that may have been taken stays unchanged: if the receiver remembers it, nothing is
    counted twice.
    """
    waiting = replace(batch, state=BatchState.WAITING, reason="", attempts=0, next_unix_ms=0, doubtful_unix_ms=None)
    if batch.state is BatchState.UNKNOWN:
        return waiting
    events = tuple(replace(event, identifier=_next(event.identifier)) for event in batch.events)
    return replace(waiting, identifier=_next(batch.identifier), events=events, body=b"")


def _next(identifier: str) -> str:
    """Return the identifier of the next edition: `a/b`, `a/b/r2`, `a/b/r3`."""
    begin, _, edition = identifier.rpartition("/r")
    if begin and edition.isdigit():
        return f"{begin}/r{int(edition) + 1}"
    return f"{identifier}/r2"
