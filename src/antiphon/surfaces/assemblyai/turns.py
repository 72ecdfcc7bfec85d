"""The words of a turn: which are final, and how they are written.

A word that was reported as final is never changed, as AssemblyAI promises, even if a later hypothesis has another word
in its place. Only the formatted end of a turn has the model's last result. Words are compared, and reported until then,
without punctuation and case, which change with the following words.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from antiphon.core.agreement import common_words
from antiphon.core.events import Word
from antiphon.core.rewriting import bare as bare_word
from antiphon.surfaces.assemblyai import wire

CONFIDENCE_DIGITS = 4


class Turn:
    """One turn so far; long speech may have been split into several utterances."""

    def __init__(self, order: int) -> None:
        self.order = order
        self._parts: list[Word] = []  # of earlier utterances of the turn, all final
        self._written: list[Word] = []  # the same, as the model wrote them
        self._final: list[Word] = []  # the final words of the present utterance
        self._hypothesis: list[Word] = []  # all of its words, by the last hypothesis

    @property
    def final(self) -> list[Word]:
        return [*self._parts, *self._final]

    @property
    def tentative(self) -> list[Word]:
        return following(self._final, self._hypothesis)

    @property
    def written(self) -> list[Word]:
        """The words as the model wrote them, once the turn has ended."""
        return self._written

    def hear(self, words: Sequence[Word]) -> None:
        """Take a hypothesis of the utterance; words on which two hypotheses agree become final."""
        before, self._hypothesis = self._hypothesis, bare(words)
        texts = [[word.text for word in each] for each in (before, self._hypothesis)]
        self._final += following(self._final, self._hypothesis[: common_words(texts, unsure=1)])

    def close(self, words: Sequence[Word]) -> None:
        """End the utterance with these words."""
        self._parts += [*self._final, *following(self._final, bare(words))]
        self._written += words
        self._final, self._hypothesis = [], []


def following(final: Sequence[Word], words: Sequence[Word]) -> list[Word]:
    """Return the words after the final ones. If the hypothesis differs in these, the words are chosen by time."""
    if all(old.text == new.text for old, new in zip(final, words, strict=False)):
        return list(words[len(final) :])
    end_ms = final[-1].end_ms
    return [word for word in words if (word.start_ms + word.end_ms) // 2 >= end_ms]


def bare(words: Iterable[Word]) -> list[Word]:
    """Return the words without punctuation and case; separate punctuation marks are dropped."""
    return [replace(word, text=text) for word in words if (text := bare_word(word))]


def rendered(words: Iterable[Word], *, final: bool) -> list[wire.Word]:
    return [
        wire.Word(word.start_ms, word.end_ms, round(word.confidence, CONFIDENCE_DIGITS), word.text, final)
        for word in words
    ]
