"""`GET /v1/speech-to-text/realtime`, a WebSocket: audio in, partial and committed transcripts out.

Every message is JSON in a text message; audio is base64. With the `manual` strategy results are committed at the
caller's request, or when they are long; with `vad` also at each pause of the speaker. No message ends a stream: the
caller closes the connection, and uncommitted results are lost. Each kind of error has its own message type, and after
most of them the connection is closed; an invalid key is also reported in this way, after the connection was accepted.
"""

from base64 import b64decode
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from antiphon.core.audio import AudioFormat, Encoding
from antiphon.core.capabilities import SpeechAbility, UnsupportedLanguage
from antiphon.core.endpoints import Accepted
from antiphon.core.errors import (
    AntiphonError,
    BadMedia,
    BudgetExceeded,
    CallerError,
    CapacityError,
    Draining,
    PolicyError,
    TooLarge,
    UnsupportedParameter,
)
from antiphon.core.events import Audio, Cause, Closed, End, Failed, Final, Flush, Guide, Input, Interim, Opened, Output
from antiphon.core.specs import TranscribeSpec
from antiphon.core.units import NS_PER_S
from antiphon.core.wire import NOTHING, Opening, Step, make_close
from antiphon.surfaces.elevenlabs import languages, parameters, redaction, transcripts, wire
from antiphon.surfaces.elevenlabs.messages import MAX_UNKNOWN, read_message
from antiphon.surfaces.elevenlabs.transcripts import TokenPlace, check_keyterms, hearing

DEFAULT_MODEL = "scribe_v2_realtime"
TOKEN_TYPE = "realtime_scribe"
MANUAL, VAD = "manual", "vad"
CHUNK = "input_audio_chunk"  # the type of every message from a caller
# Between two commits, an utterance ends at a pause of the speaker, so that a partial transcript never takes long to
# compute.
MANUAL_ENDPOINTING_MS = 800
DEFAULT_SILENCE_S = 1.5
DEFAULT_THRESHOLD = 0.5  # the detector's own
MAX_CONTEXT_CHARS = 6_000
MAX_UNCOMMITTED_MS = 90_000  # ElevenLabs' own
MIN_COMMITTED_MS = 300  # ElevenLabs' own
MAX_KEYTERMS, MAX_KEYTERM_CHARS = 50, 20  # ElevenLabs' own
INACTIVITY_S = 180
TRY_AGAIN_LATER = 1013  # in IANA's list of close codes

# Name, encoding, rate in Hz.
FORMATS: dict[str, AudioFormat] = {
    **{f"pcm_{rate}": AudioFormat(Encoding.LINEAR16, rate) for rate in (8000, 16000, 22050, 24000, 44100, 48000)},
    "ulaw_8000": AudioFormat(Encoding.MULAW, 8000),
}
_REPEATABLE = ("secondary_languages", "keyterms", "entity_detection", "entity_redaction")

Threshold = Annotated[float, Meta(ge=0.1, le=0.9)]
Duration = Annotated[int, Meta(ge=50, le=2000)]

# -- messages ----------------------------------------------------------------------------------------------------------


