"""How many words at the beginning of an interim will hardly change any more. Pure."""

from collections.abc import Sequence

from antiphon.core.text import plain

# Hypotheses in a row, the latest among them, that must have a word alike. With Moonshine tiny, of the words that are
# stable then 0.3 % change later, and 4 % with one hypothesis less.
AGREEING = 4
UNSURE = 1  # last words of a hypothesis, which the next sound may still change


class StableWords:
    """Compares the hypotheses of one utterance, each of more audio than the one before. Words are alike whatever their
    marks and capitals are, which depend on what follows.
    """

    def __init__(self) -> None:
        self._before: list[list[str]] = []
        self._count = 0

    def push(self, words: Sequence[str]) -> int:
        """Take the words of the next hypothesis, and return how many of them are stable. The number never falls."""
        now = [plain(word) for word in words]
        compared = [*self._before, now]
        if len(compared) == AGREEING:
            agreed = next((n for n, same in enumerate(zip(*compared, strict=False)) if len(set(same)) > 1), None)
            if agreed is None:
                agreed = min(map(len, compared))
            self._count = max(self._count, min(agreed, len(now) - UNSURE))
        self._before = compared[-AGREEING + 1 :]
        return self._count
