"""The parameters of AssemblyAI's streaming API: a table of all of them, and the request of a query or an update.

Each is honoured, or without effect and named in a `Warning`, or refused; never ignored. A refused parameter is accepted
only with the value "false". Unknown names are refused in a query, and named in a `Warning` in an update.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from antiphon.core.audio import MAX_RATE, MIN_RATE, AudioFormat, Encoding
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.events import Guide
from antiphon.core.languages import match_language
from antiphon.core.redaction import Redaction
from antiphon.core.specs import TurnRules
from antiphon.surfaces.assemblyai import redaction
from antiphon.surfaces.assemblyai.values import Values, asks, entries, flag, number, terms, text, whole

DEFAULT_MODEL = "universal-streaming-english"
# AssemblyAI's own defaults and bounds (https://www.assemblyai.com/docs/api-reference/streaming-api).
USUAL = TurnRules(confidence=0.4, timeout_ms=1_280, least_ms=400)
USUAL_RATE = 16_000  # of `pcm_s16le`
MAX_SILENCE_MS = 60_000
MIN_INACTIVITY_S, MAX_INACTIVITY_S = 5, 3_600
# The smallest and the largest threshold of the voice detector.
MIN_VOICE, MAX_VOICE = 0.01, 0.99
MAX_SHOWN = 64
MAX_UNKNOWN = 16  # fields of one message that are named in a `Warning` each
MAX_PROMPT_CHARS = 6_000

_ENCODINGS = {
    "pcm_s16le": Encoding.LINEAR16,
    "pcm_mulaw": Encoding.MULAW,
    "opus": Encoding.OPUS,
    "ogg_opus": Encoding.CONTAINER,
    "aac": Encoding.CONTAINER,
}
SAMPLE_BYTES = {Encoding.LINEAR16: 2, Encoding.MULAW: 1}  # of formats without a header

_GUIDES = "Guides a model that can be guided, as Whisper; with any other one it is named in a `Warning`."
NO_SPEAKERS = "No model here tells speakers apart."
_NO_NOISE = "The audio is heard as it comes."
_NOT_POSTED = "Results are given on the stream; nothing is posted elsewhere."


class Use(StrEnum):
    """How a parameter is treated; `UPDATABLE` is honoured, and can be changed during the stream."""

    HONOURED = "at the opening"
    UPDATABLE = "any time"
    NO_EFFECT = "no effect"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of the table. `how` says its effect, or why it is refused or without effect."""

    name: str
    use: Use
    how: str


