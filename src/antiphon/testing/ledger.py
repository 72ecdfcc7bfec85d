"""A ledger with its audit log, and what is issued of it, in memory."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

from antiphon.core import stores
from antiphon.core.audit import AuditRecord, ChangeRecord, LoggedRecord, canonical
from antiphon.core.entry import CLOSING, Entry, EntryKind
from antiphon.core.errors import AlreadyAnswered, AntiphonError, CallerError, Conflict, OutcomeUnknown
from antiphon.core.merkle import Edge, Place, leaf_hash
from antiphon.core.stores import (
    FROM_THE_START,
    MAX_READ,
    Claim,
    IssuedStatement,
    StoredEntry,
    check_idempotency_key,
    standing,
)
from antiphon.core.usage import By, Charge, ClosedSession, Dimension, LooseEnds, SessionQuery, Total, UsageQuery


class FakeLedger:
    """An in-memory fake of `core.stores.Ledger` with the same rules, which is also the `Trail` of its audit log. While
    `error` is set, every call raises it; while `outcome` is set, an append is written or not, and reports that this is
    unknown.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.server = "fake"
        self.error: AntiphonError | None = None
        self.outcome: bool | None = None
        self.closed = False
        self.notes: dict[tuple[str, str], dict[tuple[Dimension, int], int]] = {}  # by project and session
        self._claims: dict[tuple[str, str], Claim] = {}
        self.records: list[AuditRecord | None] = []  # of the audit log
        self._leaves: list[bytes] = []
        self._drained: dict[str, int] = {}

    @property
    def healthy(self) -> bool:
        return self.error is None and not self.closed

    @property
    def trouble(self) -> str | None:
        return None if self.healthy else "the ledger fails"

    async def append(self, new: Sequence[Entry], claim: Claim | None = None) -> None:
        self._check()
        written = {entry.key: entry for entry in self.entries}
        if any(written.get(entry.key, entry) != entry for entry in new):
            raise Conflict("this entry has been written before, with other contents")
        if claim is not None and new and (claim.key or claim.replay_of is None):
            replay_of = self._standing(claim)
            if replay_of is not None and claim.replay_of is None:
                raise AlreadyAnswered("another session answered it meanwhile", replay_of)
            self._claims[claim.project, claim.key] = claim
        if claim is not None and claim.replay_of is not None:
            return
        if self.outcome is not False:
            self._write(new, written)
        if self.outcome is not None:
            raise OutcomeUnknown("it is not known whether usage was recorded", retry_after_s=1)

    def _write(self, new: Sequence[Entry], written: Mapping[tuple[str, str, int], Entry]) -> None:
        for entry in new:
            self.notes.pop((entry.project, entry.session), None)
        self.entries += [entry for entry in new if entry.key not in written]

    async def note(self, owed: Sequence[tuple[Entry, int]]) -> None:
        self._check()
        for entry, amount in owed:
            self.notes.setdefault((entry.project, entry.session), {})[entry.quantity.dimension, entry.channel] = amount

    async def claim(self, project: str, key: str, fingerprint: str, session: str, now_unix_ms: int) -> Claim:
        self._check()
        check_idempotency_key(key)
        replay_of = self._standing(Claim(project, key, fingerprint, session, now_unix_ms))
        return Claim(project, key, fingerprint, session, now_unix_ms, replay_of)

    async def charged(self, project: str, dimension: Dimension, since_unix_ms: int) -> int:
        self._check()
        ours = (e for e in self.entries if e.project == project and e.at_unix_ms >= since_unix_ms)
        return sum(e.quantity.amount for e in ours if e.quantity.dimension is dimension)

    async def totals(self, query: UsageQuery) -> list[Total]:
        self._check()
        found: dict[tuple[str, ...], list[Entry]] = {}
        for entry in filter(partial(_matches, query), self.entries):
            group = (*(_group(by, entry) for by in dict.fromkeys(query.by)), entry.quantity.dimension.value)
            found.setdefault(group, []).append(entry)
        return [
            Total(
                group[:-1],
                group[-1],
                sum(entry.quantity.amount for entry in entries),
                len({entry.session for entry in entries if entry.kind is EntryKind.USAGE}),
                sum(entry.kind is EntryKind.ABANDONED for entry in entries),
            )
            for group, entries in sorted(found.items())
        ]

    async def read(self, after: str = FROM_THE_START, limit: int = MAX_READ) -> list[StoredEntry]:
        self._check()
        if after and not after.isdigit():
            raise CallerError("this is no cursor of the ledger", param="after")
        start = int(after or 0)
        several = enumerate(self.entries[start : start + limit], start + 1)
        return [StoredEntry(str(number), self.server, entry) for number, entry in several]

    def record(self, record: AuditRecord) -> None:
        self.records.append(record)
        self._leaves.append(leaf_hash(canonical(record)))

    async def drain(self, source: str, changes: Sequence[ChangeRecord]) -> None:
        self._check()
        for change in changes:
            if change.position > self._drained.get(source, -1):
                self._drained[source] = change.position
                self.record(change.record)

    async def forget_records(self, before_unix_ms: int) -> int:
        self._check()
        old = list(takewhile(lambda record: not record or record.at_unix_ms < before_unix_ms, self.records))
        self.records[: len(old)] = [None] * len(old)
        return len(old) - old.count(None)

    # -- the audit log, read -------------------------------------------------------------------------------------------

    async def size(self) -> int:
        return len(self.records)

    async def logged(
        self, start: int, limit: int = MAX_READ, *, project: str | None = None, since_unix_ms: int | None = None
    ) -> list[LoggedRecord]:
        stored = self._stored()
        found = [
            LoggedRecord(at, b"".join(stored[at]), canonical(record) if record else None)
            for at, record in enumerate(self.records)
            if at >= start
            and (project is None or (record is not None and record.project == project))
            and (since_unix_ms is None or (record is not None and record.at_unix_ms >= since_unix_ms))
        ]
        return found[:limit]

    async def hashes(self, places: Sequence[Place]) -> list[bytes]:
        stored = self._stored()
        return [stored[number][level] for number, level in places]

    def _stored(self) -> list[list[bytes]]:
        edge = Edge()
        return [edge.add(leaf) for leaf in self._leaves]

    def head(self) -> str:
        return str(len(self.entries))

    def sessions(self, query: SessionQuery) -> Iterator[ClosedSession]:
        known = [(e, since) for e, since in self._since(query) if since < query.known_unix_ms]
        closed = _closings(known)
        for since, session, kind in sorted((since, session, kind) for session, (since, kind) in closed.items()):
            home = [e for e, _ in known if e.kind not in CLOSING and _home(e) == session]
            home.sort(key=lambda e: (e.session != session, e.session, e.sequence))
            if query.since_unix_ms <= since < query.until_unix_ms and home:
                charges = _charges(home, query.by_entry)
                yield ClosedSession(query.project, session, since, kind is EntryKind.ABANDONED, charges)

    def loose_ends(self, query: SessionQuery) -> LooseEnds:
        known = [(e, since) for e, since in self._since(query) if since < query.until_unix_ms]
        closed = {session: since for session, (since, _) in _closings(known).items()}
        period = [e for e, since in known if since >= query.since_unix_ms]
        homes = {_home(e) for e in period}
        reopened = {home: closed[home] for home in homes & closed.keys() if closed[home] < query.since_unix_ms}
        charged = {e.session for e in period if e.kind is EntryKind.USAGE}
        return LooseEnds(reopened, len(charged - closed.keys()))

    def _since(self, query: SessionQuery) -> Iterator[tuple[Entry, int]]:
        """Yield the entries of the query's project, and the time from which each counts."""
        for number, entry in enumerate(self.entries[: int(query.head)], 1):
            if entry.project == query.project:
                late = [each.until_unix_ms for each in query.settled if number > int(each.cursor)]
                yield entry, max(entry.at_unix_ms, *late) if late else entry.at_unix_ms

    async def flush(self) -> None:
        self._check()

    async def close(self) -> None:
        self.closed = True

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    def _standing(self, claim: Claim) -> str | None:
        known = self._claims.get((claim.project, claim.key))
        if known is None:
            return None
        entries = [e for e in self.entries if (e.project, e.session) == (known.project, known.session)]
        last = (entries[-1].kind, entries[-1].feature) if entries else None
        return standing(claim, (known.fingerprint, known.session), last)


