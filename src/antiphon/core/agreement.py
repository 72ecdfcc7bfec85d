"""The first words on which successive hypotheses of one utterance agree: they will hardly change any more. Pure."""

from collections.abc import Sequence


def common_words(hypotheses: Sequence[Sequence[str]], unsure: int) -> int:
    """Return how many first words all hypotheses have in common. The last `unsure` words of the latest one do not
    count, because they may be incomplete.
    """
    alike = 0
    for same in zip(*hypotheses, strict=False):
        if len(set(same)) > 1:
            break
        alike += 1
    return max(0, min(alike, len(hypotheses[-1]) - unsure))


class LocalAgreement:
    """The agreement of the hypotheses of one utterance, each of more audio than the one before. `needed` (two or
    more) in a row must agree.
    """

    def __init__(self, needed: int, unsure: int) -> None:
        self._needed = needed
        self._unsure = unsure
        self._before: list[Sequence[str]] = []
        self._count = 0

    def push(self, words: Sequence[str]) -> int:
        """Take the words of the next hypothesis, and return how many of the first will stay. The number never falls."""
        compared = [*self._before, words]
        if len(compared) == self._needed:
            self._count = max(self._count, common_words(compared, self._unsure))
        self._before = compared[1 - self._needed :]
        return self._count
