"""The common parameters of ElevenLabs' speech endpoints: the query, the formats, and what is refused.

A parameter is honoured or refused, never ignored. Parameters for what only ElevenLabs' own models can do, which SDKs
and examples send by default, are accepted, and the answer lists them under `antiphon-no-effect`.
"""

from collections.abc import Collection
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from antiphon.core.audio import Codec, Container, SpeechFormat
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.wire import Opening
from antiphon.surfaces.elevenlabs.wire import MAX_SHOWN, read

Q = TypeVar("Q")

DEFAULT_MODEL = "eleven_multilingual_v2"
DEFAULT_FORMAT = "mp3_44100_128"
MAX_INACTIVITY_S = 180

Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Latency = Annotated[int, Meta(ge=0, le=4)]
NO_NORMALISER = 4  # the level of `optimize_streaming_latency` that also turns text normalisation off

# -- formats -----------------------------------------------------------------------------------------------------------

_PCM_RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
_KILOBITS = (32, 64, 96, 128, 192)

# ElevenLabs' names: codec, rate in Hz, kilobits per second.
FORMATS: dict[str, SpeechFormat] = {
    "mp3_22050_32": SpeechFormat(Codec.MP3, Container.NONE, 22050, 32_000),
    "mp3_24000_48": SpeechFormat(Codec.MP3, Container.NONE, 24000, 48_000),
    **{f"mp3_44100_{kbps}": SpeechFormat(Codec.MP3, Container.NONE, 44100, kbps * 1000) for kbps in _KILOBITS},
    **{f"pcm_{rate}": SpeechFormat(Codec.LINEAR16, Container.NONE, rate) for rate in _PCM_RATES},
    **{f"wav_{rate}": SpeechFormat(Codec.LINEAR16, Container.WAV, rate) for rate in _PCM_RATES},
    "ulaw_8000": SpeechFormat(Codec.MULAW, Container.NONE, 8000),
    "alaw_8000": SpeechFormat(Codec.ALAW, Container.NONE, 8000),
    **{f"opus_48000_{kbps}": SpeechFormat(Codec.OPUS, Container.OGG, 48000, kbps * 1000) for kbps in _KILOBITS},
}

_MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "pcm": "audio/pcm",
    "wav": "audio/wav",
    "ulaw": "audio/basic",
    "alaw": "audio/x-alaw-basic",
    "opus": "audio/ogg",
}


def speech_format(name: str, streamed: bool) -> SpeechFormat:
    """Return the format of that name. Raises `CallerError`. WAV cannot be streamed, as its header has the length."""
    format = FORMATS.get(name)
    if format is None or (streamed and format.container is Container.WAV):
        raise CallerError(f"Unknown output format {name[:MAX_SHOWN]!r}.", param="output_format")
    return format


def media_type(name: str) -> str:
    """Return the media type of an output format."""
    return _MEDIA_TYPES[name.partition("_")[0]]


# -- the query ---------------------------------------------------------------------------------------------------------


class SpeechQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """The query of the HTTP endpoints. Nothing is logged or kept, whatever `enable_logging` says."""

    output_format: str = DEFAULT_FORMAT
    optimize_streaming_latency: Latency | None = None
    enable_logging: bool | None = None
    model_id: str | None = None


class LiveQuery(SpeechQuery, frozen=True, forbid_unknown_fields=True):
    """The query of the WebSockets. `authorization` and `single_use_token` are credentials."""

    authorization: str | None = None
    single_use_token: str | None = None
    language_code: str | None = None
    enable_ssml_parsing: bool = False
    inactivity_timeout: Annotated[int, Meta(ge=1, le=MAX_INACTIVITY_S)] = 20
    sync_alignment: bool = False
    auto_mode: bool = False
    apply_text_normalization: str | None = None
    apply_language_text_normalization: bool | None = None
    seed: Seed | None = None


def read_query(opening: Opening, kind: type[Q], lists: Collection[str] = ()) -> Q:
    """Return the query; parameters in `lists` may be repeated. Raises `UnsupportedParameter` for an unknown name,
    `CallerError` for an invalid value.
    """
    repeated: dict[str, list[str]] = {}
    values: dict[str, str | list[str]] = {}
    for name, value in opening.query:
        if name in lists:
            values[name] = repeated.setdefault(name, [])
            repeated[name].append(value)
            continue
        if name in values:
            raise CallerError("This parameter was given more than once.", param=name)
        values[name] = value
    return read(lambda: msgspec.convert(values, kind, strict=False))


# -- what is refused ---------------------------------------------------------------------------------------------------


def check_normalisation(mode: str | None) -> None:
    """Raise a `CallerError` if the mode is unknown, or asks for no normalisation."""
    if mode == "off":
        raise UnsupportedParameter(
            "Numbers, dates and abbreviations are always read out.", param="apply_text_normalization"
        )
    if mode not in (None, "auto", "on"):
        raise CallerError("Supported values: 'auto', 'on' and 'off'.", param="apply_text_normalization")


def check_dictionaries(locators: list[object] | None) -> None:
    """Raise `UnsupportedParameter` if there is any locator."""
    if locators:
        raise UnsupportedParameter(
            "Pronunciation dictionaries are not supported.", param="pronunciation_dictionary_locators"
        )


def idle_parameters(**parameters: object) -> tuple[str, ...]:
    """Return the names of the parameters that request something; they are without effect here."""
    return tuple(name for name, value in parameters.items() if value not in (None, False, "", []))
