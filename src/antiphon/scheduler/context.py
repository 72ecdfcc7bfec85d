"""The words just before an utterance, as context for its decoding.

An endpoint shorter than usual may end an utterance within a sentence. Its final is sent at once and stays; but the next
utterance is decoded from the audio of both, after the words already sent, so that it is recognised as the rest of the
sentence and not as the start of another.
"""

from dataclasses import replace

from antiphon.core.audio import ms_to_samples, samples_to_ms
from antiphon.core.events import Word
from antiphon.core.ports import Hypothesis
from antiphon.core.text import plain
from antiphon.scheduler.work import Segment

SILENCE = ms_to_samples(1_000)  # after which no sentence continues
LONGEST = ms_to_samples(8_000)  # that is decoded at once, with context


class Context:
    """The segments of one stream that followed each other, the latest last."""

    def __init__(self) -> None:
        self._segments: tuple[Segment, ...] = ()

    def add(self, segment: Segment) -> None:
        self._segments = (*self._segments, segment)

    def clear(self) -> None:
        self._segments = ()

    def expire(self, now: int) -> None:
        """Clear the context if the silence up to `now` is too long for it."""
        if self._segments and now - self._segments[-1].end > SILENCE:
            self.clear()

    def upto(self, end: int) -> tuple[Segment, ...]:
        """Return the context of an utterance that ends at `end`."""
        segments = self._segments
        while segments and end - segments[0].start > LONGEST:
            segments = segments[1:]
        return segments

    def needed_from(self, now: int) -> int:
        """Return the position from which audio is still needed, at the position `now`."""
        self._segments = self.upto(now - SILENCE)
        return self._segments[0].start if self._segments else now


def repeats_context(hypothesis: Hypothesis, context: tuple[Segment, ...]) -> bool:
    """Return whether a hypothesis may be of the context: nothing new, or the same words again."""
    last = context[-1].hypothesis
    return not hypothesis.text or (last is not None and plain(hypothesis.text) == plain(last.text))


def without(hypothesis: Hypothesis, context_samples: int) -> Hypothesis:
    """Return the hypothesis with times that count from the end of the context."""
    by_ms = samples_to_ms(context_samples)
    words = tuple(
        Word(word.text, max(0, word.start_ms - by_ms), max(0, word.end_ms - by_ms), word.confidence)
        for word in hypothesis.words
    )
    return replace(hypothesis, words=words)
