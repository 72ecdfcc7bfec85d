"""Jobs: long-running work of a project that goes on when its caller has left, and the blobs that it reads and writes.

A job of lines has an item for each line of its input; each is answered once, and its outcome is a line of the job's
output or of its errors. Any other job is one call, which its request asks for: the job is done when that is answered,
and has failed where it is refused. What requests and lines say is a vendor's (`JobKind`); the room `jobs` runs them,
and knows no vendor.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from antiphon.core.errors import AntiphonError
from antiphon.core.events import TokenUsage
from antiphon.core.identity import Principal, Scope
from antiphon.core.specs import TranscribeSpec
from antiphon.core.wire import Step


class JobState(StrEnum):
    """How far a job is."""

    QUEUED = "queued"
    RUNNING = "running"  # also while it is being cancelled: its worker ends it
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


# What may become of a job in each state. One that runs is begun again by another worker where its own has died.
NEXT: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset(JobState) - {JobState.QUEUED},
    **{state: frozenset() for state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)},
}
OVER = frozenset(state for state, following in NEXT.items() if not following)


NO_TOKENS = TokenUsage(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes of a project, under a name of the caller's; `purpose` is what they are for, in the vendor's words. It ends
    at `ends_unix_ms`, or earlier where the project's policy says so. One without a purpose is a job's own: callers
    know it by the job alone, with which it is deleted; the input at the latest when the job is over.
    """

    id: str
    name: str
    purpose: str
    created_unix_ms: int
    ends_unix_ms: int
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job as it stands. `request` and `result` are its kind's own; `key_id` is the key that made it, with what that
    might do then. `input`, `output` and `errors` name blobs; the latter two are empty where nothing was written. At
    `deadline_unix_ms` it expires, at `ends_unix_ms` nothing of it is known any more; its outputs end after `output_s`
    seconds at most, if that is not 0. Times are 0 where that has not
    happened: when it was `begun`, when its caller wanted it cancelled, and when it was over. `attempt` counts the
    workers that have had it.
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

    @property
    def over(self) -> bool:
        return self.state in OVER


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item: a line of the output if it is `good`, of the errors if not. Lines end themselves."""

    number: int
    good: bool
    line: bytes = field(repr=False)
    usage: TokenUsage = NO_TOKENS


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list: at most `limit` after the one with the id `after`, or from the beginning; only of what was made
    from `since_unix_ms` on and before `until_unix_ms`, where that is not 0.
    """

    after: str = ""
    limit: int = 20
    newest_first: bool = True
    since_unix_ms: int = 0
    until_unix_ms: int = 0


# -- what a vendor says of its kind of job -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ItemCall:
    """The call that an item makes: which path of the vendor's, and the body; of which model, as far as it says. With a
    `file`, a blob of the project, the body is a `Body` with what is in that, and `body` is its one field, `REQUEST`.
    One that has a `refusal` makes none.
    """

    path: str
    body: bytes = field(repr=False)
    model: str = ""
    refusal: AntiphonError | None = None
    file: str = ""


REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Notice:
    """Tells somebody at a `url` of theirs that a job is over. `signed` makes all headers, of the time in Unix seconds
    and the signature in hexadecimal digits, which is empty where there is no secret to sign with.
    """

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    signed: Callable[[int, str], Mapping[str, str]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found in an input: how many items there are, whether it can be run, and what there is to say of it."""

    total: int
    sound: bool
    result: bytes


class Checker(Protocol):
    """Reads the lines of one input, in order."""

    def read(self, number: int, line: bytes) -> None:
        """The line with that number, from 0. Lines without anything in them are left out."""

    def finish(self) -> Checked: ...


class JobKind(Protocol):
    """A vendor's kind of job: of one call, unless it is a `LineKind`. Pure."""

    surface: str
    output_purpose: str

    def item(self, line: bytes) -> ItemCall:
        """What a line that was checked asks for, or the request of a job of one call."""

    def answered(self, line: bytes, session: str, status: int, body: bytes) -> bytes:
        """The line that says how an item was answered; of one call the output, or where it was refused the result."""

    def failure(self, error: AntiphonError) -> bytes:
        """The result of a job that failed as a whole."""


@runtime_checkable
class LineKind(JobKind, Protocol):
    """A kind whose jobs have an item for each line of their input. Their items fill what other calls leave."""

    max_line_bytes: int

    def checker(self, request: bytes) -> Checker: ...

    def unanswered(self, line: bytes, session: str, why: JobState) -> bytes:
        """The line of an item that was not answered when its job was cancelled or expired."""


@runtime_checkable
class NoticeKind(JobKind, Protocol):
    """A kind whose callers may want to be told when a job is over."""

    def notice(self, job: Job) -> Notice | None:
        """What is to be sent, if anything is."""


# -- what callers ask for ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to keep under `id`, for `keep_s` seconds at most if that is said. `tell` is given it as it is kept."""

    id: str
    name: str
    purpose: str
    data: bytes = field(repr=False)
    keep_s: int | None
    tell: Callable[[Blob], Step]


class FileAct(StrEnum):
    """What is done with a file. What was deleted is shown as it was."""

    SHOW = "show"
    READ = "read"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class OneFile:
    """A file that is for one of `purposes`. `tell` is given it and, where it is read, what is in it."""

    act: FileAct
    id: str
    purposes: tuple[str, ...]
    tell: Callable[[Blob, bytes], Step]


@dataclass(frozen=True, slots=True)
class ManyFiles:
    """A part of the list of files that are for one of `purposes`; never of what is a job's own. `tell` is told whether
    more follow.
    """

    purposes: tuple[str, ...]
    page: Page
    tell: Callable[[Sequence[Blob], bool], Step]


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be done. Its input, if it has one, must be for `input_purpose`; where there is `data`, it is made of
    that, and is the job's own. It expires after `window_s`, and its outputs end after `output_s` seconds, if that is
    said: each at the latest, as the policy allows. Where that keeps nothing, all of it is gone after `passing_s`, if
    that is said. At most `most_open` of its kind are not over. `spec` is what it will ask for, if that can be said now:
    what cannot be done is refused at once.
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


class JobAct(StrEnum):
    """What is done with a job. What was deleted, with what it has written, is shown as it was."""

    SHOW = "show"
    CANCEL = "cancel"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class OneJob:
    """`tell` is given the job as it stands then."""

    act: JobAct
    kind: str
    id: str
    tell: Callable[[Job], Step]


@dataclass(frozen=True, slots=True)
class JobOutput:
    """`tell` is given a job, what it has written once it is done, and whether the project's policy keeps that. Where it
    does not, what was read is gone `read_s` seconds later.
    """

    kind: str
    id: str
    read_s: int
    tell: Callable[[Job, bytes, bool], Step]


@dataclass(frozen=True, slots=True)
class ManyJobs:
    """A part of the list of jobs of a kind, in one of `states` if any are said. `tell` is told whether more follow."""

    kind: str
    page: Page
    tell: Callable[[Sequence[Job], bool], Step]
    states: frozenset[JobState] = frozenset()


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """`tell` is given the job as it stands and, once it is over, what it has written: its output and its errors. For
    its end it may be waited, `wait_ms` at most.
    """

    kind: str
    id: str
    wait_ms: int
    tell: Callable[[Job, bytes, bytes], Step]


@dataclass(frozen=True, slots=True)
class JobOutcomes:
    """A part of the list of jobs of a kind, each with what it has written; fewer than the page has where that is much.
    `tell` is told whether more follow.
    """

    kind: str
    page: Page
    tell: Callable[[Sequence[tuple[Job, bytes, bytes]], bool], Step]


JobQuestion = NewFile | OneFile | ManyFiles | NewJob | OneJob | JobOutput | JobOutcome | ManyJobs | JobOutcomes


class JobDesk(Protocol):
    """Answers questions about files and jobs."""

    async def answer(self, question: JobQuestion, principal: Principal) -> Step:
        """Raises `AntiphonError`: `NotFound` for what is not this project's, too."""
