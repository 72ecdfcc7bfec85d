"""Which words of a partial result will stay, from how long successive ones have agreed on them."""

from collections.abc import Sequence
from enum import StrEnum


class Stability(StrEnum):
    """How sure it must be. A high one holds fewer words back."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


# How many partial results in a row must agree on a word, and how many at the end never count: their sound may go on.
AGREEING = {Stability.HIGH: (2, 1), Stability.MEDIUM: (3, 2), Stability.LOW: (4, 3)}


class Agreement:
    """Of the partial results of one utterance."""

    def __init__(self, stability: Stability) -> None:
        self._needed, self._tail = AGREEING[stability]
        self._results: list[Sequence[str]] = []
        self._stable = 0

    def stable_words(self, words: Sequence[str]) -> int:
        """How many of the next one's words, from the first on, are stable: never fewer than before."""
        self._results = [*self._results[1 - self._needed :], words]
        if len(self._results) == self._needed:
            agreed = 0
            for same in zip(*self._results, strict=False):
                if len(set(same)) > 1:
                    break
                agreed += 1
            self._stable = max(self._stable, min(agreed, len(words) - self._tail))
        return min(self._stable, len(words))
