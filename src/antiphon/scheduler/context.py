"""What was said just before, as the context of what is being said.

An endpoint shorter than usual ends an utterance within its sentence. Its final is said at once and stays; but what
follows is decoded from the audio of both, behind the words that were said, so that it is heard as the sentence's rest
and not as the beginning of another.
"""

from dataclasses import replace

from antiphon.core.audio import ms_to_samples, samples_to_ms
from antiphon.core.events import Word
from antiphon.core.ports import Hypothesis
from antiphon.core.text import plain
from antiphon.scheduler.work import Segment

SILENCE = ms_to_samples(1_000)  # after which nothing goes on
LONGEST = ms_to_samples(8_000)  # that is decoded in one, context and all


class Context:
    """One stream's: segments that followed on one another, the latest last."""

    def __init__(self) -> None:
        self._segments: tuple[Segment, ...] = ()

    def add(self, segment: Segment) -> None:
        self._segments = (*self._segments, segment)

    def clear(self) -> None:
        self._segments = ()

    def expire(self, now: int) -> None:
        """There was no speech since the last segment, up to that position."""
        if self._segments and now - self._segments[-1].end > SILENCE:
            self.clear()

    def upto(self, end: int) -> tuple[Segment, ...]:
        """What there is for an utterance that ends there."""
        segments = self._segments
        while segments and end - segments[0].start > LONGEST:
            segments = segments[1:]
        return segments

    def needed_from(self, now: int) -> int:
        """Where the audio begins that is needed still, at that position."""
        self._segments = self.upto(now - SILENCE)
        return self._segments[0].start if self._segments else now


def astray(hypothesis: Hypothesis, context: tuple[Segment, ...]) -> bool:
    """Whether what an engine heard may be of the context: nothing new, or the same once more."""
    last = context[-1].hypothesis
    return not hypothesis.text or (last is not None and plain(hypothesis.text) == plain(last.text))


def without(hypothesis: Hypothesis, context_samples: int) -> Hypothesis:
    """With times that count from the end of the context."""
    by_ms = samples_to_ms(context_samples)
    words = tuple(
        Word(word.text, max(0, word.start_ms - by_ms), max(0, word.end_ms - by_ms), word.confidence)
        for word in hypothesis.words
    )
    return replace(hypothesis, words=words)
