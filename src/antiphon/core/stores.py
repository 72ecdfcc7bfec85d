"""The ports of storage: the ledger, the directory of projects and keys, kept answers, jobs and their blobs, and exports
to external receivers.

`antiphon.stores` implements them; `antiphon.testing` has fakes with the same rules, and one test suite covers all.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from antiphon.core.audit import THE_SERVER, AuditRecord, Author, ChangeRecord, Logged
from antiphon.core.entry import Entry, EntryKind
from antiphon.core.errors import AlreadyAnswered, CallerError, CapacityError, Conflict, InternalError
from antiphon.core.exports import Batch, Cut, ExportStatus, Mark, Refusal
from antiphon.core.identity import Key, KeyLimits, Project
from antiphon.core.jobs import Blob, Job, JobState, Outcome, Page
from antiphon.core.merkle import Place
from antiphon.core.resources import Change, Resource
from antiphon.core.usage import ClosedSession, Dimension, LooseEnds, SessionQuery, Total, UsageQuery
from antiphon.core.wire import Keep

IDEMPOTENCY_RETENTION_MS = 24 * 3_600_000
MAX_KEY_LENGTH = 255  # of an idempotency key
MAX_TOTALS = 50_000  # rows of one answer
MAX_READ = 1000  # entries, or records of the audit log, of one read
MAX_RECORDS = 32_768  # of the audit log, that wait to be written
RECORDED_WITHIN_S = 0.5
STREAMED = "stream"  # the feature of entries that charge for what was sent, piece by piece
FROM_THE_START = ""  # the cursor before the first entry
LEASE_MS = 15_000  # how long a job stays its worker's after a heartbeat
RECORD_BYTES = 4096  # counted for a job or a blob beside its content
MAX_RESOURCES, MAX_RESOURCE_BYTES = 100, 256 << 10  # of a project, and of one resource
MAX_GAPS = 1000  # of one answer


# -- the ledger --------------------------------------------------------------------------------------------------------


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
class Recorded:
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

    async def read(self, after: str = FROM_THE_START, limit: int = MAX_READ) -> list[Recorded]:
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
        not written again.

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


class Trail(Protocol):
    """A reader of the audit log, with or without a running server. Every method raises `InternalError` if it cannot be
    read.
    """

    async def size(self) -> int:
        """Return the number of records; 0 without a log."""

    async def logged(
        self, start: int, limit: int = MAX_READ, *, project: str | None = None, since_unix_ms: int | None = None
    ) -> list[Logged]:
        """Return the next records from the number `start` on, at most `limit`, in order; if given, only those of one
        project, or from a time on.
        """

    async def hashes(self, places: Sequence[Place]) -> list[bytes]:
        """Return the hashes of complete subtrees, in order. Raises `InternalError` also if one is missing."""


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
    return None if last[1] == STREAMED else session


def answered(session: str) -> AlreadyAnswered:
    return AlreadyAnswered(
        "The request with this idempotency key was answered and charged, and its answer cannot be given again. Send it"
        " with another key to have it answered, and charged, anew.",
        session,
    )


# -- bills -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Issued:
    """An issued statement of a project for a period. It covers the ledger up to `cursor`; later entries belong to later
    statements. `sha256` is of its bytes.
    """

    project: str
    since_unix_ms: int
    until_unix_ms: int
    cursor: str
    currency: str
    total_nano: int
    sha256: str
    at_unix_ms: int


class Bills(Protocol):
    """The issued statements, and their price books. Blocking; for any thread. Raises `InternalError`."""

    def pin(self, book: str, version: str, sha256: str, now_unix_ms: int) -> None:
        """Record that a version of a price book is in use. Raises `Conflict` if it had other contents before."""

    def issued(self, project: str) -> list[Issued]:
        """Return the project's statements, by time."""

    def issue(self, statement: Issued) -> None:
        """Record a statement. Raises `Conflict` if this or a later period of the project was issued before."""


# -- the directory -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DirectoryView:
    """The whole directory at one moment, by id. A key comes with the SHA-256 of its secret; a project has a random key
    that hashes its tags.
    """

    projects: Mapping[str, Project] = field(default_factory=dict)
    keys: Mapping[str, tuple[Key, bytes]] = field(default_factory=dict)
    tag_keys: Mapping[str, bytes] = field(default_factory=dict)


class Follower(Protocol):
    """A non-blocking follower of the directory, for one thread."""

    def poll(self) -> DirectoryView | None:
        """Return the directory if it changed since the last poll. Raises `Busy` if it is unknown for the moment,
        `KeysUnavailable` if it cannot be read.
        """

    def close(self) -> None: ...


