"""What is asked of the engine (`Work`), by whom (`WorkOwner`), and where it waits (`Board`)."""

from dataclasses import dataclass, field
from itertools import chain, takewhile
from typing import Protocol

from antiphon.core.audio import BYTES_PER_SAMPLE, samples_to_ms
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Cause
from antiphon.core.ports import EngineCall, Hypothesis, Utterance
from antiphon.core.speech import StreamSpec
from antiphon.scheduler.policy import WorkKind

SENTENCE_WORDS = 3  # words said one by one are no sentence, and an engine loses count of them


@dataclass(slots=True)
class Segment:
    """An utterance that ended, until its turn to be said, and for as long as it is the context of the next."""

    start: int
    end: int
    cause: Cause
    onset: int
    spoken: int
    wished_ms: int = 0
    hypothesis: Hypothesis | None = None
    drained: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether it has been recognised, as the beginning of a sentence."""
        return self.hypothesis is not None and len(self.hypothesis.words) >= SENTENCE_WORDS


class WorkOwner(Protocol):
    """Whoever has work done: a stream. It keeps the audio for as long as the work waits."""

    @property
    def spec(self) -> StreamSpec: ...

    @property
    def call(self) -> EngineCall: ...

    def audio(self, start: int, end: int) -> bytes: ...

    def started(self, work: "Work") -> None:
        """The engine has been given the work."""

    def complete(self, work: "Work", hypothesis: Hypothesis) -> None:
        """The engine's result."""

    def fail(self, work: "Work", error: AntiphonError) -> None:
        """The engine could not do it."""


@dataclass(eq=False, slots=True)
class Work:
    """One piece of decoding, waiting or running: a `policy.WaitingWork`. `segment` is set where it makes a final; `key`
    is the board's. `context` is what was said just before; its audio is in front of that from `start` on.
    """

    stream: WorkOwner
    kind: WorkKind
    start: int
    end: int
    deadline_ns: int
    draft: tuple[int, ...]
    draft_end: int
    segment: Segment | None = None
    key: int = 0
    pcm: bytes = field(default=b"", repr=False)  # nobody's speech in a log
    context: tuple[Segment, ...] = ()

    @property
    def audio_ms(self) -> int:
        return samples_to_ms(self.end - self.begin)

    @property
    def begin(self) -> int:
        """Where the audio begins that it is decoded from, at the earliest."""
        return self.context[0].start if self.context else self.start

    @property
    def project(self) -> str:
        return self.stream.call.project

    @property
    def weight(self) -> int:
        return self.stream.call.weight

    @property
    def size(self) -> float:
        """What it counts against its project: its audio, but a short one is hardly less work than one of a second."""
        return max(1000.0, float(self.audio_ms))

    @property
    def new_audio_ms(self) -> int:
        """Of which no hypothesis tells yet."""
        return samples_to_ms(max(0, self.end - max(self.start, self.draft_end)))

    def utterance(self) -> Utterance:
        """What the engine is given, in as much of the context as has been recognised by now: nobody waits for it."""
        pcm = self.pcm or self.stream.audio(self.begin, self.end)
        self.context = tuple(takewhile(lambda segment: segment.goes_on, reversed(self.context)))[::-1]
        self.pcm = pcm[-(self.end - self.begin) * BYTES_PER_SAMPLE :]
        said = [segment.hypothesis.tokens for segment in self.context if segment.hypothesis]
        spec = self.stream.spec
        return Utterance(self.pcm, self.draft, spec.timed, tuple(chain(*said)), spec.guidance)

    def alone(self) -> None:
        """Once it has run: it shall again, without its context."""
        self.pcm = self.pcm[(self.start - self.begin) * BYTES_PER_SAMPLE :]
        self.context = ()


class Board(Protocol):
    """Where work waits."""

    def put(self, work: Work) -> None: ...

    def drop(self, work: Work) -> None: ...

    def forget(self, stream: WorkOwner) -> None: ...
