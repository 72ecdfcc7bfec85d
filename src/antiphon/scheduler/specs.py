"""What is asked of a stream."""

from dataclasses import dataclass

from antiphon.core.audio import samples_to_ms
from antiphon.scheduler.endpoint import PRE_ROLL


@dataclass(frozen=True, slots=True)
class Timing:
    """How soon things are due, in milliseconds after the audio they are about arrived."""

    first_ms: int = 280
    retry_ms: int = 150
    final_ms: int = 560
    refresh_ms: int = 900
    recording_ms: int = 10_000


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


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a stream listens from now on. `silence_ms` ends an utterance, and nothing else does in a pause; `None` for
    never. `Stream.wait` may say otherwise in the pause itself; `soonest_ms` is the least it will say. From `threshold`
    on (0..1) sound is as likely speech as not; 0.5 is what the detector itself thinks. `padding_ms` before the speech
    belong to an utterance.
    """

    silence_ms: int | None
    soonest_ms: int | None = None
    threshold: float = 0.5
    padding_ms: int = samples_to_ms(PRE_ROLL)
