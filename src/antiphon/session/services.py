"""What all sessions share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from antiphon.audio.decode import Decoder
from antiphon.core.ports import Clock
from antiphon.core.usage import Dimension
from antiphon.metering.entry import Entry
from antiphon.metering.ledger import Claim
from antiphon.scheduler.runner import Runner
from antiphon.session.observe import Observer
from antiphon.trust.fetch import Fetcher


class Ledger(Protocol):
    """`metering.ledger.Ledger`, or the fake."""

    @property
    def healthy(self) -> bool: ...

    async def append(self, new: Sequence[Entry], claim: Claim | None = None) -> None: ...

    async def claim(self, project: str, key: str, fingerprint: str, session: str, now_unix_ms: int) -> Claim: ...

    async def charged(self, project: str, dimension: Dimension, since_unix_ms: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Services:
    """What all sessions share."""

    clock: Clock
    ledger: Ledger
    runner: Runner
    decoder: Decoder
    fetcher: Fetcher
    observer: Observer
