"""The events that a conversation's machine takes, and the acts that it asks for. `machine.py` decides,
`conversation.py` acts.

A part is a session that the conversation is composed of: a recognition, a generation or a synthesis. Its id is the
session's, which the machine chooses. Each part that was opened is closed by exactly one `ClosePart`.
"""

from dataclasses import dataclass, field

from antiphon.core.conversation.inputs import ConversationInput
from antiphon.core.conversation.outputs import ConversationOutput
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Audio, End, Flush, LanguageOutput, Output, Say, SpeechOutput, TokenUsage
from antiphon.core.specs import GenerateSpec, SpeakSpec, TranscribeSpec
from antiphon.core.speech import Tuning

NO_TOKENS = TokenUsage(0, 0)

# -- what happens ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PartOutput:
    """A batch of a part's events. `sent` is the token usage of a generation so far; `characters`, how many characters
    of a synthesis are sound by now.
    """

    part: str
    events: tuple[Output | LanguageOutput | SpeechOutput, ...]
    sent: TokenUsage = NO_TOKENS
    characters: int = 0


@dataclass(frozen=True, slots=True)
class PartEnd:
    """A part has no more events."""

    part: str


@dataclass(frozen=True, slots=True)
class OpenFailure:
    """A part could not be opened."""

    part: str
    error: AntiphonError


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to `OpenRecordings`, whose first part is `part`: all are open, or none because of `error`."""

    part: str
    error: AntiphonError | None = None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The answer to `Confirm`: what the response generated is durable, or could not be recorded."""

    response_id: str
    error: AntiphonError | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The transport has sent these outputs."""

    outputs: tuple[ConversationOutput, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """The time of the alarm may have come."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The conversation cannot continue."""

    error: AntiphonError


@dataclass(frozen=True, slots=True)
class Drain:
    """The server is stopping."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The caller has left: close everything."""


PartEvent = PartOutput | PartEnd | OpenFailure | Admission | Confirmation
Event = ConversationInput | PartEvent | Receipt | Tick | Failure | Drain | Leave

# -- what is to be done ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tell:
    """Queue an output for the caller."""

    output: ConversationOutput


@dataclass(frozen=True, slots=True)
class TellLimits:
    """Queue an output with the rate limits."""


@dataclass(frozen=True, slots=True)
class Retract:
    """Drop the queued speech of an item."""

    item_id: str


@dataclass(frozen=True, slots=True)
class OpenPart:
    """Open a part and read its events. One that is `held` is not charged before `Confirm`."""

    part: str
    spec: TranscribeSpec | GenerateSpec | SpeakSpec
    held: bool = False


@dataclass(frozen=True, slots=True)
class PartAudio:
    """Audio that one part recognises."""

    part: str
    audio: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OpenRecordings:
    """Open a part for each recording, or none of them. Answered by `Admission`."""

    spec: TranscribeSpec
    recordings: tuple[PartAudio, ...]


@dataclass(frozen=True, slots=True)
class FeedPart:
    """Give a part its next input. Whoever caused this waits until the part has accepted it."""

    part: str
    input: Audio | Flush | Say | End


@dataclass(frozen=True, slots=True)
class EndPart:
    """End a part's input. Whoever caused this waits until the part has ended."""

    part: str


@dataclass(frozen=True, slots=True)
class TunePart:
    """Change how a recognition ends utterances."""

    part: str
    tuning: Tuning


@dataclass(frozen=True, slots=True)
class EndAfter:
    """End a recognition's utterance after this much silence, unless the speaker continues."""

    part: str
    silence_ms: int


@dataclass(frozen=True, slots=True)
class PausePart:
    """Read no more events of a part until `ResumePart`."""

    part: str


@dataclass(frozen=True, slots=True)
class ResumePart:
    """Read a part's events again."""

    part: str


@dataclass(frozen=True, slots=True)
class Confirm:
    """Charge the parts of a held response from now on. `synthesis` is empty if no part speaks yet. Answered by
    `Confirmation`.
    """

    response_id: str
    generation: str
    synthesis: str


@dataclass(frozen=True, slots=True)
class AbortPart:
    """End a part with an error. The rest of its events still arrive."""

    part: str
    error: AntiphonError


@dataclass(frozen=True, slots=True)
class ClosePart:
    """Free a part and stop its work. If its speech was not heard to the end, `played_ms` says how far; only that is
    charged.
    """

    part: str
    delivered: bool
    played_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """Send a `Tick` at that time, instead of the time asked for before. `None` means never."""

    at_ns: int | None


@dataclass(frozen=True, slots=True)
class VoiceToVoice:
    """Measure how long the caller waited for the first sound of a reply."""

    ms: float


@dataclass(frozen=True, slots=True)
class BargeIn:
    """Measure how long after the caller began to speak the reply was stopped."""

    ms: float


@dataclass(frozen=True, slots=True)
class Fail:
    """End the conversation with an error, after the queued outputs."""

    error: AntiphonError


Act = (
    Tell
    | TellLimits
    | Retract
    | OpenPart
    | OpenRecordings
    | FeedPart
    | EndPart
    | TunePart
    | EndAfter
    | PausePart
    | ResumePart
    | Confirm
    | AbortPart
    | ClosePart
    | Alarm
    | VoiceToVoice
    | BargeIn
    | Fail
)
