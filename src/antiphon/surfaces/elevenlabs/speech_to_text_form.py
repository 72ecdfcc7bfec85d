"""The form of `POST /v1/speech-to-text`: every field is honoured, named as without effect, or refused.

The fields come in any order. The text `null` counts as absent: the Python SDK sends it for parameters that were not
given. Lists are repeated fields.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from antiphon.core.audio import AudioFormat, Encoding
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.specs import TranscribeSpec
from antiphon.core.wire import Body, Url
from antiphon.surfaces.elevenlabs import exports, redaction, wire
from antiphon.surfaces.elevenlabs.transcripts import Granularity, check_keyterms, hearing

NULL = "null"
PCM = "pcm_s16le_16"
MAX_KEYTERMS, MAX_KEYTERM_CHARS = 1000, 50  # ElevenLabs' own
MAX_URL_CHARS = 8_192
METADATA, MAX_METADATA_CHARS = "webhook_metadata", 16_384  # ElevenLabs' own bound
# A retry of the Python SDK sends only the files again, without any other field.
FILES = frozenset({"additional_formats"})
LOST_FIELDS = (
    "Field required. If this is the SDK's retry of a request that failed before, the retry has lost all form fields: "
    "look at the first error, or switch retries off with request_options={'max_retries': 0}."
)

_HONOURED = frozenset(
    {
        "model_id",
        "keyterms",
        "language_code",
        "secondary_language_codes",
        "timestamps_granularity",
        "additional_formats",
        "file_format",
        "source_url",
        "cloud_storage_url",
        "use_multi_channel",
        "multichannel_output_style",
        *("webhook", "webhook_id", "webhook_metadata"),
        *(redaction.DETECTION, redaction.REDACTION, redaction.MODE),
    }
)
_REPEATABLE = frozenset({"secondary_language_codes", "keyterms", "entity_detection", "entity_redaction"})
# Values (in lower case) that request nothing; any other value is reported as without effect.
_WITHOUT_EFFECT: Mapping[str, tuple[str, ...]] = {
    "diarize": ("false",),
    "num_speakers": (),
    "diarization_threshold": (),
    "detect_speaker_roles": ("false",),
    "use_speaker_library": ("false",),
    "tag_audio_events": ("false",),
    "temperature": ("0", "0.0"),
    "seed": (),
    "no_verbatim": ("false",),
    "numbers_format": (),
}
_REFUSED = {
    "transcript_edit": "Transcripts are not edited.",
}


class _Values(Struct, frozen=True):
    """The honoured fields, and those of which only the value is checked."""

    language_code: str = ""
    timestamps_granularity: str = Granularity.WORD
    file_format: str = "other"
    use_multi_channel: bool = False
    multichannel_output_style: str = "separate"
    webhook: bool = False
    num_speakers: Annotated[int, Meta(ge=1, le=32)] | None = None
    diarization_threshold: Annotated[float, Meta(ge=0, le=2)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.0
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


@dataclass(frozen=True, slots=True)
class Reporting:
    """The webhook that is told of the transcript, by its id; without one, all of the project's. It gets `metadata`."""

    id: str = ""
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """The request of a form. With `combined` all channels are in one transcript."""

    spec: TranscribeSpec
    media: bytes | Url
    granularity: Granularity
    combined: bool
    exports: tuple[exports.Export, ...]
    entities: redaction.Wanted
    webhook: Reporting | None
    without_effect: tuple[str, ...]


def read_form(body: Body) -> Request:
    """Return the request. Raises `CallerError` for an invalid value, `UnsupportedParameter` for a refused field."""
    fields = _gather(body.fields)
    values = wire.read(lambda: msgspec.convert(_singles(fields), _Values, strict=False))
    if "model_id" not in fields:
        raise CallerError(LOST_FIELDS if fields.keys() <= FILES else "Field required", param="model_id")
    keyterms = fields.get("keyterms", ())
    check_keyterms(keyterms, most=MAX_KEYTERMS, chars=MAX_KEYTERM_CHARS)
    wire.check_choice("timestamps_granularity", values.timestamps_granularity, tuple(Granularity))
    wire.check_choice("multichannel_output_style", values.multichannel_output_style, ("separate", "combined"))
    formats = fields.get("additional_formats")
    wanted = exports.read_exports(formats[0]) if formats else ()
    mode = fields.get(redaction.MODE, [None])[0]
    entities = redaction.read(
        fields.get(redaction.DETECTION, ()), fields.get(redaction.REDACTION, ()), mode, redaction.REDACTED
    )
    spec = TranscribeSpec(
        model=fields["model_id"][0],
        format=_format(values),
        multichannel=values.use_multi_channel,
        word_times=values.timestamps_granularity != Granularity.NONE or bool(wanted),
        redaction=entities.redaction,
        **hearing(values.language_code, fields.get("secondary_language_codes", ()), keyterms),
    )
    return Request(
        spec=spec,
        media=_media(body, fields),
        granularity=Granularity(values.timestamps_granularity),
        combined=values.multichannel_output_style == "combined",
        exports=wanted,
        entities=entities,
        webhook=_reporting(fields) if values.webhook else None,
        without_effect=_without_effect(fields, wanted, entities, values.webhook),
    )


