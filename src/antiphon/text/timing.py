"""Conversion of the times of words to the times of characters."""

from collections.abc import Sequence
from typing import Protocol

from antiphon.core.events import CharacterTime


class Placed(Protocol):
    """A word as it is read aloud, and the half-open range of the written text that it replaces."""

    @property
    def read(self) -> str: ...

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


def written_times(
    text: str,
    offset: int,
    words: Sequence[Placed],
    times: Sequence[tuple[int, int]],
    start_ms: int,
    end_ms: int,
) -> tuple[CharacterTime, ...]:
    """Return every character of `text` in order, with its times. `text` begins at `offset` of what the words' ranges
    count.

    `times` are the words' (start, end) in milliseconds, `start_ms` and `end_ms` those of the speech. The characters of
    a word share its time evenly; those between words, the pause between them. White space that was returned with the
    text before, although it leads the first word, is not repeated.
    """
    found: list[CharacterTime] = []
    at, at_ms = offset, start_ms
    for start, end, begun_ms, stop_ms in _ranges(words, times):
        start = max(start, at)
        found += _spread(text[at - offset : start - offset], at_ms, begun_ms)
        found += _spread(text[start - offset : end - offset], begun_ms, stop_ms)
        at, at_ms = end, stop_ms
    found += _spread(text[at - offset :], at_ms, max(at_ms, end_ms))
    return tuple(found)


def read_times(words: Sequence[Placed], times: Sequence[tuple[int, int]]) -> tuple[CharacterTime, ...]:
    """Return every character of the words as they are read aloud, with a space between two and after the last, since
    words of another phrase follow.
    """
    found: list[CharacterTime] = []
    following_ms = [start_ms for start_ms, _ in times[1:]] + [stop_ms for _, stop_ms in times[-1:]]
    for word, (start_ms, stop_ms), next_ms in zip(words, times, following_ms, strict=True):
        found += _spread(word.read, start_ms, stop_ms)
        found += _spread(" ", stop_ms, next_ms)
    return tuple(found)


def _ranges(words: Sequence[Placed], times: Sequence[tuple[int, int]]) -> list[tuple[int, int, int, int]]:
    """Return (start, end, start_ms, end_ms); words that replace the same characters become one."""
    ranges: list[tuple[int, int, int, int]] = []
    for word, (start_ms, stop_ms) in zip(words, times, strict=True):
        if ranges and word.start < ranges[-1][1]:
            start, end, begun_ms, _ = ranges[-1]
            ranges[-1] = (start, max(end, word.end), begun_ms, stop_ms)
        else:
            ranges.append((word.start, word.end, start_ms, stop_ms))
    return ranges


def _spread(text: str, start_ms: int, end_ms: int) -> list[CharacterTime]:
    length = end_ms - start_ms
    return [
        CharacterTime(c, start_ms + length * n // len(text), start_ms + length * (n + 1) // len(text))
        for n, c in enumerate(text)
    ]
