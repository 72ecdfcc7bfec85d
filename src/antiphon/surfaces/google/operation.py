"""A job as an operation (AIP-151), of both versions.

A job's id is the full name of its operation. The type of the metadata depends on the method; the result exists once the
job has ended, and is made from the job's output.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from antiphon.core.jobs import Job, JobState
from antiphon.surfaces.google import messages, v1, v2
from antiphon.surfaces.google.status import Code

OPERATION = "google.longrunning.Operation"
KIND, FIRST_KIND = "google.batch_recognize", "google.long_running_recognize"  # of jobs

_WHY = {
    JobState.CANCELLED: (Code.CANCELLED, "The operation was cancelled."),
    JobState.EXPIRED: (Code.DEADLINE_EXCEEDED, "The operation could not be finished in time."),
    JobState.FAILED: (Code.INTERNAL, "The operation failed."),
}


class Begun(Struct, frozen=True):
    """The constant data of an operation: its request, without the audio, and the URIs in it."""

    request: bytes
    uris: list[str]


class Line(Struct, frozen=True):
    """The outcome of one recording: a result, or a `google.rpc.Status`."""

    uri: str
    body: bytes


_BEGUN = msgspec.json.Decoder(Begun)
_LINE = msgspec.json.Decoder(Line)


def operation(job: Job, output: bytes = b"", errors: bytes = b"") -> Any:
    """Return a job and its output as an operation."""
    begun = _BEGUN.decode(job.request)
    good, bad = ([_LINE.decode(line) for line in lines.splitlines()] for lines in (output, errors))
    metadata, result = _SHOWN[job.kind](job, begun, good, bad)
    made = messages.kind(OPERATION)(name=job.id, metadata=messages.packed(metadata), done=job.over)
    if job.state is JobState.DONE and result.DESCRIPTOR.full_name == f"{messages.RPC}.Status":
        made.error.CopyFrom(result)
    elif job.state is JobState.DONE:
        made.response.CopyFrom(messages.packed(result))
    elif job.over:
        made.error.CopyFrom(_why(job))
    return made


def _why(job: Job) -> Any:
    if job.state is JobState.FAILED and job.result:
        return messages.read(f"{messages.RPC}.Status", job.result)
    code, message = _WHY[job.state]
    return messages.kind(f"{messages.RPC}.Status")(code=code, message=message)


def timestamp(unix_ms: int) -> Any:
    seconds, rest = divmod(unix_ms, 1000)
    return messages.kind("google.protobuf.Timestamp")(seconds=seconds, nanos=rest * 1_000_000)


def _batch(job: Job, begun: Begun, good: Sequence[Line], bad: Sequence[Line]) -> tuple[Any, Any]:
    """Return the metadata and the response of `BatchRecognize`."""
    metadata = messages.kind(f"{v2.PACKAGE}.OperationMetadata")(
        create_time=timestamp(job.created_unix_ms),
        update_time=timestamp(_updated(job)),
        method=f"{v2.PACKAGE}.Speech.BatchRecognize",
        batch_recognize_request=messages.read(f"{v2.PACKAGE}.BatchRecognizeRequest", begun.request),
        progress_percent=_percent(job),
    )
    metadata.resource = metadata.batch_recognize_request.recognizer
    response = messages.kind(f"{v2.PACKAGE}.BatchRecognizeResponse")()
    of_file = metadata.batch_recognize_metadata.transcription_metadata
    for uri in begun.uris:
        of_file[uri].progress_percent = 100 if job.over else 0
    billed_ms = 0
    for line in good:
        result = response.results[line.uri]
        result.MergeFromString(line.body)
        billed_ms += messages.milliseconds(result.metadata.total_billed_duration)
    for line in bad:
        for error in (response.results[line.uri].error, of_file[line.uri].error):
            error.MergeFromString(line.body)
    response.total_billed_duration.CopyFrom(messages.duration(billed_ms))
    return metadata, response


def _long_running(job: Job, begun: Begun, good: Sequence[Line], bad: Sequence[Line]) -> tuple[Any, Any]:
    """Return the metadata of `LongRunningRecognize`, and its response or error."""
    metadata = messages.kind(f"{v1.PACKAGE}.LongRunningRecognizeMetadata")(
        progress_percent=_percent(job),
        start_time=timestamp(job.created_unix_ms),
        last_update_time=timestamp(_updated(job)),
        uri=begun.uris[0],
    )
    if bad:
        return metadata, messages.read(f"{messages.RPC}.Status", bad[0].body)
    return metadata, messages.read(f"{v1.PACKAGE}.LongRunningRecognizeResponse", good[0].body if good else b"")


def _updated(job: Job) -> int:
    return job.over_unix_ms or job.cancel_unix_ms or job.begun_unix_ms or job.created_unix_ms


def _percent(job: Job) -> int:
    return 100 if job.over else 100 * (job.done + job.failed) // max(1, job.total)


_SHOWN = {KIND: _batch, FIRST_KIND: _long_running}
