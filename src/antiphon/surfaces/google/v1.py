"""The first version of the API: its fields, and the meaning of a request."""

from dataclasses import replace
from typing import Any

from antiphon.core.audio import AudioFormat, Encoding
from antiphon.core.errors import CallerError
from antiphon.core.wire import Url
from antiphon.surfaces.google import adaptation
from antiphon.surfaces.google import request as r
from antiphon.surfaces.google.request import Features, Field, Request, Use

PACKAGE = "google.cloud.speech.v1"
DEFAULT_MODEL = "default"

_RAW = {"LINEAR16": Encoding.LINEAR16, "MULAW": Encoding.MULAW, "ALAW": Encoding.ALAW}
_REFUSED_ENCODINGS = ("AMR", "AMR_WB", "SPEEX_WITH_HEADER_BYTE")

_YES, _NO = Use.HONOURED, Use.NO_EFFECT

TABLE = {
    row.path: row
    for row in (
        Field(
            "encoding",
            _YES,
            "`LINEAR16`, `MULAW`, `ALAW` with `sample_rate_hertz`; all others, and none, describe themselves. Refused: "
            "`AMR`, `AMR_WB`, `SPEEX_WITH_HEADER_BYTE`.",
        ),
        Field("sample_rate_hertz", _YES, "For the raw encodings."),
        Field("audio_channel_count", _YES, "For the raw encodings."),
        Field("enable_separate_recognition_per_channel", _YES, "Without it the channels are mixed down."),
        Field("language_code", _YES, "One that the model hears; `auto`: any that it hears."),
        Field("alternative_language_codes", _YES, "What may be spoken as well, all of which the model must hear."),
        Field("max_alternatives", _YES, "0 to 30. There is one."),
        Field("profanity_filter", _YES, "`f***` for the words of a short English list, and no others."),
        Field("transcript_normalization", _YES, "Whole words and phrases within an utterance, interims too."),
        Field("enable_word_time_offsets", _YES, "Of finals."),
        Field("enable_word_confidence", _YES, "Of finals."),
        Field("enable_automatic_punctuation", _YES, "As the model writes it. Without it: words alone."),
        Field("model", _YES, f"Any name that the server's table of models knows. Without it: `{DEFAULT_MODEL}`."),
        Field("use_enhanced", _NO, "There is one version of each model."),
        Field("adaptation.phrase_sets", _YES, f"{r.HINTS} Inline; one with a name and no phrases is a stored one."),
        Field("adaptation.phrase_set_references", _YES, "Stored ones by name."),
        Field(
            "adaptation.custom_classes",
            _YES,
            "`${CLASS}` in a phrase of a set stands for each of its items. Inline; one with a name and no items is a "
            "stored one.",
        ),
        Field("adaptation.abnf_grammar", _NO, "The models here take no grammar."),
        Field("speech_contexts", _YES, r.HINTS),
        Field("enable_spoken_punctuation", _NO, "Spoken marks are written as words."),
        Field("enable_spoken_emojis", _NO, "Spoken emojis are written as words."),
        Field("diarization_config", _NO, "No model here tells speakers apart."),
        Field("metadata", _NO, "Where a recording comes from makes no difference."),
    )
}
STREAMING = {
    row.path: row
    for row in (
        Field("single_utterance", _YES, "The first utterance ends the stream."),
        Field("interim_results", _YES, "With `stability`: how much of it was in the one before."),
        Field("enable_voice_activity_events", _YES, "`SPEECH_ACTIVITY_BEGIN` and `SPEECH_ACTIVITY_END`."),
        Field("voice_activity_timeout", _YES, "`SPEECH_ACTIVITY_TIMEOUT`, and the end of the stream."),
    )
}


def configs(message: Any) -> tuple[Any, ...]:
    """Return the configuration in a request, which may refer to phrase sets and classes."""
    if "streaming_config" in message.DESCRIPTOR.fields_by_name:
        return (message.streaming_config.config,)
    return (message.config,)


def stored(message: Any) -> str:
    """Return an empty name: this version has no recognizers."""
    return ""


def streaming(message: Any, base: Any = None) -> Request:
    """Return the request in the first message of a stream. Raises `CallerError`."""
    config = message.streaming_config
    timeouts, path = config.voice_activity_timeout, "voice_activity_timeout."
    return replace(
        request_of(config.config),
        interims=config.interim_results,
        activity_events=config.enable_voice_activity_events,
        start_timeout_ms=r.timeout_ms(timeouts, "speech_start_timeout", path),
        end_timeout_ms=r.timeout_ms(timeouts, "speech_end_timeout", path),
        single_utterance=config.single_utterance,
    )


def recognise(message: Any, most_bytes: int, base: Any = None) -> tuple[Request, bytes | Url]:
    """Return the request of a call, and its recording or URL. Raises `CallerError`."""
    source = message.audio
    content = source.content if source.WhichOneof("audio_source") == "content" else None
    audio = r.media(content, source.uri, most_bytes)
    return request_of(message.config, audio), audio


def request_of(config: Any, audio: bytes | Url | None = None) -> Request:
    """Return the request of a configuration. Raises `CallerError`."""
    form = _format(config)
    r.alternatives(config.max_alternatives, "max_alternatives")
    if not config.language_code:
        raise CallerError("`language_code` is required.", param="language_code")
    codes = (config.language_code, *config.alternative_language_codes)
    guiding, hints, neglected = _hints(config)
    features = Features(
        model=config.model or DEFAULT_MODEL,
        format=form if audio is None else r.declared(form, audio),
        multichannel=config.enable_separate_recognition_per_channel,
        languages=r.languages(codes, "alternative_language_codes"),
        word_times=config.enable_word_time_offsets,
        word_confidence=config.enable_word_confidence,
        punctuation=config.enable_automatic_punctuation,
        rewriting=r.rewriting(config, config.profanity_filter),
        keyterms=hints[: r.MOST_KEYTERMS],
    )
    return Request(features, (*r.without_effect(config, TABLE), *neglected), guiding)


def _hints(config: Any) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the fields with phrases, the phrases, and the related fields without effect. Raises `CallerError`."""
    sets, contexts, path = config.adaptation.phrase_sets, config.speech_contexts, "adaptation.phrase_sets"
    guiding = tuple(name for name, value in ((path, sets), ("speech_contexts", contexts)) if value)
    inline = [phrase for each in sets for phrase in each.phrases]
    path = guiding[-1] if guiding else path
    hints = r.phrases((*adaptation.phrases_of(config), *(p for each in contexts for p in each.phrases)), path)
    boosts = any(each.boost for each in (*sets, *inline, *contexts))
    return guiding, hints, r.neglected(path, boosts=boosts, hints=hints)


def _format(config: Any) -> AudioFormat:
    values = config.DESCRIPTOR.fields_by_name["encoding"].enum_type.values_by_number
    named = values.get(config.encoding)
    if named is None or named.name in _REFUSED_ENCODINGS:
        known = ", ".join(value.name for value in values.values() if value.name not in _REFUSED_ENCODINGS)
        raise CallerError(f"`encoding` must be one of {known}.", param="encoding")
    return r.audio_format(named.name, config.sample_rate_hertz, config.audio_channel_count, _RAW, "")