class Directory(Protocol):
    """Projects with their policies, and keys. Blocking; for any thread. Every method raises `KeysUnavailable` if they
    cannot be read or written. Whether a project or a key is valid is checked by `trust.control`, not here.

    Each change is recorded, as made `by` its author, in the same transaction; a call that changes nothing is not. The
    ledger drains these records.
    """

    def view(self) -> DirectoryView: ...

    def add_project(self, project: Project, by: Author = THE_SERVER) -> None:
        """Add a project, with a key that hashes its tags. Raises `Conflict` if its id is taken."""

    def set_policy(self, project: str, values: Mapping[str, str | int], by: Author = THE_SERVER) -> Project:
        """Set the named fields; the others stay as they are stored, known or not. Raises `NotFound`."""

    def add_key(self, key: Key, digest: bytes, by: Author = THE_SERVER) -> None:
        """Add a key. Raises `NotFound` without its project, `Conflict` if its id is taken."""

    def add_first_key(self, key: Key, digest: bytes, by: Author = THE_SERVER) -> bool:
        """Add a key unless there is or was one; return whether it was added. A key from the environment
        does not count.
        """

    def put_key(self, key: Key, digest: bytes, by: Author = THE_SERVER) -> None:
        """Add a key, or make the one with its id valid again, with this secret and these scopes."""

    def rotate_key(self, key_id: str, ends_unix_ms: int, key: Key, digest: bytes, by: Author = THE_SERVER) -> None:
        """Add `key` in place of another, which expires at that time, unless it does so earlier. Raises `NotFound`
        without the other, `Conflict` if the id is taken.
        """

    def limit_key(self, key_id: str, limits: KeyLimits, by: Author = THE_SERVER) -> Key:
        """Set where a key may be used, and return it. Raises `NotFound`."""

    def revoke_key(self, key_id: str, now_unix_ms: int, by: Author = THE_SERVER) -> Key:
        """Revoke a key and return it. Revoking it again changes nothing. Raises `NotFound`."""

    def replace_tag_key(self, project: str, by: Author = THE_SERVER) -> None:
        """Destroy the key that hashes the project's tags, and create another. Raises `NotFound`."""

    def note(self, record: AuditRecord) -> None:
        """Record an action that was done elsewhere, for the ledger to drain."""

    def changes(self, limit: int = MAX_READ) -> tuple[str, list[ChangeRecord]]:
        """Return the oldest records that were not reported as drained, and the name of their source."""

    def drained(self, position: int) -> None:
        """Report that the ledger has the records up to this position."""

    def follow(self) -> Follower: ...


# -- kept answers ------------------------------------------------------------------------------------------------------


class Answers(Protocol):
    """Models' answers that are kept for a time, by project and id. Every method raises `InternalError`."""

    async def put(self, project: str, keep: Keep, keep_s: int) -> None:
        """Store an answer; durable on return. One stored again keeps its end. If cancelled, it may be stored or not."""

    async def get(self, project: str, id: str, keep_s: int) -> Keep:
        """Return an answer; `keep_s` is the policy's current value. Raises `NotFound`, also for another project's."""

    async def delete(self, project: str, id: str) -> None: ...

    async def purge(self, keep_s: Callable[[str], int]) -> Mapping[str, int]:
        """Erase answers that are expired, or older than their project's policy now allows; return how many,
        by project.
        """

    async def close(self) -> None:
        """Finish what was begun, then close. Closing again does nothing."""

    @property
    def trouble(self) -> str | None:
        """Why nothing can be stored; `None` if it can."""


# -- jobs --------------------------------------------------------------------------------------------------------------


class LeaseLost(InternalError):
    """The job belongs to another worker, is gone, or is over."""


class StorageFull(CapacityError):
    """The files and jobs of the project, or of all projects, have reached their limit."""

    code = "storage_full"


@dataclass(frozen=True, slots=True)
class JobBounds:
    """The most bytes that files and jobs take: of one project, of all, and in memory for projects that keep nothing."""

    project: int = 1 << 30
    all: int = 16 << 30
    passing_project: int = 128 << 20
    passing_all: int = 256 << 20


