"""The closed vocabulary between a surface and a session.

`Input` is what a caller does, `Output` what comes back. Outputs carry decisions, not snapshots: an `Interim`
replaces the one before it, a `Final` never repeats. Times are milliseconds from the start of the stream.
"""

from dataclasses import dataclass
from enum import StrEnum

from antiphon.core.errors import AntiphonError

# -- inputs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Audio:
    """Bytes in the format the spec declared, as they came."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Flush:
    """Finalise what has been heard so far, keep the stream open."""


@dataclass(frozen=True, slots=True)
class End:
    """No more input; finalise, then close."""


Input = Audio | Flush | End

# -- outputs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Word:
    """One word as the model gave it, punctuation and case included.

    `confidence` is the geometric mean of its tokens' probabilities, 0..1.
    """

    text: str
    start_ms: int
    end_ms: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the model's output. `logprob` is natural; `id` is its place in the model's vocabulary."""

    text: str
    logprob: float
    id: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was recognised. `words` holds times only where the spec asked for them; `tokens` only likewise."""

    text: str
    confidence: float
    words: tuple[Word, ...] = ()
    tokens: tuple[Token, ...] = ()


class Cause(StrEnum):
    """Why an utterance became final."""

    ENDPOINT = "endpoint"  # the speaker paused for as long as the spec says
    FLUSH = "flush"  # the caller asked
    LENGTH = "length"  # the longest utterance was reached; the speaker goes on
    END = "end"  # the input ended


@dataclass(frozen=True, slots=True)
class Opened:
    """The first event of a session. `model` is the local name that answers."""

    model: str


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    channel: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Interim:
    """A replaceable transcript of the utterance that is being spoken."""

    channel: int
    start_ms: int
    end_ms: int
    transcript: Transcript


@dataclass(frozen=True, slots=True)
class Final:
    """The transcript of `start_ms..end_ms`, said once. Its text is empty where a flush found no speech."""

    channel: int
    start_ms: int
    end_ms: int
    transcript: Transcript
    cause: Cause


@dataclass(frozen=True, slots=True)
class UtteranceEnded:
    """No speech for as long as the spec's `utterance_end_ms` says since the last word's end."""

    channel: int
    last_word_end_ms: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The last event of a session that ended well. `audio_ms` is one channel's length, as the server counted it;
    `sha256` is of the caller's bytes as they came, in hex.
    """

    audio_ms: int
    channels: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The last event of a session that did not."""

    error: AntiphonError


Output = Opened | SpeechStarted | Interim | Final | UtteranceEnded | Closed | Failed
