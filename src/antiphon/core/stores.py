"""The ports of what is stored: the ledger, the directory of projects and keys, kept answers, jobs and their blobs, and
what is on its way to receivers outside.

`antiphon.stores` implements them; `antiphon.testing` has fakes that keep the same rules, and one suite of tests runs
over all.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from antiphon.core.entry import Entry, EntryKind
from antiphon.core.errors import AlreadyAnswered, CallerError, CapacityError, Conflict, InternalError
from antiphon.core.exports import Batch, Cut, ExportStatus, Mark, Refusal
from antiphon.core.identity import Key, Project
from antiphon.core.jobs import Blob, Job, JobState, Outcome, Page
from antiphon.core.resources import Change, Resource
from antiphon.core.usage import ClosedSession, Dimension, LooseEnds, SessionQuery, Total, UsageQuery
from antiphon.core.wire import Keep

IDEMPOTENCY_RETENTION_MS = 24 * 3_600_000
MAX_KEY_LENGTH = 255  # of an idempotency key
MAX_TOTALS = 50_000  # rows of one answer
MAX_READ = 1000  # entries of one read
STREAMED = "stream"  # the feature of entries that charge for what was sent, piece by piece
FROM_THE_START = ""  # the cursor before the first entry
LEASE_MS = 15_000  # that a job is its worker's after a sign of life
RECORD_BYTES = 4096  # that a job or a blob counts for beside what is in it
MAX_RESOURCES, MAX_RESOURCE_BYTES = 100, 256 << 10  # of a project, and of one of them
MAX_GAPS = 1000  # of one answer


# -- the ledger --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """That `session` answers the request with this idempotency key. `replay_of` is the session that was charged for it
    before; then nothing more is charged: the first append with this claim records that the answer was given again, and
    writes no entry. A retry without a key has an empty one, and leaves no record.
    """

    project: str
    key: str
    fingerprint: str
    session: str
    at_unix_ms: int
    replay_of: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """An entry as it stands in the ledger. `cursor` is its place there, to read on from; `server` is the id of the
    server that wrote it, empty where that was a version which did not say.
    """

    cursor: str
    server: str
    entry: Entry


class Usage(Protocol):
    """Reads the ledger, beside a running server and without one."""

    async def totals(self, query: UsageQuery) -> list[Total]:
        """Sorted by group. Raises `CallerError` if there are more than `MAX_TOTALS`, `InternalError` if the ledger is
        not there or cannot be read.
        """

    async def charged(self, project: str, dimension: Dimension, since_unix_ms: int) -> int:
        """What a project was charged for of one dimension since then, corrections included. Raises `InternalError`."""

    async def read(self, after: str = FROM_THE_START, limit: int = MAX_READ) -> list[Recorded]:
        """The next entries after a cursor, at most `limit`, in an order in which no entry ever appears before one that
        was read already: whoever remembers the last cursor misses none. Raises `CallerError` for what is no cursor,
        `InternalError`.
        """

    # For bills; blocking, for any thread, and in short reads. What is asked for up to one cursor is always the same.

    def head(self) -> str:
        """The cursor of the last entry."""

    def sessions(self, query: SessionQuery) -> Iterator[ClosedSession]:
        """By the time at which they closed, then by id. Those without an amount are left out."""

    def loose_ends(self, query: SessionQuery) -> LooseEnds:
        """Of the period from `since` to `until`."""


class Ledger(Usage, Protocol):
    """What was used, by whom, durably: an entry is on the disk when `append` returns.

    A server opens one, under its id, and closes the sessions that the same server left open before.
    """

    @property
    def healthy(self) -> bool:
        """Whether appends are taken."""

    @property
    def trouble(self) -> str | None:
        """Why appends are not taken; `None` if they are."""

    async def append(self, new: Sequence[Entry], claim: Claim | None = None) -> None:
        """Returns when the entries are durable, all of them, in order. An entry that is there already, with the same
        contents, is not written again.

        With a `claim`, the first append records it in the same transaction. Raises `Conflict` if an entry's key is
        taken by a different entry, or the idempotency key by a different request; `AlreadyAnswered` if another session
        has answered it meanwhile. After `LedgerUnavailable` the entries are not in the ledger, and will not be. After
        `OutcomeUnknown` they may be there, or come: nothing that they charge for may be delivered, and they are to be
        appended again as they are. The same holds after an append that was cancelled.
        """

    async def note(self, owed: Sequence[tuple[Entry, int]]) -> None:
        """Returns when it is durable that a session owes so much beyond its entries, as an entry like that would say;
        until its next append, which stands in place of what was noted. One after the other for each session. Raises
        `LedgerUnavailable`. A cancelled note may be written or not.
        """

    async def claim(self, project: str, key: str, fingerprint: str, session: str, now_unix_ms: int) -> Claim:
        """Looks an idempotency key up at the start of a request; the append with the claim is what records it.

        Raises `AlreadyAnswered` if the request was answered in the last `IDEMPOTENCY_RETENTION_MS`, unless it is in
        doubt whether its answer arrived (`standing`); `Conflict` if the key came with another fingerprint,
        `CallerError` if it is not 1 to `MAX_KEY_LENGTH` printable characters, `LedgerUnavailable`.
        """

    async def flush(self) -> None:
        """Returns when every append that was called before has been settled."""

    async def close(self) -> None:
        """Settles what waits, and lets go of the ledger."""


def check_idempotency_key(key: str) -> None:
    """Raises `CallerError` if it is not 1 to `MAX_KEY_LENGTH` printable characters."""
    if not 0 < len(key) <= MAX_KEY_LENGTH or not key.isprintable():
        raise CallerError(f"an idempotency key has 1 to {MAX_KEY_LENGTH} printable characters", param="Idempotency-Key")


def standing(claim: Claim, known: tuple[str, str] | None, last: tuple[str, str] | None) -> str | None:
    """How it stands with a claim's key. `known` are the fingerprint and the session that are recorded for it, `last`
    are kind and feature of that session's latest entry. Returns the session whose answer may be given again, uncharged:
    it was charged, and may not have arrived. A stream is charged for what was sent of it, so one that broke off is
    answered, and charged, anew.

    Raises `Conflict` for another request, `AlreadyAnswered` if the answer arrived, or was given again.
    """
    if known is None:
        return None
    fingerprint, session = known
    if fingerprint != claim.fingerprint:
        raise Conflict("This idempotency key was used for another request.")
    if session == claim.session:
        return None
    if last is None or last[0] == EntryKind.COMPLETED:  # a session without entries is one that gave an answer again
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
    """A statement that was issued: a project's, of a period. It covers the ledger up to `cursor`; what comes later is
    of later statements. `sha256` is of its bytes.
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
    """Which statements were issued, and by which price books. Blocking; for any thread. Raises `InternalError`."""

    def pin(self, book: str, version: str, sha256: str, now_unix_ms: int) -> None:
        """That a version of a price book has rated something. Raises `Conflict` where that had other contents."""

    def issued(self, project: str) -> list[Issued]:
        """By time."""

    def issue(self, statement: Issued) -> None:
        """Raises `Conflict` where this period, or a later one, of the project has been issued."""


