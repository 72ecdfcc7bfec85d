"""AssemblyAI's synchronous and dictation APIs: a recording in, its transcript in the answer, at `/v1/transcribe/live`.

The body is a form: `config`, a JSON object, and `audio`. Callers of the synchronous API name their model in the header
`X-AAI-Model`; without the header it is the dictation API. The audio may be sent while it is spoken, and is transcribed
once it is complete, in about a hundredth of its length. Errors are problem details (RFC 9457).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from antiphon.core import errors
from antiphon.core.audio import MAX_CHANNELS, MAX_RATE, MIN_RATE, AudioFormat, Encoding
from antiphon.core.capabilities import SpeechAbility
from antiphon.core.endpoints import Accepted
from antiphon.core.errors import AntiphonError, BadMedia, CallerError, InternalError, UnsupportedParameter
from antiphon.core.events import Closed, Failed, Final, Opened, Output, Word, main_language
from antiphon.core.specs import TranscribeSpec
from antiphon.core.text import join
from antiphon.core.units import NS_PER_MS
from antiphon.core.wire import NOTHING, Body, Close, Head, Opening, Response, Step, no_effect
from antiphon.surfaces.assemblyai import wire
from antiphon.surfaces.assemblyai.endpoint import JSON, Endpoint, phrased, retry_after
from antiphon.surfaces.assemblyai.turns import CONFIDENCE_DIGITS
from antiphon.surfaces.assemblyai.values import asks, entries, flag, terms, text, texts, whole

MODEL_HEADER = "x-aai-model"
DEFAULT_MODEL = "universal-3-5-pro"
MAX_BODY_BYTES = 48 << 20  # two minutes, AssemblyAI's longest, of stereo at 96 kHz
AUDIO = "audio"
FIELDS_ONLY = "application/x-www-form-urlencoded"  # a form that can have no recording
PROBLEM = (("content-type", "application/problem+json"),)
MAX_SHOWN = 64

# The fields of `config`; any other is refused.
HONOURED = frozenset(("sample_rate", "channels", "language_codes", "timestamps"))
GUIDING = ("prompt", "stt_prompt", "conversation_context", "keyterms_prompt")  # if the model can be guided
WITHOUT_EFFECT = frozenset(("rewrite_mode",))
MAX_PROMPT_CHARS = 16_000  # of all guiding texts together
REWRITES = "llm_instruction"  # the answer has a field for its failure
NOT_REWRITTEN = "No language model rewrites transcripts here; ask one with the text."

# The first class that matches gives the title; subclasses stand before their bases.
_TITLES: tuple[tuple[type[AntiphonError], str], ...] = (
    (errors.Unauthenticated, "Unauthorized"),
    (errors.BudgetExceeded, "Payment Required"),
    (errors.PolicyError, "Forbidden"),
    (errors.TooLarge, "Audio Too Large"),
    (errors.BadMedia, "Bad Audio"),
    (errors.UnknownModel, "Unknown Model"),
    (errors.RequestTimeout, "Upload Timeout"),
    (errors.CallerError, "Invalid Request"),
    (errors.CapacityError, "Capacity Exceeded"),
    (errors.EngineTimeout, "Inference Timeout"),
    (errors.EngineError, "Inference Failed"),
    (errors.AntiphonError, "Internal Error"),
)
_config = msgspec.json.Decoder(dict[str, object])


class Warm(Endpoint):
    """`GET /v1/warm`: does nothing; it lets a client open its connection early."""

    def ask(self, opening: Opening, body: bytes) -> Response:
        return Response(200, JSON, b'{"status":"ok"}')


@dataclass(frozen=True, slots=True)
class _Config:
    form: AudioFormat
    timestamps: bool
    rewrites: bool
    languages: tuple[str, ...]
    prompt: str
    keyterms: tuple[str, ...]
    guiding: tuple[str, ...]
    without_effect: tuple[str, ...]


class SyncEndpoint(Endpoint):
    """`POST /v1/transcribe/live`."""

    max_body_bytes = MAX_BODY_BYTES

    def negotiate(self, opening: Opening, body: Body) -> Accepted[TranscribeSpec]:
        kind = opening.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not body.has_file or kind == FIELDS_ONLY:
            raise CallerError(f"The body must be a form with the recording as its part '{AUDIO}'.", param=AUDIO)
        if not body.data:
            raise BadMedia("The recording is empty.", param=AUDIO)
        request = _read(dict(body.fields).get("config", "{}"), body.data)
        model = opening.headers.get(MODEL_HEADER, "").strip() or DEFAULT_MODEL
        spec = TranscribeSpec(
            model,
            request.form,
            word_times=request.timestamps,
            languages=request.languages,
            prompt=request.prompt,
            keyterms=request.keyterms,
        )
        return Accepted(spec, Answer(self, opening, request))

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        title = next(title for kind, title in _TITLES if isinstance(error, kind))
        problem = wire.Problem(error.status, title, phrased(error).message)
        return Response(error.status, (*PROBLEM, *retry_after(error)), wire.write_body(problem))


class Answer:
    """The answer to one recording."""

    def __init__(self, endpoint: SyncEndpoint, opening: Opening, request: _Config) -> None:
        self._endpoint = endpoint
        self._opening = opening
        self._request = request
        self._without_effect = request.without_effect
        self._begun_ns = 0
        self._finals: list[Final] = []

    def receive(self, message: str | bytes, now_ns: int) -> Step:
        raise InternalError("A recording's answer has no dialogue.")

    def deadline_ns(self) -> int | None:
        return None

    def expire(self, now_ns: int) -> Step:
        return NOTHING

    def emit(self, event: Output, now_ns: int) -> Step:
        match event:
            case Opened():
                self._begun_ns = now_ns
                if SpeechAbility.GUIDANCE in event.unmet_speech:
                    self._without_effect = (*self._request.guiding, *self._without_effect)
            case Final() if event.transcript.text:
                self._finals.append(event)
            case Closed():
                head = Head(200, (*JSON, *no_effect(self._without_effect)))
                took_ms = (now_ns - self._begun_ns) // NS_PER_MS
                return Step(sends=(head, wire.write_body(self._transcript(event, took_ms))), close=Close())
            case Failed():
                return self._endpoint.refuse(self._opening, event.error)
        return NOTHING

    def _transcript(self, closed: Closed, took_ms: int) -> wire.Transcript:
        words = [word for final in self._finals for word in final.transcript.words]
        return wire.Transcript(
            join(final.transcript.text for final in self._finals),
            [self._word(word) for word in words],
            _confidence(self._finals),
            closed.audio_ms,
            self._opening.request_id,
            took_ms,
            took_ms,
            NOT_REWRITTEN if self._request.rewrites else None,
            main_language(self._finals)[0] or None,
        )

    def _word(self, word: Word) -> wire.SyncWord:
        confidence = round(word.confidence, CONFIDENCE_DIGITS)
        if not self._request.timestamps:
            return wire.SyncWord(word.text, confidence)
        return wire.SyncWord(word.text, confidence, word.start_ms, word.end_ms)


def _confidence(finals: Sequence[Final]) -> float:
    """Return the mean confidence of the utterances, weighted by their number of words."""
    weights = [max(1, len(final.transcript.text.split())) for final in finals]
    total = sum(final.transcript.confidence * weight for final, weight in zip(finals, weights, strict=True))
    return round(total / sum(weights), CONFIDENCE_DIGITS) if weights else 0.0


def _read(config: str, audio: bytes) -> _Config:
    """Return the request's settings. Raises `CallerError`."""
    try:
        values = _config.decode(config or "{}")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise CallerError("`config` must be a JSON object.", param="config") from None
    for name in values:
        if name not in HONOURED and name not in GUIDING and name not in WITHOUT_EFFECT and name != REWRITES:
            raise UnsupportedParameter(f"Unknown parameter {name[:MAX_SHOWN]!r} in `config`.", param=name[:MAX_SHOWN])
    return _Config(
        _audio_format(values, audio),
        flag(values, "timestamps"),
        asks(values.get(REWRITES)),
        tuple(entries(values, "language_codes")),
        _prompt(values),
        terms(values, "keyterms_prompt"),
        tuple(name for name in GUIDING if asks(values.get(name))),
        tuple(name for name, value in values.items() if name in WITHOUT_EFFECT and asks(value)),
    )


def _prompt(values: dict[str, object]) -> str:
    """Return the text before the audio, in order: the caller's own prompt, then the turns of a conversation."""
    turns = values.get("conversation_context")
    before = [turns] if isinstance(turns, str) else texts(values, "conversation_context")
    parts = [text(values, "prompt") or "", text(values, "stt_prompt") or "", *before]
    prompt = " ".join(filter(None, map(str.strip, parts)))
    return prompt[-MAX_PROMPT_CHARS:]  # as AssemblyAI does: the latest turns count


def _audio_format(values: dict[str, object], audio: bytes) -> AudioFormat:
    """Return the format: raw samples if rate and channels are given; a WAV file has both in its header."""
    rate = whole(values, "sample_rate", MIN_RATE, MAX_RATE)
    channels = whole(values, "channels", 1, MAX_CHANNELS)
    if audio[:4] == b"RIFF" or (rate is None and channels is None):
        return AudioFormat(Encoding.CONTAINER)
    if rate is None or channels is None:
        raise CallerError("Raw audio needs both `sample_rate` and `channels`.", param="sample_rate")
    return AudioFormat(Encoding.LINEAR16, rate, channels)
