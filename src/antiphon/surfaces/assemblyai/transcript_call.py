"""The call behind a transcript: a job with one item, which transcribes a recording as a whole.

`transcripts.py` shows it to callers; all views are made from the kept result (`transcript_wire.Result`).
"""

from collections.abc import Mapping

from antiphon.core.endpoints import Accepted, unmet_names
from antiphon.core.errors import AntiphonError, CallerError
from antiphon.core.events import Closed, Failed, Final, Opened, Output, main_language
from antiphon.core.events import Word as CoreWord
from antiphon.core.jobs import ItemCall, Job, JobState, Notice
from antiphon.core.rewriting import Rewritten, bare
from antiphon.core.specs import TranscribeSpec
from antiphon.core.text import word_span
from antiphon.core.wire import NOTHING, Body, Opening, Response, Step, Url
from antiphon.surfaces.assemblyai import transcript_parameters as parameters
from antiphon.surfaces.assemblyai import transcript_wire as wire
from antiphon.surfaces.assemblyai.endpoint import JSON, Endpoint
from antiphon.surfaces.assemblyai.passages import passage, text_of
from antiphon.surfaces.assemblyai.transcript_wire import Passage, Result, Word
from antiphon.surfaces.assemblyai.turns import CONFIDENCE_DIGITS
from antiphon.surfaces.assemblyai.wire import ErrorBody, write_body

KIND = "assemblyai.transcript"
PATH = "/v2/transcript"
SIGNATURE = "antiphon-signature"
STATUSES: Mapping[JobState, str] = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "processing",
    JobState.DONE: "completed",
    JobState.FAILED: "error",
    JobState.CANCELLED: "error",
    JobState.EXPIRED: "error",
}


class TranscriptKind:
    """Implements `core.jobs.JobKind` and `NoticeKind`."""

    surface = "assemblyai"
    output_purpose = "assemblyai_transcript"

    def item(self, line: bytes) -> ItemCall:
        settled = wire.settled.decode(line)
        return ItemCall(PATH, line, parameters.read(settled.values).spec.model, file=settled.upload)

    def answered(self, line: bytes, session: str, status: int, body: bytes) -> bytes:
        return body

    def failure(self, error: AntiphonError) -> bytes:
        return write_body(ErrorBody(error.message))

    def notice(self, job: Job, output: bytes) -> Notice | None:
        values = wire.settled.decode(job.request).values
        if not values.get("webhook_url") or not job.over:
            return None
        own = {"content-type": "application/json"}
        if name := values.get("webhook_auth_header_name"):
            own[name] = values["webhook_auth_header_value"]

        def signed(at_unix_s: int, signature: str) -> Mapping[str, str]:
            return {**own, SIGNATURE: f"t={at_unix_s},v1={signature}"} if signature else own

        body = wire.write(wire.Notification(job.id, STATUSES[job.state]))
        return Notice(values["webhook_url"], body, signed)


class TranscribeCall(Endpoint):
    """The call of a transcript's job; clients cannot make it."""

    max_body_bytes = 0

    def negotiate(self, opening: Opening, body: bytes | Body) -> Accepted[TranscribeSpec]:
        line = body if isinstance(body, bytes) else body.fields[0][1].encode()
        settled = wire.settled.decode(line)
        request = parameters.read(settled.values)
        media = Url(settled.url) if isinstance(body, bytes) else body.data
        return Accepted(request.spec, Transcribing(self, opening, request), media)


class Transcribing:
    """The result of one recording."""

    def __init__(self, endpoint: TranscribeCall, opening: Opening, request: parameters.Request) -> None:
        self._endpoint = endpoint
        self._opening = opening
        self._request = request
        self._opened = Opened("")
        self._finals: list[Final] = []
        self._answered = False

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        """Do nothing; never called: the recording came with the request."""
        return NOTHING

    def deadline_ns(self) -> int | None:
        return None

    def expire(self, now_ns: int) -> Step:
        return NOTHING

    def emit(self, event: Output, now_ns: int) -> Step:
        if self._answered:
            return NOTHING
        match event:
            case Opened():
                self._opened = event
            case Final():
                self._finals.append(event)
            case Closed():
                self._answered = True
                return self._close(event)
            case Failed():
                self._answered = True
                return self._endpoint.refuse(self._opening, event.error)
            case _:
                pass
        return NOTHING

    def _close(self, closed: Closed) -> Step:
        language, sure = main_language(self._finals)
        refusal = self._below(closed, language, sure)
        if refusal is not None:
            return self._endpoint.refuse(self._opening, refusal)
        result = self._result(closed, language, sure)
        return Response(200, JSON, wire.pack(result, closed.redacted_audio))

    def _below(self, closed: Closed, language: str, sure: float) -> AntiphonError | None:
        """Return the error to report instead of the result if it does not reach a minimum that the caller set."""
        least = self._request.least_language
        if least is not None and sure < least:
            return CallerError(
                f"detected language '{language}' with confidence {sure:.4f}, which is below the requested confidence "
                f"threshold value of {least:g}"
                if language
                else "no language was detected: nothing was said",
                param="language_confidence_threshold",
            )
        least = self._request.least_speech
        spoken_ms = sum(final.end_ms - final.start_ms for final in self._finals if final.transcript.text)
        speech = spoken_ms / max(1, closed.audio_ms * closed.channels)
        if least is not None and speech < least:
            return CallerError(
                f"Audio speech threshold {speech:.4f} is below the requested speech threshold value {least:g}",
                param="speech_threshold",
            )
        return None

    def _result(self, closed: Closed, language: str, sure: float) -> Result:
        separate = self._request.spec.multichannel
        passages = [self._utterance(final, separate) for final in sorted(self._finals, key=_begins)]
        utterances = [each for each in passages if each.words]
        words = [word for each in utterances for word in each.words]
        confidence = sum(word.confidence for word in words) / len(words) if words else 0.0
        return Result(
            text=text_of(utterances),
            confidence=round(confidence, CONFIDENCE_DIGITS),
            words=words,
            utterances=utterances if separate else [],
            audio_ms=closed.audio_ms,
            channels=closed.channels if separate else 0,
            language=language or (self._opened.languages[0] if len(self._opened.languages) == 1 else ""),
            language_confidence=round(sure, CONFIDENCE_DIGITS),
            model=self._opened.model,
            lacks=list(unmet_names(self._request.dispensable, self._opened.unmet_speech)),
        )

    def _utterance(self, final: Final, separate: bool) -> Passage:
        request, transcript = self._request, final.transcript
        if request.rewriting is not None:
            transcript = request.rewriting.apply(transcript)
        channel = str(final.channel + 1) if separate else None
        shift_ms = request.spec.from_ms
        words = [
            Word(
                text,
                word.start_ms + shift_ms,
                word.end_ms + shift_ms,
                round(word.confidence, CONFIDENCE_DIGITS),
                channel,
                channel,
            )
            for word in transcript.words
            if (text := self._written(word))
        ]
        if not words:
            return Passage("", 0, 0, 0.0, [])
        return passage(words, transcript.text if request.punctuate and request.formats else text_of(words))

    def _written(self, word: CoreWord) -> str:
        """Return the word as the caller requested it: without punctuation, in lower case, or both."""
        request = self._request
        own = isinstance(word, Rewritten)  # the caller's replacement keeps its own case
        if request.punctuate:
            return word.text if request.formats or own else word.text.lower()
        if own or not request.formats:
            return bare(word)
        start, end = word_span(word.text)
        return word.text[start:end]


def _begins(final: Final) -> tuple[int, int]:
    return final.start_ms, final.channel
