"""The second version of the API: its fields, and what a request asks for."""

import re
from typing import Any

from antiphon.core.audio import Encoding
from antiphon.core.errors import CallerError, NotFound
from antiphon.core.wire import Url
from antiphon.surfaces.google import request as r
from antiphon.surfaces.google.request import Asked, Features, Field, Use

PACKAGE = "google.cloud.speech.v2"
DEFAULT_MODEL = "long"
RECOGNIZER = re.compile(r"projects/[^/]{1,128}/locations/[^/]{1,64}/recognizers/([^/]{1,63})")
IMPLICIT = "_"

_RAW = {"LINEAR16": Encoding.LINEAR16, "MULAW": Encoding.MULAW, "ALAW": Encoding.ALAW}
_REFUSED_ENCODINGS = ("AMR", "AMR_WB")
# The silence that ends an utterance.
_ENDPOINTING_MS = {
    "ENDPOINTING_SENSITIVITY_UNSPECIFIED": r.DEFAULT_ENDPOINTING_MS,
    "ENDPOINTING_SENSITIVITY_STANDARD": r.DEFAULT_ENDPOINTING_MS,
    "ENDPOINTING_SENSITIVITY_SHORT": 300,
    "ENDPOINTING_SENSITIVITY_SUPERSHORT": 200,
}

_YES, _NO, _NEVER = Use.HONOURED, Use.NO_EFFECT, Use.REFUSED
_ACTIVITY = "A stream ends after that time without speech: at its start, or after an utterance."

TABLE = {
    row.path: row
    for row in (
        Field("auto_decoding_config", _YES, "WAV, FLAC, MP3, Ogg, WebM, MP4 and M4A describe themselves."),
        Field(
            "explicit_decoding_config",
            _YES,
            "`LINEAR16`, `MULAW`, `ALAW` with `sample_rate_hertz`, and `audio_channel_count` where it is not 1; all "
            "other encodings describe themselves. Refused: `AMR`, `AMR_WB`.",
        ),
        Field("model", _YES, f"Any name that the server's table of models knows. Without it: `{DEFAULT_MODEL}`."),
        Field("language_codes", _YES, "`en` and its regions, or `auto`; all of several. Anything else is refused."),
        Field("features.profanity_filter", _YES, "`f***` for the words of a short English list, and no others."),
        Field("features.enable_word_time_offsets", _YES, "Of finals."),
        Field("features.enable_word_confidence", _YES, "Of finals."),
        Field("features.enable_automatic_punctuation", _YES, "As the model writes it. Without it: words alone."),
        Field(
            "features.multi_channel_mode",
            _YES,
            "`SEPARATE_RECOGNITION_PER_CHANNEL`: each on its own. Without it the channels are mixed down.",
        ),
        Field("features.max_alternatives", _YES, "0 to 30. There is one."),
        Field("features.enable_spoken_punctuation", _NO, "Spoken marks are written as words."),
        Field("features.enable_spoken_emojis", _NO, "Spoken emojis are written as words."),
        Field("features.diarization_config", _NO, "No model here tells speakers apart."),
        Field("features.custom_prompt_config", _NO, "The models here take no prompt."),
        Field("adaptation", _NO, "The models here cannot be biased towards phrases."),
        Field("transcript_normalization", _YES, "Whole words and phrases within an utterance, interims too."),
        Field("denoiser_config", _NO, "Audio is heard as it is."),
        Field("translation_config", _NEVER, "Nothing is translated."),
    )
}
STREAMING = {
    row.path: row
    for row in (
        Field("interim_results", _YES, "With `stability`: how much of it was in the one before."),
        Field("enable_voice_activity_events", _YES, "`SPEECH_ACTIVITY_BEGIN` and `SPEECH_ACTIVITY_END`."),
        Field("voice_activity_timeout", _YES, _ACTIVITY),
        Field("endpointing_sensitivity", _YES, "An utterance ends after 500, 300 or 200 ms of silence."),
    )
}


