"""What people ask of exports, and have done: how far they are, gaps, another try, a replay. For the command line and
the management API.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import asdict

from antiphon.core.errors import CallerError, NotFound
from antiphon.core.exports import Batch
from antiphon.core.stores import MAX_GAPS, MAX_READ, Exports, Usage
from antiphon.metering.export.outbox import cursor

MAX_NOTE = 500


class ExportDesk:
    """`memory_ms` is for how long the receiver of each target that is configured knows what comes again. Without
    `exports` nothing was exported.
    """

    def __init__(
        self, exports: Exports | None, ledger: Usage, memory_ms: Mapping[str, int], now_unix_ms: Callable[[], int]
    ) -> None:
        self._exports = exports
        self._ledger = ledger
        self._memory_ms = memory_ms
        self._now_unix_ms = now_unix_ms

    async def status(self) -> list[dict[str, object]]:
        """Every target that there is. `behind` are entries of the ledger that are in no batch yet, at most
        `MAX_READ`.
        """
        found = []
        for status in await self._exports.status() if self._exports is not None else ():
            behind = len(await self._ledger.read(cursor(status.position), MAX_READ))
            named = {"target": status.target, "configured": status.target in self._memory_ms}
            counts = {name: value for name, value in asdict(status).items() if name != "target"}
            found.append({**named, **counts, "gaps": status.gaps, "behind": behind})
        return found

    async def gaps(self, target: str, after: int = 0) -> list[dict[str, object]]:
        """A line for each event of a gap, and one for a gap without; at most `MAX_GAPS` gaps."""
        exports = await self._known(target)
        return [line for gap in await exports.gaps(target, after, MAX_GAPS) for line in _lines(gap)]

    async def settle(self, target: str, numbers: Collection[int] | None, note: str) -> int:
        """Says of gaps, or of all, that a person has dealt with them; how many there were."""
        if len(note) > MAX_NOTE or not note.isprintable():
            raise CallerError(f"a note has at most {MAX_NOTE} characters, all printable", param="note")
        exports = await self._known(target)
        now = self._now_unix_ms()
        done = 0
        async for some in self._numbers(target, numbers):
            done += await exports.settle(target, some, note, now)
        return done

    async def send_again(self, target: str, numbers: Collection[int] | None) -> int:
        """Has gaps, or all, sent again; how many there were. A running server does so within its interval."""
        exports = await self._known(target)
        done = 0
        async for some in self._numbers(target, numbers):
            done += await exports.send_again(target, some)
        return done

    async def replay(self, target: str, position: int) -> tuple[int, int]:
        """Has what was taken of the entries from `position` on sent again, as it was, where the receiver still knows
        it. How many batches, and how many stay because it may not.
        """
        exports = await self._known(target)
        if target not in self._memory_ms:
            raise NotFound(f"[export.{target}] is not configured", param="target")
        return await exports.replay(target, position, self._now_unix_ms() - self._memory_ms[target])

    async def _numbers(self, target: str, numbers: Collection[int] | None) -> AsyncIterator[Collection[int]]:
        if numbers is not None:
            yield numbers
            return
        exports, after = await self._known(target), 0
        while gaps := await exports.gaps(target, after, MAX_GAPS):
            after = gaps[-1].number
            yield [gap.number for gap in gaps]

    async def _known(self, target: str) -> Exports:
        known = () if self._exports is None else await self._exports.status()
        if self._exports is None or all(status.target != target for status in known):
            names = ", ".join(status.target for status in known) or "none"
            raise NotFound(f"export {target} not found; there is: {names}", param="target")
        return self._exports


def _lines(gap: Batch) -> list[dict[str, object]]:
    whole: dict[str, object] = {
        "number": gap.number,
        "state": gap.state.value,
        "reason": gap.reason,
        "attempts": gap.attempts,
        "identifier": gap.identifier,
    }
    return [
        whole
        | {
            "identifier": event.identifier,
            "project": event.project,
            "meter": event.meter,
            "at_unix_ms": event.at_unix_ms,
            "quantity": event.quantity,
            "first": event.first,
            "last": event.last,
            "labels": dict(event.labels),
        }
        for event in gap.events
    ] or [whole]
