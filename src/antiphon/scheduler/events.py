"""What a stream tells its session."""

from dataclasses import dataclass

from antiphon.core.events import Final, Interim, SpeechStarted, UtteranceEnded


@dataclass(frozen=True, slots=True)
class Drained:
    """After `end`: everything was said."""

    channel: int


@dataclass(frozen=True, slots=True)
class Heard:
    """An event with the arrival times of the first and the last sample of the speech it is about, from which lateness
    counts. Where something else than the speaker's silence ended an utterance (a flush, its length), `spoken_ns` is
    when that was; silence that the caller wants beyond the usual does not count.
    """

    event: SpeechStarted | Interim | Final | UtteranceEnded | Drained
    onset_ns: int = 0
    spoken_ns: int = 0
