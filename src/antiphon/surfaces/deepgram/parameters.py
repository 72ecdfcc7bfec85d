"""The query parameters of Deepgram's listen API: a table of all of them, and their meaning.

What is accepted but only honoured in part is reported as a warning in the metadata, and in the answer's header
`antiphon-no-effect`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from antiphon.core.audio import MAX_CHANNELS, MAX_RATE, MIN_RATE, AudioFormat, Encoding
from antiphon.core.capabilities import SpeechAbility
from antiphon.core.endpoints import unmet_names
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.events import Opened
from antiphon.core.redaction import Redaction
from antiphon.core.rewriting import MASK, Rewriting
from antiphon.surfaces.deepgram import query as q
from antiphon.surfaces.deepgram import redaction, rewriting
from antiphon.surfaces.deepgram.query import MAX_TAG_CHARS, MAX_TAGS, MAX_VALUES, Parameter, Use, Values
from antiphon.surfaces.deepgram.search import MAX_SEARCHES, MOST_HITS
from antiphon.surfaces.deepgram.wire import ParameterWarning

DEFAULT_MODEL = "base-general"
# Deepgram's own default is 10 ms, far shorter than pauses within a sentence; see the table.
DEFAULT_ENDPOINTING_MS = 500
DEFAULT_UTT_SPLIT_MS = 800
MIN_UTTERANCE_END_MS = 1_000
MAX_SILENCE_MS = 60_000
MAX_EXTRA_CHARS = 2_048
MAX_TERMS = 500  # of one `Configure`
MAX_TERM_CHARS = 128

TELEPHONE_RATE = 8_000
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)


_NO_EXTRACTION = "No model here extracts that from text."
NO_GUIDANCE = "This model cannot be guided towards words."
ONE_LANGUAGE = "This model hears one language only."
GUIDES = "Guides a model that can be guided, as Whisper. With another one it has a warning, and no effect."
PROFANITY = "the words of a short English list, and no others."
_NO_REWRITE = "Formatting of the text cannot be changed."

TABLE: tuple[Parameter, ...] = (
    Parameter(
        "model",
        Use.BOTH,
        f"Any name that the server's table of models knows. Without it: `{DEFAULT_MODEL}`, as at Deepgram.",
    ),
    Parameter("version", Use.BOTH, "`latest` only: the server has one version of each model."),
    Parameter(
        "language",
        Use.BOTH,
        "A language that the model hears, whatever its region: `en`, `en-US`, ... Without it: the model's own, or it "
        "finds out, as with `multi`, which has a warning where the model hears one language only.",
    ),
    Parameter("language_hint", Use.BOTH, "Languages that the model hears, of which one is spoken."),
    Parameter(
        "encoding",
        Use.BOTH,
        "`linear16` and `linear32` (with `sample_rate`), `mulaw` and `alaw` (8000 Hz unless `sample_rate` says "
        "otherwise), `opus` (live only: one raw packet a message). `flac` and `ogg-opus` describe themselves, as does "
        "what comes without `encoding`: WAV, WebM, Ogg, FLAC, MP3, MP4, ... A WAV header counts also where an "
        "encoding is declared (live: that of 16-bit PCM), unless with `multichannel`; so does a recording in WebM, "
        "Ogg, FLAC, MP4 or MP3 (with an ID3 tag), which ends a live stream of raw samples (`DATA-0000`). Refused: "
        "`amr-nb`, `amr-wb`, `speex`, `g729`.",
    ),
    Parameter("sample_rate", Use.BOTH, "Hertz, for the raw encodings. A warning where the audio itself says."),
    Parameter(
        "channels",
        Use.BOTH,
        f"1 to {MAX_CHANNELS}, for the raw encodings. A warning where the audio itself says. A live container with "
        "`multichannel=true` needs it, because results name the number of channels before the header was read.",
    ),
    Parameter("multichannel", Use.BOTH, "Each channel on its own. Without it the channels are mixed down."),
    Parameter(
        "punctuate",
        Use.BOTH,
        "Punctuation and case, as the model writes them, and `punctuated_word`. Without it: lower case and bare words.",
    ),
    Parameter(
        "smart_format",
        Use.BOTH,
        "`punctuate`, and for files `paragraphs`. A warning says that numbers, dates and the like are written as the "
        "model writes them.",
    ),
    Parameter(
        "replace",
        Use.BOTH,
        f"`FIND:REPLACEMENT`, words or phrases, {MAX_VALUES} at most; without a replacement what is found is left out. "
        "Lower case finds any case, a capital only its own. Within an utterance, interims and words too.",
    ),
    Parameter("profanity_filter", Use.BOTH, f"`true` writes `{MASK}` for it: {PROFANITY} A warning says so."),
    Parameter("filler_words", Use.BOTH, "A warning: whether they are written is the model's choice."),
    Parameter(
        "tag",
        Use.BOTH,
        f"Kept with the usage, and in the metadata; {MAX_TAGS} at most, of at most {MAX_TAG_CHARS} characters.",
    ),
    Parameter("extra", Use.BOTH, f"`key:value`, given back in the metadata; {MAX_EXTRA_CHARS} characters at most."),
    Parameter("mip_opt_out", Use.BOTH, "Always so: nothing is kept and no model is trained on what is sent."),
    Parameter("alternatives", Use.BOTH, "`1` only."),
    Parameter("interim_results", Use.LIVE, "Replaceable results while an utterance is being spoken."),
    Parameter(
        "endpointing",
        Use.LIVE,
        f"Milliseconds of silence that end an utterance, or `false`. Without it: {DEFAULT_ENDPOINTING_MS} ms, where "
        "Deepgram has 10. Below 300 ms an utterance goes on where the last one ended: its words are heard in one with "
        "those before. The server may have a longer minimum.",
    ),
    Parameter(
        "utterance_end_ms",
        Use.LIVE,
        f"`UtteranceEnd` after that silence; {MIN_UTTERANCE_END_MS} or more, and `interim_results=true`.",
    ),
    Parameter("vad_events", Use.LIVE, "`SpeechStarted` when speech begins."),
    Parameter("no_delay", Use.LIVE, "Always so: no result waits for formatting."),
    Parameter("paragraphs", Use.FILE, "Paragraphs and their sentences; implies `punctuate`."),
    Parameter("utterances", Use.FILE, "The words cut into utterances at pauses."),
    Parameter(
        "utt_split",
        Use.FILE,
        f"Seconds of pause that separate utterances, {DEFAULT_UTT_SPLIT_MS / 1000} without it; with `utterances=true`.",
    ),
    Parameter("callback", Use.NEITHER, "Results are given in the answer; nothing is posted elsewhere."),
    Parameter("callback_method", Use.NEITHER, "Results are given in the answer; nothing is posted elsewhere."),
    Parameter("custom_intent", Use.NEITHER, _NO_EXTRACTION),
    Parameter("custom_intent_mode", Use.NEITHER, _NO_EXTRACTION),
    Parameter("custom_topic", Use.NEITHER, _NO_EXTRACTION),
    Parameter("custom_topic_mode", Use.NEITHER, _NO_EXTRACTION),
    Parameter("detect_entities", Use.NEITHER, _NO_EXTRACTION),
    Parameter(
        "detect_language",
        Use.FILE,
        "`true`, or languages of which one is spoken: each channel has `detected_language` and `language_confidence`. "
        "Refused where the model cannot find out.",
    ),
    Parameter("detect_topics", Use.NEITHER, _NO_EXTRACTION),
    Parameter(
        "diarize", Use.WITHOUT_EFFECT, "No model here tells speakers apart; `multichannel` keeps channels apart."
    ),
    Parameter(
        "diarize_model", Use.WITHOUT_EFFECT, "No model here tells speakers apart; `multichannel` keeps channels apart."
    ),
    Parameter(
        "diarize_version", Use.WITHOUT_EFFECT, "No model here tells speakers apart; `multichannel` keeps them apart."
    ),
    Parameter("dictation", Use.WITHOUT_EFFECT, _NO_REWRITE),
    Parameter("intents", Use.NEITHER, _NO_EXTRACTION),
    Parameter("keyterm", Use.BOTH, f"{GUIDES} At most {MAX_TERM_CHARS} characters."),
    Parameter("keywords", Use.BOTH, "`WORD:BOOST`; as `keyterm`, whatever the boost. One below zero is left out."),
    Parameter("keyword_boost", Use.WITHOUT_EFFECT, "Key terms have one weight."),
    Parameter("measurements", Use.WITHOUT_EFFECT, _NO_REWRITE),
    Parameter("ner", Use.NEITHER, _NO_EXTRACTION),
    Parameter("numbers", Use.WITHOUT_EFFECT, _NO_REWRITE),
    Parameter("numerals", Use.WITHOUT_EFFECT, _NO_REWRITE),
    Parameter(
        "redact",
        Use.BOTH,
        "`pci`, `pii`, `numbers` (as `true` and `aggressive_numbers`), or kinds of entities as `name`, `ssn` or "
        "`phone_number`: each is written as `[PHONE_NUMBER_1]`, in interims too. Refused: `phi`, kinds that nothing "
        "here finds. A project's policy may hide more.",
    ),
    Parameter(
        "search",
        Use.BOTH,
        f"Where words like these are in the transcript: up to {MOST_HITS} `hits` for each, the best first. At most "
        f"{MAX_SEARCHES}, of at most {MAX_TERM_CHARS} characters.",
    ),
    Parameter("sentiment", Use.NEITHER, _NO_EXTRACTION),
    Parameter("summarize", Use.NEITHER, _NO_EXTRACTION),
    Parameter("tier", Use.NEITHER, "Name the whole model in `model`."),
    Parameter("topics", Use.NEITHER, _NO_EXTRACTION),
    Parameter("vad_turnoff", Use.NEITHER, "Use `endpointing`."),
)

_BY_NAME = {row.name: row for row in TABLE}

_SECONDS = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,20}))?")
_BOOST = re.compile(r":(-?)[0-9.]{1,8}$")
MULTI = "multi"  # whichever of several languages is spoken

_RAW = {
    "linear16": Encoding.LINEAR16,
    "linear32": Encoding.LINEAR32,
    "mulaw": Encoding.MULAW,
    "alaw": Encoding.ALAW,
    "opus": Encoding.OPUS,
}
_SELF_DESCRIBING = frozenset(("flac", "ogg-opus"))
_DEFAULT_RATES = {Encoding.MULAW: TELEPHONE_RATE, Encoding.ALAW: TELEPHONE_RATE, Encoding.OPUS: OPUS_RATES[-1]}


@dataclass(frozen=True, slots=True)
class Request:
    """The request of a query. `warnings` are about parameters that are not fully honoured. `guiding` are the names of
    those whose effect depends on the model.
    """

    model: str
    format: AudioFormat
    multichannel: bool
    punctuate: bool
    rewriting: Rewriting | None
    tags: tuple[str, ...]
    extra: Mapping[str, str]
    warnings: tuple[ParameterWarning, ...]
    interims: bool
    endpointing_ms: int | None
    utterance_end_ms: int | None
    speech_events: bool
    paragraphs: bool
    utt_split_ms: int | None
    language: str
    languages: tuple[str, ...]
    detect: bool
    keyterms: tuple[str, ...]
    guiding: tuple[str, ...]
    searches: tuple[str, ...]
    redaction: Redaction | None

    @property
    def dispensable(self) -> tuple[tuple[SpeechAbility, str], ...]:
        """Parameters that may have no effect, with the ability that they need."""
        return tuple((SpeechAbility.GUIDANCE, name) for name in self.guiding)

    def answered(self, opened: Opened) -> "Request":
        """Return the request with warnings about what the answering model cannot do."""
        lacks = unmet_names(self.dispensable, opened.unmet_speech)
        warnings = [ParameterWarning(name, "unsupported", NO_GUIDANCE) for name in lacks]
        if self.language == MULTI and len(opened.languages) < 2:
            warnings.append(ParameterWarning("language", "partly_supported", ONE_LANGUAGE))
        return replace(self, warnings=(*self.warnings, *warnings))

    @property
    def without_effect(self) -> tuple[str, ...]:
        """The names of the parameters that did nothing, not even in part."""
        return tuple(warning.parameter for warning in self.warnings if warning.type != "partly_supported")


def read(query: Sequence[tuple[str, str]], *, live: bool) -> Request:
    """Return the request. Raises `CallerError` for an invalid value, `UnsupportedParameter` for what is not
    honoured.
    """
    values = q.sorted_by_name(query, _BY_NAME, Use.LIVE if live else Use.FILE)
    q.require_one_of(values, "version", "latest")
    q.require_one_of(values, "alternatives", "1")
    q.flag(values, "mip_opt_out")
    q.flag(values, "no_delay")
    warnings = [ParameterWarning(row.name, "unsupported", row.how) for row in q.without_effect(values, _BY_NAME)]
    multichannel = q.flag(values, "multichannel")
    audio = audio_format(values, live=live, multichannel=multichannel, warnings=warnings)
    smart = q.flag(values, "smart_format")
    if smart:
        message = "Numbers, dates and the like are written as the model writes them."
        warnings.append(ParameterWarning("smart_format", "partly_supported", message))
    if q.flag(values, "filler_words"):
        message = "Whether filler words are written is the model's choice."
        warnings.append(ParameterWarning("filler_words", "unsupported", message))
    masks = q.flag(values, "profanity_filter")
    if masks:
        warnings.append(ParameterWarning("profanity_filter", "partly_supported", f"Masked are {PROFANITY}"))
    paragraphs = q.flag(values, "paragraphs") or (smart and not live)
    interims = q.flag(values, "interim_results")
    return Request(
        model=q.model(values, DEFAULT_MODEL),
        format=audio,
        multichannel=multichannel,
        punctuate=q.flag(values, "punctuate") or smart or paragraphs,
        rewriting=rewriting.read(values.get("replace", ()), masks),
        tags=q.tags(values),
        extra=_extra(values),
        warnings=tuple(warnings),
        interims=interims,
        endpointing_ms=_endpointing(values),
        utterance_end_ms=_utterance_end(values, interims),
        speech_events=q.flag(values, "vad_events"),
        paragraphs=paragraphs,
        utt_split_ms=_utt_split(values),
        language=_language(values),
        languages=_languages(values),
        detect=_detects(values),
        keyterms=(*terms(values, "keyterm"), *_keywords(values)),
        guiding=tuple(name for name in ("keyterm", "keywords") if any(terms(values, name))),
        searches=_searches(values),
        redaction=redaction.read(values.get("redact", ())),
    )


# -- one parameter each ------------------------------------------------------------------------------------------------


def hearing(request: Request) -> dict[str, Any]:
    """Return the recognition's settings as fields of a `TranscribeSpec`."""
    language = "" if request.language == MULTI else request.language
    return {
        "language": language,
        "languages": () if language else request.languages,
        "detect": request.detect,
        "keyterms": request.keyterms,
        "redaction": request.redaction,
    }