# -- the directory -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DirectoryView:
    """Everything in the directory at one moment, by id. A key comes with the SHA-256 of its secret; a project has a
    random key that hashes its tags.
    """

    projects: Mapping[str, Project] = field(default_factory=dict)
    keys: Mapping[str, tuple[Key, bytes]] = field(default_factory=dict)
    tag_keys: Mapping[str, bytes] = field(default_factory=dict)


class Follower(Protocol):
    """Follows the directory from one thread, without ever waiting for it."""

    def poll(self) -> DirectoryView | None:
        """What it is now, if it changed since the last poll. Raises `Busy` where that cannot be known for the moment,
        `KeysUnavailable` where it cannot be known.
        """

    def close(self) -> None: ...


class Directory(Protocol):
    """Projects with their policies, and keys. Blocking; for any thread. Everything raises `KeysUnavailable` where it
    cannot be read or written. What a project or a key must be like is checked by `trust.control`, not here.
    """

    def view(self) -> DirectoryView: ...

    def add_project(self, project: Project) -> None:
        """Also makes the key that hashes its tags. Raises `Conflict` where its id is taken."""

    def set_policy(self, project: str, values: Mapping[str, str | int]) -> Project:
        """Sets the named fields; the others stay as they stand there, known or not. Raises `NotFound`."""

    def add_key(self, key: Key, digest: bytes) -> None:
        """Raises `NotFound` without its project, `Conflict` where its id is taken."""

    def add_first_key(self, key: Key, digest: bytes) -> bool:
        """Adds a key unless there is one, or was; whether it did. A key from the environment does not count."""

    def put_key(self, key: Key, digest: bytes) -> None:
        """Adds a key, or makes the one with its id hold again, with this secret and these scopes."""

    def revoke_key(self, key_id: str, now_unix_ms: int) -> Key:
        """The key as it stands then; revoking it again changes nothing. Raises `NotFound`."""

    def replace_tag_key(self, project: str) -> None:
        """Destroys the key that hashes the project's tags, and makes another. Raises `NotFound`."""

    def follow(self) -> Follower: ...