TABLE: tuple[Parameter, ...] = (
    Parameter("token", Use.HONOURED, "A temporary token or a key, in place of the header `Authorization`."),
    Parameter(
        "speech_model",
        Use.HONOURED,
        f"Any name that the server's table of models knows. Without it: `{DEFAULT_MODEL}`.",
    ),
    Parameter(
        "encoding",
        Use.HONOURED,
        "`pcm_s16le` (without it), `pcm_mulaw`, `opus` (one raw packet a message), `ogg_opus`, `aac` (in ADTS frames). "
        "The last three describe themselves.",
    ),
    Parameter(
        "sample_rate",
        Use.HONOURED,
        f"Hertz, {MIN_RATE} to {MAX_RATE}; {USUAL_RATE} without it, but required for `pcm_mulaw`.",
    ),
    Parameter(
        "inactivity_timeout",
        Use.HONOURED,
        f"{MIN_INACTIVITY_S} to {MAX_INACTIVITY_S} seconds without any message, after which the stream is closed. "
        "Without it: none.",
    ),
    Parameter(
        "format_turns",
        Use.UPDATABLE,
        "A second message at the end of a turn, with punctuation and case as the model wrote them.",
    ),
    Parameter("formatted_finals", Use.UPDATABLE, "An old name of `format_turns`."),
    Parameter(
        "end_of_turn_confidence_threshold",
        Use.UPDATABLE,
        f"0 to 1, {USUAL.confidence} without it: how sure it must be, by what was said and the silence since, that the "
        "turn is over. With 1 only `max_turn_silence` and `ForceEndpoint` end one.",
    ),
    Parameter(
        "min_turn_silence",
        Use.UPDATABLE,
        f"Milliseconds, {USUAL.least_ms} without it: the silence that there must be, however sure it is.",
    ),
    Parameter("min_end_of_turn_silence_when_confident", Use.UPDATABLE, "An old name of `min_turn_silence`."),
    Parameter(
        "max_turn_silence",
        Use.UPDATABLE,
        f"Milliseconds, {USUAL.timeout_ms} without it: silence that ends a turn in any case; it goes before "
        "`min_turn_silence`.",
    ),
    Parameter(
        "vad_threshold",
        Use.UPDATABLE,
        f"0 to 1: from which probability on sound is speech. Without it: {USUAL.voice_threshold}, what the detector "
        "here thinks itself.",
    ),
    Parameter(
        "filter_profanity",
        Use.UPDATABLE,
        "Asterisks behind the first letter: of the words of a short English list, and no others.",
    ),
    Parameter(
        "language_code",
        Use.HONOURED,
        "A language that the model hears, whatever its region; `multi` for any. Without it: the model's own, or it "
        "finds out.",
    ),
    Parameter(
        "language_codes",
        Use.HONOURED,
        "Languages that the model hears, of which one is spoken; `[]`, or `multi` alone, for any.",
    ),
    Parameter(
        "language_detection",
        Use.HONOURED,
        "The end of a turn has `language_code` and `language_confidence`; without it only where the model finds out.",
    ),
    Parameter("keyterms_prompt", Use.UPDATABLE, _GUIDES),
    Parameter("prompt", Use.UPDATABLE, _GUIDES),
    Parameter("agent_context", Use.UPDATABLE, f"What was said to the speaker before. {_GUIDES}"),
    Parameter(
        "previous_context_n_turns", Use.NO_EFFECT, "How much of what came before is used is not the caller's to choose."
    ),
    Parameter("domain", Use.NO_EFFECT, "There is one domain."),
    Parameter("mode", Use.NO_EFFECT, "There is one mode."),
    Parameter("speaker_labels", Use.NO_EFFECT, NO_SPEAKERS),
    Parameter("max_speakers", Use.NO_EFFECT, NO_SPEAKERS),
    Parameter("speaker_labels_revision_interval_ms", Use.NO_EFFECT, NO_SPEAKERS),
    Parameter("voice_focus", Use.NO_EFFECT, _NO_NOISE),
    Parameter("voice_focus_threshold", Use.NO_EFFECT, _NO_NOISE),
    Parameter("noise_suppression_model", Use.NO_EFFECT, _NO_NOISE),
    Parameter("noise_suppression_threshold", Use.NO_EFFECT, _NO_NOISE),
    Parameter("continuous_partials", Use.NO_EFFECT, "Turns are told whenever they have changed."),
    Parameter("include_partial_turns", Use.UPDATABLE, "`false`: only the end of a turn is told. Without it: `true`."),
    Parameter("interruption_delay", Use.NO_EFFECT, "`SpeechStarted` is told as soon as speech is heard."),
    Parameter("turn_left_pad_ms", Use.NO_EFFECT, "A turn has the audio before its speech that the model needs."),
    Parameter("word_finalization_max_wait_time", Use.NO_EFFECT, "A word is final once the model repeats it."),
    Parameter("session_heartbeat", Use.UPDATABLE, "A `Heartbeat` every 5 seconds."),
    Parameter(
        "acknowledge_silence",
        Use.UPDATABLE,
        "A `Silence` about every second in which nothing is said; for every model.",
    ),
    Parameter("enable_extra_session_information", Use.NO_EFFECT, "There is none."),
    Parameter("customer_support_audio_capture", Use.NO_EFFECT, "No audio is kept."),
    Parameter("_customer_support_audio_capture", Use.NO_EFFECT, "No audio is kept."),
    Parameter("redact_pii", Use.HONOURED, "Personal data is hidden, in partial turns too."),
    Parameter(
        "redact_pii_policies",
        Use.HONOURED,
        "Which: all that can be found without it. One that nothing here finds (`drug`, `occupation`, ...) is refused.",
    ),
    Parameter("redact_pii_sub", Use.HONOURED, "`hash` (`####`, without it) or `entity_name` (`[PERSON_NAME]`)."),
    Parameter("webhook_url", Use.REFUSED, _NOT_POSTED),
    Parameter("webhook_auth_header_name", Use.REFUSED, _NOT_POSTED),
    Parameter("webhook_auth_header_value", Use.REFUSED, _NOT_POSTED),
    Parameter("llm_gateway", Use.REFUSED, "A turn is not handed to a language model; ask one with its text."),
)

