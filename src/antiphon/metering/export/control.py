"""Status and control of exports: progress, gaps, retries and replays. For the command line and the management API."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import asdict

from antiphon.core.errors import CallerError, NotFound
from antiphon.core.exports import Batch
from antiphon.core.stores import MAX_GAPS, MAX_READ, Exports, Usage
from antiphon.metering.export.outbox import cursor

MAX_NOTE = 500


class ExportControl:
    """The exports as operators see and control them. `memory_ms` is for how long the receiver of each configured target
    remembers identifiers. If `exports` is `None`, nothing was exported.
    """

    def __init__(
        self, exports: Exports | None, ledger: Usage, memory_ms: Mapping[str, int], now_unix_ms: Callable[[], int]
    ) -> None:
        self._exports = exports
        self._ledger = ledger
        self._memory_ms = memory_ms
        self._now_unix_ms = now_unix_ms

    async def status(self) -> list[dict[str, object]]:
        """Return the status of every target. `behind` is the number of ledger entries in no batch yet, at most
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
        """Return a record for each event of a gap, or one for a gap without events; of at most `MAX_GAPS` gaps."""
        exports = await self._known(target)
        return [line for gap in await exports.gaps(target, after, MAX_GAPS) for line in _lines(gap)]

    async def settle(self, target: str, numbers: Collection[int] | None, note: str) -> int:
        """Record that a person has dealt with these gaps, or with all. Returns their number."""
        if len(note) > MAX_NOTE or not note.isprintable():
            raise CallerError(f"a note has at most {MAX_NOTE} characters, all printable", param="note")
        exports = await self._known(target)
        now = self._now_unix_ms()
        done = 0
        async for some in self._numbers(target, numbers):
            done += await exports.settle(target, some, note, now)
        return done

    async def send_again(self, target: str, numbers: Collection[int] | None) -> int:
        """Let these gaps, or all, be sent again. A running server does so within its interval. Returns their number."""
        exports = await self._known(target)
        done = 0
        async for some in self._numbers(target, numbers):
            done += await exports.send_again(target, some)
        return done

    async def replay(self, target: str, position: int) -> tuple[int, int]:
        """Let the batches of entries from `position` on be sent again unchanged, if the receiver still remembers their
        identifiers. Returns the number of these batches, and of those that it may have forgotten.
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