def check_recognizer(name: str) -> None:
    """Raises `CallerError` for a name of another form, `NotFound` for a recognizer that is not the implicit one."""
    match = RECOGNIZER.fullmatch(name)
    if match is None:
        said = "`recognizer` must be projects/PROJECT/locations/LOCATION/recognizers/_."
        raise CallerError(said, param="recognizer")
    if match[1] != IMPLICIT:
        raise NotFound("Recognizer not found. Recognizers are not stored here: use `_`.", param="recognizer")


def streaming(message: Any) -> Asked:
    """What the first message of a stream asks for. Raises `CallerError`."""
    check_recognizer(message.recognizer)
    config = message.streaming_config
    set_ = _masked(config.config, config)
    features = config.streaming_features
    path = "streaming_features.voice_activity_timeout."
    timeouts = features.voice_activity_timeout
    sensitivity = _name(features, "endpointing_sensitivity")
    return Asked(
        features=_features(set_),
        without_effect=tuple(r.without_effect(set_, TABLE)),
        interims=features.interim_results,
        activity_events=features.enable_voice_activity_events,
        start_timeout_ms=r.timeout_ms(timeouts, "speech_start_timeout", path),
        end_timeout_ms=r.timeout_ms(timeouts, "speech_end_timeout", path),
        endpointing_ms=_ENDPOINTING_MS[sensitivity],
    )


def recognise(message: Any, most_bytes: int) -> tuple[Asked, bytes | Url]:
    """What a call with a recording asks for, and the recording. Raises `CallerError`."""
    check_recognizer(message.recognizer)
    config = _masked(message.config, message)
    content = message.content if message.WhichOneof("audio_source") == "content" else None
    audio = r.media(content, message.uri, most_bytes)
    return Asked(_features(config, audio), tuple(r.without_effect(config, TABLE))), audio


def _masked(config: Any, holder: Any) -> Any:
    """What of the configuration counts: all that is set, or what the mask names, as the implicit recognizer has no
    defaults.
    """
    if not holder.HasField("config_mask") or "*" in holder.config_mask.paths:
        return config
    counts = type(config)()
    try:
        holder.config_mask.MergeMessage(config, counts)
    except (ValueError, KeyError):
        raise CallerError("`config_mask` names a field that there is not.", param="config_mask") from None
    return counts


def _features(config: Any, audio: bytes | Url | None = None) -> Features:
    features = config.features
    form = _format(config)
    r.alternatives(features.max_alternatives, "features.max_alternatives")
    return Features(
        model=config.model or DEFAULT_MODEL,
        format=form if audio is None else r.declared(form, audio),
        multichannel=_name(features, "multi_channel_mode") == "SEPARATE_RECOGNITION_PER_CHANNEL",
        language=r.language(config.language_codes, "language_codes"),
        word_times=features.enable_word_time_offsets,
        word_confidence=features.enable_word_confidence,
        punctuation=features.enable_automatic_punctuation,
        rewriting=r.rewriting(config, features.profanity_filter),
    )


def _format(config: Any) -> Any:
    path = "explicit_decoding_config."
    match config.WhichOneof("decoding_config"):
        case "auto_decoding_config":
            return r.audio_format("", 0, 0, _RAW, path)
        case "explicit_decoding_config":
            explicit = config.explicit_decoding_config
            encoding = _name(explicit, "encoding")
            if encoding in _REFUSED_ENCODINGS or encoding == "AUDIO_ENCODING_UNSPECIFIED":
                known = ", ".join(name for name in _encodings(explicit) if name not in _REFUSED_ENCODINGS)
                raise CallerError(f"`encoding` must be one of {known}.", param=f"{path}encoding")
            channels = explicit.audio_channel_count
            return r.audio_format(encoding, explicit.sample_rate_hertz, channels, _RAW, path)
    raise CallerError("`auto_decoding_config` or `explicit_decoding_config` is required.", param="decoding_config")


def _name(message: Any, field: str) -> str:
    """The name of an enum's value. Raises `CallerError` for one that there is not."""
    values = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    number = getattr(message, field)
    if number not in values:
        raise CallerError(f"`{field}` has no value {number}.", param=field)
    name: str = values[number].name
    return name


def _encodings(explicit: Any) -> list[str]:
    return [value.name for value in explicit.DESCRIPTOR.fields_by_name["encoding"].enum_type.values[1:]]