def _gather(fields: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the given values, by name."""
    values: dict[str, list[str]] = {}
    for name, value in fields:
        if value.strip() in ("", NULL):
            continue
        if name in _REFUSED:
            if value.strip() != "[]":
                raise UnsupportedParameter(_REFUSED[name], param=name)
            continue
        if name not in _HONOURED and name not in _WITHOUT_EFFECT:
            raise UnsupportedParameter("This parameter is unknown or not supported.", param=name[: wire.MAX_SHOWN])
        if name in values and name not in _REPEATABLE:
            raise CallerError("This parameter was given more than once.", param=name)
        values.setdefault(name, []).append(value)
    return values


def _singles(fields: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {
        name: held[0].lower() if held[0].lower() in ("true", "false") else held[0]
        for name, held in fields.items()
        if name in _Values.__struct_fields__
    }


def _format(values: _Values) -> AudioFormat:
    wire.check_choice("file_format", values.file_format, ("other", PCM))
    return AudioFormat(Encoding.LINEAR16) if values.file_format == PCM else AudioFormat()


def _media(body: Body, fields: Mapping[str, Sequence[str]]) -> bytes | Url:
    """Return the file or its URL. Raises `CallerError` unless exactly one of the three fields is given."""
    places = [name for name in ("source_url", "cloud_storage_url") if name in fields]
    if len(places) + body.has_file != 1:
        message = "Exactly one of 'file', 'source_url' and 'cloud_storage_url' must be given."
        raise CallerError(message, param="file")
    if not places:
        if not body.data:
            raise CallerError("The file is empty.", param="file")
        return body.data
    url = fields[places[0]][0]
    if len(url) > MAX_URL_CHARS:
        raise CallerError(f"A URL can have at most {MAX_URL_CHARS} characters.", param=places[0])
    return Url(url)


def _reporting(fields: Mapping[str, Sequence[str]]) -> Reporting:
    """Return the webhook to report to. The Python SDK writes metadata that is a text as JSON once more."""
    text = fields.get(METADATA, [""])[0]
    if not text:
        return Reporting(fields.get("webhook_id", [""])[0])
    try:
        metadata = msgspec.json.decode(text)
        if isinstance(metadata, str):
            metadata = msgspec.json.decode(metadata)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        metadata = None
    nested = metadata.values() if isinstance(metadata, dict) else ()
    deep = any(isinstance(inner, dict | list) for each in nested if isinstance(each, dict) for inner in each.values())
    if not isinstance(metadata, dict) or deep or len(text) > MAX_METADATA_CHARS:
        message = f"This must be a JSON object of at most two levels and {MAX_METADATA_CHARS} characters."
        raise CallerError(message, param=METADATA)
    return Reporting(fields.get("webhook_id", [""])[0], metadata)


def _without_effect(
    fields: Mapping[str, Sequence[str]], wanted: Sequence[exports.Export], entities: redaction.Wanted, webhook: bool
) -> tuple[str, ...]:
    """Return the names of fields without effect. ElevenLabs tags audio events by default; this server never does."""
    fields = {"tag_audio_events": ["true"], **fields}
    idle = (
        name for name, nothing in _WITHOUT_EFFECT.items() if any(v.lower() not in nothing for v in fields.get(name, ()))
    )
    speakers = any(each.include_speakers for each in wanted)
    mode = redaction.MODE in fields and not entities.hides
    return (
        *idle,
        *((redaction.MODE,) if mode else ()),
        *(name for name in ("webhook_id", "webhook_metadata") if name in fields and not webhook),
        *(("additional_formats.include_speakers",) if speakers else ()),
    )
