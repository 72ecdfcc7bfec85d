"""`POST /v1/speech-to-text`: the words of a recording, once all of them are known.

Channels are transcribed separately if the caller requests it, each as its own transcript or all in one. With
`webhook=true` it is a job (`transcript_jobs.py`).
"""

from dataclasses import replace
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from antiphon.core.capabilities import SpeechAbility, UnsupportedLanguage
from antiphon.core.endpoints import Accepted
from antiphon.core.errors import AntiphonError, CallerError
from antiphon.core.events import Closed, Failed, Final, Opened, Output
from antiphon.core.jobs import NewJob
from antiphon.core.specs import TranscribeSpec
from antiphon.core.wire import NOTHING, Body, Close, Head, Opening, Response, Step, no_effect
from antiphon.surfaces.elevenlabs import exports, languages, redaction, transcript_jobs, transcripts, wire
from antiphon.surfaces.elevenlabs.parameters import read_query
from antiphon.surfaces.elevenlabs.speech_to_text_form import Request, read_form
from antiphon.surfaces.elevenlabs.transcripts import Granularity, TokenPlace

MAX_BODY_BYTES = 256 * 1024 * 1024  # ElevenLabs takes 3 GB; here a body is held in memory
FORM = "multipart/form-data"
TOKEN_TYPE = "batch_scribe"


class FileQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """The query. Nothing is kept, whatever `enable_logging` says; `token` is a credential."""

    enable_logging: bool | None = None
    token: str | None = None


class Transcript(Struct, frozen=True, omit_defaults=True):
    """The transcript of all channels together, or of one channel."""

    language_code: str
    language_probability: float
    text: str
    words: list[transcripts.Word]
    channel_index: int | UnsetType = UNSET
    additional_formats: list[exports.Exported] | UnsetType = UNSET
    transcription_id: str | UnsetType = UNSET
    audio_duration_secs: float | UnsetType = UNSET
    entities: list[redaction.Detected] | UnsetType = UNSET


class Channels(Struct, frozen=True):
    """The transcripts of all channels."""

    transcripts: list[Transcript]
    transcription_id: str
    audio_duration_secs: float


class SpeechToText(TokenPlace, wire.Endpoint):
    """The endpoint."""

    max_body_bytes = MAX_BODY_BYTES
    too_large = "file_too_large"

    def negotiate(self, opening: Opening, body: Body) -> Accepted[TranscribeSpec] | NewJob:
        """Return the form as a spec, or as a job whose end webhooks are told. Raises `Unauthenticated`, or a
        `CallerError` whose `param` is the field.
        """
        wire.check_token(opening, TOKEN_TYPE)
        read_query(opening, FileQuery)
        kind = opening.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != FORM and body.data:
            raise CallerError(f"The request must be {FORM}.")
        request = read_form(body)
        if request.webhook is not None:
            return transcript_jobs.new_job(opening, body, request)
        return Accepted(request.spec, FileTranscription(self, opening, request), media=request.media)

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        """Return the error; an unsupported language is named by the field that asked for it."""
        if isinstance(error, UnsupportedLanguage) and error.param == "languages":
            error = UnsupportedLanguage(error.language, error.languages, "secondary_language_codes")
        return super().refuse(opening, error)


class FileTranscription:
    """One call: collects finals, and answers at the end."""

    def __init__(self, endpoint: wire.Endpoint, opening: Opening, request: Request) -> None:
        self._endpoint = endpoint
        self._opening = opening
        self._request = request
        self._finals: list[Final] = []
        self._without_effect = request.without_effect
        self._languages: tuple[str, ...] = ()  # that may be spoken

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        """Do nothing; never called: the body came with the request."""
        return NOTHING

    def deadline_ns(self) -> int | None:
        return None

    def expire(self, now_ns: int) -> Step:
        return NOTHING

    def emit(self, event: Output, now_ns: int) -> Step:
        match event:
            case Opened():
                self._languages = event.languages
                if SpeechAbility.GUIDANCE in event.unmet_speech:
                    self._without_effect = ("keyterms", *self._without_effect)
            case Final():
                self._finals.append(event)
            case Closed():
                headers = wire.headers(self._opening, wire.JSON) + no_effect(self._without_effect)
                if self._request.granularity is Granularity.CHARACTER:
                    headers += transcripts.SPREAD_CHARACTERS
                return _answer(200, headers, wire.encode(self._result(event)))
            case Failed():
                refusal = self._endpoint.refuse(self._opening, event.error)
                return _answer(refusal.status, refusal.headers, refusal.body)
        return NOTHING

    def _result(self, closed: Closed) -> Transcript | Channels:
        """Return the answer. Utterances are in the order in which they began."""
        id, duration_s = self._opening.request_id, closed.audio_ms / 1000
        finals = sorted(self._finals, key=lambda final: final.start_ms)
        if self._request.spec.multichannel and not self._request.combined:
            channels = [[each for each in finals if each.channel == place] for place in range(closed.channels)]
            results = [self._transcript(each, channel_index=place) for place, each in enumerate(channels)]
            return Channels(results, id, duration_s)
        return self._transcript(finals, transcription_id=id, audio_duration_secs=duration_s)

    def _transcript(self, finals: list[Final], **more: Any) -> Transcript:
        language, sure = languages.spoken_language(finals, self._languages)
        entities = self._request.entities
        wanted = [exports.export(each, finals, language) for each in self._request.exports]
        return Transcript(
            language_code=language,
            language_probability=sure,
            text=transcripts.text_of(finals),
            words=transcripts.words_of(finals, self._request.granularity, self._request.spec.multichannel),
            additional_formats=wanted or UNSET,
            entities=redaction.detected(finals) if entities.detects and not entities.hides else UNSET,
            **more,
        )


def _answer(status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> Step:
    return Step(sends=(Head(status, headers), body), close=Close())


class TranscribeCall(wire.Endpoint):
    """The call of the job of a transcript; clients cannot make it."""

    max_body_bytes = 0
    too_large = SpeechToText.too_large

    def negotiate(self, opening: Opening, body: bytes | Body) -> Accepted[TranscribeSpec]:
        id, request = transcript_jobs.read_item(body)
        return Accepted(request.spec, FileTranscription(self, replace(opening, request_id=id), request), request.media)
