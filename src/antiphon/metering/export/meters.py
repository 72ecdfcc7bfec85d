"""What is exported: meters, and the sums of entries that become their events. Pure.

An event is the sum of one meter for one project within one hour, over a range of the ledger. Corrections are separate
events, as they may be negative. Amounts are as measured. To export another amount of an entry (such as the billed
quantity, or its cost), pass `Sums` another `amount_of`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from antiphon.core.entry import Entry, EntryKind
from antiphon.core.exports import UsageEvent
from antiphon.core.stores import StoredEntry
from antiphon.core.usage import Dimension

HOUR_MS = 3_600_000
MAX_SUMS = 1000  # in one range, which ends before it has more; but it has one entry, whatever that adds
LABELS = ("model", "surface", "feature")  # fields by which events may be separated

Amount = Callable[[Entry], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """A meter: it counts one dimension, in entries whose model, surface and feature match the patterns (`*`, `?`)."""

    name: str
    dimension: Dimension
    model: str = "*"
    surface: str = "*"
    feature: str = "*"

    def counts(self, entry: Entry) -> bool:
        return (
            entry.quantity.dimension is self.dimension
            and fnmatchcase(entry.model, self.model)
            and fnmatchcase(entry.surface, self.surface)
            and fnmatchcase(entry.feature, self.feature)
        )


def usual_meters() -> tuple[Meter, ...]:
    """Return one meter for each dimension: `antiphon_llm_input_tokens` and so on."""
    return tuple(Meter(name=f"antiphon_{d.replace('.', '_')}", dimension=d) for d in Dimension)


def measured(entry: Entry) -> int:
    return entry.quantity.amount


@dataclass(frozen=True, slots=True)
class Metering:
    """The meters, the dimensions that no meter needs to count (`without`), and the `LABELS` that separate events.

    A quantity that no meter counts becomes an event without a meter, so that it is noticed, unless its dimension is one
    of `without`.
    """

    meters: tuple[Meter, ...]
    without: frozenset[Dimension] = frozenset()
    by: tuple[str, ...] = ()
    amount_of: Amount = measured


_Group = tuple[str, str, int, bool, tuple[tuple[str, str], ...]]  # project, meter, hour, correction, labels


class Sums:
    """The sums of entries in a range of the ledger, added one by one. Projects in `skips` are not exported."""

    def __init__(self, metering: Metering, skips: Callable[[str], bool]) -> None:
        self._metering = metering
        self._skips = skips
        self._sums: dict[_Group, tuple[int, int]] = {}  # (time of the latest entry, amount)

    @property
    def full(self) -> bool:
        """Whether another entry could exceed the maximum number of sums."""
        return bool(self._sums) and len(self._sums) + max(1, len(self._metering.meters)) > MAX_SUMS

    def add(self, recorded: StoredEntry) -> None:
        entry = recorded.entry
        amount = self._metering.amount_of(entry)
        if not amount or self._skips(entry.project):
            return
        names = [meter.name for meter in self._metering.meters if meter.counts(entry)]
        dimension = entry.quantity.dimension
        labels = tuple((name, getattr(entry, name)) for name in self._metering.by)
        if not names and dimension not in self._metering.without:
            names, labels = [""], (("dimension", dimension.value), ("model", entry.model))
        correction = entry.kind is EntryKind.CORRECTION
        for name in names:
            group = (entry.project, name, entry.at_unix_ms // HOUR_MS, correction, labels)
            at, total = self._sums.get(group, (0, 0))
            self._sums[group] = max(at, entry.at_unix_ms), total + amount

    def events(self, begin: str, first: int, last: int) -> list[UsageEvent]:
        """Return the sums as events of the entries `first` to `last`, ordered by time. Identifiers begin with `begin`,
        and do not reveal the names of projects or sessions. A sum of zero is no event.
        """
        events = []
        for group, (at, total) in self._sums.items():
            if total:
                project, meter, _, _, labels = group
                digest = hashlib.sha256(repr(group).encode()).hexdigest()[:16]
                events.append(
                    UsageEvent(
                        identifier=f"{begin}/{first}-{last}/{digest}",
                        project=project,
                        meter=meter,
                        at_unix_ms=at,
                        quantity=total,
                        first=first,
                        last=last,
                        labels=labels,
                    )
                )
        return sorted(events, key=lambda event: (event.at_unix_ms, event.identifier))