def _language(values: Values) -> str:
    language = q.one(values, "language")
    if language == "":
        raise CallerError("`language` is empty.", param="language")
    return language or ""


def _detects(values: Values) -> bool:
    return any(value.lower() != "false" for value in values.get("detect_language", ()))


def _languages(values: Values) -> tuple[str, ...]:
    """Return the languages, one of which is spoken."""
    candidates = (value for value in values.get("detect_language", ()) if value.lower() not in ("true", "false"))
    return (*values.get("language_hint", ()), *candidates)


def terms(values: Values, name: str) -> tuple[str, ...]:
    """Return words or phrases. Raises `CallerError` if one is too long."""
    terms = tuple(term for value in values.get(name, ()) if (term := value.strip()) and term.lower() != "false")
    if any(len(term) > MAX_TERM_CHARS for term in terms):
        raise CallerError(f"A `{name}` has {MAX_TERM_CHARS} characters at most.", param=name)
    return terms


def new_terms(keyterms: Sequence[str]) -> tuple[str, ...]:
    """Return the key terms of a `Configure`, in place of all earlier ones. Raises `CallerError`."""
    if len(keyterms) > MAX_TERMS:
        raise CallerError(f"There can be {MAX_TERMS} key terms at most.", param="keyterms")
    return terms({"keyterm": keyterms}, "keyterm")


