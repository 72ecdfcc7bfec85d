"""What one session is charged: its entries in the ledger, from the first to the one that closes it.

A session says how much there has been of something in all; the account writes what is not charged yet. An amount that
turns out to be less is corrected by an entry of its own. What comes little by little is noted in between, which is as
durable as an entry and leaves none: the next charge stands in its place.
"""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from antiphon.calls.services import Services
from antiphon.core.call import Call
from antiphon.core.entry import Entry, EntryKind, Reference
from antiphon.core.errors import AntiphonError, Conflict, OutcomeUnknown
from antiphon.core.units import NS_PER_MS
from antiphon.core.usage import Dimension, Quantity


class Tagged(Protocol):
    """A spec whose usage carries the caller's labels."""

    @property
    def tags(self) -> tuple[str, ...]: ...


class Meter(NamedTuple):
    """What is counted, and of which audio channel. A tuple, because tokens are looked up by it one by one."""

    dimension: Dimension
    channel: int = 0


class Account:
    """One session's, of `model`; `feature` is how that is used."""

    def __init__(self, services: Services, call: Call[Tagged], model: str, feature: str) -> None:
        self.charged: dict[Meter, int] = {}
        self._services = services
        self._call = call
        self._claim = call.claim
        self._model = model
        self._feature = feature
        self._tags = services.labels(call.principal.project, call.spec.tags)
        self._last: dict[Meter, int] = {}  # the sequence of the latest entry that charges for it
        self._sequence = 0
        self._written = False  # whether anything of it is in the ledger
        self._unsettled: list[Entry] = []
        self._noted: dict[Meter, int] = {}  # durable, beyond what is charged
        self._notes: dict[Meter, Entry] = {}  # what the ledger may have notes of, and as what
        self._writing = asyncio.Lock()  # what is noted and what is charged follow on one another

    @property
    def replays(self) -> bool:
        """Whether the caller has been charged for this before."""
        return self._claim is not None and self._claim.replay_of is not None

    @property
    def was_charged(self) -> bool:
        """Whether the caller was charged anything, now or before."""
        return any(self.charged.values())

    def paid(self) -> dict[Dimension, int]:
        """What the caller was charged, and not before."""
        dimensions = {meter.dimension for meter, amount in self.charged.items() if amount and not self.replays}
        return {dimension: self.total(dimension) for dimension in sorted(dimensions)}

    def total(self, *dimensions: Dimension) -> int:
        return sum(amount for meter, amount in self.charged.items() if meter.dimension in dimensions)

    async def charge(self, amounts: Mapping[Meter, int]) -> None:
        """So much in all; durable on return. Raises `LedgerUnavailable`, `Conflict`."""
        async with self._writing:
            await self._write(self._owed(amounts, correct=True))

    async def note(self, amounts: Mapping[Meter, int]) -> None:
        """As `charge`, without an entry yet. An amount that turns out to be less stays until there is one."""
        async with self._writing:
            owed = []
            for meter, amount in amounts.items():
                beyond = amount - self.charged.get(meter, 0)
                if beyond > self._noted.get(meter, 0):
                    if meter not in self._notes:
                        self._notes[meter] = self._entry(EntryKind.USAGE, meter, 0, number=0)
                    owed.append((self._notes[meter], beyond))
            if owed and not self.replays:
                await self._services.ledger.note(owed)
                for entry, beyond in owed:
                    self._noted[Meter(entry.quantity.dimension, entry.channel)] = beyond

    async def close(self, outcome: EntryKind, amounts: Mapping[Meter, int]) -> None:
        """The last entries: what is owed still, of which nothing is corrected any more, and how it ended. A session
        that never owed anything leaves none.
        """
        async with self._writing:
            entries = self._owed(amounts, correct=False)
            if self._written or self._notes or any(self.charged.values()):
                entries.append(self._entry(outcome, next(iter(self.charged or self._notes)), 0))
            await self._write(entries)

    def _owed(self, amounts: Mapping[Meter, int], correct: bool) -> list[Entry]:
        entries = []
        for meter, amount in amounts.items():
            more = amount - self.charged.get(meter, 0)
            if more > 0:
                entries.append(self._entry(EntryKind.USAGE, meter, more))
                self._last[meter] = entries[-1].sequence
            elif more < 0 and correct:
                corrects = Reference(self._call.id, self._last[meter])
                entries.append(self._entry(EntryKind.CORRECTION, meter, more, corrects))
            else:
                continue
            self.charged[meter] = amount
        return entries

    def _entry(
        self, kind: EntryKind, meter: Meter, amount: int, corrects: Reference | None = None, number: int | None = None
    ) -> Entry:
        if number is None:
            number, self._sequence = self._sequence, self._sequence + 1
        return Entry(
            project=self._call.principal.project,
            session=self._call.id,
            sequence=number,
            kind=kind,
            key_id=self._call.principal.key_id,
            at_unix_ms=self._services.clock.unix_ms(),
            surface=self._call.surface,
            model=self._model,
            quantity=Quantity(meter.dimension, amount),
            channel=meter.channel,
            feature=self._feature,
            corrects=corrects,
            tags=self._tags,
        )

    async def _write(self, entries: list[Entry]) -> None:
        """Durable on return. Where it was cancelled, or the ledger does not know how it ended, the same entries are
        written again with the next ones, and the ledger takes each once.
        """
        self._unsettled += entries
        if not self._unsettled:
            return
        begun_ns = self._services.clock.now_ns()
        try:
            await self._services.ledger.append(self._unsettled, self._claim)
        except OutcomeUnknown:
            raise  # as where it was cancelled
        except AntiphonError as error:
            for entry in self._unsettled:  # refused, so not in the ledger
                meter = Meter(entry.quantity.dimension, entry.channel)
                if meter in self.charged:
                    self.charged[meter] -= entry.quantity.amount
            self._unsettled = []
            if isinstance(error, Conflict):
                self._claim = None  # another request's; what of this one was sent is paid for without
            raise
        self._written = True
        took_ms = (self._services.clock.now_ns() - begun_ns) / NS_PER_MS
        if not self.replays:
            self._services.observer.metered(self._call.surface, self._model, self._unsettled, took_ms)
        self._unsettled = []
        self._noted.clear()
        self._notes.clear()
