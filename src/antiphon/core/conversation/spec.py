"""What is asked of a conversation: the model, turn detection, and the formats of input and output."""

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum

from antiphon.core.audio import AudioFormat, Encoding, SpeechFormat
from antiphon.core.specs import Sampling, Tool, ToolChoice


class Eagerness(StrEnum):
    """How soon semantic turn detection assumes that a speaker has finished."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Turns:
    """How the end of the caller's turn is found.

    Without `eagerness`, by `silence_ms` of silence. With it, by the words: a complete sentence ends the turn sooner
    than an incomplete one; `silence_ms` is unused. `threshold` (0..1) is the probability from which sound counts as
    speech, by default 0.5; `padding_ms` of audio before the speech belong to the turn. After `idle_ms` without speech
    since the last reply was played, a response is made anyway; `None` for never. `respond`: the end of a turn is
    answered. `interrupt`: speech stops a reply.
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
    """The transcription of the caller's audio. `model` is a public name, empty for the server's choice; `language` (BCP
    47) is the spoken one, empty for one of `languages`, or for the model's own detection. `tokens` adds the tokens to
    `TranscriptionDone`, with log-probabilities.
    """

    model: str = ""
    language: str = ""
    tokens: bool = False
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConverseSpec:
    """A conversation, or with `answers` false one that only transcribes.

    `model` is the public name of the language model; `speech_model` and `voice` those of the synthesis, empty for the
    server's choice. With `speak`, replies are spoken (with their transcript), else they are text. `turns` is `None` if
    the caller commits and asks for responses. If a conversation exceeds the model's context, its oldest items are left
    out until `retain` (0..1) of it is left; `None` refuses the response instead.
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


def rebase(spec: ConverseSpec, base: ConverseSpec | None, now: ConverseSpec) -> ConverseSpec:
    """Return `now` with the fields in which `spec` differs from `base`; without a `base`, `spec`."""
    if base is None or base == now:
        return spec
    wanted = {each.name: getattr(spec, each.name) for each in fields(spec)}
    return replace(now, **{name: it for name, it in wanted.items() if it != getattr(base, name)})