def _keywords(values: Values) -> Iterator[str]:
    for keyword in terms(values, "keywords"):
        boost = _BOOST.search(keyword)
        word = keyword[: boost.start()].strip() if boost else keyword
        if word and (boost is None or not boost[1]):
            yield word


def _searches(values: Values) -> tuple[str, ...]:
    searches = tuple(dict.fromkeys(terms(values, "search")))
    if len(searches) > MAX_SEARCHES:
        raise CallerError(f"At most {MAX_SEARCHES} `search` parameters are allowed.", param="search")
    return searches


def audio_format(values: Values, *, live: bool, multichannel: bool, warnings: list[ParameterWarning]) -> AudioFormat:
    name = q.one(values, "encoding")
    rate = q.whole(values, "sample_rate", MIN_RATE, MAX_RATE)
    channels = q.whole(values, "channels", 1, MAX_CHANNELS)
    encoding = _RAW.get(name or "")
    if encoding is None:
        if name is not None and name not in _SELF_DESCRIBING:
            known = ", ".join((*_RAW, *sorted(_SELF_DESCRIBING)))
            raise UnsupportedParameter(f"`encoding` must be one of {known}.", param="encoding")
        if live and multichannel and channels is None:
            raise CallerError("`multichannel` needs `channels` on a live stream.", param="channels")
        for value, parameter in ((rate, "sample_rate"), (channels, "channels")):
            if value is not None and not (parameter == "channels" and live and multichannel):
                message = "The audio describes itself; what it says is used."
                warnings.append(ParameterWarning(parameter, "unused", message))
        return AudioFormat(channels=channels or 1)
    if rate is None:
        rate = _DEFAULT_RATES.get(encoding)
    if rate is None:
        raise CallerError(f"`sample_rate` is required with `encoding={name}`.", param="sample_rate")
    if encoding is Encoding.OPUS:
        _check_opus(rate, channels or 1, live=live)
    return AudioFormat(encoding, rate, channels or 1)


