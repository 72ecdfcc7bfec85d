"""An outbox of exports, in memory."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from antiphon.core import stores
from antiphon.core.errors import Conflict
from antiphon.core.exports import GAPS, Batch, BatchState, Cut, ExportStatus, Mark, Refusal, add_to_gap, renew
from antiphon.core.stores import MAX_GAPS


@dataclass(slots=True)
class _Target:
    cuts: list[tuple[Cut, int]] = field(default_factory=list)
    batches: dict[int, Batch] = field(default_factory=dict)
    sent: dict[int, int] = field(default_factory=dict)  # the time of the first sending, by number
    changed: dict[int, int] = field(default_factory=dict)


class FakeExports:
    """An in-memory fake of `core.stores.Exports` with the same rules. `interrupt`, if set, is called with the name of
    each change before and after it, and may raise: before, nothing has changed; after, everything has.
    """

    def __init__(self) -> None:
        self.interrupt: Callable[[str], None] | None = None
        self._targets: dict[str, _Target] = {}
        self._numbers = 0

    @property
    def trouble(self) -> str | None:
        return None

    def batches(self, target: str) -> list[Batch]:
        """Return all batches of the target, in order."""
        return [batch for _, batch in sorted(self._of(target).batches.items())]

    # -- for what sends ------------------------------------------------------------------------------------------------

    async def cuts(self, target: str, limit: int = 1) -> list[Cut]:
        return [cut for cut, _ in reversed(self._of(target).cuts)][:limit]

    async def cut(
        self, target: str, before: Cut | None, after: Cut, batches: Sequence[Batch], now_unix_ms: int
    ) -> None:
        self._at("before cut")
        own = self._targets.setdefault(target, _Target())
        if (own.cuts[-1][0] if own.cuts else None) != before:
            raise Conflict(f"export {target} has moved on meanwhile")
        names = [batch.identifier for batch in (*own.batches.values(), *batches)]
        if len(set(names)) != len(names):
            raise Conflict("an identifier of a batch is taken")
        for batch in batches:
            gap = self._gap_of(own, batch)
            if gap is None:
                self._add(own, batch, now_unix_ms)
            else:
                own.batches[gap.number] = add_to_gap(gap, batch)
        own.cuts.append((after, now_unix_ms))
        self._at("after cut")

    async def waiting(self, target: str, now_unix_ms: int, limit: int) -> list[Batch]:
        heads: dict[str, Batch] = {}
        for batch in self.batches(target):
            if batch.state is BatchState.WAITING:
                heads.setdefault(batch.lane, batch)
        return [batch for batch in heads.values() if batch.next_unix_ms <= now_unix_ms][:limit]

    async def write(self, target: str, batch: Batch) -> None:
        now = self._of(target).batches[batch.number]
        if now.state is BatchState.WAITING and not now.body:
            changed = replace(now, body=batch.body, lane=batch.lane, state=batch.state, reason=batch.reason)
            self._of(target).batches[batch.number] = changed

    async def sending(self, target: str, numbers: Sequence[int], now_unix_ms: int) -> None:
        self._at("before sending")
        own = self._of(target)
        for number, batch in self._waiting(own, numbers):
            since = now_unix_ms if batch.doubtful_unix_ms is None else batch.doubtful_unix_ms
            own.batches[number] = replace(batch, attempts=batch.attempts + 1, doubtful_unix_ms=since)
            own.sent.setdefault(number, now_unix_ms)
            own.changed[number] = now_unix_ms
        self._at("after sending")

    async def mark(self, target: str, marks: Sequence[Mark], now_unix_ms: int) -> None:
        self._at("before mark")
        own = self._of(target)
        by_number = {mark.number: mark for mark in marks}
        for number, batch in self._waiting(own, list(by_number)):
            mark = by_number[number]
            own.batches[number] = replace(
                batch,
                state=mark.state,
                reason=mark.reason,
                next_unix_ms=mark.next_unix_ms,
                doubtful_unix_ms=mark.doubtful_unix_ms,
            )
            own.changed[number] = now_unix_ms
        self._at("after mark")

    async def refuse(
        self, target: str, refusals: Sequence[Refusal], others: Sequence[Refusal], now_unix_ms: int
    ) -> None:
        own = self._targets.setdefault(target, _Target())
        by_name = {batch.identifier: batch for batch in own.batches.values()}
        for each in refusals:
            batch = by_name.get(each.identifier)
            if batch is not None and batch.state is not BatchState.SETTLED:
                changed = replace(batch, state=BatchState.REFUSED, reason=each.reason, doubtful_unix_ms=None)
                own.batches[batch.number] = changed
        for each in others:
            if each.identifier not in by_name:
                gap = Batch(identifier=each.identifier, lane="", body=b"", events=(), reason=each.reason)
                self._add(own, replace(gap, state=BatchState.REFUSED), now_unix_ms)

    async def purge(self, target: str, before_unix_ms: int, most: int) -> None:
        own = self._of(target)
        taken = [number for number, batch in sorted(own.batches.items()) if batch.state is BatchState.TAKEN]
        for place, number in enumerate(taken, 1):
            if own.changed[number] < before_unix_ms or place <= len(taken) - most:
                del own.batches[number], own.changed[number]
        own.cuts = [*((cut, at) for cut, at in own.cuts[:-1] if at >= before_unix_ms), *own.cuts[-1:]]

    # -- for people ----------------------------------------------------------------------------------------------------

    async def status(self) -> list[ExportStatus]:
        found = []
        for target, own in sorted(self._targets.items()):
            if own.cuts:
                counts = {state.value: 0 for state in BatchState}
                for batch in own.batches.values():
                    counts[batch.state.value] += 1
                waiting = [b.oldest_unix_ms for b in own.batches.values() if b.state is BatchState.WAITING]
                position, oldest = own.cuts[-1][0].position, min(waiting, default=None)
                found.append(ExportStatus(target=target, position=position, oldest_waiting_unix_ms=oldest, **counts))
        return found

    async def gaps(self, target: str, after: int = 0, limit: int = MAX_GAPS) -> list[Batch]:
        found = [batch for batch in self.batches(target) if batch.state in GAPS and batch.number > after]
        return [replace(batch, body=b"") for batch in found[:limit]]

    async def settle(self, target: str, numbers: Collection[int], note: str, now_unix_ms: int) -> int:
        own = self._of(target)
        found = [number for number in numbers if number in own.batches and own.batches[number].state in GAPS]
        for number in found:
            own.batches[number] = replace(own.batches[number], state=BatchState.SETTLED, note=note)
        return len(found)

    async def send_again(self, target: str, numbers: Collection[int]) -> int:
        own = self._of(target)
        gaps = [batch for number in numbers if (batch := own.batches.get(number)) and batch.state in GAPS]
        found = [batch for batch in gaps if batch.events]
        for batch in found:
            own.batches[batch.number] = renew(batch)
            own.sent.pop(batch.number, None)
        return len(found)

    async def replay(self, target: str, position: int, since_unix_ms: int) -> tuple[int, int]:
        own = self._of(target)
        taken = [batch for batch in own.batches.values() if batch.state is BatchState.TAKEN]
        candidates = [b for b in taken if max((event.last for event in b.events), default=0) >= position]
        found = [batch for batch in candidates if own.sent.get(batch.number, 0) >= since_unix_ms]
        for batch in found:
            waiting = renew(replace(batch, state=BatchState.UNKNOWN))  # as it is
            own.batches[batch.number] = replace(waiting, reason="replay", doubtful_unix_ms=own.sent[batch.number])
        return len(found), len(candidates) - len(found)

    async def close(self) -> None:
        pass

    def _of(self, target: str) -> _Target:
        return self._targets.get(target, _Target())

    def _add(self, own: _Target, batch: Batch, now_unix_ms: int) -> None:
        self._numbers += 1
        own.batches[self._numbers] = replace(batch, number=self._numbers)
        own.changed[self._numbers] = now_unix_ms

    @staticmethod
    def _gap_of(own: _Target, batch: Batch) -> Batch | None:
        """Return the gap to which the batch is added, if any."""
        if batch.state is not BatchState.REFUSED:
            return None
        same = (
            b for b in own.batches.values() if (b.state, b.lane, b.reason) == (batch.state, batch.lane, batch.reason)
        )
        return next((each for each in same if each.number not in own.sent), None)

    @staticmethod
    def _waiting(own: _Target, numbers: Sequence[int]) -> list[tuple[int, Batch]]:
        found = [(number, own.batches[number]) for number in numbers if number in own.batches]
        return [(number, batch) for number, batch in found if batch.state is BatchState.WAITING]

    def _at(self, step: str) -> None:
        if self.interrupt is not None:
            self.interrupt(step)


if TYPE_CHECKING:  # makes mypy check that the fake implements its port
    _EXPORTS: type[stores.Exports] = FakeExports
