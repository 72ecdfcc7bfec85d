"""Transcriptions that are asked for with `webhook=true`: a job each, whose end the project's webhooks are told.

The job keeps the request's form, and its recording as a blob. Its output is the answer that a caller without a webhook
would have got; `/v1/speech-to-text/transcripts/{transcription_id}` shows it as long as it is kept.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from antiphon.core.errors import AntiphonError, NotFound
from antiphon.core.jobs import ItemCall, Job, JobAct, JobOutput, JobState, NewJob, Notice, OneJob
from antiphon.core.wire import Body, Opening, Response, Step, Url, no_effect
from antiphon.surfaces.elevenlabs import wire
from antiphon.surfaces.elevenlabs.speech_to_text_form import Request, read_form

KIND = "elevenlabs.transcript"
TRANSCRIPTS = "/v1/speech-to-text/transcripts"
PURPOSE = "elevenlabs_recording"
SIGNATURE = "elevenlabs-signature"
EVENT = "speech_to_text_transcription"
MAX_OPEN = 256  # unfinished transcripts of a project
PASSING_S = 3_600  # lifetime of a transcript if the project keeps none
READ_S = 300  # ... after it was read
WINDOW_S = 86_400  # in which a transcript must be ready


class Settled(Struct, frozen=True):
    """The request of a job: the id of its transcript, its fields, and the id of its recording, if that is no URL."""

    id: str
    fields: list[tuple[str, str]]
    recording: str


class Begun(Struct, frozen=True):
    """The answer to a request with a webhook."""

    message: str
    request_id: str
    transcription_id: str


class Data(Struct, frozen=True):
    """What became of a transcription: its transcript, or what went wrong."""

    request_id: str
    transcription_id: str
    transcription: Raw | None
    webhook_metadata: dict[str, Any] | None
    error: Raw | UnsetType = UNSET


class Event(Struct, frozen=True):
    """The body of a notice to a webhook. The time is in seconds."""

    type: str
    event_timestamp: int
    data: Data


_settled = msgspec.json.Decoder(Settled)


def new_job(opening: Opening, body: Body, request: Request) -> NewJob:
    """Return the job of a request whose webhooks will be told."""
    assert request.webhook is not None
    id = opening.new_id
    data = b"" if isinstance(request.media, Url) else request.media
    recording = f"{id}-recording" if data else ""
    begun = Begun("Request accepted. Its transcript will be sent to your webhooks.", id, id)
    headers = wire.headers(opening, wire.JSON) + no_effect(request.without_effect)
    return NewJob(
        kind=KIND,
        id=id,
        request=msgspec.json.encode(Settled(id, list(body.fields), recording)),
        input=recording,
        input_purpose=PURPOSE,
        output=f"{id}-transcript",
        errors=f"{id}-error",
        window_s=WINDOW_S,
        output_s=0,
        tell=lambda job: Response(202, headers, wire.encode(begun)),
        data=data,
        passing_s=PASSING_S,
        most_open=MAX_OPEN,
        spec=request.spec,
        webhook=request.webhook.id,
    )


class TranscriptKind:
    """Implements `core.jobs.JobKind` and `NoticeKind`."""

    surface = "elevenlabs"
    output_purpose = "elevenlabs_transcript"

    def item(self, line: bytes) -> ItemCall:
        settled = _settled.decode(line)
        return ItemCall(TRANSCRIPTS, line, dict(settled.fields).get("model_id", ""), file=settled.recording)

    def answered(self, line: bytes, session: str, status: int, body: bytes) -> bytes:
        return body

    def failure(self, error: AntiphonError) -> bytes:
        return wire.Endpoint().refuse(Opening("POST", TRANSCRIPTS), error).body

    def notice(self, job: Job, output: bytes) -> Notice | None:
        if not job.over:
            return None
        settled = _settled.decode(job.request)
        reporting = read_form(Body(b"-", tuple(settled.fields), has_file=bool(settled.recording))).webhook
        assert reporting is not None
        error = None if output else job.result or self.failure(_unready(job))
        data = Data(
            request_id=job.id,
            transcription_id=job.id,
            transcription=None if error is not None else Raw(output),
            webhook_metadata=reporting.metadata,
            error=UNSET if error is None else Raw(error),
        )

        def signed(at_unix_s: int, signature: str) -> Mapping[str, str]:
            return {"content-type": "application/json", SIGNATURE: f"t={at_unix_s},v0={signature}"}

        body = msgspec.json.encode(Event(EVENT, job.over_unix_ms // 1000, data))
        return Notice("", body, signed, reporting.id)


def read_item(body: bytes | Body) -> tuple[str, Request]:
    """Return the id of the transcript that a job's call makes, and the request."""
    line = body if isinstance(body, bytes) else body.fields[0][1].encode()
    settled = _settled.decode(line)
    data = b"" if isinstance(body, bytes) else body.data
    return settled.id, read_form(Body(data, tuple(settled.fields), has_file=bool(settled.recording)))


class GetTranscript(wire.Endpoint):
    """`GET /v1/speech-to-text/transcripts/{transcription_id}`."""

    def ask(self, opening: Opening, body: bytes) -> JobOutput:
        def tell(job: Job, output: bytes, kept: bool) -> Response:
            if not output:
                raise _unready(job)
            return Response(200, wire.headers(opening, wire.JSON), output)

        return JobOutput(KIND, _id(opening), READ_S, tell)

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        return super().refuse(opening, _named(error))


class DeleteTranscript(wire.Endpoint):
    """`DELETE /v1/speech-to-text/transcripts/{transcription_id}`; if it is not ready, its job is cancelled."""

    def ask(self, opening: Opening, body: bytes) -> OneJob:
        def tell(job: Job) -> Step:
            return wire.json_response(opening, 200, {"message": "Delete completed successfully."})

        return OneJob(JobAct.DELETE, KIND, _id(opening), tell)

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        return super().refuse(opening, _named(error))


def _unready(job: Job) -> NotFound:
    message = "The transcript failed." if job.over else "The transcript is not ready."
    if job.state is JobState.EXPIRED:
        message = "The transcript was not ready in time."
    return NotFound(message, param="transcription_id")


def _named(error: AntiphonError) -> AntiphonError:
    if isinstance(error, NotFound) and error.param != "transcription_id":
        message = "There is no such transcript. Those of requests with `webhook=true` are kept for a while."
        return NotFound(message, param="transcription_id")
    return error


def _id(opening: Opening) -> str:
    return opening.path.removeprefix(f"{TRANSCRIPTS}/")
