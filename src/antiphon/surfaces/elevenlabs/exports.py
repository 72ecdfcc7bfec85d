"""`additional_formats` of a transcription: the same words as subtitles, plain text or segments in JSON.

A segment is an utterance. Subtitles are also split at pauses, and where they would be too long to read, by ElevenLabs'
own limits; the caller may set limits for every format. Documents (`docx`, `pdf`, `html`) are not supported.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from antiphon.core.errors import CallerError, UnsupportedParameter
from antiphon.core.events import Final, Word
from antiphon.core.subtitles import clock_time, srt
from antiphon.core.text import join
from antiphon.surfaces.elevenlabs import transcripts, wire

NAME = "additional_formats"
FORMATS = ("srt", "txt", "segmented_json")
MAX_FORMATS = 10

Length = Annotated[int, Meta(ge=1, le=10_000)]
Seconds = Annotated[float, Meta(gt=0, le=100_000)]


class Export(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="format"):
    """A requested format: where segments end, besides the end of an utterance, and what they contain."""

    include_speakers: bool | None = None
    include_timestamps: bool | None = None
    segment_on_silence_longer_than_s: Seconds | None = None
    max_segment_duration_s: Seconds | None = None
    max_segment_chars: Length | None = None


class Srt(Export, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="srt"):
    """Subtitles, which always have times. The defaults are ElevenLabs' own."""

    max_characters_per_line: Length | None = 42
    segment_on_silence_longer_than_s: Seconds | None = 0.8
    max_segment_duration_s: Seconds | None = 4.0
    max_segment_chars: Length | None = 84


class Txt(Export, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="txt"):
    """Plain text. A segment is one line, unless the caller limits the length of lines."""

    max_characters_per_line: Length | None = None


class SegmentedJson(Export, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="segmented_json"):
    """Segments in JSON. Words have times, unless the caller excludes them."""


class Exported(Struct, frozen=True):
    """The transcript in one additional format."""

    requested_format: str
    file_extension: str
    content_type: str
    content: str
    is_base64_encoded: bool = False


class Segment(Struct, frozen=True):
    text: str
    start: float | UnsetType
    end: float | UnsetType
    words: list[transcripts.Word]


class Segments(Struct, frozen=True):
    language_code: str
    segments: list[Segment]


_objects = msgspec.json.Decoder(list[dict[str, Any]])
_capital = re.compile(r"(?<=[a-z])([A-Z])")


def read_exports(text: str) -> tuple[Export, ...]:
    """Return the requested formats. Raises `CallerError` for an invalid list, `UnsupportedParameter` for a format that
    is not supported.
    """
    try:
        # ElevenLabs' SDK for Node sends the fields as its users write them: `maxCharactersPerLine`.
        formats = [
            {_capital.sub(r"_\1", name).lower(): value for name, value in each.items()}
            for each in wire.read(lambda: _objects.decode(text))
        ]
        if len(formats) > MAX_FORMATS:
            raise CallerError(f"At most {MAX_FORMATS} formats are allowed.")
        if any(each.get("format") not in FORMATS for each in formats):
            raise UnsupportedParameter(f"Supported formats: {', '.join(FORMATS)}.")
        return tuple(wire.read(lambda: msgspec.convert(formats, list[Srt | Txt | SegmentedJson])))
    except CallerError as error:
        raise type(error)(error.message, param=NAME) from None


def export(options: Export, finals: Sequence[Final], language: str) -> Exported:
    """Return the transcript in that format. The words of `finals` must have times."""
    segments = [segment for final in finals for segment in _segments(options, final)]
    match options:
        case Srt():
            cues = ((each.start_ms, each.end_ms, each.transcript.text) for each in segments)
            return Exported("srt", "srt", "text/srt", srt(cues, options.max_characters_per_line))
        case Txt():
            return Exported("txt", "txt", "text/plain", "".join(_lines(options, each) for each in segments))
    content = Segments(language, [_segment(options, each) for each in segments])
    return Exported("segmented_json", "json", wire.JSON, wire.encode(content).decode())


def _segments(cuts: Export, final: Final) -> Iterator[Final]:
    """Yield the segments of an utterance, each from its first word to its last."""
    words: list[Word] = []
    text = ""
    for word in final.transcript.words:
        longer = join((text, word.text))
        if words and _ends(cuts, words, word, len(longer)):
            yield _part(final, words, text)
            words, longer = [], word.text
        words.append(word)
        text = longer
    if words:
        yield _part(final, words, text)


def _ends(cuts: Export, words: Sequence[Word], word: Word, chars: int) -> bool:
    """Return whether a segment of these words ends before `word`, with which it would have so many characters."""
    measures = (
        (cuts.segment_on_silence_longer_than_s, (word.start_ms - words[-1].end_ms) / 1000),
        (cuts.max_segment_duration_s, (word.end_ms - words[0].start_ms) / 1000),
        (cuts.max_segment_chars, chars),
    )
    return any(most is not None and would_be > most for most, would_be in measures)


def _part(final: Final, words: Sequence[Word], text: str) -> Final:
    transcript = replace(final.transcript, text=text, words=tuple(words))
    return replace(final, start_ms=words[0].start_ms, end_ms=words[-1].end_ms, transcript=transcript)


def _lines(options: Txt, segment: Final) -> str:
    text = segment.transcript.text
    if options.include_timestamps:
        text = f"[{clock_time(segment.start_ms)} --> {clock_time(segment.end_ms)}] {text}"
    width = options.max_characters_per_line
    return "".join(f"{line}\n" for line in ([text] if width is None else textwrap.wrap(text, width)))


def _segment(options: Export, segment: Final) -> Segment:
    timed = options.include_timestamps is not False
    return Segment(
        segment.transcript.text,
        segment.start_ms / 1000 if timed else UNSET,
        segment.end_ms / 1000 if timed else UNSET,
        transcripts.words_of([segment], transcripts.Granularity.WORD if timed else transcripts.Granularity.NONE),
    )