def _closings(entries: Sequence[tuple[Entry, int]]) -> dict[str, tuple[int, EntryKind]]:
    """Return when each session closed first, and how."""
    closed: dict[str, tuple[int, EntryKind]] = {}
    for entry, since in entries:
        if entry.kind in CLOSING and since < closed.get(entry.session, (since + 1,))[0]:
            closed[entry.session] = since, entry.kind
    return closed


def _home(entry: Entry) -> str:
    """Return the session to which the entry is charged."""
    return entry.corrects.session if entry.corrects is not None else entry.session


def _charges(entries: Sequence[Entry], by_entry: bool) -> list[Charge]:
    """Return the charges of one session, in order; equal ones are summed, unless `by_entry`."""
    found: dict[tuple[object, ...], Charge] = {}
    for e in entries:
        corrects = e.corrects.sequence if e.corrects is not None else None
        used = e.key_id, e.surface, e.model, e.quantity.dimension.value
        how = e.channel, e.feature, e.kind.value, corrects
        key = (e.session, used, how, e.sequence if by_entry else 0)
        old = found.get(key, Charge(e.sequence, 0, 0, e.at_unix_ms, *used, 0, *how))
        found[key] = old._replace(
            last=e.sequence,
            entries=old.entries + 1,
            at_unix_ms=min(old.at_unix_ms, e.at_unix_ms),
            amount=old.amount + e.quantity.amount,
        )
    return list(found.values())


