"""One text of a speech session, and its clause that is being synthesised."""

from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from antiphon.catalogue.voices import Voice
from antiphon.core.events import ContextEnded, Flushed
from antiphon.core.specs import SpeakSpec
from antiphon.text.clauses import Clauses, Phrase

if TYPE_CHECKING:
    from antiphon.audio.speech import ClauseShaper


@dataclass(slots=True)
class SpeechWork:
    """A clause being synthesised, for the characters `text` that begin at `offset`. With timings its sound waits in
    `pcm` until all of it is there. `sound` is all of its sound so far, if times are wanted.
    """

    phrase: Phrase
    text: str
    offset: int
    pieces: AsyncGenerator[bytes, None]
    shaper: "ClauseShaper"
    pcm: bytearray = field(default_factory=bytearray)
    sound: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True)
class TextMark:
    """A mark in the text: `event` is due when the characters before `upto` have been spoken."""

    event: Flushed | ContextEnded
    upto: int = 0


class SpeechContext:
    """One text. Positions are milliseconds of its speech, and characters of the written text."""

    def __init__(self, name: str, spec: SpeakSpec, speed: float, schedule: tuple[int, ...], voice: Voice) -> None:
        from antiphon.audio.encode import SpeechEncoder

        self.name = name
        self.speed = speed
        self.schedule = schedule
        self.clauses = Clauses(spec.markup, schedule, spec.first_words)
        self.voice = self.writes_for = voice  # the voice now, and at the end of what waits
        self.waiting: deque[Phrase | Voice | TextMark] = deque()
        self.work: SpeechWork | None = None
        self.encoder = SpeechEncoder(spec.format, voice.engine.sample_rate, whole=not spec.stream)
        self.text = ""  # written, from `spoken` on
        self.spoken = 0
        self._billed = 0  # characters that are charged, or never will be
        self._sounded = False  # whether any became sound since the last mark
        self.samples = 0  # made
        self.flushed = 0  # of those, when a flush was last answered
        self.sent_ms = 0
        self.received_ns = 0  # when text arrived while nothing waited
        self.plays_until_ns = 0

    @property
    def busy(self) -> bool:
        return self.work is not None or bool(self.waiting)

    def take(self, upto: int) -> str:
        """Return the written characters up to there, which are spoken from now on, and the following white space of the
        same text: for some clients a word ends with the space after it.
        """
        length = upto - self.spoken
        length += len(self.text) - length - len(self.text[length:].lstrip())
        ends = next((mark.upto for mark in self.waiting if isinstance(mark, TextMark)), None)
        if ends is not None:
            length = min(length, ends - self.spoken)
        taken, self.text, self.spoken = self.text[:length], self.text[length:], self.spoken + length
        return taken

    def bill(self) -> int:
        """Return how many more characters to charge, now that the last ones taken become sound."""
        more, self._billed, self._sounded = self.spoken - self._billed, self.spoken, True
        return more

    def bill_rest(self, mark: TextMark) -> int:
        """Return the same for text before a mark that has no sound of its own: it is charged with the text it belongs
        to, and is free if all of that is silent (markup, emoji).
        """
        self.take(mark.upto)
        more = mark.upto - self._billed if self._sounded else 0
        self._billed, self._sounded = mark.upto, False
        return more


async def silence() -> AsyncGenerator[bytes, None]:
    """Yield the sound of a clause without words: none."""
    return
    yield
