"""The second version of the API: its fields, and the meaning of a request."""

from dataclasses import replace
from typing import Any

from antiphon.core.audio import Encoding
from antiphon.core.errors import CallerError
from antiphon.core.wire import Url
from antiphon.surfaces.google import adaptation, names
from antiphon.surfaces.google import request as r
from antiphon.surfaces.google.masks import overridden
from antiphon.surfaces.google.request import Features, Field, Request, Use

PACKAGE = "google.cloud.speech.v2"
DEFAULT_MODEL = "long"

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
        Field(
            "language_codes",
            _YES,
            f"Up to {r.MAX_LANGUAGES} that may be spoken, all of which the model must hear; `auto`: any that it hears.",
        ),
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
        Field(
            r.PROMPT, _YES, "Guides a model that takes guidance, and is in the answer's metadata; else without effect."
        ),
        Field("adaptation.phrase_sets", _YES, f"{r.HINTS} Inline, or stored ones by name."),
        Field(
            "adaptation.custom_classes",
            _YES,
            "Inline, or stored ones by name: `${CLASS}` in a phrase stands for each of its items.",
        ),
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


def stored(message: Any) -> str:
    """Return the name of the recognizer that a request refers to, empty for the implicit one. Raises `CallerError`."""
    return names.stored(message.recognizer)


def configs(message: Any) -> tuple[Any, ...]:
    """Return the configurations in a request, which may refer to phrase sets and classes."""
    if "streaming_config" in message.DESCRIPTOR.fields_by_name:
        return (message.streaming_config.config,)
    return (message.config, *(file.config for file in getattr(message, "files", ())))


def streaming(message: Any, base: Any = None) -> Request:
    """Return the request in the first message of a stream; `base` is its recognizer's configuration. Raises
    `CallerError`.
    """
    config = message.streaming_config
    features = config.streaming_features
    path = "streaming_features.voice_activity_timeout."
    timeouts = features.voice_activity_timeout
    sensitivity = _name(features, "endpointing_sensitivity")
    return replace(
        request_of(effective(base, config)),
        interims=features.interim_results,
        activity_events=features.enable_voice_activity_events,
        start_timeout_ms=r.timeout_ms(timeouts, "speech_start_timeout", path),
        end_timeout_ms=r.timeout_ms(timeouts, "speech_end_timeout", path),
        endpointing_ms=_ENDPOINTING_MS[sensitivity],
    )


def recognise(message: Any, most_bytes: int, base: Any = None) -> tuple[Request, bytes | Url]:
    """Return the request of a call, and its recording or URL; `base` is its recognizer's configuration. Raises
    `CallerError`.
    """
    content = message.content if message.WhichOneof("audio_source") == "content" else None
    audio = r.media(content, message.uri, most_bytes)
    return request_of(effective(base, message), audio), audio


def effective(base: Any, holder: Any) -> Any:
    """Return the configuration to use: `base`, with the changes of the holder's own configuration and mask. Raises
    `CallerError`.
    """
    mask = holder.config_mask if holder.HasField("config_mask") else None
    return overridden(type(holder.config)() if base is None else base, holder.config, mask, "config_mask")


def check(config: Any) -> None:
    """Raise `CallerError` if a configuration is invalid; it may leave out the audio format, and refer to phrase sets
    and classes that there are not yet.
    """
    whole = type(config)()
    whole.CopyFrom(config)
    if config.WhichOneof("decoding_config") is None:
        whole.auto_decoding_config.SetInParent()
    whole.ClearField("adaptation")
    request_of(whole)
    for each in adaptation.inline(config):
        adaptation.check_phrases(each)
    for each in config.adaptation.custom_classes:
        adaptation.check_items(each)


def request_of(config: Any, audio: bytes | Url | None = None) -> Request:
    """Return the request of a configuration. Raises `CallerError`."""
    hints, neglected = _hints(config)
    features = config.features
    form = _format(config)
    r.alternatives(features.max_alternatives, "features.max_alternatives")
    wanted = Features(
        model=config.model or DEFAULT_MODEL,
        format=form if audio is None else r.declared(form, audio),
        multichannel=_name(features, "multi_channel_mode") == "SEPARATE_RECOGNITION_PER_CHANNEL",
        languages=r.languages(config.language_codes, "language_codes"),
        word_times=features.enable_word_time_offsets,
        word_confidence=features.enable_word_confidence,
        punctuation=features.enable_automatic_punctuation,
        rewriting=r.rewriting(config, features.profanity_filter),
        keyterms=hints[: r.MOST_KEYTERMS],
        prompt=r.prompt(features.custom_prompt_config.custom_prompt, r.PROMPT),
    )
    guiding = (("adaptation.phrase_sets",) if hints else ()) + ((r.PROMPT,) if wanted.prompt else ())
    return Request(wanted, (*r.without_effect(config, TABLE), *neglected), guiding)


def _hints(config: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the phrases, and the related fields without effect. Raises `CallerError`."""
    hints = adaptation.phrases_of(config)
    boosts = any(each.boost or any(phrase.boost for phrase in each.phrases) for each in adaptation.inline(config))
    return hints, r.neglected("adaptation.phrase_sets", boosts=boosts, hints=hints)


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
    """Return the name of an enum's value. Raises `CallerError` for an unknown value."""
    values = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    number = getattr(message, field)
    if number not in values:
        raise CallerError(f"`{field}` has no value {number}.", param=field)
    name: str = values[number].name
    return name


def _encodings(explicit: Any) -> list[str]:
    return [value.name for value in explicit.DESCRIPTOR.fields_by_name["encoding"].enum_type.values[1:]]
