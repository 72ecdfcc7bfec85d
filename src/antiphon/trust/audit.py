"""The records that a server writes to the audit log: admissions and refusals, accesses to stored data, and the server's
own events.

An admission is recorded before anything else is done for the caller, so that the record is durable with the first
charge. Of the refusals of one address for one reason the first is recorded at once, the others as a count each minute:
guessing keys does not fill the disk. Nothing here waits.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any

from antiphon.core.audit import SERVER, Action, AuditRecord, Author, Outcome, policy_version
from antiphon.core.call import Call
from antiphon.core.errors import AntiphonError, LedgerUnavailable
from antiphon.core.identity import Principal
from antiphon.core.policy import Policy
from antiphon.core.ports import Clock
from antiphon.core.stores import Directory, Ledger
from antiphon.core.units import NS_PER_S

LOOK_S = 1.0  # between two moves of the records that were written with changes of the directory
COUNTED_NS = 60 * NS_PER_S  # over which refusals are counted
MOST_COUNTED = 1_024  # kinds of refusals in that time, by address, reason and key; further ones are counted together
FORGET_NS = 3_600 * NS_PER_S  # between two searches for expired records
BEHIND_MS = 60_000  # that a clock must be behind the latest time before this is recorded

_Kind = tuple[Action, str, str, str]  # the key of a count of refusals: action, address, reason and key id

log = logging.getLogger(__name__)


class Addresses(StrEnum):
    """How much of a caller's address is recorded."""

    WHOLE = "whole"
    NETWORK = "network"  # the /24 of IPv4, the /48 of IPv6
    NONE = "none"


