"""Jobs: long-running work of a project that continues after its caller has left, and the blobs that it reads and
writes.

A job of lines has an item for each line of its input; each is answered once, with a line in the job's output or errors.
Any other job is one call, made by its request: the job is done when that is answered, and has failed if it is refused.
The format of requests and lines is a vendor's (`JobKind`); the room `jobs` runs them without knowing the vendor.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from antiphon.core.errors import AntiphonError
from antiphon.core.events import TokenUsage
from antiphon.core.identity import Principal, Scope
from antiphon.core.specs import TranscribeSpec
from antiphon.core.wire import ShortToken, Step


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    RUNNING = "running"  # also while it is being cancelled: its worker ends it
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


# The next states of each state. A running job is begun again by another worker if its own has died.
NEXT: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset(JobState) - {JobState.QUEUED},
    **{state: frozenset() for state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)},
}
OVER = frozenset(state for state, following in NEXT.items() if not following)


NO_TOKENS = TokenUsage(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes of a project, with the caller's name; `purpose` is in the vendor's words. It is deleted at `ends_unix_ms`,
    or earlier if the project's policy says so. One without a purpose belongs to a job: callers reach it only through
    the job, with which it is deleted; the input at the latest when the job is over. `subject` is the pseudonym of the
    person it is about, if the caller named one.
    """

    id: str
    name: str
    purpose: str
    created_unix_ms: int
    ends_unix_ms: int
    size_bytes: int = 0
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The current state of one job. `request` and `result` are its kind's own; `key_id` is the key that made it, with
    its scopes at that time. `input`, `output` and `errors` name blobs; the latter two are empty if nothing was written.
    The job expires at `deadline_unix_ms` and is deleted at `ends_unix_ms`; its outputs end after `output_s` seconds at
    most, if that is not 0. Other times are 0 until they happen: `begun`, cancellation requested, `over`. `attempt`
    counts the workers that have had it. `subject` is the pseudonym of the person it is about; `tags` are the caller's
    for all of its calls.
    """

    project: str
    id: str
    kind: str
    key_id: str
    scopes: frozenset[Scope]
    request: bytes
    input: str
    output: str
    errors: str
    created_unix_ms: int
    deadline_unix_ms: int
    ends_unix_ms: int
    output_s: int = 0
    state: JobState = JobState.QUEUED
    begun_unix_ms: int = 0
    cancel_unix_ms: int = 0
    over_unix_ms: int = 0
    total: int = 0
    done: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    result: bytes = b""
    attempt: int = 0
    subject: str = ""
    tags: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        return self.state in OVER

    @property
    def own_input(self) -> Blob:
        """The input that belongs to the job itself, still empty."""
        return Blob(
            id=self.input,
            name="",
            purpose="",
            created_unix_ms=self.created_unix_ms,
            ends_unix_ms=self.ends_unix_ms,
            subject=self.subject,
        )


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """The result of an item: a line of the output if it is `good`, of the errors if not. The line includes its line
    end.
    """

    number: int
    good: bool
    line: bytes = field(repr=False)
    usage: TokenUsage = NO_TOKENS


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list: at most `limit` after the id `after`, or from the beginning; only of what was made from
    `since_unix_ms` on and before `until_unix_ms`, unless 0.
    """

    after: str = ""
    limit: int = 20
    newest_first: bool = True
    since_unix_ms: int = 0
    until_unix_ms: int = 0


# -- a vendor's kind of job --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ItemCall:
    """The call of an item: the vendor's path, the body, and the model, if named. With a `file`, a blob of the project,
    the request is a `Body` with its content, and `body` is its one field, `REQUEST`. An item with a `refusal` makes no
    call.
    """

    path: str
    body: bytes = field(repr=False)
    model: str = ""
    refusal: AntiphonError | None = None
    file: str = ""


REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice to a caller's `url` that a job is over; without one, to that `webhook` of the project, or to all of its
    webhooks. `signed` makes all headers from the Unix time in seconds and the signature in hexadecimal digits, which is
    empty without a secret.
    """

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    signed: Callable[[int, str], Mapping[str, str]] = field(repr=False)
    webhook: str = ""


@dataclass(frozen=True, slots=True)
class InputCheck:
    """The result of checking an input: the number of items, whether it can be run, and a report."""

    total: int
    sound: bool
    result: bytes


class Checker(Protocol):
    """A reader of the lines of one input, in order."""

    def read(self, number: int, line: bytes) -> None:
        """Check the line with that number, from 0. Empty lines are skipped."""

    def finish(self) -> InputCheck: ...


class JobKind(Protocol):
    """A vendor's kind of job: of one call, unless it is a `LineKind`. Pure."""

    surface: str
    output_purpose: str

    def item(self, line: bytes) -> ItemCall:
        """Return the call that a checked line, or the request of a job of one call, asks for."""

    def answered(self, line: bytes, session: str, status: int, body: bytes) -> bytes:
        """Return the output line for an item that was answered; for one call the output, or if it was refused the
        result.
        """

    def failure(self, error: AntiphonError) -> bytes:
        """Return the result of a job that failed as a whole."""


