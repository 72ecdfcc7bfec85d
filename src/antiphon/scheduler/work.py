"""What a stream asks of the engine, and where it asks."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from antiphon.core.audio import samples_to_ms
from antiphon.core.events import Cause
from antiphon.core.ports import Hypothesis
from antiphon.scheduler.policy import Kind

if TYPE_CHECKING:
    from antiphon.scheduler.stream import Stream


@dataclass(slots=True)
class Segment:
    """An utterance that ended, until its turn to be said."""

    start: int
    end: int
    cause: Cause
    onset_ns: int
    spoken_ns: int
    hypothesis: Hypothesis | None = None
    drained: bool = False


@dataclass(eq=False, slots=True)
class Work:
    """One piece of decoding, waiting or running: a `policy.Item`. `segment` is set where it makes a final; `key` is the
    board's.
    """

    stream: "Stream"
    kind: Kind
    start: int
    end: int
    deadline_ns: int
    draft: tuple[int, ...]
    draft_end: int
    segment: Segment | None = None
    key: int = 0
    pcm: bytes = field(default=b"", repr=False)  # nobody's speech in a log

    @property
    def audio_ms(self) -> int:
        return samples_to_ms(self.end - self.start)

    @property
    def new_audio_ms(self) -> int:
        """Of which no hypothesis tells yet."""
        return samples_to_ms(max(0, self.end - max(self.start, self.draft_end)))

    def audio(self) -> bytes:
        return self.pcm or self.stream.audio(self.start, self.end)


class Board(Protocol):
    """Where work waits."""

    def put(self, work: Work) -> None: ...

    def drop(self, work: Work) -> None: ...

    def forget(self, stream: "Stream") -> None: ...