# -- kept answers ------------------------------------------------------------------------------------------------------


class Answers(Protocol):
    """Models' answers that are kept for a time, by project and id. Everything raises `InternalError`."""

    async def put(self, project: str, keep: Keep, keep_s: int) -> None:
        """Durable on return. What is kept again keeps the end it had. If cancelled, it may be kept or not."""

    async def get(self, project: str, id: str, keep_s: int) -> Keep:
        """`keep_s` is what the policy says now. Raises `NotFound`, also for another project's."""

    async def delete(self, project: str, id: str) -> None: ...

    async def purge(self, keep_s: Callable[[str], int]) -> None:
        """Wipes what is past its end, or older than its project's policy now allows."""

    async def close(self) -> None:
        """What was begun is finished first. To close again does nothing."""

    @property
    def trouble(self) -> str | None:
        """Why nothing can be kept; `None` if it can."""


# -- jobs --------------------------------------------------------------------------------------------------------------


class LeaseLost(InternalError):
    """The job is another worker's by now, or gone, or over."""


class StorageFull(CapacityError):
    """The project's files and jobs have the room that there is for one project, or all have that for all."""

    code = "storage_full"


@dataclass(frozen=True, slots=True)
class JobBounds:
    """How many bytes files and jobs take at most: of one project, of all, and in memory of those that keep nothing."""

    project: int = 1 << 30
    all: int = 16 << 30
    passing_project: int = 128 << 20
    passing_all: int = 256 << 20