def _check_opus(rate: int, channels: int, *, live: bool) -> None:
    """Check RFC 6716, section 2: five sample rates, mono or stereo."""
    if not live:
        raise UnsupportedParameter(
            "Raw Opus packets have no boundaries in a body; send them in Ogg or WebM.", param="encoding"
        )
    if rate not in OPUS_RATES:
        raise CallerError(f"`sample_rate` for Opus is one of {', '.join(map(str, OPUS_RATES))}.", param="sample_rate")
    if channels > 2:
        raise CallerError("Opus packets have one or two channels.", param="channels")


def _endpointing(values: Values) -> int | None:
    value = q.one(values, "endpointing")
    if value is None or value.lower() == "true":
        return DEFAULT_ENDPOINTING_MS
    if value.lower() == "false":
        return None
    return q.whole(values, "endpointing", 0, MAX_SILENCE_MS)


def _utterance_end(values: Values, interims: bool) -> int | None:
    silence_ms = q.whole(values, "utterance_end_ms", MIN_UTTERANCE_END_MS, MAX_SILENCE_MS)
    if silence_ms is not None and not interims:
        raise CallerError("`utterance_end_ms` needs `interim_results=true`.", param="utterance_end_ms")
    return silence_ms


def _utt_split(values: Values) -> int | None:
    """Return milliseconds, or `None` if no utterances are requested."""
    wanted = q.flag(values, "utterances")
    value = q.one(values, "utt_split")
    if value is None:
        return DEFAULT_UTT_SPLIT_MS if wanted else None
    if not wanted:
        raise CallerError("`utt_split` needs `utterances=true`.", param="utt_split")
    match = _SECONDS.fullmatch(value)
    if match is None:
        raise CallerError("`utt_split` must be a number of seconds.", param="utt_split")
    seconds, fraction = match.groups(default="")
    return int(seconds) * 1000 + int(fraction.ljust(3, "0")[:3])


def _extra(values: Values) -> dict[str, str]:
    extra: dict[str, str] = {}
    for value in values.get("extra", ()):
        key, colon, held = value.partition(":")
        if not key or not colon or key in extra or len(value) > MAX_EXTRA_CHARS:
            raise CallerError(
                f"`extra` must be key:value, each key once, {MAX_EXTRA_CHARS} characters at most.", param="extra"
            )
        extra[key] = held
    return extra
