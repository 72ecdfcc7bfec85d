"""Text that arrives in pieces becomes phrases to speak, each as soon as it is certainly complete.

The phrases do not depend on how the text was split into pieces. The first phrase, also after a flush, is short, so that
speech begins soon. Phrases are bounded, and so is everything that waits.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from antiphon.core.specs import Markup
from antiphon.text.boundaries import LONGEST, next_cut, scheduled_cut
from antiphon.text.markup import Event, Pause, Speed, Substitution, Text, reader
from antiphon.text.reading import READ, ReadWord, read_on

_PIECE = 512  # characters looked at in one go, so that a long text costs no more than many short ones
_DECIDES = re.compile(r"[\s。！？；、，—]")  # what a cut may depend on; without it, only the length matters
_RUNS = re.compile(r"\s+|\S+")


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words to speak at once, `speed` times as fast as usual, and the silence after them. Without words it is only a
    pause. A `flushed` one was the last of the text when it was cut.
    """

    words: tuple[ReadWord, ...]
    speed: float = 1.0
    pause_ms: int = 0
    flushed: bool = field(default=False, compare=False)

    @property
    def text(self) -> str:
        """The text for an engine."""
        return " ".join(word.read for word in self.words)


class Clauses:
    """The phrases of one text. Positions count all characters pushed so far, tags included.

    `schedule` is how many characters must wait before the first, second, ... cut (the last number applies to all later
    ones). A first phrase ends after `first_words` even without a comma. Methods raise `CallerError` for markup that is
    malformed or not supported; the object is of no use afterwards.
    """

    def __init__(self, markup: Markup, schedule: tuple[int, ...] = (), first_words: int = 12) -> None:
        self._reader = reader(markup)
        self._schedule = schedule
        self._made = 0  # cuts of the schedule so far
        self._text = ""  # white space in it is single
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._known: list[tuple[str, ...]] = []  # the words of each placeholder in it
        self._speed = 1.0
        self._signs = 0  # signs in a row at the end of the last phrase
        self._first_words = first_words
        self._short: int | None = first_words  # words after which the next phrase may end
        self._lead: int | None = None  # start of silent characters that belong to no phrase yet

    def push(self, text: str) -> list[Phrase]:
        return self._take(self._reader.feed(text))

    def flush(self) -> list[Phrase]:
        """Return the rest as phrases, complete or not."""
        phrases = self._take(self._reader.flush())
        phrases += self._rest()
        self._short, self._lead = self._first_words, None
        return [*phrases[:-1], *(replace(phrase, flushed=True) for phrase in phrases[-1:])]

    def _take(self, events: list[Event]) -> list[Phrase]:
        phrases: list[Phrase] = []
        for event in events:
            match event:
                case Text(text, start, end) if end - start == len(text):
                    for place in range(0, len(text), _PIECE):
                        phrases += self._append(text[place : place + _PIECE], start + place)
                case Text(text, start, end):
                    if text.isspace():
                        self._space(text, start, end)
                    else:
                        self._put(text, [start] * len(text), [end] * len(text))
                    phrases += self._cut()
                case Substitution(words, start, end):
                    self._known.append(words)
                    self._put(READ, [start], [end])
                    phrases += self._cut()
                case Pause(ms):
                    phrases += self._pause(ms)
                case Speed(factor):
                    phrases += self._rest()
                    self._speed = factor
        return phrases

    def _append(self, text: str, start: int) -> list[Phrase]:
        changed = self._text[-1:].isspace() or self._text[-1:] == "—" or _DECIDES.search(text) is not None
        for run in _RUNS.finditer(text):
            place = start + run.start()
            if not run[0].isspace():
                self._put(run[0], range(place, place + len(run[0])), range(place + 1, place + len(run[0]) + 1))
                continue
            self._space(run[0], place, place + 1)
        return self._cut() if changed or self._schedule or len(self._text) > LONGEST else []

    def _space(self, written: str, start: int, end: int) -> None:
        kind = "\n" if "\n" in written else " "
        if not self._text[-1:].isspace():
            self._put(kind, [start], [end])
        elif kind == "\n":
            self._text = self._text[:-1] + kind

    def _put(self, text: str, starts: Iterable[int], ends: Iterable[int]) -> None:
        self._text += text
        self._starts.extend(starts)
        self._ends.extend(ends)

    def _cut(self) -> list[Phrase]:
        """Return the phrases that are complete."""
        phrases: list[Phrase] = []
        if not self._schedule:
            while (end := next_cut(self._text, self._short, final=False)) is not None:
                phrases += self._phrase(end)
            return phrases
        while (end := scheduled_cut(self._text, self._schedule[min(self._made, len(self._schedule) - 1)])) is not None:
            self._made += 1
            phrases += self._phrases(end)
        return phrases

    def _rest(self) -> list[Phrase]:
        return self._phrases(len(self._text))

    def _phrases(self, upto: int) -> list[Phrase]:
        """Return everything before that position as phrases."""
        phrases: list[Phrase] = []
        while upto and (end := next_cut(self._text[:upto], self._short, final=True)) is not None:
            phrases += self._phrase(end)
            upto -= end
        self._drop(upto)
        return phrases

    def _phrase(self, end: int) -> list[Phrase]:
        text, starts, ends = self._text[:end], self._starts[:end], self._ends[:end]
        known = self._known[: text.count(READ)]
        self._drop(end)
        words, self._signs = read_on(text, starts, ends, known, self._signs)
        if not words:
            if self._lead is None:
                self._lead = starts[len(text) - len(text.lstrip())] if text.strip() else None
            return []
        if self._lead is not None:
            begun = words[0].start
            words = [replace(word, start=self._lead) if word.start == begun else word for word in words]
            self._lead = None
        self._short = None
        return [Phrase(tuple(words), self._speed)]

    def _drop(self, end: int) -> None:
        self._known = self._known[self._text[:end].count(READ) :]
        self._text = self._text[end:]
        del self._starts[:end], self._ends[:end]

    def _pause(self, ms: int) -> list[Phrase]:
        phrases = self._rest()
        self._lead = None
        if not ms:
            return phrases
        if phrases:
            return [*phrases[:-1], replace(phrases[-1], pause_ms=ms)]
        return [Phrase((), self._speed, ms)]
