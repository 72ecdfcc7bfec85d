"""The options of a stream: headers `x-amzn-transcribe-NAME` over HTTP/2, query parameters `NAME` on a WebSocket.

An option is honoured, or without effect and named in `antiphon-no-effect`, or refused if ignoring it would mislead the
caller. `false` means the same as an absent option. `docs/surfaces/amazon.md` shows the table.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from antiphon.core.audio import MAX_CHANNELS, AudioFormat, Encoding
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.redaction import Redaction
from antiphon.core.wire import Opening
from antiphon.surfaces.amazon import redaction
from antiphon.surfaces.amazon.signing import OPTION_PREFIX
from antiphon.surfaces.amazon.stability import Stability

DEFAULT_MODEL = "amazon-transcribe"
MIN_RATE, MAX_RATE = 8_000, 48_000
MAX_VALUE_CHARS = 256
MAX_UNKNOWN = 16  # names that are listed as without effect


class Use(StrEnum):
    """How an option is treated."""

    HONOURED = "honoured"
    WITHOUT_EFFECT = "no effect"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table. `how` says its effect, or why it is refused or without effect."""

    name: str
    use: Use
    how: str


_NO_BIAS = "Its words are at AWS, and not known here."
_NO_FILTER = "There are no vocabulary filters here; what one should hide would be shown."
_ONE_OF_THREE = "Exactly one of language-code, identify-language and identify-multiple-languages must be given."

TABLE: tuple[Option, ...] = (
    Option(
        "language-code",
        Use.HONOURED,
        "A language that the model hears, as `en-US`; without it the language is identified.",
    ),
    Option("identify-language", Use.HONOURED, "In each utterance, where the model can; with `language-options`."),
    Option("identify-multiple-languages", Use.HONOURED, "The same: each utterance has a language of its own."),
    Option("language-options", Use.HONOURED, "What may be spoken: two or more that the model hears, with commas."),
    Option("sample-rate", Use.HONOURED, f"Required, in hertz: {MIN_RATE} to {MAX_RATE}."),
    Option(
        "media-encoding",
        Use.HONOURED,
        "Required: `pcm` (signed 16-bit little-endian), `ogg-opus`, `flac`, `g711-ulaw` or `g711-alaw`.",
    ),
    Option("session-id", Use.HONOURED, "Given back; without one it is made here."),
    Option("enable-channel-identification", Use.HONOURED, "Each channel on its own, with `number-of-channels`."),
    Option("number-of-channels", Use.HONOURED, f"1 to {MAX_CHANNELS}, 1 without it. Mixed down unless identified."),
    Option(
        "enable-partial-results-stabilization", Use.HONOURED, "Items of partial results say whether they are `Stable`."
    ),
    Option(
        "partial-results-stability",
        Use.HONOURED,
        "`high` (as without it), `medium` or `low`: how soon an item is stable. No effect without stabilization.",
    ),
    Option(
        "language-model-name", Use.HONOURED, f"A name of the server's table of models, `{DEFAULT_MODEL}` without it."
    ),
    Option(
        "content-redaction-type", Use.HONOURED, "`PII`: personal data is written as `[PHONE]`, in partial results too."
    ),
    Option(
        "content-identification-type", Use.HONOURED, "`PII`: it is told beside the text (`Entities`), and not hidden."
    ),
    Option(
        "pii-entity-types",
        Use.HONOURED,
        "Which, with commas between; `ALL` without it. What nothing here finds is refused: `AGE`, `USERNAME`, and "
        "`DATE_TIME`, since dates are found and times are not.",
    ),
    Option("vocabulary-name", Use.WITHOUT_EFFECT, _NO_BIAS),
    Option("vocabulary-names", Use.WITHOUT_EFFECT, _NO_BIAS),
    Option("show-speaker-label", Use.WITHOUT_EFFECT, "No model here tells speakers apart; channels are kept apart."),
    Option("vocabulary-filter-method", Use.WITHOUT_EFFECT, "It is about a filter, and there are none."),
    Option(
        "preferred-language",
        Use.WITHOUT_EFFECT,
        "The models take no hint; of two options of one language it is the one in the answers.",
    ),
    Option("session-resume-window", Use.WITHOUT_EFFECT, "A stream that has ended is not resumed."),
    Option("transcript-format", Use.WITHOUT_EFFECT, "Numbers and dates are written as the model writes them."),
    Option("vocabulary-filter-name", Use.REFUSED, _NO_FILTER),
    Option("vocabulary-filter-names", Use.REFUSED, _NO_FILTER),
)
_OPTIONS = {option.name: option for option in TABLE}
_NAME = re.compile(r"[a-z0-9-]{1,64}")
_LEVEL = "partial-results-stability"
_AGENT = "user-agent"  # of the SDK for browsers, in the query

MAX_LANGUAGES = 32
_ENCODINGS = {
    "pcm": Encoding.LINEAR16,
    "ogg-opus": Encoding.CONTAINER,
    "flac": Encoding.CONTAINER,
    "g711-ulaw": Encoding.MULAW,
    "g711-alaw": Encoding.ALAW,
}
_SESSION_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class Request:
    """The request of a stream. Its language is given, or the model identifies it among `languages`. `echoed` are the
    options that the answer repeats, without their prefix: those with an effect, since the SDKs show nothing else of it.
    """

    model: str
    language: str
    languages: tuple[str, ...]
    format: AudioFormat
    multichannel: bool
    stability: Stability | None
    session_id: str
    echoed: tuple[tuple[str, str], ...]
    without_effect: tuple[str, ...]
    redaction: Redaction | None


