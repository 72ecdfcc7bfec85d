"""The charges of one session: its ledger entries, from the first to the one that closes it.

A session reports total amounts; the account writes the part that is not charged yet. A total that turns out to be lower
is corrected by an entry of its own. Amounts that grow gradually are noted in between: a note is as durable as an entry,
and the next charge replaces it.

Nothing is charged or noted that the call's allowance, if it has one, does not cover.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from antiphon.calls.services import Services
from antiphon.core.call import Call
from antiphon.core.entry import Entry, EntryKind, Reference
from antiphon.core.errors import AntiphonError, Conflict, OutcomeUnknown
from antiphon.core.units import NS_PER_MS
from antiphon.core.usage import Dimension, Meter, Quantity
from antiphon.metering.allowances import Allowance
from antiphon.metering.tariff import ONE, Entries


class TaggedSpec(Protocol):
    """A spec whose usage carries the caller's labels."""

    @property
    def tags(self) -> tuple[str, ...]: ...


class Account:
    """The account of one session of `model`; `feature` is how the model is used."""

    def __init__(self, services: Services, call: Call[TaggedSpec], model: str, feature: str) -> None:
        self.charged: dict[Meter, int] = {}
        self._services = services
        self._call = call
        self._claim = call.claim
        self._model = model
        self._feature = feature
        self._tags = services.labels(call.principal.project, (*call.tags, *call.spec.tags))
        self._last: dict[Meter, int] = {}  # the sequence of its latest entry ...
        self._last_written: dict[Meter, int] = {}  # ... and of its latest one that is durable
        self._sequence = 0
        self._written = False  # whether the ledger has any entry of it
        self._unsettled: list[Entry] = []
        self._noted: dict[Meter, int] = {}  # durable, beyond what is charged
        self._notes: dict[Meter, Entry] = {}  # entries that the ledger may have notes of
        self._writing = asyncio.Lock()  # notes and charges are sequential
        self.since_unix_ms = 0  # the time of the first entry
        self.allowance: Allowance | None = None
        self.entries: list[Entry] | None = None  # those written, if they are kept, because what they cost depends on it
        self._numbers: dict[Meter, int] = {}  # how many of each meter

    @property
    def replays(self) -> bool:
        """Whether the caller was charged for this before."""
        return self._claim is not None and self._claim.replay_of is not None

    @property
    def was_charged(self) -> bool:
        """Whether the caller was charged anything, now or before."""
        return any(self.charged.values())

    def paid(self) -> dict[Dimension, int]:
        """Return the amounts charged now, not before."""
        dimensions = {meter.dimension for meter, amount in self.charged.items() if amount and not self.replays}
        return {dimension: self.total(dimension) for dimension in sorted(dimensions)}

    def total(self, *dimensions: Dimension) -> int:
        return sum(amount for meter, amount in self.charged.items() if meter.dimension in dimensions)

    async def charge(self, amounts: Mapping[Meter, int]) -> None:
        """Charge these totals; durable on return. Raises `LedgerUnavailable`, `Conflict`, `BudgetExceeded`."""
        async with self._writing:
            if self.allowance is not None:
                self.allowance.charge(self._in_all(amounts), self._numbered(amounts))
            await self._write(self._owed(amounts, correct=True))

    async def note(self, amounts: Mapping[Meter, int]) -> None:
        """Note totals as `charge` does, but without an entry. A lower total has no effect until the next entry."""
        async with self._writing:
            if self.allowance is not None:
                noted = {meter: self.charged.get(meter, 0) + beyond for meter, beyond in self._noted.items()}
                self.allowance.charge(self._in_all({**noted, **amounts}), self._numbered(amounts))
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
        """Write the last entries: what is still owed, without corrections, as far as the allowance goes, and the
        outcome. A session that never owed anything leaves none.
        """
        async with self._writing:
            if amounts and self.allowance is not None:
                amounts = self.allowance.within(self._in_all(amounts), self._numbered(amounts))
            entries = self._owed(amounts, correct=False)
            if self._written or self._notes or any(self.charged.values()):
                entries.append(self._entry(outcome, next(iter(self.charged or self._notes)), 0))
            await self._write(entries)

    def _in_all(self, amounts: Mapping[Meter, int]) -> Mapping[Meter, int]:
        """Return these totals, and those of the other meters as they are charged."""
        return {**self.charged, **amounts} if self.charged else amounts

    def _numbered(self, amounts: Mapping[Meter, int]) -> Entries:
        """Return how many entries of each meter there are with the next ones, if their number matters."""
        if self.entries is None:
            return ONE
        more = {meter for meter, amount in amounts.items() if amount > self.charged.get(meter, 0)}
        return {meter: self._numbers.get(meter, 0) + (meter in more) for meter in {*self._numbers, *more}}

    def _owed(self, amounts: Mapping[Meter, int], correct: bool) -> list[Entry]:
        entries = []
        for meter, amount in amounts.items():
            more = amount - self.charged.get(meter, 0)
            if more > 0:
                entries.append(self._entry(EntryKind.USAGE, meter, more))
                self._last[meter] = entries[-1].sequence
                self._numbers[meter] = self._numbers.get(meter, 0) + 1
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
        """Write entries, durable on return. If it is cancelled, or the result is unknown, the same entries are written
        again with the next ones, and the ledger takes each once.
        """
        self._unsettled += entries
        if not self._unsettled:
            return
        begun_ns = self._services.clock.now_ns()
        try:
            await self._services.ledger.append(self._unsettled, self._claim)
        except OutcomeUnknown:
            raise  # as if it was cancelled
        except AntiphonError as error:
            for entry in self._unsettled:  # refused, so not in the ledger
                meter = Meter(entry.quantity.dimension, entry.channel)
                if meter in self.charged:
                    self.charged[meter] -= entry.quantity.amount
                if entry.kind is EntryKind.USAGE:
                    self._numbers[meter] -= 1
            self._last = dict(self._last_written)
            self._unsettled = []
            if isinstance(error, Conflict):
                self._claim = None  # another request's; what this one sent is charged without it
            raise
        if not self._written:
            self.since_unix_ms = self._unsettled[0].at_unix_ms
        if self.entries is not None:
            self.entries += self._unsettled
        self._written = True
        took_ms = (self._services.clock.now_ns() - begun_ns) / NS_PER_MS
        if not self.replays:
            self._services.observer.metered(self._call.surface, self._model, self._unsettled, took_ms)
        self._unsettled = []
        self._last_written = dict(self._last)
        self._noted.clear()
        self._notes.clear()
