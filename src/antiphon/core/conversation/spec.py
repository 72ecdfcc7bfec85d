"""What is asked of a conversation: who answers, how a turn is found, what is heard and said."""

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum

from antiphon.core.audio import AudioFormat, Encoding, SpeechFormat
from antiphon.core.specs import Sampling, Tool, ToolChoice


class Eagerness(StrEnum):
    """How soon a semantic turn detection takes a speaker to have finished."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Turns:
    """How the end of the caller's turn is found.

    Without `eagerness`, by `silence_ms` of silence. With it, by what was said: a sentence that is whole ends the turn
    sooner, one that hangs in the air later; `silence_ms` is unused. `threshold` (0..1) is the probability from which on
    sound is speech, 0.5 the usual; `padding_ms` of audio before the speech belong to the turn. After `idle_ms` without
    speech since the last reply was played out, the caller is answered all the same; `None` for never. `respond` says
    that the end of a turn is answered, `interrupt` that speech stops a reply.
    """

    eagerness: Eagerness | None = None
    threshold: float = 0.5
    padding_ms: int = 300
    silence_ms: int = 500
    idle_ms: int | None = None
    respond: bool = True
    interrupt: bool = True


@dataclass(frozen=True, slots=True)
class Transcription:
    """That the caller is told what was heard. `model` is a public name, empty for the server's own choice; `language`
    (BCP 47) is what is spoken, empty for one of `languages`, or for what the model hears by itself. `tokens` asks for
    the tokens of `HeardDone` with their log-probabilities.
    """

    model: str = ""
    language: str = ""
    tokens: bool = False
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConverseSpec:
    """A conversation, or with `answers` false one that only transcribes.

    `model` is the public name of the language model; `speech_model` and `voice` those of who speaks, empty for the
    server's own choice. `speak` says that replies are spoken (with their transcript), else they are text. `turns` is
    `None` where the caller commits and asks for responses. Where a conversation has become longer than the model reads,
    its oldest items are left out until `retain` (0..1) of it is left; `None` refuses the response instead.
    """

    model: str = ""
    answers: bool = True
    instructions: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    parallel_tool_calls: bool = True
    sampling: Sampling = field(default_factory=Sampling)
    retain: float | None = 1.0
    input_format: AudioFormat = field(default_factory=lambda: AudioFormat(Encoding.LINEAR16, 24_000))
    transcription: Transcription | None = None
    turns: Turns | None = field(default_factory=Turns)
    speak: bool = True
    speech_model: str = ""
    voice: str = ""
    output_format: SpeechFormat = field(default_factory=SpeechFormat)
    speed: float = 1.0
    tags: tuple[str, ...] = ()


def rebased(spec: ConverseSpec, base: ConverseSpec | None, now: ConverseSpec) -> ConverseSpec:
    """`now` with what `spec` has otherwise than `base`; all of `spec` where there is no `base`."""
    if base is None or base == now:
        return spec
    wanted = {each.name: getattr(spec, each.name) for each in fields(spec)}
    return replace(now, **{name: it for name, it in wanted.items() if it != getattr(base, name)})
