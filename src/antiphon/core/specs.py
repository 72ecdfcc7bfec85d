"""What a caller asks for, in our words. A surface makes one of these from its vendor's parameters."""

from dataclasses import dataclass, field
from enum import StrEnum

from antiphon.core.audio import AudioFormat, SpeechFormat
from antiphon.core.tensors import Parameters, Tensor

# Nobody waits for the end of an utterance in a recording, and words are heard better in context: on read speech, half
# as many are wrong as with 300 ms.
RECORDING_ENDPOINTING_MS = 800


@dataclass(frozen=True, slots=True)
class TranscribeSpec:
    """A transcription, live or of a whole recording.

    `model` is the public name the caller used. `multichannel` transcribes each channel on its own; otherwise they are
    mixed down. `endpointing_ms` is the silence that ends an utterance, `None` for never. `utterance_end_ms` is the
    silence after which `UtteranceEnded` is said, `None` for never. `incremental` says that finals are delivered as they
    come, each a result of its own; otherwise everything is one result at the end.
    """

    model: str
    format: AudioFormat = field(default_factory=AudioFormat)
    live: bool = False
    incremental: bool = False
    multichannel: bool = False
    interims: bool = False
    endpointing_ms: int | None = RECORDING_ENDPOINTING_MS
    utterance_end_ms: int | None = None
    speech_events: bool = False
    word_times: bool = False
    tokens: bool = False
    tags: tuple[str, ...] = ()


# -- language ----------------------------------------------------------------------------------------------------------


class Role(StrEnum):
    """Who says a message. `developer` and `system` are one."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's call of a tool; `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. An assistant's may call tools; a tool's answers the call `tool_call_id`."""

    role: Role
    text: str
    name: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; `parameters` is a JSON schema, as text. With `strict` its arguments keep to it."""

    name: str
    description: str = ""
    parameters: str = "{}"
    strict: bool = False


class ToolMode(StrEnum):
    NONE = "none"
    AUTO = "auto"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model calls tools; with `name` (then `mode` is `REQUIRED`) it calls that one."""

    mode: ToolMode = ToolMode.AUTO
    name: str = ""


class Shape(StrEnum):
    """What the text must be."""

    TEXT = "text"
    JSON = "json"  # any JSON object
    SCHEMA = "schema"  # JSON that keeps to a schema


@dataclass(frozen=True, slots=True)
class Format:
    """The shape of the output. `schema` is JSON text; `name` and `description` are the caller's, for the model."""

    shape: Shape = Shape.TEXT
    schema: str = ""
    name: str = ""
    description: str = ""
    strict: bool = True


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. `None` is the model's own default; a temperature of 0 is greedy.

    `max_tokens` bounds each choice's output, reasoning included. `logprobs` asks for each token's log-probability,
    `top_logprobs` for that many alternatives to each.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logprobs: bool = False
    top_logprobs: int = 0


@dataclass(frozen=True, slots=True)
class GenerateSpec:
    """Text from a language model: the answer to a conversation, or the continuation of a raw text.

    `model` is the public name the caller used. `choices` are that many independent outputs. `stream` says that output
    is delivered as it comes; otherwise everything is one result at the end.
    """

    model: str
    prompt: tuple[Message, ...] | str
    choices: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    format: Format = field(default_factory=Format)
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    parallel_tool_calls: bool = True
    stream: bool = False
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EmbedSpec:
    """A vector for each text (or list of the model's own tokens). `dimensions` is the size a vector shall have, `None`
    the model's own.
    """

    model: str
    texts: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WantedTensor:
    """An output the caller wants."""

    name: str
    parameters: Parameters = ()


@dataclass(frozen=True, slots=True)
class InferSpec:
    """Tensors for a model of any kind. `version` is one the model itself has, empty for its own choice. Without
    `outputs` all are wanted.
    """

    model: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[WantedTensor, ...] = ()
    version: str = ""
    parameters: Parameters = ()
    tags: tuple[str, ...] = ()


Spec = GenerateSpec | EmbedSpec | InferSpec  # of one call without audio


# -- speech ------------------------------------------------------------------------------------------------------------


class Markup(StrEnum):
    """What a text to speak is written in."""

    NONE = "none"
    SSML = "ssml"
    BREAKS = "breaks"  # plain text, in which `<break time="1.5s"/>` is a pause and every other tag is text


@dataclass(frozen=True, slots=True)
class SpeakSpec:
    """Speech from a text that comes whole, or from the pieces of a `live` conversation.

    `model` and `voice` are the public names the caller used; without a voice it is the model's first. `speed` is 1 for
    the voice's own. `timings` asks when each character is said, with the sound of it, which waits for that; with
    `times_follow` sound does not wait, and the times of a clause come with its last sound, where they can be had.
    `stream` says that speech is delivered as it comes; otherwise everything is one result at the end. `schedule` is how
    many characters wait, at least, before the first, second, ... piece of a live text is spoken (the last counts for
    all that follow); without one every clause is spoken as soon as it is whole, and the first ends after `first_words`
    even where it is not.
    """

    model: str
    voice: str = ""
    text: str = ""
    format: SpeechFormat = field(default_factory=SpeechFormat)
    markup: Markup = Markup.NONE
    speed: float = 1.0
    timings: bool = False
    times_follow: bool = False
    stream: bool = True
    live: bool = False
    schedule: tuple[int, ...] = ()
    first_words: int = 12
    tags: tuple[str, ...] = ()
