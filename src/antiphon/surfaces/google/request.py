"""The request of a configuration, of either version: the type of its tables of fields, and the values that both
versions have.

A field is honoured, or without effect and named in the trailer `antiphon-no-effect`, or refused.
`docs/surfaces/google.md` shows the tables.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from antiphon.audio.signatures import begins_packed
from antiphon.audio.wav import begins_wav
from antiphon.core.audio import MAX_CHANNELS, MAX_RATE, MIN_RATE, AudioFormat, Encoding
from antiphon.core.capabilities import SpeechAbility
from antiphon.core.endpoints import unmet_names
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.events import Opened
from antiphon.core.languages import match_language
from antiphon.core.rewriting import Replacement, Rewriting, core
from antiphon.core.specs import RECORDING_ENDPOINTING_MS, TranscribeSpec
from antiphon.core.wire import Url
from antiphon.surfaces.google.messages import milliseconds

DEFAULT_ENDPOINTING_MS = 500
MAX_ALTERNATIVES = 30
MAX_ENTRIES = 1_000  # of a normalization
MAX_ENTRY_CHARS = 100
MAX_TIMEOUT_MS = 300_000  # a stream's longest

MAX_LANGUAGES = 8
MAX_PHRASES, MAX_PHRASE_CHARS = 5_000, 100  # Google's own
MOST_KEYTERMS = 200  # phrases passed to the engine, which uses fewer
MAX_PROMPT_CHARS = 4_096
HINTS = f"The first {MOST_KEYTERMS} phrases guide a model that takes guidance, without boost; else without effect."
PROMPT = "features.custom_prompt_config"  # the path of a prompt, which only v2 has
AUTO = "auto"
LANGUAGE = "en-us"  # of results, if neither the caller nor the engine named one


class Use(StrEnum):
    """How a field that is set is treated."""

    HONOURED = "honoured"
    NO_EFFECT = "no effect"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Field:
    """One row of a table. `path` is the field's path as in error details; `how` is for readers."""

    path: str
    use: Use
    how: str


@dataclass(frozen=True, slots=True)
class Features:
    """The contents and form of a transcript. `AUTO` among the languages stands for any that the engine recognises."""

    model: str
    format: AudioFormat
    multichannel: bool
    languages: tuple[str, ...]
    word_times: bool
    word_confidence: bool
    punctuation: bool
    rewriting: Rewriting | None
    keyterms: tuple[str, ...] = ()
    prompt: str = ""

    @property
    def words(self) -> bool:
        return self.word_times or self.word_confidence

    def language(self, language: str) -> str:
        """Return the language of a result, in the caller's spelling."""
        named = [code.lower() for code in self.languages if code.lower() != AUTO]
        if not language:
            return next(iter(named), LANGUAGE)
        return next((code for code in named if match_language(code, (language,)) is not None), language.lower())


@dataclass(frozen=True, slots=True)
class Request:
    """The request of a call. `guiding` are the paths of fields that have an effect only on models that can be guided;
    the fields after it are for streams only.
    """

    features: Features
    without_effect: tuple[str, ...] = ()
    guiding: tuple[str, ...] = ()
    interims: bool = False
    activity_events: bool = False
    start_timeout_ms: int | None = None
    end_timeout_ms: int | None = None
    single_utterance: bool = False
    endpointing_ms: int = DEFAULT_ENDPOINTING_MS

    @property
    def used_prompt(self) -> str:
        """The prompt that guides the model, empty if there is none or the model cannot be guided."""
        return "" if PROMPT in self.without_effect else self.features.prompt

    def spec(self, *, live: bool) -> TranscribeSpec:
        features = self.features
        watched = self.activity_events or self.start_timeout_ms is not None or self.end_timeout_ms is not None
        return TranscribeSpec(
            model=features.model,
            format=features.format,
            live=live,
            incremental=live,
            multichannel=features.multichannel,
            interims=self.interims,
            endpointing_ms=self.endpointing_ms if live else RECORDING_ENDPOINTING_MS,
            speech_events=live and watched,
            word_times=features.words or features.rewriting is not None,
            languages=() if AUTO in map(str.lower, features.languages) else features.languages,
            keyterms=features.keyterms,
            prompt=features.prompt,
        )

    def answered(self, opened: Opened) -> "Request":
        """Return the request with the parameters added that have no effect on the answering model."""
        lacks = unmet_names(((SpeechAbility.GUIDANCE, path) for path in self.guiding), opened.unmet_speech)
        return replace(self, without_effect=(*self.without_effect, *lacks))


def without_effect(config: Any, table: Mapping[str, Field], path: str = "") -> Iterator[str]:
    """Yield the paths of fields that are set and have no effect. Raises `UnsupportedParameter` for a field that is
    refused, or that the vendor's API does not have.
    """
    for field, value in config.ListFields():
        name = f"{path}{field.name}"
        row = table.get(name)
        if row is None:
            yield from without_effect(value, table, f"{name}.")
        elif row.use is Use.REFUSED:
            raise UnsupportedParameter(f"`{name}` is not supported: {row.how}", param=name)
        elif row.use is Use.NO_EFFECT:
            yield name


