"""What a configuration asks for, of either version: a table of all fields, and the values that both versions have.

A field is honoured, or without effect and named in the trailer `antiphon-no-effect`, or refused. The tables are what
`docs/surfaces/google.md` shows.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from antiphon.audio.wav import begins_wav
from antiphon.core.audio import MAX_CHANNELS, MAX_RATE, MIN_RATE, AudioFormat, Encoding
from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.rewriting import Replacement, Rewriting, core
from antiphon.core.specs import RECORDING_ENDPOINTING_MS, TranscribeSpec
from antiphon.core.wire import Url
from antiphon.surfaces.google.messages import milliseconds

DEFAULT_ENDPOINTING_MS = 500
MAX_ALTERNATIVES = 30
MAX_ENTRIES = 1_000  # of a normalization
MAX_ENTRY_CHARS = 100
MAX_TIMEOUT_MS = 300_000  # a stream's longest

_ENGLISH = re.compile(r"en([-_][a-z0-9]{2,8})*", re.IGNORECASE)
AUTO = "auto"
LANGUAGE = "en-us"  # of results, where the caller named none


class Use(StrEnum):
    """What is done with a field that is set."""

    HONOURED = "honoured"
    NO_EFFECT = "no effect"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Field:
    """One row of a table. `path` is the field's, as error details have it; `how` is for readers."""

    path: str
    use: Use
    how: str


@dataclass(frozen=True, slots=True)
class Features:
    """What there is to say about a transcript, and how it is written."""

    model: str
    format: AudioFormat
    multichannel: bool
    language: str
    word_times: bool
    word_confidence: bool
    punctuation: bool
    rewriting: Rewriting | None

    @property
    def words(self) -> bool:
        return self.word_times or self.word_confidence


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call asks for; all after `without_effect` is of streams only."""

    features: Features
    without_effect: tuple[str, ...] = ()
    interims: bool = False
    activity_events: bool = False
    start_timeout_ms: int | None = None
    end_timeout_ms: int | None = None
    single_utterance: bool = False
    endpointing_ms: int = DEFAULT_ENDPOINTING_MS

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
        )


def without_effect(config: Any, table: Mapping[str, Field], path: str = "") -> Iterator[str]:
    """The paths of the fields that are set and have no effect. Raises `UnsupportedParameter` for one that is refused,
    or that there is not in the vendor's API.
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
    """What is said of the audio. What is not raw describes itself. Raises `CallerError`."""
    if encoding not in raw:
        return AudioFormat(channels=_channels(channels, path))
    if not MIN_RATE <= rate <= MAX_RATE:
        said = f"`sample_rate_hertz` must be from {MIN_RATE} to {MAX_RATE} with {encoding}."
        raise CallerError(said, param=f"{path}sample_rate_hertz")
    return AudioFormat(raw[encoding], rate, _channels(channels, path))


def _channels(count: int, path: str) -> int:
    """0 is not to say. Raises `CallerError`."""
    if not 0 <= count <= MAX_CHANNELS:
        said = f"`audio_channel_count` must be from 1 to {MAX_CHANNELS}."
        raise CallerError(said, param=f"{path}audio_channel_count")
    return count or 1


def language(codes: Iterable[str], path: str) -> str:
    """That of the results: the first one. Raises `UnsupportedParameter` for one that cannot be heard here."""
    named = [code for code in codes if code]
    for code in named:
        if code.lower() != AUTO and not _ENGLISH.fullmatch(code):
            raise UnsupportedParameter("Only English (`en-US` and other regions) is supported.", param=path)
    return next((code.lower() for code in named if code.lower() != AUTO), LANGUAGE)


def alternatives(count: int, path: str) -> None:
    """Raises `CallerError`. How many there are at most; there is one."""
    if not 0 <= count <= MAX_ALTERNATIVES:
        raise CallerError(f"`max_alternatives` must be from 0 to {MAX_ALTERNATIVES}.", param=path)


def rewriting(config: Any, masks: bool) -> Rewriting | None:
    """Of a configuration, `None` where nothing is to be changed. Raises `CallerError`."""
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
    """One of the voice activity timeouts. Raises `CallerError`."""
    if not timeouts.HasField(name):
        return None
    timeout = milliseconds(getattr(timeouts, name))
    if not 0 < timeout <= MAX_TIMEOUT_MS:
        said = f"`{name}` must be more than 0 and at most {MAX_TIMEOUT_MS // 1000} seconds."
        raise CallerError(said, param=f"{path}{name}")
    return timeout


def media(content: bytes | None, uri: str, most_bytes: int) -> bytes | Url:
    """The recording. Raises `CallerError`."""
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
    """Raw audio that begins with a WAV header describes itself, as it does at Google."""
    headed = isinstance(audio, bytes) and begins_wav(audio)
    return AudioFormat() if headed else form
