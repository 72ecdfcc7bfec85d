"""What a caller wants written otherwise than the model wrote it: words that are replaced, and profanity that is masked.

An utterance at a time, so that a phrase with a pause in it is not found. What was put in is not looked at again, but
for profanity. Pure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from antiphon.core.events import Transcript, Word
from antiphon.core.profanity import is_profane
from antiphon.core.text import join, plain, word_span

MASK = "****"


@dataclass(frozen=True, slots=True)
class Rewritten(Word):
    """A word that stands for others. `bare` is what it is without punctuation: in its own case."""

    bare: str = ""


@dataclass(frozen=True, slots=True)
class Replacement:
    """These words in place of those. Each word that is found has its own case only where the caller wrote a capital, or
    wants it `exact`.
    """

    find: tuple[str, ...]
    put: tuple[str, ...]
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Rewriting:
    """All of it, for one call. With `initials` a masked word keeps its first letter, and its length."""

    replacements: tuple[Replacement, ...] = ()
    masks: bool = False
    initials: bool = False

    def apply(self, transcript: Transcript) -> Transcript:
        """The transcript as it is to be written; itself where there is nothing to change."""
        words = list(self._replaced(transcript.words)) if self.replacements else list(transcript.words)
        if self.masks:
            words = [masked(word, self.initials) for word in words]
        if words == list(transcript.words):
            return transcript
        return replace(transcript, text=join(word.text for word in words), words=tuple(words))

    def _replaced(self, words: Sequence[Word]) -> Iterator[Word]:
        cores = [core(word.text) for word in words]
        at = 0
        while at < len(words):
            found = next((each for each in self.replacements if _stands_at(each, cores, at)), None)
            if found is None:
                yield words[at]
                at += 1
            else:
                end = at + len(found.find)
                yield from _put(found.put, words[at:end])
                at = end


MASKING = Rewriting(masks=True)


def bare(word: Word) -> str:
    """The word without punctuation; lower case but for what a caller put in. Empty for a mark that stands alone."""
    return word.bare if isinstance(word, Rewritten) else plain(word.text)


def core(text: str) -> str:
    """What of a word is compared: without the marks around it."""
    start, end = word_span(text)
    return text[start:end].replace("’", "'")


def _stands_at(wanted: Replacement, cores: Sequence[str], at: int) -> bool:
    return len(cores) - at >= len(wanted.find) and all(
        said == word or (not wanted.exact and said.lower() == word)
        for word, said in zip(wanted.find, cores[at : at + len(wanted.find)], strict=True)
    )


def _put(put: tuple[str, ...], words: Sequence[Word]) -> Iterator[Word]:
    """These in the place of those, with the marks around them: each in a part of their time."""
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


def masked(word: Word, initials: bool) -> Word:
    """The word, where it is a profanity as a mask; with `initials` its first letter stays, and its length."""
    start, end = word_span(word.text)
    if not is_profane(word.text[start:end]):
        return word
    mask = word.text[start] + "*" * (end - start - 1) if initials else MASK
    written = f"{word.text[:start]}{mask}{word.text[end:]}"
    return Rewritten(written, word.start_ms, word.end_ms, word.confidence, mask)