class Jobs(Protocol):
    """Jobs by project and id, and the blobs that they read and write. `keep_s` is the current value of the project's
    policy: readers do not see what is past its end or older than that. What belongs to another project raises
    `NotFound`. Everything raises `InternalError`; after an error of a remote store, the operation may have been done,
    and may be repeated: every operation is idempotent.

    A worker has a job for `LEASE_MS` after its last heartbeat; `owner` is the server that it runs on. Operations on a
    job that is no longer the worker's raise `LeaseLost`.
    """

    @property
    def trouble(self) -> str | None:
        """Why nothing can be stored; `None` if it can."""

    # -- blobs ---------------------------------------------------------------------------------------------------------

    async def put_blob(self, project: str, blob: Blob, data: bytes) -> Blob:
        """Store a blob, durable on return, and return it as stored. Raises `StorageFull`."""

    async def blob(self, project: str, id: str, keep_s: int) -> Blob: ...

    async def read_blob(self, project: str, id: str, keep_s: int, start: int, size: int) -> bytes:
        """Return at most `size` bytes from `start` on; fewer, or none, at its end."""

    async def blobs(self, project: str, purposes: Collection[str], page: Page, keep_s: int) -> tuple[list[Blob], bool]:
        """Return a page of blobs by age, and whether more follow; without those that belong to a job."""

    async def delete_blob(self, project: str, id: str) -> None: ...

    async def use_up(self, project: str, id: str) -> None:
        """Delete a blob, unless an unfinished job reads it."""

    # -- jobs, for callers ---------------------------------------------------------------------------------------------

    async def create(self, job: Job, most_open: int) -> None:
        """Add a job. Raises `CapacityError` if the project has `most_open` unfinished ones of its kind,
        `StorageFull`.
        """

    async def job(self, project: str, id: str, keep_s: int) -> Job: ...

    async def jobs(
        self, project: str, kind: str, page: Page, keep_s: int, states: Collection[JobState] = ()
    ) -> tuple[list[Job], bool]:
        """Return a page of jobs by age, and whether more follow; of all states if none are given."""

    async def end(self, project: str, id: str, ends_unix_ms: int) -> None:
        """Delete a job and its outputs at that time at the latest."""

    async def cancel(self, project: str, id: str, keep_s: int) -> Job:
        """Cancel a job. A queued one is over at once; for a running one it is noted, and its worker ends it."""

    async def delete_job(self, project: str, id: str) -> None:
        """Delete a job and its outputs. If it is not over, its worker loses it."""

    # -- jobs, for workers ---------------------------------------------------------------------------------------------

    async def claim(self, owner: str, besides: Collection[str], kinds: Collection[str]) -> Job | None:
        """Claim the oldest job of these kinds that waits or has lost its worker, of no project in `besides`. It runs
        from now on.
        """

    async def beat(self, job: Job, owner: str) -> Job:
        """Renew the lease, and return the job as stored: it may have been cancelled meanwhile."""

    async def begin(self, job: Job, owner: str, total: int, result: bytes, outputs: tuple[Blob, Blob]) -> Job:
        """Record that the input was checked. The outputs are created, but hidden until the end."""

    async def record(self, job: Job, owner: str, outcomes: Sequence[Outcome]) -> Job:
        """Record outcomes of items, durable on return; items already recorded stay unchanged. Raises `StorageFull`."""

    async def recorded(self, job: Job) -> set[int]:
        """Return the numbers of the recorded items."""

    async def finish(
        self, job: Job, owner: str, state: JobState, result: bytes | None, outputs_end_unix_ms: int
    ) -> Job:
        """End the job. Non-empty outputs can be read from now on; empty ones are deleted, and so is an input that
        belongs to the job.
        """

    async def let_go(self, owner: str) -> None:
        """Release all jobs of that server: they can be claimed again."""

    async def purge(self, keep_s: Callable[[str], int]) -> Mapping[str, int]:
        """Erase what is expired, or older than its project's policy now allows; return how many, by project."""

    async def close(self) -> None:
        """Finish what was begun, then close. Closing again does nothing."""


# -- resources ---------------------------------------------------------------------------------------------------------


class Resources(Protocol):
    """Resources by project, kind and name. Everything raises `InternalError`. One past its end does not exist."""

    async def get(self, project: str, kind: str, name: str) -> Resource:
        """Return a resource, even a deleted one. Raises `NotFound`, also for another project's."""

    async def listed(
        self, project: str, kind: str, prefix: str, after: str, limit: int, deleted: bool
    ) -> tuple[list[Resource], bool]:
        """Return a page by name, with or without deleted ones, and whether more follow."""

    async def change(self, project: str, kind: str, name: str, change: Change, preview: bool) -> Resource | None:
        """Change a resource, and return it; durable on return unless it is a `preview`, without concurrent changes.
        `change` may be called on any thread. Raises what that does, `CapacityError` if the project has `MAX_RESOURCES`,
        `TooLarge`.
        """


# -- exports -----------------------------------------------------------------------------------------------------------


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
        same lane and reason, a refused batch is added to it (`core.exports.grown`). Raises `Conflict` if the target is
        no longer at `before`, or an identifier is taken.
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
        """Have gaps sent again (`core.exports.again`); return how many there were. Those without events stay."""

    async def replay(self, target: str, position: int, since_unix_ms: int) -> tuple[int, int]:
        """Have taken batches with entries from `position` on sent again unchanged, if first sent since then. Return how
        many those are, and how many are older and stay.
        """

    async def close(self) -> None:
        """Finish what was begun, then close. Closing again does nothing."""


# -- all of them -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores for commands, whether a server runs or not. Reading usage needs no directory, and creates none.

    `open_directory` creates a missing directory; `find_directory`, for reading only, raises `NotFound`.
    """

    usage: Usage
    trail: Trail
    bills: Bills
    open_directory: Callable[[], Directory]
    find_directory: Callable[[], Directory]


@dataclass(frozen=True, slots=True)
class ServerStores:
    """The stores of a server and its management API. `jobs` are of projects that keep answers; `passing` is in memory,
    for the others. `resources` are of both. Close order: `jobs` and `passing`, `answers`, then `ledger`.
    """

    directory: Directory
    bills: Bills
    ledger: Ledger
    trail: Trail
    answers: Answers
    jobs: Jobs
    passing: Jobs
    resources: Resources
