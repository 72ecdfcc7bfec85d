"""What a caller asks for, in our words. A surface makes one of these from its vendor's parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from antiphon.core.audio import AudioFormat, SpeechFormat
from antiphon.core.tensors import Parameters, Tensor

# Nobody waits for the end of an utterance in a recording, and words are heard better in context: on read speech, half
# as many are wrong as with 300 ms.
RECORDING_ENDPOINTING_MS = 800


@dataclass(frozen=True, slots=True)
class TurnRules:
    """When a speaker's turn ends: once it is as sure as `confidence` (0..1) that nothing more comes, by what was said
    and the silence since, but not before `least_ms` of it, or after `timeout_ms` of silence in any case. With
    `early_confidence` it is told before, at that. From `voice_threshold` on (0..1) sound is as likely speech as not;
    0.5 is what the detector itself thinks.
    """

    confidence: float = 0.7
    timeout_ms: int = 5_000
    early_confidence: float | None = None
    least_ms: int = 0
    voice_threshold: float = 0.5


@dataclass(frozen=True, slots=True)
class TranscribeSpec:
    """A transcription, live or of a whole recording.

    `model` is the public name the caller used. `multichannel` transcribes each channel on its own; otherwise they are
    mixed down. `endpointing_ms` is the silence that ends an utterance, `None` for never. `utterance_end_ms` is the
    silence after which `UtteranceEnded` is said, `None` for never. `incremental` says that finals are delivered as they
    come, each a result of its own; otherwise everything is one result at the end. With `turns`, an utterance of a live
    stream ends by these rules in place of `endpointing_ms`, and is a turn.

    `language` (BCP 47) is what is spoken; empty: one of `languages`, and where there are none, what the engine hears by
    itself. With `detect` the engine must find it out and say it. With `translate` the transcript is in English.
    `prompt` is a text that may have come before, and `keyterms` words that may be said; they guide the engine. Of a
    recording only what is from `from_ms` on and before `until_ms` is heard, whose times begin at `from_ms`, as 0.
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
    turns: TurnRules | None = None
    tags: tuple[str, ...] = ()
    language: str = ""
    languages: tuple[str, ...] = ()
    detect: bool = False
    translate: bool = False
    prompt: str = ""
    keyterms: tuple[str, ...] = ()
    from_ms: int = 0
    until_ms: int | None = None


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
class Image:
    """A picture. `url` is a `data:` URL of a PNG, JPEG, WebP or GIF in base64, or where it is to be fetched from; an
    engine is given the former only. `detail` is how closely it shall be looked at, empty for the model's own choice.
    `param` is where the caller put it, as errors about it have it.
    """

    url: str
    detail: str = ""
    param: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. An assistant's may call tools; a tool's answers the call `tool_call_id`. Of one with
    pictures `parts` are its texts and those, in order, and `text` is all of its texts; any other has no parts.
    """

    role: Role
    text: str
    name: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    parts: tuple[str | Image, ...] = ()


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
    CHOICE = "choice"  # one of some texts
    REGEX = "regex"  # what a regular expression matches
    GRAMMAR = "grammar"  # what a grammar produces


@dataclass(frozen=True, slots=True)
class Format:
    """The shape of the output. `schema` is JSON text, of a choice a list of its texts; of a regular expression or a
    grammar it is that. `name` and `description` are the caller's, for the model. `param` is where the caller said it.
    """

    shape: Shape = Shape.TEXT
    schema: str = ""
    name: str = ""
    description: str = ""
    strict: bool = True
    param: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. `None` is the model's own default; a temperature of 0 is greedy.

    `max_tokens` bounds each choice's output, reasoning included. `logprobs` asks for each token's log-probability,
    `top_logprobs` for that many alternatives to each. `top_k` keeps that many tokens to choose from, 0 all, `min_p`
    those that are at least so probable in relation to the most probable one. A `repetition_penalty` of 1 changes
    nothing. Before `min_tokens`, and with `ignore_eos` at all, no token ends the output. `logit_bias` is (token, what
    is added to its logit). `stop_token_ids` end the output as `stop` does, which is a part of it with `stop_in_output`;
    with `special_tokens` those are a part of it, too. `bad_words` do not occur in it, and with `allowed_token_ids` no
    other tokens do.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    logit_bias: tuple[tuple[str, float], ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    stop_in_output: bool = False
    special_tokens: bool = False
    bad_words: tuple[str, ...] = ()
    allowed_token_ids: tuple[int, ...] = ()

    @property
    def left_to_the_model(self) -> bool:
        """The caller says nothing of how tokens are chosen."""
        weights = (self.presence_penalty, self.frequency_penalty, self.repetition_penalty)
        return all(said is None for said in (self.temperature, self.top_p, self.top_k, self.min_p, *weights))


EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True)
class GenerateSpec:
    """Text from a language model: the answer to a conversation, or the continuation of a raw text.

    `model` is the public name the caller used. `choices` are that many independent outputs. `stream` says that output
    is delivered as it comes; otherwise everything is one result at the end. `template_arguments` are a JSON object, or
    empty: what the model's own template of a conversation is given beside it. With `counts` a stream begins with what
    was read. `reasoning_effort` is one of `EFFORTS`, `verbosity` "low", "medium" or "high"; empty is the model's own.
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
    template_arguments: str = ""
    counts: bool = False
    reasoning_effort: str = ""
    verbosity: str = ""