class Auditor:
    """The writer of audit records. For one event loop."""

    def __init__(
        self,
        ledger: Ledger,
        directory: Directory,
        clock: Clock,
        policy: Callable[[str], Policy],
        *,
        addresses: Addresses = Addresses.NETWORK,
        keep_s: int = 0,
        behind_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        """Create an auditor. `clock` is the wall clock; `behind_ms` returns how far it is behind the latest time ever
        seen. The contents of records are dropped after `keep_s` seconds; 0: never.
        """
        self._ledger = ledger
        self._directory = directory
        self._clock = clock
        self._policy = policy
        self._addresses = addresses
        self._keep_ms = keep_s * 1000
        self._behind_ms = behind_ms
        self._counted: dict[_Kind, AuditRecord] = {}
        self._more: dict[_Kind, int] = {}
        self._counted_ns = clock.now_ns()
        self._forgot_ns = clock.now_ns() - FORGET_NS
        self._lost = 0
        self._was_behind = False

    def admit(self, action: Action, place: str, principal: Principal, address: str, request: str) -> None:
        """Record that a caller was admitted to `place`. Raises `LedgerUnavailable` if that cannot be recorded; the
        caller must then be refused.
        """
        version = policy_version(self._policy(principal.project))
        self._ledger.record(
            AuditRecord(
                *(self._clock.unix_ms(), action, Outcome.ALLOWED, principal.key_id, principal.project, place, ""),
                *(self._masked(address), request, version),
            )
        )

    def refuse(
        self,
        action: Action,
        place: str,
        error: AntiphonError,
        address: str,
        request: str,
        principal: Principal | None = None,
    ) -> None:
        """Record that a caller was refused, or lacks the right. Repeated refusals are counted."""
        actor = principal.key_id if principal else error.key_id
        kind = action, address, error.code, actor
        if kind not in self._more and len(self._more) >= MOST_COUNTED:
            kind = action, "", error.code, ""
        if kind in self._more:
            self._more[kind] += 1
            return
        self._more[kind] = 0
        project = principal.project if principal else error.project
        record = AuditRecord(
            *(self._clock.unix_ms(), action, Outcome.REFUSED, actor, project, place, error.code),
            *(self._masked(kind[1]), request),
        )
        self._counted[kind] = record
        self._try(record)

    def misplaced(self, principal: Principal, model: str, error: AntiphonError) -> None:
        """Record that no engine of a model may serve the caller."""
        self.refuse(Action.ENGINE_REFUSE, model, error, "", "", principal)

    def not_redacted(self, call: Call[Any], error: str) -> None:
        """Record that a call ended because an error kept what it must hide from being found."""
        who = call.principal
        self.event(Action.REDACTION_FAIL, who.project, call.id, actor=who.key_id, outcome=Outcome.FAILED, reason=error)

    def event(
        self,
        action: Action,
        project: str = "",
        object: str = "",
        *,
        actor: str = SERVER,
        outcome: Outcome = Outcome.DONE,
        reason: str = "",
        address: str = "",
        request: str = "",
        counts: tuple[tuple[str, int], ...] = (),
    ) -> None:
        """Record an event. If there is no room, the number of lost records is recorded later."""
        self._try(
            AuditRecord(
                *(self._clock.unix_ms(), action, outcome, actor, project, object, reason),
                *(self._masked(address), request, "", counts),
            )
        )

    async def settle(self, record: AuditRecord) -> None:
        """Record what was done by a caller, durably on return. Raises `LedgerUnavailable`."""
        self._ledger.record(record)
        await self._ledger.flush()

    def expired(self, action: Action, wiped: Mapping[str, int]) -> None:
        """Record how many things of each project expired."""
        for project, number in wiped.items():
            self.event(action, project, counts=(("number", number),))

    def author(self, principal: Principal, address: str, request: str) -> Author:
        """Return the author of a change that the caller is about to make."""
        return Author(principal.key_id, self._clock.unix_ms(), self._masked(address), request)

    async def watch(self) -> None:
        """Move records of changes into the log, write counts and drop expired records, for ever."""
        while True:
            try:
                await self.look()
            except AntiphonError as error:  # the ledger, or the directory; both say so themselves at `/readyz`
                log.error("the audit log is behind", extra={"reason": error.message})
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Do once what is due. Raises `LedgerUnavailable`, `KeysUnavailable`."""
        now_ns = self._clock.now_ns()
        if now_ns - self._counted_ns >= COUNTED_NS:
            self._counted_ns = now_ns
            self._write_counts()
            self._look_at_clock()
        await self.drain()
        if self._keep_ms and now_ns - self._forgot_ns >= FORGET_NS:
            self._forgot_ns = now_ns
            forgotten = await self._ledger.forget_records(self._clock.unix_ms() - self._keep_ms)
            if forgotten:
                self.event(Action.AUDIT_EXPIRE, counts=(("records", forgotten),))

    async def drain(self) -> None:
        """Move the records of changes from the directory into the log. Raises `LedgerUnavailable`,
        `KeysUnavailable`.
        """
        while True:
            source, changes = await asyncio.to_thread(self._directory.changes)
            if not changes:
                return
            await self._ledger.drain(source, changes)
            await asyncio.to_thread(self._directory.drained, changes[-1].position)

    async def close(self) -> None:
        """Write the remaining counts, and move as many records as possible. A failure is logged."""
        self._write_counts()
        try:
            await self.drain()
            await self._ledger.flush()
        except AntiphonError as error:
            log.error("the audit log is behind", extra={"reason": error.message})

    def _write_counts(self) -> None:
        counted, more = self._counted, self._more
        self._counted, self._more = {}, {}
        for kind, times in more.items():
            if times:
                now = self._clock.unix_ms()
                self._try(counted[kind]._replace(at_unix_ms=now, request="", counts=(("times", times),)))

    def _look_at_clock(self) -> None:
        behind_ms = self._behind_ms()
        if behind_ms > BEHIND_MS and not self._was_behind:
            self.event(Action.CLOCK_SET_BACK, counts=(("behind_ms", behind_ms),))
        self._was_behind = behind_ms > BEHIND_MS

    def _try(self, record: AuditRecord) -> None:
        try:
            if self._lost:
                lost = (("records", self._lost),)
                now = self._clock.unix_ms()
                self._ledger.record(AuditRecord(now, Action.AUDIT_LOSE, Outcome.FAILED, SERVER, counts=lost))
                self._lost = 0
            self._ledger.record(record)
        except LedgerUnavailable:
            self._lost += 1

    def _masked(self, address: str) -> str:
        return masked(address, self._addresses)


@lru_cache(4096)
def masked(address: str, addresses: Addresses) -> str:
    """Return the part of an address that is recorded; empty for an invalid address."""
    if addresses is Addresses.NONE or not address:
        return ""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    if addresses is Addresses.WHOLE:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))