class Chunk(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A caller's message: more audio, a request to commit, or both."""

    message_type: str = CHUNK
    audio_base_64: str | None = None
    commit: bool | None = None
    sample_rate: int | None = None
    previous_text: str | None = None


class Config(Struct, frozen=True):
    """The settings of the session, except those without effect."""

    sample_rate: int
    audio_format: str
    language_code: str | UnsetType
    commit_strategy: str
    vad_silence_threshold_secs: float
    vad_threshold: float
    model_id: str
    enable_logging: bool
    include_timestamps: bool
    include_language_detection: bool
    keyterms: list[str] | UnsetType


class _Message(Struct, frozen=True, tag_field="message_type"):
    """A message to the caller."""


class SessionStarted(_Message, frozen=True, tag="session_started"):
    session_id: str
    config: Config


class Partial(_Message, frozen=True, tag="partial_transcript"):
    """The text that is not committed yet."""

    text: str


class Committed(_Message, frozen=True, tag="committed_transcript"):
    text: str


class CommittedWithTimestamps(_Message, frozen=True, tag="committed_transcript_with_timestamps"):
    """The same commit with its words, sent after it. Without `include_timestamps` it has no words."""

    text: str
    language_code: str
    words: list[transcripts.Word] | UnsetType


class Entities(_Message, frozen=True, tag="committed_transcript_entities"):
    """The personal data in the same commit."""

    text: str
    entities: list[redaction.Detected]


class Redacted(_Message, frozen=True, tag="redacted_transcript"):
    """The same commit for callers who asked for redaction. It is redacted everywhere else, too."""

    text: str
    redacted_text: str


class Warned(_Message, frozen=True, tag="warning"):
    """A warning about fields without effect."""

    warning: str


class Fault(Struct, frozen=True):
    """An error; `message_type` is its name."""

    message_type: str
    error: str


_chunks = msgspec.json.Decoder(Chunk)

# The first class that matches gives ElevenLabs' name and the close code; subclasses stand before their bases.
_FAULTS: tuple[tuple[type[AntiphonError], str, int], ...] = (
    (BudgetExceeded, "quota_exceeded", wire.POLICY_VIOLATION),
    (PolicyError, "auth_error", wire.POLICY_VIOLATION),
    (BadMedia, "input_error", wire.POLICY_VIOLATION),
    (TooLarge, "chunk_size_exceeded", wire.POLICY_VIOLATION),
    (CallerError, "invalid_request", wire.POLICY_VIOLATION),
    (Draining, "resource_exhausted", TRY_AGAIN_LATER),
    (CapacityError, "rate_limited", TRY_AGAIN_LATER),
    (AntiphonError, "transcriber_error", wire.INTERNAL_ERROR),
)


def fault(error: AntiphonError) -> Step:
    """Return the error, then the close."""
    name, code = next((name, code) for kind, name, code in _FAULTS if isinstance(error, kind))
    return _last(name, code, _message_of(error))


def _message_of(error: AntiphonError) -> str:
    param = wire.param_of(error)
    return f"{param}: {error.message}" if param else error.message


def _last(name: str, code: int, message: str) -> Step:
    return Step(sends=(_write(Fault(name, message)),), close=make_close(code, message))


def _write(message: Struct) -> str:
    return wire.encode(message).decode()


# -- the opening -------------------------------------------------------------------------------------------------------


class ScribeQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """The query. Nothing is kept, whatever `enable_logging` says; `token` and `authorization` are credentials."""

    model_id: str = DEFAULT_MODEL
    audio_format: str = "pcm_16000"
    commit_strategy: str = MANUAL
    language_code: str = ""
    secondary_languages: tuple[str, ...] = ()
    include_timestamps: bool = False
    include_language_detection: bool = False
    vad_silence_threshold_secs: Annotated[float, Meta(ge=0.3, le=3)] = DEFAULT_SILENCE_S
    vad_threshold: Threshold = DEFAULT_THRESHOLD
    min_speech_duration_ms: Duration | None = None
    min_silence_duration_ms: Duration | None = None
    keyterms: tuple[str, ...] = ()
    no_verbatim: bool = False
    filter_background_audio: bool = False
    entity_detection: tuple[str, ...] = ()
    entity_redaction: tuple[str, ...] = ()
    entity_redaction_mode: str | None = None
    transcript_edit: str | None = None
    enable_logging: bool = True
    token: str | None = None
    authorization: str | None = None


class RealtimeSpeechToText(TokenPlace):
    """The endpoint."""

    def negotiate(self, opening: Opening, first: str | bytes | None = None) -> Accepted[TranscribeSpec]:
        """Return the session to open. Raises a `CallerError`, whose `param` is the parameter's name, or
        `Unauthenticated`.
        """
        wire.check_token(opening, TOKEN_TYPE)
        query = parameters.read_query(opening, ScribeQuery, _REPEATABLE)
        _check(query)
        entities = redaction.read(
            query.entity_detection, query.entity_redaction, query.entity_redaction_mode, redaction.NUMBERED
        )
        by_voice = query.commit_strategy == VAD
        spec = TranscribeSpec(
            model=query.model_id,
            format=FORMATS[query.audio_format],
            live=True,
            incremental=True,
            interims=True,
            endpointing_ms=round(query.vad_silence_threshold_secs * 1000) if by_voice else MANUAL_ENDPOINTING_MS,
            word_times=query.include_timestamps,
            voice_threshold=query.vad_threshold,
            redaction=entities.redaction,
            **hearing(query.language_code, query.secondary_languages, query.keyterms),
        )
        unused = parameters.idle_parameters(
            min_speech_duration_ms=query.min_speech_duration_ms,
            min_silence_duration_ms=query.min_silence_duration_ms,
            no_verbatim=query.no_verbatim,
            filter_background_audio=query.filter_background_audio,
            entity_redaction_mode=None if entities.hides else query.entity_redaction_mode,
        )
        headers = (("request-id", opening.request_id),)
        guiding = ((SpeechAbility.GUIDANCE, "keyterms"),) if query.keyterms else ()
        surface = LiveTranscription(query, opening.request_id, entities, spec.keyterms)
        return Accepted(spec, surface, headers=headers, without_effect=unused, dispensable=guiding)

    def refuse(self, opening: Opening, error: AntiphonError) -> Step:
        """Accept the connection, then send the error and close: ElevenLabs' clients show errors only on an open
        connection.
        """
        if isinstance(error, UnsupportedLanguage) and error.param == "languages":
            error = UnsupportedLanguage(error.language, error.languages, "secondary_languages")
        return fault(error)


def _check(query: ScribeQuery) -> None:
    wire.check_choice("audio_format", query.audio_format, tuple(FORMATS))
    wire.check_choice("commit_strategy", query.commit_strategy, (MANUAL, VAD))
    check_keyterms(query.keyterms, most=MAX_KEYTERMS, chars=MAX_KEYTERM_CHARS)
    if query.transcript_edit:
        raise UnsupportedParameter("Transcripts are not edited.", param="transcript_edit")


# -- the connection ----------------------------------------------------------------------------------------------------


class LiveTranscription:
    """One connection. Finals are held until they are committed."""

    def __init__(
        self, query: ScribeQuery, session_id: str, entities: redaction.Wanted, keyterms: tuple[str, ...]
    ) -> None:
        self._query = query
        self._keyterms = keyterms
        self._entities = entities
        self._session_id = session_id
        self._format = FORMATS[query.audio_format]
        self._languages: tuple[str, ...] = ()  # that may be spoken
        self._guided = False  # whether the model can be guided
        self._held: list[Final] = []
        self._inactive_since_ns: int | None = None
        self._audio_bytes = 0  # since the last commit that the caller requested
        self._spoken = False  # whether any audio was received
        self._unknown: set[str] = set()  # unknown fields that were reported
        self._expired = False  # no more messages are accepted; the last commit is still sent
        self._closed = False

    # -- from the caller -----------------------------------------------------------------------------------------------

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        if self._closed or self._expired:
            return NOTHING
        self._inactive_since_ns = now_ns
        try:
            chunk, unknown = read_message(_chunks, message)
            audio = self._audio(chunk)
        except CallerError as error:
            return self._end(_last("input_error", wire.POLICY_VIOLATION, _message_of(error)))
        inputs, sends = self._context(chunk.previous_text)
        sends = [*self._warnings(unknown), *sends]
        if audio:
            self._spoken = True
            self._audio_bytes += len(audio)
            inputs.append(Audio(audio))
        if chunk.commit:
            if self._new_ms() < MIN_COMMITTED_MS:
                least = f"A commit needs at least {MIN_COMMITTED_MS} ms of audio since the last one."
                sends.append(_write(Fault("commit_throttled", least)))
            else:
                self._audio_bytes = 0
                inputs.append(Flush())
        return Step(inputs=tuple(inputs), sends=tuple(sends))

    def _audio(self, chunk: Chunk) -> bytes:
        """Return decoded audio. Raises `CallerError` if it is invalid, or of another format than the session's."""
        wire.check_choice("message_type", chunk.message_type, (CHUNK,))
        rate = self._format.sample_rate
        if chunk.sample_rate not in (None, rate):
            raise CallerError(f"It must be {rate}, as the 'audio_format' says.", param="sample_rate")
        try:
            return b64decode(chunk.audio_base_64 or "", validate=True)
        except ValueError:
            raise CallerError("This is not base64.", param="audio_base_64") from None

    def _new_ms(self) -> int:
        sample_bytes = 2 if self._format.encoding is Encoding.LINEAR16 else 1
        return self._audio_bytes // sample_bytes * 1000 // self._format.sample_rate

    def _context(self, before: str | None) -> tuple[list[Input], list[str]]:
        """Return what `previous_text` does: it guides the model if it can be guided, and is allowed only with the first
        audio.
        """
        if not before:
            return [], []
        if self._spoken:
            return [], [_write(Fault("input_error", "'previous_text' is allowed only with the first audio."))]
        if not self._guided:
            return [], [_write(Warned("previous_text has no effect"))]
        return [Guide(before[-MAX_CONTEXT_CHARS:], self._keyterms)], []

    def _warnings(self, unknown: tuple[str, ...]) -> list[str]:
        """Return a warning for each unknown field, once, up to `MAX_UNKNOWN`."""
        new = [name for name in unknown if name not in self._unknown][: MAX_UNKNOWN - len(self._unknown)]
        self._unknown.update(new)
        return [_write(Warned(f"{name} has no effect")) for name in new]

    def deadline_ns(self) -> int | None:
        if self._closed or self._expired or self._inactive_since_ns is None:
            return None
        return self._inactive_since_ns + INACTIVITY_S * NS_PER_S

    def expire(self, now_ns: int) -> Step:
        deadline_ns = self.deadline_ns()
        if deadline_ns is None or now_ns < deadline_ns:
            return NOTHING
        self._expired = True
        return Step(inputs=(End(),))

    # -- from the session ----------------------------------------------------------------------------------------------

    def emit(self, event: Output, now_ns: int) -> Step:
        if self._closed:
            return NOTHING
        match event:
            case Opened():
                self._languages, self._guided = event.languages, event.guided
                self._inactive_since_ns = now_ns if self._inactive_since_ns is None else self._inactive_since_ns
                return Step(sends=(_write(SessionStarted(self._session_id, self._config())),))
            case Interim():
                text = transcripts.text_of((*self._held, event))
                return Step(sends=(_write(Partial(text)),)) if text else NOTHING
            case Final():
                return Step(sends=self._final(event))
            case Closed():
                last = self._ending()
                return self._end(Step(sends=(*(self._commit() if self._held else ()), *last.sends), close=last.close))
            case Failed():
                return self._end(fault(event.error))
        return NOTHING

    def _config(self) -> Config:
        query = self._query
        return Config(
            sample_rate=self._format.sample_rate,
            audio_format=query.audio_format,
            language_code=query.language_code or self._only_language(),
            commit_strategy=query.commit_strategy,
            vad_silence_threshold_secs=query.vad_silence_threshold_secs,
            vad_threshold=query.vad_threshold,
            model_id=query.model_id,
            enable_logging=query.enable_logging,
            include_timestamps=query.include_timestamps,
            include_language_detection=query.include_language_detection,
            keyterms=list(self._keyterms) if self._keyterms and self._guided else UNSET,
        )

    def _only_language(self) -> str | UnsetType:
        return languages.code_of(self._languages[0]) if len(self._languages) == 1 else UNSET

    def _final(self, final: Final) -> tuple[str, ...]:
        """Return the messages after a final: a commit or the text so far. A commit that the caller requested is sent
        even without words.
        """
        if final.transcript.text.strip():
            self._held.append(final)
        if final.cause is Cause.FLUSH:
            return self._commit()
        if not self._held:
            return ()
        held_ms = self._held[-1].end_ms - self._held[0].start_ms
        if self._query.commit_strategy == VAD or held_ms >= MAX_UNCOMMITTED_MS:
            return self._commit()
        return (_write(Partial(transcripts.text_of(self._held))),)

    def _commit(self) -> tuple[str, ...]:
        held, self._held = self._held, []
        text = transcripts.text_of(held)
        sends = [_write(Committed(text))]
        if self._query.include_timestamps or self._query.include_language_detection:
            language, _ = languages.spoken_language(held, self._languages)
            words = transcripts.words_of(held) if self._query.include_timestamps else UNSET
            sends.append(_write(CommittedWithTimestamps(text, language, words)))
        if self._entities.hides:
            sends.append(_write(Redacted(text, text)))
        elif self._entities.detects:
            sends.append(_write(Entities(text, redaction.detected(held))))
        return tuple(sends)

    def _ending(self) -> Step:
        """Return why the session ends without an error of the audio: a caller who ends it just disconnects."""
        if not self._expired:
            return fault(Draining("The server is shutting down."))
        message = f"No message came for {INACTIVITY_S} seconds."
        return _last("insufficient_audio_activity", wire.POLICY_VIOLATION, message)

    def _end(self, step: Step) -> Step:
        self._closed = True
        return step