class Jobs(Protocol):
    """Jobs by project and id, and the blobs that they read and write. `keep_s` is what the project's policy says now:
    what is past its end or older than that is there for no reader. What is another project's raises `NotFound`.
    Everything raises `InternalError`; after an error of a store on another machine, what was asked for may have been
    done, and may be asked for again: everything here can be said twice.

    A worker has a job for `LEASE_MS` after it last said that it lives; `owner` is the server that it runs on. What it
    says of one that is not its own any more raises `LeaseLost`.
    """

    @property
    def trouble(self) -> str | None:
        """Why nothing can be stored; `None` if it can."""

    # -- blobs ---------------------------------------------------------------------------------------------------------

    async def put_blob(self, project: str, blob: Blob, data: bytes) -> Blob:
        """As it is kept, durable on return. Raises `StorageFull`."""

    async def blob(self, project: str, id: str, keep_s: int) -> Blob: ...

    async def read_blob(self, project: str, id: str, keep_s: int, start: int, size: int) -> bytes:
        """At most `size` bytes of it from `start` on; fewer, or none, where it ends."""

    async def blobs(self, project: str, purposes: Collection[str], page: Page, keep_s: int) -> tuple[list[Blob], bool]:
        """A part of the list by age, and whether more follow. What is a job's own is not in it."""

    async def delete_blob(self, project: str, id: str) -> None: ...

    async def use_up(self, project: str, id: str) -> None:
        """Deletes a blob unless a job that is not over reads it."""

    # -- jobs, for callers ---------------------------------------------------------------------------------------------

    async def create(self, job: Job, most_open: int) -> None:
        """Raises `CapacityError` where the project has that many of its kind that are not over, `StorageFull`."""

    async def job(self, project: str, id: str, keep_s: int) -> Job: ...

    async def jobs(
        self, project: str, kind: str, page: Page, keep_s: int, states: Collection[JobState] = ()
    ) -> tuple[list[Job], bool]:
        """A part of the list by age, and whether more follow; of all states where none are said."""

    async def end(self, project: str, id: str, ends_unix_ms: int) -> None:
        """Nothing is known of a job, nor what it has written, from then on at the latest."""

    async def cancel(self, project: str, id: str, keep_s: int) -> Job:
        """One that is queued is over then; of one that runs it is noted, and its worker ends it."""

    async def delete_job(self, project: str, id: str) -> None:
        """With what it has written. Who works on one that is not over has lost it."""

    # -- jobs, for workers ---------------------------------------------------------------------------------------------

    async def claim(self, owner: str, besides: Collection[str], kinds: Collection[str]) -> Job | None:
        """The oldest of these kinds that waits, or runs nowhere: of none of the projects `besides`. It runs from now
        on.
        """

    async def beat(self, job: Job, owner: str) -> Job:
        """The worker lives. The job as it stands: it may have been cancelled meanwhile."""

    async def begin(self, job: Job, owner: str, total: int, result: bytes, outputs: tuple[Blob, Blob]) -> Job:
        """Its input was checked. The outputs are made, and shown to nobody before the end."""

    async def record(self, job: Job, owner: str, outcomes: Sequence[Outcome]) -> Job:
        """What became of items, durable on return; of one that is known already nothing is changed. Raises
        `StorageFull`.
        """

    async def recorded(self, job: Job) -> set[int]:
        """The numbers of the items that are known."""

    async def finish(
        self, job: Job, owner: str, state: JobState, result: bytes | None, outputs_end_unix_ms: int
    ) -> Job:
        """It is over. Outputs that have anything in them can be read from now on; the others are gone, and so is an
        input that is the job's own.
        """

    async def let_go(self, owner: str) -> None:
        """None of the jobs of that server runs: they are to be claimed again."""

    async def purge(self, keep_s: Callable[[str], int]) -> None:
        """Wipes what is past its end, or older than its project's policy now allows."""

    async def close(self) -> None:
        """What was begun is finished first. To close again does nothing."""


# -- resources ---------------------------------------------------------------------------------------------------------


class Resources(Protocol):
    """Resources by project, kind and name. Everything raises `InternalError`. One that is past its end is not there."""

    async def get(self, project: str, kind: str, name: str) -> Resource:
        """Also one that is deleted. Raises `NotFound`, also for another project's."""

    async def listed(
        self, project: str, kind: str, prefix: str, after: str, limit: int, deleted: bool
    ) -> tuple[list[Resource], bool]:
        """A part of the list by name, with deleted ones or without, and whether more follow."""

    async def change(self, project: str, kind: str, name: str, change: Change, preview: bool) -> Resource | None:
        """What it is then, durable on return unless it is a `preview`; nobody else changes it meanwhile. `change` may
        be called on any thread. Raises what that does, `CapacityError` where the project has `MAX_RESOURCES`,
        `TooLarge`.
        """


