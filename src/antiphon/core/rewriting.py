"""Changes to a transcript that a caller asks for: replaced words, and masked profanity.

They apply to one utterance at a time, so a phrase with a pause in it is not found. Replacements are not searched again,
except for profanity. Pure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from antiphon.core.events import Transcript, Word
from antiphon.core.profanity import is_profane
from antiphon.core.text import join, plain, word_span

MASK = "****"


@dataclass(frozen=True, slots=True)
class Rewritten(Word):
    """A word that replaces others. `bare` is the word without punctuation, in its own case."""

    bare: str = ""


@dataclass(frozen=True, slots=True)
class Replacement:
    """Words to find, and words to put in their place. The case of a word matters only if the caller wrote a capital, or
    wants it `exact`.
    """

    find: tuple[str, ...]
    put: tuple[str, ...]
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Rewriting:
    """All changes for one call. With `initials` a masked word keeps its first letter and its length."""

    replacements: tuple[Replacement, ...] = ()
    masks: bool = False
    initials: bool = False

    def apply(self, transcript: Transcript) -> Transcript:
        """Return the changed transcript; the same object if nothing changes."""
        words = list(self._replaced(transcript.words)) if self.replacements else list(transcript.words)
        if self.masks:
            words = [mask(word, self.initials) for word in words]
        if words == list(transcript.words):
            return transcript
        return replace(transcript, text=join(word.text for word in words), words=tuple(words))

    def _replaced(self, words: Sequence[Word]) -> Iterator[Word]:
        cores = [core(word.text) for word in words]
        beginning: dict[str, list[tuple[int, Replacement]]] = {}  # by the first word, with their order
        for order, each in enumerate(self.replacements):
            beginning.setdefault(each.find[0], []).append((order, each))
        at = 0
        while at < len(words):
            possible = (pair for first in {cores[at], cores[at].lower()} for pair in beginning.get(first, ()))
            fitting = (pair for pair in possible if _stands_at(pair[1], cores, at))
            _, found = min(fitting, key=itemgetter(0), default=(0, None))
            if found is None:
                yield words[at]
                at += 1
            else:
                end = at + len(found.find)
                yield from _put(found.put, words[at:end])
                at = end


MASKING = Rewriting(masks=True)


def bare(word: Word) -> str:
    """Return the word without punctuation, in lower case unless the caller put it in. Empty for a single mark."""
    return word.bare if isinstance(word, Rewritten) else plain(word.text)


def core(text: str) -> str:
    """Return the part of a word that is compared: without surrounding punctuation."""
    start, end = word_span(text)
    return text[start:end].replace("’", "'")


def _stands_at(wanted: Replacement, cores: Sequence[str], at: int) -> bool:
    return len(cores) - at >= len(wanted.find) and all(
        text == word or (not wanted.exact and text.lower() == word)
        for word, text in zip(wanted.find, cores[at : at + len(wanted.find)], strict=True)
    )


def _put(put: tuple[str, ...], words: Sequence[Word]) -> Iterator[Word]:
    """Yield words in the place of others, with the surrounding punctuation and a part of the time each."""
    first, last = words[0], words[-1]
    before, after = first.text[: word_span(first.text)[0]], last.text[word_span(last.text)[1] :]
    confidence = sum(word.confidence for word in words) / len(words)
    span_ms = last.end_ms - first.start_ms
    for i, text in enumerate(put):
        start_ms = first.start_ms + span_ms * i // len(put)
        end_ms = first.start_ms + span_ms * (i + 1) // len(put)
        if len(put) == len(words):
            start_ms, end_ms = words[i].start_ms, words[i].end_ms
        written = f"{before if i == 0 else ''}{text}{after if i == len(put) - 1 else ''}"
        yield Rewritten(written, start_ms, end_ms, confidence, text)


def mask(word: Word, initials: bool) -> Word:
    """Return the word, masked if it is a profanity; with `initials` its first letter and its length stay."""
    start, end = word_span(word.text)
    if not is_profane(word.text[start:end]):
        return word
    mask = word.text[start] + "*" * (end - start - 1) if initials else MASK
    written = f"{word.text[:start]}{mask}{word.text[end:]}"
    return Rewritten(written, word.start_ms, word.end_ms, word.confidence, mask)
