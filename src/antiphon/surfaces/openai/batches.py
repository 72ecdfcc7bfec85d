"""`/v1/batches`: calls in an input file, answered within a day into an output file.

A batch is a job; `batch_lines.py` reads and answers its lines. It is never `finalizing`: its output is complete when it
ends.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from antiphon.core.errors import AntiphonError, CallerError, NotFound
from antiphon.core.jobs import Job, JobAct, JobState, ManyJobs, NewJob, OneJob, Page
from antiphon.core.tags import CONSENT, SUBJECT
from antiphon.core.wire import Opening, Response
from antiphon.surfaces.openai import batch_wire, files, wire
from antiphon.surfaces.openai import generation as shared
from antiphon.surfaces.openai.batch_lines import AUDIO, KIND, Remarks, Settled
from antiphon.surfaces.openai.batch_wire import listed

ID_PREFIX = "batch_"
ENDPOINTS = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions", *AUDIO)
WINDOW, WINDOW_S = "24h", 86_400  # OpenAI's only one
MAX_BODY_BYTES = 64 * 1024
MAX_LISTED, USUALLY_LISTED = 100, 20

Name = Annotated[str, Meta(max_length=64)]
Value = Annotated[str, Meta(max_length=512)]


class OutputExpiresAfter(Struct, frozen=True, forbid_unknown_fields=True):
    anchor: str
    seconds: int


class BatchRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Annotated[dict[Name, Value], Meta(max_length=shared.MAX_METADATA)] | None = None
    output_expires_after: OutputExpiresAfter | None = None


_DECODER = msgspec.json.Decoder(BatchRequest)
_SETTLED = msgspec.json.Decoder(Settled)
_REMARKS = msgspec.json.Decoder(Remarks)
_STATUSES: dict[JobState, str] = {
    JobState.QUEUED: "validating",
    JobState.RUNNING: "in_progress",
    JobState.DONE: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "expired",
}
_CANCELLED = ("cancelling", "cancelled")


class CreateBatch(wire.Endpoint):
    """`POST /v1/batches`."""

    def ask(self, opening: Opening, body: bytes) -> NewJob:
        """Return the job to create. Raises a `CallerError`."""
        files.queried(opening)
        request = shared.decode(_DECODER, body)
        shared.one_of(request.endpoint, ENDPOINTS, "endpoint")
        shared.one_of(request.completion_window, (WINDOW,), "completion_window")
        after, output_s = request.output_expires_after, 0
        if after is not None:
            output_s = files.expiry(after.anchor, after.seconds, "output_expires_after")
        stem, metadata = opening.new_id.replace("-", ""), request.metadata or {}
        return NewJob(
            KIND,
            ID_PREFIX + stem,
            msgspec.json.encode(Settled(request.endpoint, request.metadata)),
            request.input_file_id,
            files.INPUT,
            f"{files.ID_PREFIX}{stem}o",
            f"{files.ID_PREFIX}{stem}e",
            WINDOW_S,
            output_s,
            partial(_shown, opening),
            tags=tuple(f"{name}={found}" for name in (SUBJECT, CONSENT) if (found := metadata.get(name))),
        )

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        if error.param == "input":
            error = CallerError(error.message, param="input_file_id")
        return super().refuse(opening, error)


class ListBatches(wire.Endpoint):
    """`GET /v1/batches`, the latest first."""

    def ask(self, opening: Opening, body: bytes) -> ManyJobs:
        query = files.queried(opening, "after", "limit")
        page = Page(query.get("after", ""), files.limit(query, MAX_LISTED, USUALLY_LISTED))

        def tell(jobs: Sequence[Job], more: bool) -> Response:
            return wire.json_response(opening, 200, listed(batch_wire.BatchList, [batch(job) for job in jobs], more))

        return ManyJobs(KIND, page, tell)


class RetrieveBatch(wire.Endpoint):
    """`GET /v1/batches/{id}`."""

    act = JobAct.SHOW

    def ask(self, opening: Opening, body: bytes) -> OneJob:
        files.queried(opening)
        return OneJob(self.act, KIND, _id(opening), lambda job: self.show(opening, job))

    def show(self, opening: Opening, job: Job) -> Response:
        """Return the batch as the answer. Raises `CallerError`."""
        return _shown(opening, job)

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        if isinstance(error, NotFound):
            error = NotFound(f"No batch found with id '{_id(opening)[:64]}'.", param="batch_id")
        return super().refuse(opening, error)


class CancelBatch(RetrieveBatch):
    """`POST /v1/batches/{id}/cancel`. Answers until then are in the output file."""

    act = JobAct.CANCEL

    def show(self, opening: Opening, job: Job) -> Response:
        shown = batch(job)
        if shown.status not in _CANCELLED:
            raise CallerError(f"Cannot cancel a batch with status '{shown.status}'.", param="batch_id")
        return wire.json_response(opening, 200, shown)


def batch(job: Job) -> batch_wire.Batch:
    """Return a job as OpenAI's batch."""
    settled = _SETTLED.decode(job.request)
    remarks = _REMARKS.decode(job.result) if job.result else Remarks()

    def at(unix_ms: int) -> int | None:
        return unix_ms // 1000 if unix_ms else None

    def ended(*states: JobState) -> int | None:
        return at(job.over_unix_ms) if job.state in states else None

    return batch_wire.Batch(
        id=job.id,
        endpoint=settled.endpoint,
        input_file_id=job.input,
        status=_status(job),
        created_at=job.created_unix_ms // 1000,
        expires_at=job.deadline_unix_ms // 1000,
        request_counts=batch_wire.RequestCounts(job.total, job.done, job.failed),
        usage=batch_wire.BatchUsage(
            job.input_tokens,
            batch_wire.InputTokensDetails(job.cached_tokens),
            job.output_tokens,
            batch_wire.OutputTokensDetails(job.reasoning_tokens),
            job.input_tokens + job.output_tokens,
        ),
        model=remarks.model or msgspec.UNSET,
        errors=batch_wire.BatchErrors(remarks.errors) if remarks.errors else None,
        output_file_id=job.output or None if job.over else None,
        error_file_id=job.errors or None if job.over else None,
        in_progress_at=at(job.begun_unix_ms),
        finalizing_at=ended(JobState.DONE),
        completed_at=ended(JobState.DONE),
        failed_at=ended(JobState.FAILED),
        expired_at=ended(JobState.EXPIRED),
        cancelling_at=at(job.cancel_unix_ms),
        cancelled_at=ended(JobState.CANCELLED),
        metadata=settled.metadata,
    )


def _status(job: Job) -> str:
    if job.state is not JobState.RUNNING:
        return _STATUSES[job.state]
    if job.cancel_unix_ms:
        return "cancelling"
    return _STATUSES[job.state] if job.begun_unix_ms else "validating"


def _shown(opening: Opening, job: Job) -> Response:
    return wire.json_response(opening, 200, batch(job))


def _id(opening: Opening) -> str:
    return opening.path.rpartition("/batches/")[2].removesuffix("/cancel")