# -- exports -----------------------------------------------------------------------------------------------------------


class Exports(Protocol):
    """The outbox: batches of usage events by target, each stored before it is sent. A server writes it; commands may,
    beside it. Everything raises `InternalError`.
    """

    @property
    def trouble(self) -> str | None:
        """Why nothing can be stored; `None` if it can."""

    # -- for what sends ------------------------------------------------------------------------------------------------

    async def cuts(self, target: str, limit: int = 1) -> list[Cut]:
        """How far the target has come, the latest first."""

    async def cut(
        self, target: str, before: Cut | None, after: Cut, batches: Sequence[Batch], now_unix_ms: int
    ) -> None:
        """Adds batches, and moves the target on to `after`, in one. Where there is a gap of the same lane and reason
        that was never sent, one that is refused is added to that (`core.exports.grown`). Raises `Conflict` if the
        target does not stand at `before` any more, or an identifier is taken.
        """

    async def waiting(self, target: str, now_unix_ms: int, limit: int) -> list[Batch]:
        """The first that waits of each lane, where its time has come, in order."""

    async def write(self, target: str, batch: Batch) -> None:
        """Stores the body, the lane, the state and the reason of a batch that waits without a body."""

    async def sending(self, target: str, numbers: Sequence[int], now_unix_ms: int) -> None:
        """These are about to be sent: durable on return. From now on each is in doubt, if it was not before."""

    async def mark(self, target: str, marks: Sequence[Mark], now_unix_ms: int) -> None:
        """What became of batches that wait; those that do not wait any more stay as they are."""

    async def refuse(
        self, target: str, refusals: Sequence[Refusal], others: Sequence[Refusal], now_unix_ms: int
    ) -> None:
        """What a receiver says later on: batches that it does not count, by their identifiers; and `others`, of which
        it does not say what they were: each is a gap without events, once by its own identifier.
        """

    async def purge(self, target: str, before_unix_ms: int, most: int) -> None:
        """Forgets batches that were taken before, and all that were taken but the last `most`; and where the target
        stood before, but for the latest.
        """

    # -- for people ----------------------------------------------------------------------------------------------------

    async def status(self) -> list[ExportStatus]:
        """Of every target that there is, by name."""

    async def gaps(self, target: str, after: int = 0, limit: int = MAX_GAPS) -> list[Batch]:
        """The gaps with higher numbers than `after`, in order, without bodies."""

    async def settle(self, target: str, numbers: Collection[int], note: str, now_unix_ms: int) -> int:
        """Says of gaps that a person has dealt with them, and how; how many there were."""

    async def send_again(self, target: str, numbers: Collection[int]) -> int:
        """Has gaps sent again (`core.exports.again`); how many there were. Those without events stay."""

    async def replay(self, target: str, position: int, since_unix_ms: int) -> tuple[int, int]:
        """Has what was taken of the entries from `position` on sent again, as it is: batches that were sent for the
        first time since then. How many those are, and how many are older and stay.
        """

    async def close(self) -> None:
        """What was begun is finished first. To close again does nothing."""


# -- all of them -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stores:
    """What commands work on, whether a server runs or not. To read usage needs no directory, and makes none.

    `open_directory` makes the directory where there is none; `find_directory`, for what only reads, raises `NotFound`.
    """

    usage: Usage
    bills: Bills
    open_directory: Callable[[], Directory]
    find_directory: Callable[[], Directory]


@dataclass(frozen=True, slots=True)
class ServerStores:
    """What a server works on, and its management API. `jobs` are of projects that keep answers; `passing` is in memory,
    for those that do not. `resources` are of both. To be closed: `jobs` and `passing`, `answers`, then `ledger`.
    """

    directory: Directory
    bills: Bills
    ledger: Ledger
    answers: Answers
    jobs: Jobs
    passing: Jobs
    resources: Resources
