"""One text of a session that speaks, and the clause of it that is being synthesised."""

from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from antiphon.core.events import ContextEnded, Flushed
from antiphon.core.specs import SpeakSpec
from antiphon.text.clauses import Clauses, Phrase

if TYPE_CHECKING:
    from antiphon.audio.speech import ClauseShaper


@dataclass(slots=True)
class Work:
    """A clause that is being synthesised, for the characters `text` that begin at `offset`. With timings its sound
    waits in `pcm` until all of it is there. `sounded` says that some of its sound was made and not thrown away.
    `heard` is all of its sound so far, where times are wanted.
    """

    phrase: Phrase
    text: str
    offset: int
    pieces: AsyncGenerator[bytes, None]
    shaper: "ClauseShaper"
    pcm: bytearray = field(default_factory=bytearray)
    sounded: bool = False
    heard: bytearray = field(default_factory=bytearray)


class Context:
    """One text. Positions are milliseconds of its speech, and characters of what was written."""

    def __init__(self, name: str, spec: SpeakSpec, speed: float, schedule: tuple[int, ...], rate: int) -> None:
        from antiphon.audio.encode import SpeechEncoder

        self.name = name
        self.speed = speed
        self.schedule = schedule
        self.clauses = Clauses(spec.markup, schedule, spec.first_words)
        self.waiting: deque[Phrase | Flushed | ContextEnded] = deque()
        self.work: Work | None = None
        self.encoder = SpeechEncoder(spec.format, rate, whole=not spec.stream)
        self.text = ""  # written, from `spoken` on
        self.spoken = 0
        self.samples = 0  # made
        self.flushed = 0  # of those, when a flush was last answered
        self.sent_ms = 0
        self.received_ns = 0  # when the text came that was not waited for by more
        self.plays_until_ns = 0

    @property
    def busy(self) -> bool:
        return self.work is not None or bool(self.waiting)

    def take(self, upto: int) -> str:
        """The written characters up to there, which are spoken from now on."""
        length = upto - self.spoken
        taken, self.text, self.spoken = self.text[:length], self.text[length:], upto
        return taken


async def silence() -> AsyncGenerator[bytes, None]:
    """The sound of a clause without words."""
    return
    yield