@runtime_checkable
class LineKind(JobKind, Protocol):
    """A kind whose jobs have an item for each line of their input. Items use only capacity that other calls leave."""

    max_line_bytes: int

    def checker(self, request: bytes) -> Checker: ...

    def unanswered(self, line: bytes, session: str, why: JobState) -> bytes:
        """Return the line of an item that was not answered when its job was cancelled or expired, or that was erased
        (`FAILED`).
        """


@dataclass(frozen=True, slots=True)
class LineSubject:
    """The `subject` of a line, if it names one, and the `name` that it shares with the line of its answer. One that is
    `erased` has neither.
    """

    subject: str = ""
    name: str = ""
    erased: bool = False


@runtime_checkable
class SubjectKind(LineKind, Protocol):
    """A kind whose lines may each be about a person of their own. `input_purpose` is that of the files with its lines.
    It takes an erased line, `{}` and blanks, as one whose item has failed.
    """

    input_purpose: str

    def about(self, line: bytes) -> LineSubject | None:
        """Return whom a line is about, of an input, an output or an error file; `None` if it cannot be read."""


@runtime_checkable
class NoticeKind(JobKind, Protocol):
    """A kind whose callers may want a notice when a job is over."""

    def notice(self, job: Job, output: bytes) -> Notice | None:
        """Return the notice to send of a job that is over, if any; `output` is that of a job of one call."""


# -- what callers ask for ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to store under `id`, for at most `keep_s` seconds if given. `tell` gets the stored blob. Its `tags` may
    name the person whom it is about.
    """

    id: str
    name: str
    purpose: str
    data: bytes = field(repr=False)
    keep_s: int | None
    tell: Callable[[Blob], Step]
    tags: tuple[str, ...] = ()


class FileAct(StrEnum):
    """The action on a file. A deleted file is shown as it was."""

    SHOW = "show"
    READ = "read"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class OneFile:
    """A question about one file for one of `purposes`. `tell` gets the file and, if it is read, its content, or the
    beginning of a large one: the rest follows the answer.
    """

    act: FileAct
    id: str
    purposes: tuple[str, ...]
    tell: Callable[[Blob, bytes], Step]


@dataclass(frozen=True, slots=True)
class ManyFiles:
    """A question about a page of files for one of `purposes`, without files that belong to a job. `tell` also gets
    whether more follow.
    """

    purposes: tuple[str, ...]
    page: Page
    tell: Callable[[Sequence[Blob], bool], Step]


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to run. Its input, if any, must be for `input_purpose`; with `data`, the input is made of that and belongs
    to the job. It expires after `window_s`, and its outputs end after `output_s` seconds, if given, or earlier if the
    policy says so. If the policy keeps nothing, everything is deleted after `passing_s`, if given. At most `most_open`
    of its kind may be unfinished. `spec` is what it will ask for, if known now: an impossible one is refused at once.
    All of its calls have the `tags`. With a `webhook`, the project must have that one, or any if it is empty.
    """

    kind: str
    id: str
    request: bytes
    input: str
    input_purpose: str
    output: str
    errors: str
    window_s: int
    output_s: int
    tell: Callable[[Job], Step]
    data: bytes = field(default=b"", repr=False)
    passing_s: int = 0
    most_open: int = 32
    spec: TranscribeSpec | None = None
    webhook: str | None = None
    tags: tuple[str, ...] = ()


class JobAct(StrEnum):
    """The action on a job. A deleted job, with its outputs, is shown as it was."""

    SHOW = "show"
    CANCEL = "cancel"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class OneJob:
    """A question about one job. `tell` gets its state afterwards."""

    act: JobAct
    kind: str
    id: str
    tell: Callable[[Job], Step]


@dataclass(frozen=True, slots=True)
class JobOutput:
    """A question about a job's output. `tell` gets the job, its output once it is done, and whether the project's
    policy keeps it. If not, it is deleted `read_s` seconds after it was read. The answer may need a token.
    """

    kind: str
    id: str
    read_s: int
    tell: Callable[[Job, bytes, bool], Step | ShortToken]


@dataclass(frozen=True, slots=True)
class ManyJobs:
    """A question about a page of jobs of a kind, in one of `states` if given. `tell` also gets whether more follow."""

    kind: str
    page: Page
    tell: Callable[[Sequence[Job], bool], Step]
    states: frozenset[JobState] = frozenset()


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """A question about a job's end. `tell` gets the job and, once it is over, its output and its errors. The answer
    waits for the end, `wait_ms` at most.
    """

    kind: str
    id: str
    wait_ms: int
    tell: Callable[[Job, bytes, bytes], Step]


@dataclass(frozen=True, slots=True)
class JobOutcomes:
    """A question about a page of jobs of a kind, each with its output and errors; fewer than the page has if those are
    large. `tell` also gets whether more follow.
    """

    kind: str
    page: Page
    tell: Callable[[Sequence[tuple[Job, bytes, bytes]], bool], Step]


JobQuestion = NewFile | OneFile | ManyFiles | NewJob | OneJob | JobOutput | JobOutcome | ManyJobs | JobOutcomes


class JobService(Protocol):
    """The answers to questions about files and jobs."""

    async def answer(self, question: JobQuestion, principal: Principal) -> Step | ShortToken:
        """Answer the question. Raises `AntiphonError`; `NotFound` also for what belongs to another project."""