_BY_NAME = {row.name: row for row in TABLE}
_LANGUAGE_NAMES = ("language_code", "language_codes")
MULTI = "multi"
GUIDING = ("prompt", "agent_context", "keyterms_prompt")
_NEVER_LATER = ("redact_pii", "redact_pii_policies", "redact_pii_sub")  # earlier text would be known
_OLD_NAMES = {
    "formatted_finals": "format_turns",
    "min_end_of_turn_silence_when_confident": "min_turn_silence",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that can be changed during the stream."""

    turns: TurnRules = USUAL
    formats: bool = False
    masks: bool = False
    partials: bool = True
    heartbeat: bool = False
    silence: bool = False
    prompt: str = ""
    context: str = ""
    keyterms: tuple[str, ...] = ()

    @property
    def guide(self) -> Guide:
        """What guides recognition: the caller's prompt, then the words that the speaker answers; and key terms."""
        prompt = " ".join(filter(None, (self.prompt, self.context)))
        return Guide(prompt[-MAX_PROMPT_CHARS:], self.keyterms)


@dataclass(frozen=True, slots=True)
class Request:
    """The request of a query. `guiding` are the names of the parameters whose effect depends on the model,
    `without_effect` of those that do nothing here.
    """

    model: str
    format: AudioFormat
    settings: Settings
    inactivity_s: int | None
    language: str
    languages: tuple[str, ...]
    tells_language: bool
    guiding: tuple[str, ...]
    without_effect: tuple[str, ...]
    redaction: Redaction | None


def read(query: Sequence[tuple[str, str]]) -> Request:
    """Return the request. Raises `CallerError` for an invalid value, `UnsupportedParameter` for a refused parameter."""
    values: dict[str, object] = {}
    for name, value in query:
        row = _BY_NAME.get(name)
        if row is None:
            raise UnsupportedParameter(f"Unknown parameter {name[:MAX_SHOWN]!r}.", param=name[:MAX_SHOWN])
        if name in values and row.use is not Use.NO_EFFECT:
            raise CallerError(f"`{name}` was given more than once.", param=name)
        values[name] = value
    _check_refused(values)
    return Request(
        text(values, "speech_model") or DEFAULT_MODEL,
        _audio_format(values),
        _changed(Settings(), values),
        whole(values, "inactivity_timeout", MIN_INACTIVITY_S, MAX_INACTIVITY_S),
        _language(values),
        _languages(values),
        flag(values, "language_detection"),
        guiding_names(values),
        tuple(name for name, value in values.items() if _BY_NAME[name].use is Use.NO_EFFECT and asks(value)),
        redaction.read(values),
    )


def update(settings: Settings, values: Values, languages: Sequence[str], *, chosen: bool) -> tuple[Settings, list[str]]:
    """Return the settings with these changes, and the names of parameters without effect: all that are known, and the
    first `MAX_UNKNOWN` others. `languages` are those of the stream, which cannot change; `chosen` says whether the
    caller chose them. Raises as `read` does.
    """
    _check_refused(values)
    for name in _NEVER_LATER:
        if asks(values.get(name)):
            raise UnsupportedParameter(f"`{name}` can only be set when the stream is opened.", param=name)
    for name, tags in (("language_code", (_language(values),)), ("language_codes", _languages(values))):
        fixed = {match_language(tag, languages) for tag in tags} == set(languages) if any(tags) else not chosen
        if values.get(name) is not None and not fixed:
            raise UnsupportedParameter(f"`{name}` cannot be changed in mid-stream.", param=name)
    unused = [
        name for name, value in values.items() if asks(value) and not (_updatable(name) or name in _LANGUAGE_NAMES)
    ]
    known = [name for name in unused if name in _BY_NAME]
    return _changed(settings, values), known + [name for name in unused if name not in _BY_NAME][:MAX_UNKNOWN]


def warning(name: str) -> str:
    """Return the warning that says why a parameter has no effect."""
    row = _BY_NAME.get(name)
    if row is None:
        return f"{name[:MAX_SHOWN]!r} has no effect: it is unknown."
    if row.use is Use.NO_EFFECT:
        return f"`{name}` has no effect: {row.how}"
    return f"`{name}` has no effect: it can only be set when the stream is opened."


def unguided(name: str) -> str:
    """Return the warning that says why a parameter that guides a model has no effect on this one."""
    return f"`{name}` has no effect: this model cannot be guided by a text."


def _language(values: Values) -> str:
    """Return the language, empty for any."""
    language = text(values, "language_code") or ""
    return "" if language == MULTI else language


def _languages(values: Values) -> tuple[str, ...]:
    """Return the languages of which one is spoken, empty for any."""
    languages = tuple(entries(values, "language_codes"))
    if MULTI not in languages:
        return languages
    if set(languages) != {MULTI}:
        raise CallerError(f"`language_codes`: {MULTI!r} must be the only one.", param="language_codes")
    return ()


def guiding_names(values: Values) -> tuple[str, ...]:
    """Return the names of the given parameters whose effect depends on the model."""
    return tuple(name for name in GUIDING if asks(values.get(name)))


def _updatable(name: str) -> bool:
    row = _BY_NAME.get(name)
    return row is not None and row.use is Use.UPDATABLE


def _check_refused(values: Values) -> None:
    for name, value in values.items():
        row = _BY_NAME.get(name)
        if row is not None and row.use is Use.REFUSED and asks(value):
            raise UnsupportedParameter(f"`{name}` is not supported: {row.how}", param=name)


def _changed(settings: Settings, changes: Values) -> Settings:
    values = dict(_renamed(changes))
    turns = settings.turns
    confidence = number(values, "end_of_turn_confidence_threshold", 0, 1)
    timeout_ms = whole(values, "max_turn_silence", 0, MAX_SILENCE_MS)
    least_ms = whole(values, "min_turn_silence", 0, MAX_SILENCE_MS)
    voice = number(values, "vad_threshold", 0, 1)
    prompt, context = text(values, "prompt"), text(values, "agent_context")
    keyterms = terms(values, "keyterms_prompt")
    return replace(
        settings,
        turns=replace(
            turns,
            confidence=turns.confidence if confidence is None else confidence,
            timeout_ms=turns.timeout_ms if timeout_ms is None else timeout_ms,
            least_ms=turns.least_ms if least_ms is None else least_ms,
            voice_threshold=turns.voice_threshold if voice is None else min(MAX_VOICE, max(MIN_VOICE, voice)),
        ),
        formats=flag(values, "format_turns", settings.formats),
        masks=flag(values, "filter_profanity", settings.masks),
        partials=flag(values, "include_partial_turns", settings.partials),
        heartbeat=flag(values, "session_heartbeat", settings.heartbeat),
        silence=flag(values, "acknowledge_silence", settings.silence),
        prompt=settings.prompt if prompt is None else prompt.strip(),
        context=settings.context if context is None else context.strip(),
        keyterms=settings.keyterms if values.get("keyterms_prompt") is None else keyterms,
    )


def _renamed(values: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield the values by their new names; if both names are given, the new one counts."""
    for name, value in values.items():
        new = _OLD_NAMES.get(name, name)
        if new == name or values.get(new) is None:
            yield new, value


def _audio_format(values: Values) -> AudioFormat:
    named = text(values, "encoding") or "pcm_s16le"
    encoding = _ENCODINGS.get(named)
    if encoding is None:
        raise UnsupportedParameter(f"`encoding` must be one of {', '.join(_ENCODINGS)}.", param="encoding")
    if encoding not in SAMPLE_BYTES:
        return AudioFormat(encoding)
    rate = whole(values, "sample_rate", MIN_RATE, MAX_RATE)
    if rate is None and encoding is Encoding.LINEAR16:
        rate = USUAL_RATE
    if rate is None:
        raise CallerError(f"`sample_rate` is required with `encoding={named}`.", param="sample_rate")
    return AudioFormat(encoding, rate)
