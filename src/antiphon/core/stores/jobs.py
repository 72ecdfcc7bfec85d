"""The port of jobs and of the files that they read and write."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from antiphon.core.errors import CapacityError, InternalError
from antiphon.core.jobs import Blob, ItemOutcome, Job, JobState, Page

LEASE_MS = 15_000  # how long a job stays its worker's after a heartbeat
RECORD_BYTES = 4096  # counted for a job or a blob beside its content


class LeaseLost(InternalError):
    """The job belongs to another worker, is gone, or is over."""


class StorageFull(CapacityError):
    """What is stored of the project, or of all projects, has reached its limit."""

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
        """Store a blob, durable on return, and return it as stored: one that is there already, as it was. Raises
        `StorageFull`.
        """

    async def blob(self, project: str, id: str, keep_s: int) -> Blob: ...

    async def read_blob(self, project: str, id: str, keep_s: int, start: int, size: int) -> bytes:
        """Return at most `size` bytes from `start` on; fewer, or none, at its end."""

    async def blobs(self, project: str, purposes: Collection[str], page: Page, keep_s: int) -> tuple[list[Blob], bool]:
        """Return a page of blobs by age, and whether more follow; without those that belong to a job."""

    async def delete_blob(self, project: str, id: str) -> None: ...

    async def use_up(self, project: str, id: str) -> None:
        """Delete a blob, unless an unfinished job reads it."""

    # -- jobs, for callers ---------------------------------------------------------------------------------------------

    async def create(self, job: Job, most_open: int, data: bytes = b"") -> Job:
        """Add a job, and with `data` its own input, both or neither, and return it: one that is there already, as it
        is. Raises `CapacityError` if the project has `most_open` unfinished ones of its kind, `StorageFull`.
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

    async def record(self, job: Job, owner: str, outcomes: Sequence[ItemOutcome]) -> Job:
        """Record outcomes of items, durable on return; items already recorded stay unchanged. What was answered is
        charged, so it is recorded even if there is no room.
        """

    async def check_room(self, project: str) -> None:
        """Check that there is room for more. Raises `StorageFull`."""

    async def recorded(self, job: Job) -> set[int]:
        """Return the numbers of the recorded items."""

    async def finish(
        self, job: Job, owner: str, state: JobState, result: bytes | None, outputs_end_unix_ms: int
    ) -> Job:
        """End the job. Non-empty outputs can be read from now on; empty ones are deleted, and so is an input that
        belongs to the job.
        """

    async def settled(self, job: Job, number: int) -> bool:
        """Return whether that item of an unfinished job is recorded."""

    async def let_go(self, owner: str) -> None:
        """Release all jobs of that server: they can be claimed again."""

    async def jobs_about(self, project: str, subject: str, page: Page, keep_s: int) -> tuple[list[Job], bool]:
        """Return a page of the jobs about a subject, by age, and whether more follow."""

    async def blobs_about(self, project: str, subject: str, page: Page, keep_s: int) -> tuple[list[Blob], bool]:
        """Return a page of the whole blobs about a subject, also of those that belong to jobs, and whether more
        follow.
        """

    async def erase(self, project: str, subject: str | None = None) -> Mapping[str, int]:
        """Erase a project's jobs and blobs, or those about one subject; return how many `jobs` and `blobs`. A worker
        loses a job that is erased.
        """

    async def read_written(self, project: str, id: str, start: int, size: int) -> bytes:
        """Return bytes of a blob as `read_blob` does, also of one that its job still writes; none if it is gone."""

    async def blank(self, project: str, id: str, spans: Sequence[tuple[int, int]]) -> None:
        """Overwrite parts of a blob, each a start and a size and in order, by `{}` and blanks, durable on return."""

    async def settle(self, job: Job, outcomes: Sequence[ItemOutcome]) -> None:
        """Record the failure of items whose lines are erased, whoever runs the job: what is recorded of them later is
        dropped. Nothing is done for a job that has not begun or is over.
        """

    async def purge(self, keep_s: Callable[[str], int]) -> Mapping[str, int]:
        """Erase what is expired, or older than its project's policy now allows; return how many, by project."""

    async def close(self) -> None:
        """Finish what was begun, then close. Closing again does nothing."""
