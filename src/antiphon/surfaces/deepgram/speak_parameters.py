"""The query parameters of Deepgram's speak API: a table of all of them, and their meaning.

The valid combinations of encoding, container, sample rate and bit rate are Deepgram's own table, and so are the error
messages (https://developers.deepgram.com/docs/tts-media-output-settings, .../docs/errors).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.core.audio import Codec, Container, SpeechFormat
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.specs import SpeakSpec
from antiphon.surfaces.deepgram import query as q
from antiphon.surfaces.deepgram.query import MAX_TAG_CHARS, MAX_TAGS, Parameter, Use, Values

DEFAULT_MODEL = "aura-asteria-en"
DEFAULT_ENCODING, DEFAULT_LIVE_ENCODING = "mp3", "linear16"
MIN_SPEED, MAX_SPEED = 0.7, 1.5

TABLE: tuple[Parameter, ...] = (
    Parameter(
        "model",
        Use.BOTH,
        f"Any name of a voice that the server's table of voices knows. Without it: `{DEFAULT_MODEL}`, as at Deepgram.",
    ),
    Parameter(
        "encoding",
        Use.BOTH,
        f"`linear16`, `mulaw`, `alaw`; for files also `mp3`, `opus`, `flac`, `aac`. Without it: `{DEFAULT_ENCODING}` "
        f"for files, `{DEFAULT_LIVE_ENCODING}` live.",
    ),
    Parameter(
        "container",
        Use.BOTH,
        "`wav` (without it) or `none` for `linear16`, `mulaw` and `alaw`, live only `none`; `ogg` for `opus`.",
    ),
    Parameter(
        "sample_rate",
        Use.BOTH,
        "`linear16`: 8000, 16000, 24000 (without it), 32000, 44100, 48000. `mulaw`, `alaw`: 8000 (without it), 16000. "
        "`flac`: 8000, 16000, 22050 (without it), 32000, 48000. `mp3` and `aac` have 22050, `opus` has 48000.",
    ),
    Parameter(
        "bit_rate",
        Use.FILE,
        "`mp3`: 32000, 48000 (without it). `opus`: 4000 to 650000, 12000 without it; one channel has 256000 at most. "
        "`aac`: 4000 to 192000, 48000 without it; one channel has 16000 to 132300.",
    ),
    Parameter("speed", Use.BOTH, f"{MIN_SPEED} to {MAX_SPEED}; 1 is the voice's own."),
    Parameter("expressivity", Use.WITHOUT_EFFECT, "The voices here have one way of speaking."),
    Parameter("tag", Use.BOTH, f"Kept with the usage; {MAX_TAGS} at most, of at most {MAX_TAG_CHARS} characters."),
    Parameter("mip_opt_out", Use.BOTH, "Always so: nothing is kept and no model is trained on what is sent."),
    Parameter("callback", Use.NEITHER, "Speech is given in the answer; nothing is posted elsewhere."),
    Parameter("callback_method", Use.NEITHER, "Speech is given in the answer; nothing is posted elsewhere."),
)

_BY_NAME = {row.name: row for row in TABLE}
_SPEED = re.compile(r"[0-9]{1,3}(\.[0-9]{1,20})?")


@dataclass(frozen=True, slots=True)
class _Encoding:
    """The options of an encoding. The first container and rate are the defaults; the caller cannot choose a container
    without `containers`, nor a single rate. `bit_rates` are the allowed values, `reach` the range for one channel.
    """

    codec: Codec
    containers: tuple[str, ...] = ()
    rates: tuple[int, ...] = ()
    bit_rate: int | None = None
    bit_rates: tuple[int, ...] | range = ()
    reach: tuple[int, int] = (0, 999_999)


_ENCODINGS = {
    "linear16": _Encoding(Codec.LINEAR16, ("wav", "none"), (24_000, 8_000, 16_000, 32_000, 44_100, 48_000)),
    "mulaw": _Encoding(Codec.MULAW, ("wav", "none"), (8_000, 16_000)),
    "alaw": _Encoding(Codec.ALAW, ("wav", "none"), (8_000, 16_000)),
    "mp3": _Encoding(Codec.MP3, (), (22_050,), 48_000, (32_000, 48_000)),
    "opus": _Encoding(Codec.OPUS, ("ogg",), (48_000,), 12_000, range(4_000, 650_001), (4_000, 256_000)),
    "flac": _Encoding(Codec.FLAC, (), (22_050, 8_000, 16_000, 32_000, 48_000)),
    "aac": _Encoding(Codec.AAC, (), (22_050,), 48_000, range(4_000, 192_001), (16_000, 132_300)),
}
_LIVE = ("linear16", "mulaw", "alaw")

_RAW_TYPES = {Codec.LINEAR16: "audio/l16", Codec.MULAW: "audio/mulaw", Codec.ALAW: "audio/alaw"}
_TYPES = {
    Codec.MP3: "audio/mpeg",
    Codec.OPUS: "audio/ogg;codecs=opus",
    Codec.FLAC: "audio/flac",
    Codec.AAC: "audio/aac",
}


def read(query: Sequence[tuple[str, str]], text: str | None = None) -> SpeakSpec:
    """Return the request: `text` spoken, or without one a live session.

    Raises `CallerError` for an invalid value, `UnsupportedParameter` for what is not honoured.
    """
    live = text is None
    values = q.sorted_by_name(query, _BY_NAME, Use.LIVE if live else Use.FILE)
    q.flag(values, "mip_opt_out")
    voice = q.model(values, DEFAULT_MODEL)  # Deepgram's models are voices
    return SpeakSpec(
        model=voice,
        voice=voice,
        text=text or "",
        format=_format(values, live),
        speed=_speed(values),
        live=live,
        tags=q.tags(values),
    )


def unused(query: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return the names of given parameters that have no effect."""
    values: dict[str, list[str]] = {}
    for name, value in query:
        values.setdefault(name, []).append(value)
    return tuple(row.name for row in q.without_effect(values, _BY_NAME))


