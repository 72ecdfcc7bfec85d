"""AssemblyAI's REST API for recordings: `/v2/upload` and `/v2/transcript`.

A transcript is a job (`transcript_call.py`), which callers poll. The answer repeats the request, except the webhook's
secret. `metadata.warnings` name the parameters without effect, and say for how long the transcript is kept if the
project's policy keeps none; the header `antiphon-kept-until` always has the end.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from antiphon.core.errors import AntiphonError, BadMedia, CallerError, NotFound
from antiphon.core.jobs import Blob, Job, JobAct, JobOutput, JobState, NewFile, NewJob, OneJob
from antiphon.core.subtitles import srt, vtt
from antiphon.core.wire import Opening, Response, ShortToken, Step, no_effect
from antiphon.surfaces.assemblyai import passages
from antiphon.surfaces.assemblyai import transcript_parameters as parameters
from antiphon.surfaces.assemblyai import transcript_wire as wire
from antiphon.surfaces.assemblyai.endpoint import JSON, Endpoint
from antiphon.surfaces.assemblyai.transcript_call import KIND, PATH, STATUSES
from antiphon.surfaces.assemblyai.transcript_wire import Result, Settled
from antiphon.surfaces.assemblyai.values import text, whole
from antiphon.surfaces.assemblyai.wire import ErrorBody

MAX_UPLOAD_BYTES = 256 << 20  # AssemblyAI takes 2.2 GB; here a body is held in memory
MAX_BODY_BYTES = 256 << 10
MAX_OPEN = 256  # unfinished transcripts of a project
MAX_WORDS = 100  # in one search
MAX_CAPTION_CHARS = 1_000
UPLOAD_S = PASSING_S = 3_600  # lifetime of an upload, and of a transcript if the project keeps none
READ_S = 300  # ... of the latter after it was read, so that its views can still be read
AUDIO_URL_S = 3_600  # for which the URL of a redacted recording is good
COPY = "copy"  # the last part of its path
WINDOW_S = 86_400  # in which a transcript must be ready
PURPOSE = "assemblyai_upload"
# A reserved host (RFC 2606): the server recognises an upload by its whole URL.
UPLOADS = "https://uploads.antiphon.invalid/"
TEXT = (("content-type", "text/plain; charset=utf-8"),)
DELETED_TEXT, DELETED_URL = "Deleted by user.", "http://deleted_by_user"  # AssemblyAI's own

_UPLOAD_ID = re.compile(r"upload-[0-9a-f]{32}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECRETS = ("webhook_auth_header_name", "webhook_auth_header_value")
_errors = msgspec.json.Decoder(ErrorBody)
# Fields that SDKs expect in every transcript.
_USUAL = {
    "punctuate": True,
    "format_text": True,
    "auto_highlights": False,
    "redact_pii": False,
    "summarization": False,
}


class Upload(Endpoint):
    """`POST /v2/upload`, whose body is the recording. It is deleted when the job of a transcript of it ends."""

    def ask(self, opening: Opening, body: bytes) -> NewFile:
        if opening.headers.get("content-type", "").lower().startswith("multipart/"):
            raise CallerError("Send the recording as the body itself, not as a form.")
        if not body:
            raise BadMedia("The body is empty.")
        id = f"upload-{_stem(opening)}"

        def tell(blob: Blob) -> Response:
            headers = (*JSON, _kept_until(blob.ends_unix_ms))
            return Response(200, headers, wire.write(wire.UploadAnswer(f"{UPLOADS}{blob.id}")))

        return NewFile(id, "upload", PURPOSE, body, UPLOAD_S, tell)


class CreateTranscript(Endpoint):
    """`POST /v2/transcript`."""

    def ask(self, opening: Opening, body: bytes) -> NewJob:
        """Return the job to create. Raises `CallerError`."""
        try:
            values = wire.read_values(body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise CallerError("The body must be a JSON object.") from None
        values = {name: value for name, value in values.items() if value is not None}
        request = parameters.read(values)
        url = (text(values, "audio_url") or "").strip()
        if not url:
            raise CallerError("`audio_url` is required.", param="audio_url")
        parameters.check_url(url, "audio_url")
        upload = url.removeprefix(UPLOADS) if url.startswith(UPLOADS) else ""
        if url.startswith(UPLOADS) and not _UPLOAD_ID.fullmatch(upload):
            raise _unknown_upload()
        del values["audio_url"]
        settled = Settled(url, upload, values)
        stem = _stem(opening)
        return NewJob(
            kind=KIND,
            id=stem,
            request=wire.write(settled),
            input=upload,
            input_purpose=PURPOSE,
            output=f"{stem}-text",
            errors=f"{stem}-error",
            window_s=WINDOW_S,
            output_s=0,
            tell=lambda job: _answer(job, transcript(job, settled, None), request.without_effect),
            passing_s=PASSING_S,
            most_open=MAX_OPEN,
            spec=request.spec,
        )

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        if error.param == "input":
            error = _unknown_upload()
        return super().refuse(opening, error)


class _OneTranscript(Endpoint):
    """The common part of the routes of one transcript."""

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        if isinstance(error, NotFound):
            error = NotFound("Transcript lookup error, transcript id not found")
        return super().refuse(opening, error)


class RetrieveTranscript(_OneTranscript):
    """`GET /v2/transcript/{id}`."""

    def ask(self, opening: Opening, body: bytes) -> JobOutput:
        def tell(job: Job, output: bytes, kept: bool) -> Response:
            settled = wire.settled.decode(job.request)
            result = wire.unpack(output) if output else None
            request = parameters.read(settled.values)
            shown = transcript(job, settled, result)
            names = (*request.without_effect, *(result.lacks if result else ()))
            warnings = [parameters.warning(name) for name in names]
            if not kept:
                once = "" if job.over else f"{READ_S} seconds after it was read, and in any case "
                warnings.append(
                    f"This project keeps no transcripts: this one is gone {once}at {iso(job.ends_unix_ms)}."
                )
            if warnings:
                shown["metadata"] = {"warnings": [{"message": message} for message in warnings]}
            return _answer(job, shown, names)

        return JobOutput(KIND, _id(opening), READ_S, tell)


class DeleteTranscript(_OneTranscript):
    """`DELETE /v2/transcript/{id}`; if it is not ready, its job is cancelled."""

    def ask(self, opening: Opening, body: bytes) -> OneJob:
        def tell(job: Job) -> Response:
            shown = transcript(job, Settled(DELETED_URL, "", {}), None)
            return Response(200, JSON, wire.write({**shown, "text": DELETED_TEXT}))

        return OneJob(JobAct.DELETE, KIND, _id(opening), tell)


class _View(_OneTranscript, ABC):
    """A view of a transcript that is ready."""

    def ask(self, opening: Opening, body: bytes) -> JobOutput:
        def tell(job: Job, output: bytes, kept: bool) -> Response:
            if not output:
                raise CallerError(
                    f"This transcript has a status of '{STATUSES[job.state]}'. Transcripts must have a status of "
                    "'completed' before this is requested."
                )
            return self.show(opening, job.id, wire.unpack(output))

        return JobOutput(KIND, _id(opening), READ_S, tell)

    @abstractmethod
    def show(self, opening: Opening, id: str, result: Result) -> Response:
        """Return the view as the answer. Raises `CallerError`."""


class SentencesView(_View):
    """`GET /v2/transcript/{id}/sentences`."""

    def show(self, opening: Opening, id: str, result: Result) -> Response:
        found = passages.sentences(result.words)
        return _json(wire.Sentences(found, id, result.confidence, _seconds(result.audio_ms), result.model))


class ParagraphsView(_View):
    """`GET /v2/transcript/{id}/paragraphs`."""

    def show(self, opening: Opening, id: str, result: Result) -> Response:
        found = passages.paragraphs(result.words)
        return _json(wire.Paragraphs(found, id, result.confidence, _seconds(result.audio_ms), result.model))


class Subtitles(_View):
    """`GET /v2/transcript/{id}/srt` and `/vtt`."""

    def show(self, opening: Opening, id: str, result: Result) -> Response:
        most = whole(dict(opening.query), "chars_per_caption", 1, MAX_CAPTION_CHARS) or passages.CAPTION_CHARS
        write = vtt if opening.path.endswith("/vtt") else srt
        return Response(200, TEXT, write(passages.captions(result.words, most)).encode())


class WordSearch(_View):
    """`GET /v2/transcript/{id}/word-search?words=a,b c`."""

    def show(self, opening: Opening, id: str, result: Result) -> Response:
        wanted = [each.strip() for each in dict(opening.query).get("words", "").split(",") if each.strip()]
        if not 0 < len(wanted) <= MAX_WORDS:
            raise CallerError(f"`words` must be 1 to {MAX_WORDS} words or phrases, with commas between.", param="words")
        found = passages.matches(result.words, wanted)
        return _json(wire.Matches(id, sum(each.count for each in found), found))


class RedactedAudio(_OneTranscript):
    """`GET /v2/transcript/{id}/redacted-audio`: a URL of the copy of the recording, which needs no key for an hour."""

    def ask(self, opening: Opening, body: bytes) -> JobOutput:
        def tell(job: Job, output: bytes, kept: bool) -> Response | ShortToken:
            if parameters.read(wire.settled.decode(job.request).values).spec.redacted_audio is None:
                return _no_audio(404, "There is no redacted audio of this transcript: `redact_pii_audio` was not set.")
            if not job.over:
                return _no_audio(202, "The redacted audio is not ready yet.")
            if not wire.audio_of(output):
                return _no_audio(400, "There is no redacted audio of this transcript: it failed, or is too long.")
            path = f"{PATH}/{job.id}/redacted-audio/{COPY}"
            place = f"{opening.scheme}://{opening.headers.get('host', 'localhost')}{path}"

            def respond(token: str) -> Response:
                answer = wire.RedactedAudio(f"{place}?token={token}", "redacted_audio_ready")
                return Response(200, (*JSON, ("cache-control", "no-store")), wire.write(answer))

            return ShortToken(AUDIO_URL_S, respond, path=path)

        return JobOutput(KIND, _id(opening), READ_S, tell)


class RedactedAudioCopy(_OneTranscript):
    """The copy itself, at that URL."""

    def ask(self, opening: Opening, body: bytes) -> JobOutput:
        def tell(job: Job, output: bytes, kept: bool) -> Response:
            audio = wire.audio_of(output)
            if not audio:
                raise NotFound("There is no redacted audio of this transcript.")
            kind = "audio/wav" if audio.startswith(b"RIFF") else "audio/mpeg"
            return Response(200, (("content-type", kind), ("cache-control", "no-store")), audio)

        return JobOutput(KIND, _id(opening), READ_S, tell)


def _no_audio(status: int, message: str) -> Response:
    return Response(status, JSON, wire.write(ErrorBody(message)))


def transcript(job: Job, settled: Settled, result: Result | None) -> dict[str, Any]:
    """Return the transcript as it is shown to the caller."""
    values = {name: value for name, value in settled.values.items() if name not in _SECRETS}
    shown: dict[str, Any] = {
        "id": job.id,
        "status": STATUSES[job.state],
        "audio_url": settled.url,
        "webhook_auth": _SECRETS[0] in settled.values,
        **_USUAL,
        **values,
    }
    for name in ("text", "words", "utterances", "confidence", "audio_duration", "error"):
        shown[name] = None
    if STATUSES[job.state] == "error":
        shown["error"] = error(job)
    if result is not None:
        shown |= {
            "text": result.text,
            "words": result.words,
            "utterances": result.utterances if result.channels else None,
            "confidence": result.confidence,
            "audio_duration": _seconds(result.audio_ms),
            "speech_model_used": result.model,
        }
        if result.channels:
            shown["audio_channels"] = result.channels
        shown["language_code"] = values.get("language_code") or result.language or None
        if values.get("language_detection"):
            shown["language_confidence"] = result.language_confidence
    return shown


def error(job: Job) -> str:
    """Return the message that says why there is no transcript."""
    if job.result:
        return _errors.decode(job.result).error
    return "The transcript was not ready in time." if job.state is JobState.EXPIRED else "The server failed."


def _answer(job: Job, shown: dict[str, Any], without_effect: Sequence[str]) -> Response:
    headers = (*JSON, _kept_until(job.ends_unix_ms), *no_effect(without_effect))
    return Response(200, headers, wire.write(shown))


def _json(body: wire.Sentences | wire.Paragraphs | wire.Matches) -> Response:
    return Response(200, JSON, wire.write(body))


def _kept_until(ends_unix_ms: int) -> tuple[str, str]:
    return "antiphon-kept-until", iso(ends_unix_ms)


def iso(unix_ms: int) -> str:
    """Return a time such as `2024-08-29T22:37:55.202Z`."""
    at = _EPOCH + timedelta(milliseconds=unix_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(ms: int) -> int:
    return (ms + 500) // 1000


def _stem(opening: Opening) -> str:
    return opening.new_id.replace("-", "")


def _id(opening: Opening) -> str:
    return opening.path.removeprefix(f"{PATH}/").partition("/")[0]


def _unknown_upload() -> CallerError:
    return CallerError(
        "`audio_url`: there is no such upload. Uploads are gone after an hour, and when a transcript of them is over.",
        param="audio_url",
    )
