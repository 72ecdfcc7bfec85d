"""The forms of `POST /v1/audio/transcriptions` and `/v1/audio/translations`: every field is honoured, named as without
effect, or refused.

Lists are repeated fields whose name ends in `[]`, objects are `name[key]`, as the official SDKs send them. Clients of
other servers leave the `[]` out. A field without a value is a form's way to say nothing.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from antiphon.core import languages
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.specs import TranscribeSpec
from antiphon.surfaces.openai.generation import decode

Number = TypeVar("Number", int, float)
Fields = dict[str, list[str]]

MAX_SILENCE_MS = 10_000
MAX_KEYWORDS, MAX_KEYWORD_CHARS = 200, 128


_OBJECT = msgspec.json.Decoder(dict[str, Any])


class Format(StrEnum):
    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"
    VERBOSE = "verbose_json"


@dataclass(frozen=True, slots=True)
class Shape:
    """The requested form of the answer. `without_effect` are the fields that change nothing here, `guiding` those that
    change nothing if the model cannot be guided.
    """

    format: Format = Format.JSON
    stream: bool = False
    logprobs: bool = False
    words: bool = False
    segments: bool = False
    without_effect: tuple[str, ...] = ()
    guiding: tuple[str, ...] = ()


_ONCE = frozenset(
    {
        "model",
        "language",
        "prompt",
        "response_format",
        "stream",
        "temperature",
        "chunking_strategy",
        "chunking_strategy[type]",
        "chunking_strategy[silence_duration_ms]",
    }
)
_OF_TRANSLATIONS = frozenset({"model", "prompt", "response_format", "temperature"})
_LISTS = frozenset({"include[]", "keywords[]", "languages[]", "timestamp_granularities[]"})
_INDEX = re.compile(r"\[[0-9]{0,3}\]$")  # some HTTP clients number the fields of a list
# What other servers know: how their models decode, and how they find speech.
_OF_OTHERS = frozenset(
    {
        *("vad_filter", "hotwords", "beam_size", "best_of", "temperature_inc", "condition_on_previous_text"),
        *("seed", "top_p", "top_k", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty", "user"),
    }
)
_OWN_LANGUAGE = "auto"  # other servers' word for no language
_REFUSED = {
    "known_speaker_names[]": "no model here tells speakers apart",
    "known_speaker_references[]": "no model here tells speakers apart",
    "chunking_strategy[threshold]": "the voice detector's threshold is fixed",
    "chunking_strategy[prefix_padding_ms]": "the audio kept before speech is fixed",
}


def read(fields: Iterable[tuple[str, str]], translate: bool = False) -> tuple[TranscribeSpec, Shape]:
    """Return the form as a spec. Raises `CallerError` for an invalid value, `UnsupportedParameter` for one not
    honoured.
    """
    values = _gather(fields, _OF_TRANSLATIONS if translate else _ONCE | _LISTS)
    shape = _shape(values)
    language = _language(values)
    spec = TranscribeSpec(
        model=_model(values),
        word_times=shape.words,
        # A verbose segment lists its tokens; the streamed `done` event counts them.
        tokens=shape.logprobs or shape.segments or shape.stream,
        language=language,
        languages=_languages(values, language),
        translate=translate,
        prompt=_one(values, "prompt", ""),
        keyterms=_keywords(values),
    )
    silence_ms = _silence_ms(values)
    return (spec if silence_ms is None else replace(spec, endpointing_ms=silence_ms)), shape


def of_line(request: bytes) -> tuple[list[tuple[str, str]], str]:
    """Return the fields of a request in JSON, as a form has them but for the recording, and the URL of that, if it has
    one. Raises `CallerError`.
    """
    values = {name: value for name, value in decode(_OBJECT, request).items() if value is not None}
    url = values.get("url", "")
    if not isinstance(url, str):
        raise CallerError("'url' must be a text.", param="url")
    fields: list[tuple[str, str]] = []
    for name, value in values.items():
        if name not in ("file", "url"):
            fields += _as_form(name, value)
    return fields, url


def _as_form(name: str, value: object) -> Iterator[tuple[str, str]]:
    match value:
        case list():
            for each in value:
                yield f"{name}[]", _text(each, name)
        case dict():
            for key, each in value.items():
                if each is not None:
                    yield f"{name}[{key}]", _text(each, name)
        case bool():
            yield name, str(value).lower()
        case _:
            yield name, str(value)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str | int | float):
        raise CallerError(f"'{name}' must contain texts.", param=name)
    return str(value)


def _gather(fields: Iterable[tuple[str, str]], known: Collection[str]) -> Fields:
    values: Fields = {}
    for name, value in fields:
        listed = _INDEX.sub("", name) + "[]"
        if listed in _LISTS:
            name = listed
        if name in _REFUSED:
            raise UnsupportedParameter(f"'{name}' is not supported: {_REFUSED[name]}.", param=name)
        if name not in known and name not in _OF_OTHERS:
            raise UnsupportedParameter("This parameter is unknown or not supported by this server.", param=name)
        if name in _ONCE and name in values:
            raise CallerError(f"'{name}' was given more than once.", param=name)
        if value or name == "model":
            values.setdefault(name, []).append(value)
    return values


def _language(values: Fields) -> str:
    """Return the code of the language, which some clients name in English, as a verbose answer does."""
    language = _one(values, "language", "")
    return "" if language.lower() == _OWN_LANGUAGE else languages.find_code(language) or language


def _languages(values: Fields, language: str) -> tuple[str, ...]:
    """Return the codes of the possible languages, if the language itself is not known."""
    possible = tuple(values.get("languages[]", ()))
    if language and possible and language not in possible:
        raise CallerError("'language' is not among 'languages'.", param="languages[]")
    return () if language else possible


def _model(values: Fields) -> str:
    model = _one(values, "model", "")
    if not model:
        raise CallerError("you must provide a model parameter", param="model")
    return model


def _keywords(values: Fields) -> tuple[str, ...]:
    keywords = tuple(word for value in values.get("keywords[]", []) if (word := value.strip()))
    if len(keywords) > MAX_KEYWORDS or any(len(word) > MAX_KEYWORD_CHARS for word in keywords):
        message = f"At most {MAX_KEYWORDS} keywords are allowed, of at most {MAX_KEYWORD_CHARS} characters."
        raise CallerError(message, param="keywords[]")
    return keywords


def _without_effect(values: Fields, verbose: bool) -> tuple[str, ...]:
    """Return the fields without effect: models decode greedily; only a verbose answer has times; and what other servers
    know.
    """
    conditions = {
        "temperature": _number("temperature", _one(values, "temperature", "0"), float, 0, 1) > 0,
        "timestamp_granularities[]": "timestamp_granularities[]" in values and not verbose,
    }
    return (*(name for name, holds in conditions.items() if holds), *(name for name in values if name in _OF_OTHERS))


def _shape(values: Fields) -> Shape:
    name = _one(values, "response_format", Format.JSON)
    if name == "diarized_json":
        raise UnsupportedParameter("Distinguishing speakers is not supported.", param="response_format")
    chosen = _chosen(name, "response_format", tuple(Format))
    stream = _chosen(_one(values, "stream", "false").lower(), "stream", ("true", "false")) == "true"
    include = _list(values, "include[]", ("logprobs",))
    granularities = _list(values, "timestamp_granularities[]", ("word", "segment"))
    if stream and chosen not in (Format.JSON, Format.TEXT):
        raise UnsupportedParameter("Only response_format json and text can be streamed.", param="stream")
    if include and chosen != Format.JSON:
        raise CallerError("'logprobs' needs response_format json.", param="include[]")
    return Shape(
        format=Format(chosen),
        stream=stream,
        logprobs=bool(include),
        words=chosen == Format.VERBOSE and "word" in granularities,
        segments=chosen == Format.VERBOSE and granularities != {"word"},
        without_effect=_without_effect(values, chosen == Format.VERBOSE),
        guiding=tuple(name for name in ("prompt", "keywords[]") if any(values.get(name, ()))),
    )


def _silence_ms(values: Fields) -> int | None:
    """Return the silence that ends an utterance; `auto`, or no strategy, is the server's default."""
    if "chunking_strategy" in values:
        _chosen(_one(values, "chunking_strategy", ""), "chunking_strategy", ("auto",))
    kind, silence = "chunking_strategy[type]", "chunking_strategy[silence_duration_ms]"
    if kind in values:
        _chosen(_one(values, kind, ""), kind, ("server_vad",))
        if "chunking_strategy" in values:
            raise CallerError("'chunking_strategy' must be 'auto' or an object.", param="chunking_strategy")
    elif silence in values:
        raise CallerError(f"'{silence}' needs '{kind}'.", param=kind)
    return _number(silence, values[silence][0], int, 1, MAX_SILENCE_MS) if silence in values else None


def _one(values: Fields, name: str, default: str) -> str:
    return values.get(name, [default])[0]


def _list(values: Fields, name: str, supported: tuple[str, ...]) -> set[str]:
    return {_chosen(value, name, supported) for value in values.get(name, [])}


def _chosen(value: str, name: str, supported: tuple[str, ...]) -> str:
    if value not in supported:
        raise CallerError(f"Invalid value for '{name}'. Supported values: {', '.join(supported)}.", param=name)
    return value


def _number(name: str, value: str, parse: type[Number], low: int, high: int) -> Number:
    try:
        number = parse(value) if value.isascii() and "_" not in value else None  # as Python also writes them
    except ValueError:
        number = None
    if number is None or not low <= number <= high:  # also a float that is no number
        raise CallerError(f"'{name}' must be a number between {low} and {high}.", param=name)
    return number
