"""`POST /v1/audio/transcriptions`: returns the text of a recording, whole or as server-sent events; and
`POST /v1/audio/translations`: its text in English.

A segment is one final utterance; the full text is their texts, joined by spaces. Nothing is sent before the first
result, so an error until then has its own status; later it is an event in the stream.
"""

import math
import zlib
from collections.abc import Iterable

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.core import languages
from antiphon.core.capabilities import Incapable, SpeechAbility, UnsupportedLanguage
from antiphon.core.endpoints import Accepted
from antiphon.core.errors import AntiphonError, CallerError, TooLarge
from antiphon.core.events import Closed, Failed, Final, Opened, Output, Token, main_language
from antiphon.core.jobs import REQUEST
from antiphon.core.specs import TranscribeSpec
from antiphon.core.subtitles import srt, vtt
from antiphon.core.text import gap, join
from antiphon.core.wire import NOTHING, Body, Close, Head, Opening, Response, Step, Url, Wire, no_effect
from antiphon.surfaces.openai import wire
from antiphon.surfaces.openai.addressing import deployment
from antiphon.surfaces.openai.form import Format, Shape, of_line, read

MAX_FILE_BYTES = 26_214_400  # OpenAI's own limit
Fields = Iterable[tuple[str, str]]
UNKNOWN = "unknown"  # if there was no speech to detect the language of
INPUT_TOKEN_MS = 100  # OpenAI's own unit of input audio: one token for each 100 ms, rounded up


class Transcriptions(wire.Endpoint):
    """Both endpoints; the text is English if it `translates`."""

    max_body_bytes = MAX_FILE_BYTES

    def __init__(self, translates: bool = False) -> None:
        self._translates = translates

    def negotiate(self, opening: Opening, body: Body | bytes) -> Accepted[TranscribeSpec]:
        """Return the form, or the request of a batch's line, as a spec. Raises a `CallerError`, whose `param` is the
        field's name.
        """
        if isinstance(body, bytes) or _of_line(opening, body):
            fields, url = _line(body)
        else:
            fields, url = _form(opening, body), ""
        spec, shape = read(fields, self._translates)
        media = Url(url) if isinstance(body, bytes) else _recording(body)
        return Accepted(spec, Transcribing(self, opening, shape, self._translates), media=media)

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        """Return the error; what a model cannot do is named by the field that asked for it."""
        if isinstance(error, UnsupportedLanguage) and error.param == "languages":
            error = UnsupportedLanguage(error.language, error.languages, "languages[]")
        if isinstance(error, Incapable) and error.ability is SpeechAbility.TRANSLATION:
            error = Incapable(error.ability, "model", error.model)
        return super().refuse(opening, error)


def _of_line(opening: Opening, body: Body) -> bool:
    """Return whether this is a batch's line with its file: no HTTP request, and so without header fields."""
    return not opening.headers and body.fields[:1] != () and body.fields[0][0] == REQUEST


def _form(opening: Opening, body: Body) -> Fields:
    """Return the fields of a form."""
    content_type = opening.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "multipart/form-data":
        raise CallerError("The request must be multipart/form-data.")
    if deployed := deployment(opening):
        return (("model", deployed), *(field for field in body.fields if field[0] != "model"))
    return body.fields


def _line(sent: Body | bytes) -> tuple[Fields, str]:
    """Return the fields of a batch's line, and the URL of its recording if it has no file."""
    fields, url = of_line(sent if isinstance(sent, bytes) else sent.fields[0][1].encode())
    if isinstance(sent, bytes) and not url:
        raise CallerError("A recording is needed: 'file' or 'url'.", param="file")
    if url and not isinstance(sent, bytes):
        raise CallerError("'file' and 'url' are two recordings.", param="url")
    return fields, url


def _recording(body: Body) -> bytes:
    if not body.data:
        raise CallerError("The audio file is empty." if body.has_file else "No file was sent.", param="file")
    if len(body.data) > MAX_FILE_BYTES:
        message = f"Maximum content size limit ({MAX_FILE_BYTES}) exceeded ({len(body.data)} bytes read)."
        raise TooLarge(message, param="file")
    return body.data


