"""The port of the ledger: what was used, durable before a result leaves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from antiphon.core.audit import AuditRecord, ChangeRecord
from antiphon.core.entry import Entry, EntryKind
from antiphon.core.errors import AlreadyAnswered, CallerError, Conflict
from antiphon.core.usage import ClosedSession, Dimension, LooseEnds, SessionQuery, Total, UsageQuery

IDEMPOTENCY_RETENTION_MS = 24 * 3_600_000
MAX_KEY_LENGTH = 255  # of an idempotency key
MAX_TOTALS = 50_000  # rows of one answer
MAX_READ = 1000  # entries, or records of the audit log, of one read
MAX_RECORDS = 32_768  # of the audit log, that wait to be written
RECORDED_WITHIN_S = 0.5
STREAMED = "stream"  # the feature of entries that charge for what was sent, piece by piece
FROM_THE_START = ""  # the cursor before the first entry


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim of `session` to answer the request with this idempotency key. `replay_of` is the session already
    charged for it; then nothing more is charged: the first append with this claim records that the answer was given
    again, and writes no entry. A retry without a key has an empty one, and leaves no record.
    """

    project: str
    key: str
    fingerprint: str
    session: str
    at_unix_ms: int
    replay_of: str | None = None


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry in the ledger. `cursor` is its position, to read on from; `server` is the id of the server that wrote
    it, empty if written by a version without ids.
    """

    cursor: str
    server: str
    entry: Entry


class Usage(Protocol):
    """A reader of the ledger, with or without a running server."""

    async def totals(self, query: UsageQuery) -> list[Total]:
        """Return totals sorted by group. Raises `CallerError` if there are more than `MAX_TOTALS`, `InternalError` if
        the ledger is missing or cannot be read.
        """

    async def charged(self, project: str, dimension: Dimension, since_unix_ms: int) -> int:
        """Return the amount of one dimension charged since then, corrections included. Raises `InternalError`."""

    async def read(self, after: str = FROM_THE_START, limit: int = MAX_READ) -> list[StoredEntry]:
        """Return the next entries after a cursor, at most `limit`. No entry ever appears before one that was read
        already, so a reader that continues from the last cursor misses none. Raises `CallerError` for an invalid
        cursor, `InternalError`.
        """

    # For bills; blocking, for any thread, in short reads. Results up to a given cursor never change.

    def head(self) -> str:
        """Return the cursor of the last entry."""

    def sessions(self, query: SessionQuery) -> Iterator[ClosedSession]:
        """Yield sessions by the time at which they closed, then by id. Those without an amount are left out."""

    def loose_ends(self, query: SessionQuery) -> LooseEnds:
        """Return the loose ends of the period from `since` to `until`."""


class Ledger(Usage, Protocol):
    """The durable record of usage: an entry is on disk when `append` returns.

    A server opens one, under its id, and closes the sessions that the same server left open before.
    """

    @property
    def healthy(self) -> bool:
        """Whether appends are accepted."""

    @property
    def trouble(self) -> str | None:
        """Why appends are not accepted; `None` if they are."""

    async def append(self, new: Sequence[Entry], claim: Claim | None = None) -> None:
        """Append entries, all in order, and return when they are durable. An existing entry with the same contents is
        not written again. What only closes sessions may wait a little for other entries.

        With a `claim`, the first append records it in the same transaction. Raises `Conflict` if an entry's key is
        taken by a different entry, or the idempotency key by a different request; `AlreadyAnswered` if another session
        has answered it meanwhile. After `LedgerUnavailable` the entries are not in the ledger, and will not be. After
        `OutcomeUnknown` they may be there now or later: nothing that they charge for may be delivered, and they must be
        appended again unchanged. The same holds after an append that was cancelled.
        """

    async def note(self, owed: Sequence[tuple[Entry, int]]) -> None:
        """Record durably that a session owes these amounts beyond its entries, as entries would charge them, until its
        next append, which replaces the note. Calls for one session must be sequential. Raises `LedgerUnavailable`. A
        cancelled note may be written or not.
        """

    async def claim(self, project: str, key: str, fingerprint: str, session: str, now_unix_ms: int) -> Claim:
        """Look an idempotency key up at the start of a request; the append with the claim records it.

        Raises `AlreadyAnswered` if the request was answered in the last `IDEMPOTENCY_RETENTION_MS`, unless its answer
        may not have arrived (`standing`); `Conflict` if the key came with another fingerprint, `CallerError` if it is
        not 1 to `MAX_KEY_LENGTH` printable characters, `LedgerUnavailable`.
        """

    def record(self, record: AuditRecord) -> None:
        """Add a record to the audit log. It becomes durable with the next append, or after `RECORDED_WITHIN_S`; while
        that fails, appends are refused and `trouble` reports it. Never waits. Raises `LedgerUnavailable` if
        `MAX_RECORDS` wait.
        """

    async def drain(self, source: str, changes: Sequence[ChangeRecord]) -> None:
        """Add the records of changes to the audit log, in order, durably on return. Records of this source that were
        added before are not added again. Raises `LedgerUnavailable`.
        """

    async def forget_records(self, before_unix_ms: int) -> int:
        """Drop the contents of the log's first records, up to the first one that is not older; return how many. Their
        hashes stay. Only the first ones are dropped, so a record removed from between others is noticed. Raises
        `LedgerUnavailable`.
        """

    async def flush(self) -> None:
        """Wait until every earlier append and record is settled."""

    async def close(self) -> None:
        """Settle pending appends, and release the ledger."""


def check_idempotency_key(key: str) -> None:
    """Raise `CallerError` if the key is not 1 to `MAX_KEY_LENGTH` printable characters."""
    if not 0 < len(key) <= MAX_KEY_LENGTH or not key.isprintable():
        raise CallerError(f"an idempotency key has 1 to {MAX_KEY_LENGTH} printable characters", param="Idempotency-Key")


def standing(claim: Claim, known: tuple[str, str] | None, last: tuple[str, str] | None) -> str | None:
    """Return the session whose answer may be given again, uncharged, because it was charged and may not have arrived;
    `None` if there is none. `known` are the fingerprint and session recorded for the claim's key, `last` are kind and
    feature of that session's latest entry. A stream is charged for what was sent, so one that broke off is answered,
    and charged, anew.

    Raises `Conflict` for another request, `AlreadyAnswered` if the answer arrived, or was given again.
    """
    if known is None:
        return None
    fingerprint, session = known
    if fingerprint != claim.fingerprint:
        raise Conflict("This idempotency key was used for another request.")
    if session == claim.session:
        return None
    if last is None or last[0] == EntryKind.COMPLETED:  # a session without entries gave an answer again
        raise answered(session)
    feature = last[1].partition("+")[0]  # without add-ons, such as redaction
    return None if feature == STREAMED else session


def answered(session: str) -> AlreadyAnswered:
    return AlreadyAnswered(
        "The request with this idempotency key was answered and charged, and its answer cannot be given again. Send it"
        " with another key to have it answered, and charged, anew.",
        session,
    )
