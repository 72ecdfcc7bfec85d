"""Pieces of decoding (`Work`), who asks for them (`WorkOwner`), and where they wait (`Board`)."""

from dataclasses import dataclass, field
from itertools import chain, takewhile
from typing import Protocol

from antiphon.core.audio import BYTES_PER_SAMPLE, samples_to_ms
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Cause
from antiphon.core.ports import UNGUIDED, EngineCall, Guidance, Hypothesis, Utterance
from antiphon.core.speech import StreamSpec
from antiphon.scheduler.policy import WorkKind

SENTENCE_WORDS = 3  # words spoken one by one are no sentence, and an engine loses count of them


@dataclass(slots=True)
class Segment:
    """An utterance that ended, until its final is sent and while it is the context of the next."""

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
        """Whether it has been recognised as the beginning of a sentence."""
        return self.hypothesis is not None and len(self.hypothesis.words) >= SENTENCE_WORDS


class WorkOwner(Protocol):
    """The stream that work is for. It keeps the audio while the work waits."""

    @property
    def spec(self) -> StreamSpec: ...

    @property
    def call(self) -> EngineCall: ...

    def audio(self, start: int, end: int) -> bytes: ...

    def started(self, work: "Work") -> None:
        """Note that the engine runs the work."""

    def complete(self, work: "Work", hypothesis: Hypothesis) -> None:
        """Take the engine's result."""

    def fail(self, work: "Work", error: AntiphonError) -> None:
        """Note that the engine failed."""


@dataclass(eq=False, slots=True)
class Work:
    """One piece of decoding, waiting or running: a `policy.WaitingWork`. `segment` is set if it makes a final; `key`
    belongs to the board. The audio of `context`, the utterances just before, lies before `start`.
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
    pcm: bytes = field(default=b"", repr=False)  # never log speech
    context: tuple[Segment, ...] = ()
    guidance: Guidance = UNGUIDED

    @property
    def audio_ms(self) -> int:
        return samples_to_ms(self.end - self.begin)

    @property
    def begin(self) -> int:
        """Where the audio to decode begins at the earliest."""
        return self.context[0].start if self.context else self.start

    @property
    def project(self) -> str:
        return self.stream.call.project

    @property
    def weight(self) -> int:
        return self.stream.call.weight

    @property
    def size(self) -> float:
        """What it counts against its project: the length of its audio, but at least 1 s, since shorter ones hardly take
        less.
        """
        return max(1000.0, float(self.audio_ms))

    @property
    def new_audio_ms(self) -> int:
        """Audio that no hypothesis covers yet."""
        return samples_to_ms(max(0, self.end - max(self.start, self.draft_end)))

    def utterance(self) -> Utterance:
        """Return the utterance for the engine, with as much context as is recognised by now."""
        pcm = self.pcm or self.stream.audio(self.begin, self.end)
        self.context = tuple(takewhile(lambda segment: segment.goes_on, reversed(self.context)))[::-1]
        self.pcm = pcm[-(self.end - self.begin) * BYTES_PER_SAMPLE :]
        tokens = [segment.hypothesis.tokens for segment in self.context if segment.hypothesis]
        return Utterance(self.pcm, self.draft, self.stream.spec.timed, tuple(chain(*tokens)), self.guidance)

    def alone(self) -> None:
        """Prepare to run again, without the context."""
        self.pcm = self.pcm[(self.start - self.begin) * BYTES_PER_SAMPLE :]
        self.context = ()


class Board(Protocol):
    """Where work waits."""

    def put(self, work: Work) -> None: ...

    def drop(self, work: Work) -> None: ...

    def forget(self, stream: WorkOwner) -> None: ...