def _matches(query: UsageQuery, entry: Entry) -> bool:
    return (
        (query.since_unix_ms is None or entry.at_unix_ms >= query.since_unix_ms)
        and (query.until_unix_ms is None or entry.at_unix_ms < query.until_unix_ms)
        and query.project in (None, entry.project)
        and (query.labels is None or not set(query.labels).isdisjoint(entry.tags))
    )


def _group(by: By, entry: Entry) -> str:
    if by is By.DAY:
        return datetime.fromtimestamp(entry.at_unix_ms // 1000, UTC).date().isoformat()
    return str(entry.key_id if by is By.KEY else getattr(entry, by))


class FakeBills:
    """An in-memory fake of `core.stores.Bills` with the same rules."""

    def __init__(self) -> None:
        self.books: dict[tuple[str, str], str] = {}
        self.statements: list[IssuedStatement] = []

    def pin(self, book: str, version: str, sha256: str, now_unix_ms: int) -> None:
        if self.books.setdefault((book, version), sha256) != sha256:
            raise Conflict(f"version {version} of the price book {book} has rated usage with other contents")

    def issued(self, project: str) -> list[IssuedStatement]:
        ours = (each for each in self.statements if each.project == project)
        return sorted(ours, key=lambda each: each.since_unix_ms)

    def issue(self, statement: IssuedStatement) -> None:
        if any(each.until_unix_ms > statement.since_unix_ms for each in self.issued(statement.project)):
            raise Conflict("the statement of this period, or of a later one, has been issued")
        self.statements.append(statement)


if TYPE_CHECKING:  # makes mypy check that the fake implements its port
    _LEDGER: type[stores.Ledger] = FakeLedger
    _TRAIL: type[stores.Trail] = FakeLedger
    _BILLS: type[stores.Bills] = FakeBills