def content_type(form: SpeechFormat) -> str:
    if form.container is Container.WAV:
        return "audio/wav"
    return _TYPES.get(form.codec) or f"{_RAW_TYPES[form.codec]};rate={form.sample_rate}"


def _format(values: Values, live: bool) -> SpeechFormat:
    name = q.one(values, "encoding") or (DEFAULT_LIVE_ENCODING if live else DEFAULT_ENCODING)
    offered = _LIVE if live else tuple(_ENCODINGS)
    if name not in offered:
        raise _unsupported(f"`encoding` must be one of {', '.join(offered)}", "encoding")
    encoding = _ENCODINGS[name]
    return SpeechFormat(
        encoding.codec,
        _container(values, name, encoding.containers, live),
        _rate(values, name, encoding.rates),
        _bit_rate(values, name, encoding),
    )


def _container(values: Values, name: str, containers: tuple[str, ...], live: bool) -> Container:
    value = q.one(values, "container")
    if value is not None and not containers:
        raise _unsupported(f"`container` is not applicable when `encoding={name}`", "container")
    if live:
        containers = ("none",)
    if value is not None and value not in containers:
        raise _unsupported(f"`container={value[:16]}` is invalid when `encoding={name}`", "container")
    return Container(value or containers[0]) if containers else Container.NONE


def _rate(values: Values, name: str, rates: tuple[int, ...]) -> int:
    rate = q.whole(values, "sample_rate", 1, 999_999)
    if rate is None or rate in rates:
        return rate or rates[0]
    if len(rates) == 1:
        raise _unsupported(f"`sample_rate` is not applicable when `encoding={name}`", "sample_rate")
    listed = ", ".join(map(str, sorted(rates)))
    raise _unsupported(f"`sample_rate` must be {listed} when `encoding={name}`", "sample_rate")


def _bit_rate(values: Values, name: str, encoding: _Encoding) -> int | None:
    bit_rate = q.whole(values, "bit_rate", 1, 999_999)
    if bit_rate is None:
        return encoding.bit_rate
    if bit_rate in encoding.bit_rates:
        least, most = encoding.reach
        return min(max(bit_rate, least), most)
    if encoding.bit_rate is None:
        raise _unsupported(f"`bit_rate` is not applicable when `encoding={name}`", "bit_rate")
    rates = encoding.bit_rates
    listed = f"{rates[0]} to {rates[-1]}" if isinstance(rates, range) else " or ".join(map(str, rates))
    raise _unsupported(f"`bit_rate` must be {listed} when `encoding={name}`", "bit_rate")


def _unsupported(reason: str, param: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"Unsupported audio format: {reason}", param=param)


def _speed(values: Values) -> float:
    value = q.one(values, "speed")
    if value is None:
        return 1.0
    if not _SPEED.fullmatch(value) or not MIN_SPEED <= float(value) <= MAX_SPEED:
        raise CallerError(f"`speed` must be a number from {MIN_SPEED} to {MAX_SPEED}.", param="speed")
    return float(value)