def audio_format(encoding: str, rate: int, channels: int, raw: Mapping[str, Encoding], path: str) -> AudioFormat:
    """Return the audio format; formats that are not raw have it in their own header. Raises `CallerError`."""
    if encoding not in raw:
        return AudioFormat(channels=_channels(channels, path))
    if not MIN_RATE <= rate <= MAX_RATE:
        reason = f"`sample_rate_hertz` must be from {MIN_RATE} to {MAX_RATE} with {encoding}."
        raise CallerError(reason, param=f"{path}sample_rate_hertz")
    return AudioFormat(raw[encoding], rate, _channels(channels, path))


def _channels(count: int, path: str) -> int:
    """Return the number of channels; 0 means not given. Raises `CallerError`."""
    if not 0 <= count <= MAX_CHANNELS:
        reason = f"`audio_channel_count` must be from 1 to {MAX_CHANNELS}."
        raise CallerError(reason, param=f"{path}audio_channel_count")
    return count or 1


def languages(codes: Iterable[str], path: str) -> tuple[str, ...]:
    """Return the languages that may be spoken, in the caller's spelling; whether the engine supports them is checked
    later. Raises `CallerError` if there are too many.
    """
    named = tuple(code for code in codes if code)
    if len(named) > MAX_LANGUAGES:
        raise CallerError(f"At most {MAX_LANGUAGES} languages are allowed.", param=path)
    return named


def phrases(named: Iterable[str], path: str) -> tuple[str, ...]:
    """Return phrases that may be spoken. Raises `CallerError` if there are too many, or one is too long."""
    found: dict[str, None] = {}
    for phrase in filter(str.strip, named):
        found[phrase] = None
        if len(found) > MAX_PHRASES or len(phrase) > MAX_PHRASE_CHARS:  # before there are more of them in memory
            raise too_many_phrases(path)
    return tuple(found)


def too_many_phrases(path: str) -> CallerError:
    reason = f"At most {MAX_PHRASES} phrases are allowed, of {MAX_PHRASE_CHARS} characters at most."
    return CallerError(reason, param=path)


def neglected(path: str, *, boosts: bool, hints: tuple[str, ...]) -> tuple[str, ...]:
    """Return the paths of fields about phrases without effect: boosts, and phrases above `MOST_KEYTERMS`."""
    fields = ((".boost", boosts), (".phrases", len(hints) > MOST_KEYTERMS))
    return tuple(f"{path}{what}" for what, is_set in fields if is_set)


def prompt(text: str, path: str) -> str:
    """Return the prompt. Raises `CallerError` if it is too long."""
    if len(text) > MAX_PROMPT_CHARS:
        raise CallerError(f"A prompt has {MAX_PROMPT_CHARS} characters at most.", param=path)
    return text


def alternatives(count: int, path: str) -> None:
    """Raise `CallerError` for an invalid number of alternatives. Results have one, whatever the number."""
    if not 0 <= count <= MAX_ALTERNATIVES:
        raise CallerError(f"`max_alternatives` must be from 0 to {MAX_ALTERNATIVES}.", param=path)


def rewriting(config: Any, masks: bool) -> Rewriting | None:
    """Return the rewriting of a configuration, `None` if nothing is to be changed. Raises `CallerError`."""
    entries = config.transcript_normalization.entries
    path = "transcript_normalization.entries"
    if len(entries) > MAX_ENTRIES:
        raise CallerError(f"At most {MAX_ENTRIES} `entries` are allowed.", param=path)
    replacements = []
    for entry in entries:
        find = tuple(filter(None, map(core, entry.search.split())))
        if not find or max(len(entry.search), len(entry.replace)) > MAX_ENTRY_CHARS:
            raise CallerError(f"`search` and `replace` have {MAX_ENTRY_CHARS} characters at most.", param=path)
        if not entry.case_sensitive:
            find = tuple(map(str.lower, find))
        replacements.append(Replacement(find, tuple(entry.replace.split()), exact=entry.case_sensitive))
    return Rewriting(tuple(replacements), masks, initials=True) if replacements or masks else None


def timeout_ms(timeouts: Any, name: str, path: str) -> int | None:
    """Return one of the voice activity timeouts in milliseconds, `None` if absent. Raises `CallerError`."""
    if not timeouts.HasField(name):
        return None
    timeout = milliseconds(getattr(timeouts, name))
    if not 0 < timeout <= MAX_TIMEOUT_MS:
        reason = f"`{name}` must be more than 0 and at most {MAX_TIMEOUT_MS // 1000} seconds."
        raise CallerError(reason, param=f"{path}{name}")
    return timeout


def media(content: bytes | None, uri: str, most_bytes: int) -> bytes | Url:
    """Return the recording, or its URL. Raises `CallerError`."""
    if content is not None:
        if not content:
            raise CallerError("The audio is empty.", param="content")
        if len(content) > most_bytes:
            raise CallerError(f"Request payload size exceeds the limit: {most_bytes} bytes.", param="content")
        return content
    if uri.startswith(("https://", "http://")):
        return Url(uri)
    if uri:
        raise UnsupportedParameter("Only URIs that begin with https:// or http:// are fetched.", param="uri")
    raise CallerError("The request has no audio.", param="content")


def declared(form: AudioFormat, audio: bytes | Url) -> AudioFormat:
    """Return the format of the audio: what a file itself says, even if raw audio was declared, as at Google with
    WAV.
    """
    headed = isinstance(audio, bytes) and (begins_wav(audio) or begins_packed(audio))
    return AudioFormat() if headed else form