def read(opening: Opening) -> Request:
    """Return the request. Raises `CallerError` for an invalid value, `UnsupportedParameter` for a refused option."""
    values, unknown = _values(opening)
    for name in values:
        if _OPTIONS[name].use is Use.REFUSED:
            raise UnsupportedParameter(f"{name} is not supported: {_OPTIONS[name].how}", param=name)
    languages = _languages(values)
    stability = _stability(values)
    unused = [name for name in values if _OPTIONS[name].use is Use.WITHOUT_EFFECT]
    unused += [
        name for name, met in (("language-options", languages), (_LEVEL, stability)) if name in values and not met
    ]
    encoding = _required(values, "media-encoding")
    if encoding not in _ENCODINGS:
        raise CallerError(f"media-encoding must be one of {', '.join(_ENCODINGS)}.", param="media-encoding")
    rate = _whole("sample-rate", _required(values, "sample-rate"), MIN_RATE, MAX_RATE)
    channels = _whole("number-of-channels", values.get("number-of-channels", "1"), 1, MAX_CHANNELS)
    multichannel = _flag(values, "enable-channel-identification")
    if multichannel and "number-of-channels" not in values:
        raise CallerError("number-of-channels is needed to identify channels.", param="number-of-channels")
    if multichannel and _flag(values, "show-speaker-label"):
        raise CallerError("show-speaker-label and enable-channel-identification exclude each other.")
    session_id = values.get("session-id", opening.request_id)
    if not _SESSION_ID.fullmatch(session_id):
        raise CallerError("session-id must be 1 to 64 letters, digits and hyphens, as a UUID.", param="session-id")
    return Request(
        model=values.get("language-model-name", DEFAULT_MODEL),
        language=values.get("language-code", ""),
        languages=languages,
        format=AudioFormat(_ENCODINGS[encoding], rate, channels),
        multichannel=multichannel,
        stability=stability,
        session_id=session_id,
        echoed=tuple((name, value) for name, value in values.items() if name not in {"session-id", *unused}),
        without_effect=(*unused, *unknown),
        redaction=redaction.read(
            values.get("pii-entity-types", ""),
            values.get("content-redaction-type", ""),
            values.get("content-identification-type", ""),
        ),
    )


def _values(opening: Opening) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Return every option with a value, by name, and the names of the unknown ones."""
    if opening.method == "POST":
        options = [(name, value) for name, value in opening.headers.items() if name.startswith(OPTION_PREFIX)]
    else:
        options = [
            (name, value) for name, value in opening.query if not name.lower().startswith("x-amz") and name != _AGENT
        ]
    values: dict[str, str] = {}
    unknown: list[str] = []
    for name, value in options:
        name, value = name.removeprefix(OPTION_PREFIX), value.strip()
        if name not in _OPTIONS:
            unknown.append(name)
            continue
        if len(value) > MAX_VALUE_CHARS or not (value.isascii() and value.isprintable()):
            raise CallerError(f"{name} has a value that is not possible.", param=name)
        if name in values:
            raise CallerError(f"{name} is there twice.", param=name)
        if value and value.lower() != "false":
            values[name] = value
    return values, tuple(name for name in unknown if _NAME.fullmatch(name))[:MAX_UNKNOWN]


def _languages(values: Mapping[str, str]) -> tuple[str, ...]:
    """Return the languages that may be spoken, the preferred one first; none if the caller names the language."""
    several = [_flag(values, "identify-language"), _flag(values, "identify-multiple-languages")]
    if [*several, "language-code" in values].count(True) != 1:
        raise CallerError(_ONE_OF_THREE, param="language-code")
    if not any(several):
        return ()
    options = (each.strip() for each in values.get("language-options", "").split(","))
    named = dict.fromkeys(each for each in options if each)
    if not 2 <= len(named) <= MAX_LANGUAGES:
        raise CallerError(f"language-options must be 2 to {MAX_LANGUAGES} languages.", param="language-options")
    return tuple(sorted(named, key=lambda each: each != values.get("preferred-language")))


def _required(values: Mapping[str, str], name: str) -> str:
    if name not in values:
        raise CallerError(f"{name} is missing.", param=name)
    return values[name]


def _whole(name: str, text: str, least: int, most: int) -> int:
    if not (text.isdigit() and len(text) < 9 and least <= int(text) <= most):
        raise CallerError(f"{name} must be {least} to {most}.", param=name)
    return int(text)


def _flag(values: Mapping[str, str], name: str) -> bool:
    """Return whether the option is present; `false` was removed from the values before."""
    if name not in values:
        return False
    if values[name].lower() != "true":
        raise CallerError(f"{name} must be true or false.", param=name)
    return True


def _stability(values: Mapping[str, str]) -> Stability | None:
    level = values.get(_LEVEL, Stability.HIGH)
    if level not in list(Stability):
        raise CallerError(f"{_LEVEL} must be high, medium or low.", param=_LEVEL)
    return Stability(level) if _flag(values, "enable-partial-results-stabilization") else None
