"""The differences between the two versions of the API, as values, so that other code need not know the version."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from antiphon.core.events import Final, Interim, Transcript, Word
from antiphon.core.rewriting import Rewritten
from antiphon.core.text import join, plain, word_span
from antiphon.core.wire import Url
from antiphon.surfaces.google import v1, v2
from antiphon.surfaces.google.messages import duration, kind
from antiphon.surfaces.google.request import Request
from antiphon.surfaces.google.status import Code

MAX_RECORDING_BYTES = 10_485_760  # Google's own, as is all below
REQUEST_ID_BITS = 63  # of an int64 that is not negative

T = TypeVar("T", Interim, Final)


@dataclass(frozen=True, slots=True)
class Names:
    """Fields that have different names in the versions."""

    audio: str
    result_end: str
    word_start: str
    word_end: str
    event_at: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """One version; `first` is true for v1. A stream ends after `stream_ms`, or after `idle_ms` without a message, with
    these codes and messages. `spaced`: transcripts begin with a space, except the first. `stored` returns the name of
    the recognizer that a request refers to; its configuration is passed to `streaming` and `recognise`. `configs`
    returns the request's own configurations that may refer to stored resources.
    """

    package: str
    first: bool
    names: Names
    audio_bytes: int
    stream_ms: int
    stream_over: tuple[Code, str]
    idle_ms: int
    idle_over: tuple[Code, str]
    spaced: bool
    stored: Callable[[Any], str]
    configs: Callable[[Any], Sequence[Any]]
    streaming: Callable[[Any, Any], Request]
    recognise: Callable[[Any, int, Any], tuple[Request, bytes | Url]]

    def name(self, message: str) -> str:
        return f"{self.package}.{message}"

    # -- answers -------------------------------------------------------------------------------------------------------

    def result(
        self, request: Request, event: Interim | Final, stability: float | None = None, *, follows: bool, live: bool
    ) -> Any:
        """Return one result. `stability` is given for an interim; `follows`: its channel has had an earlier result."""
        features = request.features
        transcript = event.transcript
        final = isinstance(event, Final)
        alternative = {"transcript": written(transcript, features.punctuation)}
        if self.spaced and follows:
            alternative["transcript"] = f" {alternative['transcript']}"
        made = kind(self.name("SpeechRecognitionAlternative"))(**alternative)
        if final:
            made.confidence = transcript.confidence
            if features.words:
                made.words.extend(self._words(request, transcript))
        fields: dict[str, Any] = {
            "alternatives": [made],
            self.names.result_end: duration(event.end_ms),
            "language_code": features.language(transcript.language),
        }
        if features.multichannel:
            fields["channel_tag"] = event.channel + 1
        if live:
            fields |= {"is_final": final} if stability is None else {"stability": stability}
        return kind(self.name("StreamingRecognitionResult" if live else "SpeechRecognitionResult"))(**fields)

    def _words(self, request: Request, transcript: Transcript) -> Iterable[Any]:
        word_of, features, names = kind(self.name("WordInfo")), request.features, self.names
        for word in transcript.words:
            text = written_word(word, features.punctuation)
            if not text:
                continue
            made = word_of(word=text)
            if features.word_times:
                getattr(made, names.word_start).CopyFrom(duration(word.start_ms))
                getattr(made, names.word_end).CopyFrom(duration(word.end_ms))
            if features.word_confidence:
                made.confidence = word.confidence
            yield made

    def event(self, type_: str, at_ms: int) -> Any:
        """Return a message about speech activity."""
        kind_ = kind(self.name("StreamingRecognizeResponse"))
        number = kind_.SpeechEventType.Value(type_)
        return kind_(**{"speech_event_type": number, self.names.event_at: duration(at_ms)})

    def bill(self, request: Request, request_id: str, audio_ms: int) -> dict[str, Any]:
        """Return the fields of an answer about its request: what was charged, as in the ledger, and the prompt."""
        if self.first:
            number = int(request_id.replace("-", ""), 16) % (1 << REQUEST_ID_BITS)
            return {"total_billed_time": duration(audio_ms), "request_id": number}
        made = kind(self.name("RecognitionResponseMetadata"))(
            request_id=request_id, total_billed_duration=duration(audio_ms), prompt=request.used_prompt or None
        )
        return {"metadata": made}


def rewritten(request: Request, event: T) -> T:
    """Return the event with its words rewritten as requested."""
    rewriting = request.features.rewriting
    return replace(event, transcript=rewriting.apply(event.transcript)) if rewriting else event


def written(transcript: Transcript, punctuation: bool) -> str:
    """Return the text as the model wrote it, or without punctuation."""
    text = transcript.text.strip()
    if punctuation:
        return text
    if any(isinstance(word, Rewritten) for word in transcript.words):
        return join(written_word(word, punctuation) for word in transcript.words)
    return join(map(_bare, text.split()))


def written_word(word: Word, punctuation: bool) -> str:
    """Return a word as the model wrote it, or without punctuation around it; empty for a separate punctuation mark."""
    if isinstance(word, Rewritten):
        return word.text if punctuation else word.bare
    bare = _bare(word.text)
    return word.text if punctuation and bare else bare


def _bare(word: str) -> str:
    start, end = word_span(word)
    return word[start:end]


def stability(before: str, now: str) -> float:
    """Return the stability of an interim (0..1), by the share of its words that are as in the interim before it."""
    words_before, words_now = plain(before).split(), plain(now).split()
    same = 0
    while same < min(len(words_before), len(words_now)) and words_before[same] == words_now[same]:
        same += 1
    return round(0.1 + 0.8 * same / max(1, len(words_now)), 2)


V2 = Dialect(
    package=v2.PACKAGE,
    first=False,
    names=Names("audio", "result_end_offset", "start_offset", "end_offset", "speech_event_offset"),
    audio_bytes=25_600,
    stream_ms=300_000,
    stream_over=(Code.ABORTED, "Max duration of 5 minutes reached for stream."),
    idle_ms=10_000,
    idle_over=(Code.ABORTED, "Stream timed out after receiving no more client requests."),
    spaced=False,
    stored=v2.stored,
    configs=v2.configs,
    streaming=v2.streaming,
    recognise=v2.recognise,
)
V1 = Dialect(
    package=v1.PACKAGE,
    first=True,
    names=Names("audio_content", "result_end_time", "start_time", "end_time", "speech_event_time"),
    audio_bytes=MAX_RECORDING_BYTES,
    stream_ms=305_000,
    stream_over=(Code.OUT_OF_RANGE, "Exceeded maximum allowed stream duration of 305 seconds."),
    idle_ms=10_000,
    idle_over=(
        Code.OUT_OF_RANGE,
        "Audio Timeout Error: Long duration elapsed without audio. Audio should be sent close to real time.",
    ),
    spaced=True,
    stored=v1.stored,
    configs=v1.configs,
    streaming=v1.streaming,
    recognise=v1.recognise,
)