class Transcribing:
    """One call: collects finals and renders them."""

    def __init__(self, endpoint: Transcriptions, opening: Opening, shape: Shape, translates: bool = False) -> None:
        self._endpoint = endpoint
        self._translates = translates
        self._without_effect = shape.without_effect
        self._languages: tuple[str, ...] = ()
        self._opening = opening
        self._shape = shape
        self._finals: list[Final] = []
        self._logprobs: list[wire.Logprob] | UnsetType = [] if shape.logprobs else UNSET
        self._headed = False

    def receive(self, message: str | bytes, now_ns: int) -> Step:
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
                    self._without_effect = (*self._shape.guiding, *self._shape.without_effect)
            case Final() if event.transcript.text.strip():
                return self._final(event)
            case Closed():
                return Step(sends=self._sends(self._result(event)), close=Close())
            case Failed() if self._headed:
                return Step(sends=(b"event: error\n" + _event(wire.error_body(event.error)),), close=Close())
            case Failed():
                refusal = self._endpoint.refuse(self._opening, event.error)
                return Step(sends=(Head(refusal.status, refusal.headers), refusal.body), close=Close())
        return NOTHING

    def _final(self, final: Final) -> Step:
        """Return the events of a final: joined, the deltas of a stream give the text of `done`; so do the tokens with
        log probabilities.
        """
        text = final.transcript.text.strip()
        space = gap(self._finals[-1].transcript.text.strip(), text) if self._finals else ""
        self._finals.append(final)
        logprobs: list[wire.Logprob] | UnsetType = UNSET
        if not isinstance(self._logprobs, UnsetType):
            logprobs = _logprobs(final.transcript.tokens, space)
            self._logprobs += logprobs
        if not self._shape.stream:
            return NOTHING
        return Step(sends=self._sends(_event(wire.TextDelta(space + text, logprobs))))

    def _sends(self, body: bytes) -> tuple[Wire, ...]:
        if self._headed:
            return (body,)
        self._headed = True
        headers = wire.headers(self._opening, self._content_type()) + no_effect(self._without_effect)
        return Head(200, headers), body

    def _content_type(self) -> str:
        if self._shape.stream:
            return wire.EVENTS
        return wire.JSON if self._shape.format in (Format.JSON, Format.VERBOSE) else wire.TEXT

    def _result(self, closed: Closed) -> bytes:
        """Return the answer, or the end of the stream."""
        if self._shape.stream:
            return _event(self._done(closed)) + b"data: [DONE]\n\n"
        match self._shape.format:
            case Format.JSON if self._translates:
                return wire.encode(wire.Translation(self._text()))
            case Format.JSON:
                return wire.encode(wire.Transcription(self._text(), _duration(closed), self._logprobs))
            case Format.VERBOSE:
                return wire.encode(self._verbose(closed))
            case Format.TEXT:
                return f"{self._text()}\n".encode()
            case Format.SRT:
                return srt(self._cues()).encode()
            case Format.VTT:
                return vtt(self._cues()).encode()

    def _text(self) -> str:
        return join(final.transcript.text.strip() for final in self._finals)

    def _cues(self) -> Iterable[tuple[int, int, str]]:
        return ((final.start_ms, final.end_ms, final.transcript.text) for final in self._finals)

    def _done(self, closed: Closed) -> wire.TextDone:
        audio_tokens = -(-closed.audio_ms // INPUT_TOKEN_MS)
        text_tokens = sum(len(final.transcript.tokens) for final in self._finals)
        usage = wire.TokenUsage(
            audio_tokens, text_tokens, audio_tokens + text_tokens, wire.InputTokenDetails(audio_tokens)
        )
        return wire.TextDone(self._text(), usage, self._logprobs)

    def _language(self) -> str:
        """Return the language that was spoken."""
        language, _ = main_language(self._finals)
        only = self._languages[0] if len(self._languages) == 1 else ""
        return languages.name(language or only) or UNKNOWN

    def _verbose(self, closed: Closed) -> wire.TranscriptionVerbose | wire.TranslationVerbose:
        segments = [_segment(*pair) for pair in enumerate(self._finals)]
        if self._translates:
            seconds = closed.audio_ms / 1000
            return wire.TranslationVerbose("translate", languages.NAMES["en"], seconds, self._text(), segments)
        words = [
            wire.TimedWord(word.text, word.start_ms / 1000, word.end_ms / 1000)
            for final in self._finals
            for word in final.transcript.words
        ]
        return wire.TranscriptionVerbose(
            task="transcribe",
            language=self._language(),
            duration=closed.audio_ms / 1000,
            text=self._text(),
            usage=_duration(closed),
            segments=segments if self._shape.segments else UNSET,
            words=words if self._shape.words else UNSET,
        )


def _logprobs(tokens: Iterable[Token], space: str) -> list[wire.Logprob]:
    """Return one per token; `space` replaces the first token's leading space."""
    logprobs = []
    for place, token in enumerate(tokens):
        text = token.text if place else space + token.text.lstrip(" ")
        logprobs.append(wire.Logprob(text, token.logprob, list(text.encode())))
    return logprobs


def _duration(closed: Closed) -> wire.DurationUsage:
    return wire.DurationUsage(closed.audio_ms / 1000)


def _event(message: msgspec.Struct) -> bytes:
    return b"data: " + wire.encode(message) + b"\n\n"


def _segment(number: int, final: Final) -> wire.Segment:
    """Return one utterance as Whisper's segment, with the leading space.

    Each utterance is decoded by itself, so `seek` is its own start. The voice detector has found speech, and segments
    without speech are never reported: `no_speech_prob` is 0.
    """
    text = " " + final.transcript.text.strip()
    return wire.Segment(
        id=number,
        seek=final.start_ms // 10,
        start=final.start_ms / 1000,
        end=final.end_ms / 1000,
        text=text,
        tokens=[token.id for token in final.transcript.tokens],
        temperature=0.0,
        avg_logprob=_avg_logprob(final),
        compression_ratio=_compression_ratio(text),
        no_speech_prob=0.0,
    )


def _avg_logprob(final: Final) -> float:
    """Return the tokens' mean, or without tokens the log of the confidence (their geometric mean)."""
    tokens = final.transcript.tokens
    if tokens:
        return math.fsum(token.logprob for token in tokens) / len(tokens)
    return math.log(max(final.transcript.confidence, 1e-9))


def _compression_ratio(text: str) -> float:
    """Return Whisper's measure of repetition (whisper/utils.py, `compression_ratio`)."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))
