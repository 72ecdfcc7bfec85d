"""What a conversation's machine is given, and the acts that it asks for. `machine.py` decides, `conversation.py` acts.

A part is a session that the conversation is composed of: one that recognises, generates or synthesises. It is known by
the id of that session, which the machine chooses. A part that was opened is closed by exactly one `ClosePart`, except
one that could not be opened.
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
    """A part's events, as many as came at once. `sent` is what a generation has given with them, `characters` how many
    of a synthesis's are in sound.
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
    """The answer to `OpenRecordings`, of which `part` is the first: all are open, or because of `error` none is."""

    part: str
    error: AntiphonError | None = None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The answer to `Confirm`: what the response has generated is durable, or could not be recorded."""

    response_id: str
    error: AntiphonError | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """The transport has sent these outputs."""

    outputs: tuple[ConversationOutput, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """The time of the alarm may have come."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The conversation cannot go on."""

    error: AntiphonError


@dataclass(frozen=True, slots=True)
class Drain:
    """The server is stopping."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The caller has gone: everything is closed."""


PartEvent = PartOutput | PartEnd | OpenFailure | Admission | Confirmation
Event = ConversationInput | PartEvent | Delivery | Tick | Failure | Drain | Leave

# -- what is to be done ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tell:
    """Queue an output for the caller."""

    output: ConversationOutput


@dataclass(frozen=True, slots=True)
class TellLimits:
    """Queue an output that says how much room there is."""


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
class Recording:
    """Audio that one part recognises."""

    part: str
    audio: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OpenRecordings:
    """Open a part for each recording, or none of them. Answered by `Admission`."""

    spec: TranscribeSpec
    recordings: tuple[Recording, ...]


@dataclass(frozen=True, slots=True)
class FeedPart:
    """Give a part its next input. Whoever caused this waits until the part has taken it."""

    part: str
    input: Audio | Flush | Say | End


@dataclass(frozen=True, slots=True)
class EndPart:
    """End a part's input. Whoever caused this waits until the part has ended."""

    part: str


@dataclass(frozen=True, slots=True)
class TunePart:
    """Let a recognition end utterances so."""

    part: str
    tuning: Tuning


@dataclass(frozen=True, slots=True)
class EndAfter:
    """Let so much silence end a recognition's utterance, if the speaker does not go on."""

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
    """A held response is wanted: from now on its parts are charged. `synthesis` is empty where nothing speaks yet.
    Answered by `Confirmation`.
    """

    response_id: str
    generation: str
    synthesis: str


@dataclass(frozen=True, slots=True)
class AbortPart:
    """End a part with an error. Its events still come to their end."""

    part: str
    error: AntiphonError


@dataclass(frozen=True, slots=True)
class ClosePart:
    """Free a part; what it still does is given up. Of speech that was not heard to its end, `played_ms` says how far,
    and so much is charged.
    """

    part: str
    delivered: bool
    played_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """Give a `Tick` at that time, and not at the one that was asked for before. `None` for never."""

    at_ns: int | None


@dataclass(frozen=True, slots=True)
class VoiceToVoice:
    """Measure: so long the caller waited for the first sound of a reply."""

    ms: float


@dataclass(frozen=True, slots=True)
class BargeIn:
    """Measure: so long after the caller began to speak the reply was stopped."""

    ms: float


@dataclass(frozen=True, slots=True)
class Fail:
    """End the conversation with an error, after what is queued. The last output."""

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
