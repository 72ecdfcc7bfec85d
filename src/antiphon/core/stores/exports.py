"""The port of the outbox of exports."""

from collections.abc import Collection, Sequence
from typing import Protocol

from antiphon.core.exports import Batch, Cut, ExportStatus, Mark, Refusal

MAX_GAPS = 1000  # of one answer


class Exports(Protocol):
    """The outbox: batches of usage events by target, each stored before it is sent. A server writes it; commands may
    too, at the same time. Everything raises `InternalError`.
    """

    @property
    def trouble(self) -> str | None:
        """Why nothing can be stored; `None` if it can."""

    # -- for what sends ------------------------------------------------------------------------------------------------

    async def cuts(self, target: str, limit: int = 1) -> list[Cut]:
        """Return the positions that the target has reached, the latest first."""

    async def cut(
        self, target: str, before: Cut | None, after: Cut, batches: Sequence[Batch], now_unix_ms: int
    ) -> None:
        """Add batches, and advance the target to `after`, in one transaction. If there is a never-sent gap with the
        same lane and reason, a refused batch is added to it (`core.exports.add_to_gap`). Raises `Conflict` if the
        target is no longer at `before`, or an identifier is taken.
        """

    async def waiting(self, target: str, now_unix_ms: int, limit: int) -> list[Batch]:
        """Return the first waiting batch of each lane that is due, in order."""

    async def write(self, target: str, batch: Batch) -> None:
        """Store the body, lane, state and reason of a batch that waits without a body."""

    async def sending(self, target: str, numbers: Sequence[int], now_unix_ms: int) -> None:
        """Record that these are about to be sent; durable on return. From now on each is in doubt, if it was not
        before.
        """

    async def mark(self, target: str, marks: Sequence[Mark], now_unix_ms: int) -> None:
        """Record the results of waiting batches; those that no longer wait stay unchanged."""

    async def refuse(
        self, target: str, refusals: Sequence[Refusal], others: Sequence[Refusal], now_unix_ms: int
    ) -> None:
        """Record a receiver's later refusals: of batches, by their identifiers; and of `others` whose batch is unknown:
        each is a gap without events, once per identifier.
        """

    async def purge(self, target: str, before_unix_ms: int, most: int) -> None:
        """Delete batches taken before then, and all taken ones but the last `most`; and the target's earlier positions,
        except the latest.
        """

    # -- for people ----------------------------------------------------------------------------------------------------

    async def status(self) -> list[ExportStatus]:
        """Return the status of every target, by name."""

    async def gaps(self, target: str, after: int = 0, limit: int = MAX_GAPS) -> list[Batch]:
        """Return the gaps with higher numbers than `after`, in order, without bodies."""

    async def settle(self, target: str, numbers: Collection[int], note: str, now_unix_ms: int) -> int:
        """Mark gaps as dealt with by a person, with a note; return how many there were."""

    async def send_again(self, target: str, numbers: Collection[int]) -> int:
        """Have gaps sent again (`core.exports.renew`); return how many there were. Those without events stay."""

    async def replay(self, target: str, position: int, since_unix_ms: int) -> tuple[int, int]:
        """Have taken batches with entries from `position` on sent again unchanged, if first sent since then. Return how
        many those are, and how many are older and stay.
        """

    async def close(self) -> None:
        """Finish what was begun, then close. Closing again does nothing."""
