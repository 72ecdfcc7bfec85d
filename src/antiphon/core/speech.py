"""The port of speech recognition: a session's view of an engine that recognises speech, wherever it runs.

No time of one host's clock crosses it: positions are samples from the start of the stream, everything else is a
duration. The session records when each sample arrived, and counts the samples received.
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
    """A session's settings for a stream. `voice_threshold` holds until a `Tuning` has another."""

    channel: int = 0
    live: bool = True
    interims: bool = True
    endpointing_ms: int | None = 300
    utterance_end_ms: int | None = None
    speech_events: bool = False
    timed: bool = False
    tokens: bool = False
    guidance: Guidance = UNGUIDED
    voice_threshold: float = 0.5


@dataclass(frozen=True, slots=True)
class Tuning:
    """A stream's endpointing from now on. Only `silence_ms` ends an utterance in a pause; `None` for never. `Wait` may
    change it during the pause, to `soonest_ms` at the least. `threshold` (0..1) is the probability from which sound
    counts as speech; the detector's default is 0.5. `padding_ms` before the speech belong to an utterance.
    """

    silence_ms: int | None
    soonest_ms: int | None = None
    threshold: float = 0.5
    padding_ms: int = PADDING_MS


@dataclass(frozen=True, slots=True)
class Wait:
    """For the pause after the speech that ended at the position `pause`: `silence_ms` ends the utterance, even if it
    has passed already. After `early_ms` of it the stream reports that it may end. In another pause it has no effect.
    """

    pause: int
    silence_ms: int
    early_ms: int | None = None


Mark = Flush | Tuning | Guidance | Wait | End


@dataclass(frozen=True, slots=True)
class Drained:
    """The last event, after `End`: everything was sent."""

    channel: int


@dataclass(frozen=True, slots=True)
class SpeechEvent:
    """An event with the positions of the first and last sample of its speech; lateness counts from their arrival. If
    something else than silence ended an utterance (a flush, its length), `spoken` is that position; `wished_ms` of
    extra silence that the caller asked for do not count. A `paused` interim has the end of the speech before that pause
    as `spoken`.
    """

    event: SpeechStarted | Interim | Final | TurnMayEnd | SpeechResumed | UtteranceEnded | Drained
    onset: int = 0
    spoken: int = 0
    wished_ms: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """How busy an engine is. `waiting` counts work items by kind; `stream_share` is the fraction of one worker that a
    live stream with speech takes.
    """

    live: int
    recordings: int
    waiting: Mapping[str, int]
    workers: int
    stream_share: float


class SpeechStream(Protocol):
    """One channel's audio, and its recognition."""

    @property
    def speaking(self) -> bool:
        """Whether there was speech lately, as far as known here."""

    @property
    def settled(self) -> int:
        """A position (samples) before which no future or unread event lies. It may be lower than necessary."""

    def speech_peak(self) -> float:
        """Return the highest probability of speech (0..1) of any frame since the last call, 0 without a frame."""

    async def feed(self, pcm: bytes) -> None:
        """Send audio: 16 kHz mono int16 little-endian, whole samples. Waits if it comes faster than it is processed."""

    def tell(self, mark: Mark) -> None:
        """Send a mark, in order with the audio. A flush is answered by its own final, which may be empty; after the
        end, and after `Drained`, nothing follows.
        """

    def events(self) -> AsyncGenerator[tuple[SpeechEvent, ...], None]:
        """Yield the events, as many as are ready, in the order of the audio; until `Drained`, or until the stream is
        closed. Read it once, and continuously. Raises `AntiphonError` if the engine failed.
        """

    async def close(self) -> None:
        """Stop all work. May be called twice."""


class SpeechEngine(Protocol):
    """One engine that recognises speech."""

    @property
    def capabilities(self) -> SpeechCapabilities:
        """Its capabilities. It gets no request for others."""

    async def open(self, spec: StreamSpec, call: EngineCall) -> SpeechStream:
        """Open a stream. Raises `CapacityError`, `EngineError`."""

    def load(self) -> Load:
        """Return the last known load."""
