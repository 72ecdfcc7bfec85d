"""The port of speech recognition: what a session sees of an engine that recognises speech, wherever that runs.

Nothing that crosses it is a time of one host's clock: positions are samples from the start of the stream, and all else
are durations. The session keeps when each sample arrived, and counts what was received.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Protocol

from antiphon.core.capabilities import SpeechCapabilities
from antiphon.core.events import (
    End,
    Final,
    Flush,
    Interim,
    SpeechResumed,
    SpeechStarted,
    TurnMayEnd,
    UtteranceEnded,
)
from antiphon.core.ports import UNGUIDED, EngineCall, Guidance

PADDING_MS = 224  # before the first speech: quiet first consonants


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What a session wants of a stream."""

    channel: int = 0
    live: bool = True
    interims: bool = True
    endpointing_ms: int | None = 300
    utterance_end_ms: int | None = None
    speech_events: bool = False
    timed: bool = False
    tokens: bool = False
    guidance: Guidance = UNGUIDED


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a stream listens from now on. `silence_ms` ends an utterance, and nothing else does in a pause; `None` for
    never. `Wait` may say otherwise in the pause itself; `soonest_ms` is the least it will say. From `threshold` on
    (0..1) sound is as likely speech as not; 0.5 is what the detector itself thinks. `padding_ms` before the speech
    belong to an utterance.
    """

    silence_ms: int | None
    soonest_ms: int | None = None
    threshold: float = 0.5
    padding_ms: int = PADDING_MS


@dataclass(frozen=True, slots=True)
class Wait:
    """In the pause after the speech that ended at the position `pause`: that silence ends the utterance, which may have
    lasted for as long already. After `early_ms` of it the stream says that it may end. In another pause it says
    nothing.
    """

    pause: int
    silence_ms: int
    early_ms: int | None = None


Mark = Flush | Tuning | Wait | End


@dataclass(frozen=True, slots=True)
class Drained:
    """After `End`: everything was said."""

    channel: int


@dataclass(frozen=True, slots=True)
class SpeechEvent:
    """An event with the positions of the first and the last sample of the speech it is about, from whose arrival
    lateness counts. Where something else than the speaker's silence ended an utterance (a flush, its length), `spoken`
    is where that was; `wished_ms` of silence that the caller wants beyond the usual do not count. An interim that is
    `paused` has the end of the speech before that pause as `spoken`.
    """

    event: SpeechStarted | Interim | Final | TurnMayEnd | SpeechResumed | UtteranceEnded | Drained
    onset: int = 0
    spoken: int = 0
    wished_ms: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """How busy an engine is. `waiting` counts pieces of work by kind; `stream_share` is the part of one worker that a
    live stream takes in which somebody speaks.
    """

    live: int
    recordings: int
    waiting: Mapping[str, int]
    workers: int
    stream_share: float


class SpeechStream(Protocol):
    """One channel's audio, and what is recognised in it."""

    @property
    def speaking(self) -> bool:
        """Whether somebody has spoken there lately, as far as is known here."""

    @property
    def settled(self) -> int:
        """The position before which nothing lies that an event still to come, or to be read, is about. It may be less
        than it could be.
        """

    async def feed(self, pcm: bytes) -> None:
        """More audio: 16 kHz mono int16 little-endian, whole samples. Waits where it comes faster than it is heard."""

    def tell(self, mark: Mark) -> None:
        """In order with the audio. A flush is answered by a final of its own, which may be empty; after the end, and
        after `Drained`, nothing comes.
        """

    def events(self) -> AsyncGenerator[tuple[SpeechEvent, ...], None]:
        """What is heard, as much as there is at a time, in the order of the audio; until `Drained`, or until the stream
        is closed. To be read once, and all the time. Raises `AntiphonError` where the engine failed.
        """

    async def close(self) -> None:
        """No more work. May be called twice."""


class SpeechEngine(Protocol):
    """One engine that recognises speech."""

    @property
    def capabilities(self) -> SpeechCapabilities:
        """What it can do. It is asked for nothing else."""

    async def open(self, spec: StreamSpec, call: EngineCall) -> SpeechStream:
        """Raises `CapacityError`, `EngineError`."""

    def load(self) -> Load:
        """As last known."""
