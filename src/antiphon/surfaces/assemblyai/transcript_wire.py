"""The shapes of transcripts, as AssemblyAI's own SDKs type them, and the kept data of a transcript."""

from typing import Any

import msgspec
from msgspec import Struct


class Word(Struct, frozen=True, omit_defaults=True):
    """A word. Times are milliseconds from the start of the recording. With channels the speaker is the channel."""

    text: str
    start: int
    end: int
    confidence: float
    speaker: str | None = None
    channel: str | None = None


class Passage(Struct, frozen=True, omit_defaults=True):
    """An utterance, a sentence or a paragraph."""

    text: str
    start: int
    end: int
    confidence: float
    words: list[Word]
    speaker: str | None = None
    channel: str | None = None


class Result(Struct, frozen=True):
    """The kept result of the recogniser. `channels` is 0 if they were mixed. `lacks` are the names of the parameters
    that had no effect on this model.
    """

    text: str
    confidence: float
    words: list[Word]
    utterances: list[Passage]
    audio_ms: int
    channels: int
    language: str
    language_confidence: float
    model: str
    lacks: list[str]


class Settled(Struct, frozen=True):
    """The settings of a job: the recording's URL as the caller gave it, the id of the upload if the URL is one, and the
    parameters.
    """

    url: str
    upload: str
    values: dict[str, Any]


class Named(Struct, frozen=True):
    """The part of a job's settings that a list shows."""

    url: str


class RedactedAudio(Struct, frozen=True):
    redacted_audio_url: str
    status: str


class UploadAnswer(Struct, frozen=True):
    upload_url: str


class Sentences(Struct, frozen=True):
    sentences: list[Passage]
    id: str
    confidence: float
    audio_duration: int
    speech_model_used: str


class Paragraphs(Struct, frozen=True):
    paragraphs: list[Passage]
    id: str
    confidence: float
    audio_duration: int
    speech_model_used: str


class Match(Struct, frozen=True):
    """The places of a word or phrase: its times in milliseconds, and the index of its first word among all words."""

    text: str
    count: int
    timestamps: list[tuple[int, int]]
    indexes: list[int]


class Matches(Struct, frozen=True):
    id: str
    total_count: int
    matches: list[Match]


class Item(Struct, frozen=True):
    """A transcript in a list."""

    id: str
    resource_url: str
    status: str
    created: str
    completed: str | None
    audio_url: str
    error: str | None


class PageDetails(Struct, frozen=True):
    """`prev_url` leads to older ones, `next_url` to newer ones."""

    limit: int
    result_count: int
    current_url: str
    prev_url: str | None
    next_url: str | None


class TranscriptPage(Struct, frozen=True):
    page_details: PageDetails
    transcripts: list[Item]


class Notification(Struct, frozen=True):
    """The body of a webhook."""

    transcript_id: str
    status: str


_values: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
settled: msgspec.json.Decoder[Settled] = msgspec.json.Decoder(Settled)
named: msgspec.json.Decoder[Named] = msgspec.json.Decoder(Named)  # skips the parameters, which may be large
result: msgspec.json.Decoder[Result] = msgspec.json.Decoder(Result)
write = msgspec.json.encode


def read_values(body: bytes) -> dict[str, Any]:
    """Return a JSON object. Raises `msgspec.MsgspecError`, `UnicodeError` or `RecursionError` for anything else."""
    return _values.decode(body)


def pack(result: Result, audio: bytes) -> bytes:
    """Return what is kept of a transcript: the result, and after a line end the copy of the recording, if any."""
    return b"%b\n%b" % (write(result), audio) if audio else write(result)


def unpack(kept: bytes) -> Result:
    """Return the result."""
    end = kept.find(b"\n")
    return result.decode(kept if end < 0 else memoryview(kept)[:end])


def audio_of(kept: bytes) -> bytes:
    """Return the copy of the recording; empty if there is none."""
    return kept.partition(b"\n")[2]
