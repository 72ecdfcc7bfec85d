"""Subtitles from timed text. A cue is (start_ms, end_ms, text). Its text is put on one line, because an empty line
would end the cue, and is never read as a time line; in WebVTT not as markup either, which SubRip cannot escape.
"""

import re
import textwrap
from collections.abc import Iterable

Cue = tuple[int, int, str]

_ARROW = re.compile("-{2,}>")  # in SubRip a line with `-->` is a time line


def srt(cues: Iterable[Cue], width: int | None = None) -> str:
    """Return SubRip: numbered from 1, `,` before the milliseconds, an empty line after each cue. With a `width` text is
    wrapped to at most that many characters, except longer words.
    """
    return "".join(
        f"{number}\n{clock_time(start_ms, ',')} --> {clock_time(end_ms, ',')}\n{_subrip(text, width)}\n\n"
        for number, (start_ms, end_ms, text) in enumerate(cues, start=1)
    )


def vtt(cues: Iterable[Cue]) -> str:
    """Return WebVTT (W3C, section 4.1): the signature, then cues; `&`, `<`, `>` are escaped in cue text (section
    4.2.2).
    """
    return "WEBVTT\n\n" + "".join(
        f"{clock_time(start_ms)} --> {clock_time(end_ms)}\n{_escaped(_line(text))}\n\n"
        for start_ms, end_ms, text in cues
    )


def clock_time(ms: int, point: str = ".") -> str:
    """Format milliseconds as `01:02:03.004`."""
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{ms:03}"


def _subrip(text: str, width: int | None) -> str:
    line = _ARROW.sub("->", _line(text))
    return line if width is None else "\n".join(textwrap.wrap(line, width, break_long_words=False))


def _line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
