"""The words of a turn: which are final, and how they are written.

A word that was told as final stays, as AssemblyAI promises: a later hypothesis that has another one in its place
changes nothing. Only the formatted end of a turn has what the model heard at last. Words are compared, and told until
then, without punctuation and case, which change with what follows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from antiphon.core.agreement import agreed
from antiphon.core.events import Word
from antiphon.core.rewriting import bare as bare_word
from antiphon.surfaces.assemblyai import wire

CONFIDENCE_DIGITS = 4


class Turn:
    """One turn so far, in which utterances may have been parted by their length."""

    def __init__(self, order: int) -> None:
        self.order = order
        self._parts: list[Word] = []  # of parted utterances, all final
        self._written: list[Word] = []  # the same, as the model wrote them
        self._final: list[Word] = []  # of the utterance
        self._heard: list[Word] = []  # all of it, by the last hypothesis

    @property
    def final(self) -> list[Word]:
        return [*self._parts, *self._final]

    @property
    def tentative(self) -> list[Word]:
        return following(self._final, self._heard)

    @property
    def written(self) -> list[Word]:
        """What the model wrote, once the turn is over."""
        return self._written

    def hear(self, words: Sequence[Word]) -> None:
        """A hypothesis of the utterance."""
        before, self._heard = self._heard, bare(words)
        texts = [[word.text for word in each] for each in (before, self._heard)]
        self._final += following(self._final, self._heard[: agreed(texts, unsure=1)])

    def close(self, words: Sequence[Word]) -> None:
        """What was said in the utterance."""
        self._parts += [*self._final, *following(self._final, bare(words))]
        self._written += words
        self._final, self._heard = [], []


def following(final: Sequence[Word], words: Sequence[Word]) -> list[Word]:
    """The words behind those that are final, of a hypothesis that may have heard these otherwise: then by time."""
    if all(old.text == new.text for old, new in zip(final, words, strict=False)):
        return list(words[len(final) :])
    end_ms = final[-1].end_ms
    return [word for word in words if (word.start_ms + word.end_ms) // 2 >= end_ms]


def bare(words: Iterable[Word]) -> list[Word]:
    """Without punctuation and case; without marks that stand alone."""
    return [replace(word, text=text) for word in words if (text := bare_word(word))]


def rendered(words: Iterable[Word], *, final: bool) -> list[wire.Word]:
    return [
        wire.Word(word.start_ms, word.end_ms, round(word.confidence, CONFIDENCE_DIGITS), word.text, final)
        for word in words
    ]