@dataclass(frozen=True, slots=True)
class EmbedSpec:
    """A vector for each text (or list of the model's own tokens). `dimensions` is the size a vector shall have, `None`
    the model's own. With `foreign_tokens` a model that answers under another name than its own has other tokens than
    the caller means.
    """

    model: str
    texts: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    tags: tuple[str, ...] = ()
    foreign_tokens: bool = False


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
class Line:
    """What one voice says of a dialogue."""

    voice: str
    text: str


@dataclass(frozen=True, slots=True)
class SpeakSpec:
    """Speech from a text that comes whole, or from the pieces of a `live` conversation.

    `model` and `voice` are the public names the caller used; without a voice it is the model's first. `speed` is 1 for
    the voice's own. `timings` asks when each character is said, with the sound of it, which waits for that; with
    `times_follow` sound does not wait, and the times of a clause come with its last sound, where they can be had.
    `stream` says that speech is delivered as it comes; otherwise everything is one result at the end. `schedule` is how
    many characters wait, at least, before the first, second, ... piece of a live text is spoken (the last counts for
    all that follow); without one every clause is spoken as soon as it is whole, and the first ends after `first_words`
    even where it is not. `lines` are a text of several voices, in place of `text` and `voice`, each said after the one
    before. `language` is the BCP 47 tag of the one that the text is in, empty where the caller does not say.
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
    lines: tuple[Line, ...] = ()
    language: str = ""


def content_bytes(spec: Spec | SpeakSpec) -> int:
    """About how much memory what the caller said takes."""
    match spec:
        case SpeakSpec():
            return len(spec.text) + sum(len(line.text) for line in spec.lines)
        case EmbedSpec():
            return sum(map(len, spec.texts))
        case InferSpec():
            return sum(len(each.data) for each in spec.inputs)
    around = len(spec.format.schema) + sum(len(tool.parameters) for tool in spec.tools)
    return around + (len(spec.prompt) if isinstance(spec.prompt, str) else said_bytes(spec.prompt))


def said_bytes(messages: Sequence[Message]) -> int:
    """About how much memory messages take."""
    calls = sum(len(call.arguments) for message in messages for call in message.tool_calls)
    parts = (part for message in messages for part in message.parts)
    pictures = sum(len(part.url) for part in parts if isinstance(part, Image))
    return calls + pictures + sum(len(message.text) for message in messages)
