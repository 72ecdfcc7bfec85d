"""A caller's request in the server's own terms. A surface makes one of these from its vendor's parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from antiphon.core.audio import AudioFormat, SpeechFormat
from antiphon.core.redaction import RedactedAudio, Redaction
from antiphon.core.tensors import Parameters, Tensor

# Latency does not matter in a recording, and context improves recognition: on read speech, half as many words are wrong
# as with 300 ms.
RECORDING_ENDPOINTING_MS = 800


@dataclass(frozen=True, slots=True)
class TurnRules:
    """When a speaker's turn ends: once the probability that it is over, by the words and the silence since, reaches
    `confidence` (0..1), but after at least `least_ms` and at most `timeout_ms` of silence. At `early_confidence` an
    earlier event is sent. `voice_threshold` (0..1) is the detector's probability from which sound counts as speech; its
    default is 0.5.
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
    silence after which `UtteranceEnded` is sent, `None` for never. `incremental`: each final is delivered at once as a
    separate result; otherwise there is one result at the end. With `turns`, an utterance of a live stream ends by these
    rules in place of `endpointing_ms`, and is a turn; without, `voice_threshold` (0..1) is the detector's probability
    from which sound counts as speech.

    `language` (BCP 47) is the spoken one; empty: one of `languages`, and without those, the engine's own choice. With
    `detect` the engine must detect and report it. With `translate` the transcript is in English. `prompt` is a text
    that may have come before, and `keyterms` words that may be spoken; they guide the engine. Of a recording only the
    part from `from_ms` to `until_ms` is recognised; its times begin at 0. `redaction` is what the caller wants hidden,
    in addition to the project's policy, and `redacted_audio` asks for a copy of the recording without it. With
    `charges_time`, how long a live stream is open is counted, too.
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
    voice_threshold: float = 0.5
    tags: tuple[str, ...] = ()
    language: str = ""
    languages: tuple[str, ...] = ()
    detect: bool = False
    translate: bool = False
    prompt: str = ""
    keyterms: tuple[str, ...] = ()
    from_ms: int = 0
    until_ms: int | None = None
    redaction: Redaction | None = None
    redacted_audio: RedactedAudio | None = None
    charges_time: bool = False


# -- language ----------------------------------------------------------------------------------------------------------


class Role(StrEnum):
    """The author of a message. `developer` and `system` are the same."""

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
    """A picture. `url` is a `data:` URL of a PNG, JPEG, WebP or GIF in base64, or the address to fetch it from; an
    engine gets only the former. `detail` is the resolution to view it at, empty for the model's choice. `param` is the
    caller's parameter, for errors.
    """

    url: str
    detail: str = ""
    param: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. An assistant's may call tools; a tool's answers the call `tool_call_id`. With
    pictures, `parts` are its texts and pictures in order, and `text` is all of its texts; otherwise there are no parts.
    """

    role: Role
    text: str
    name: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    parts: tuple[str | Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; `parameters` is a JSON schema, as text. With `strict` its arguments match it."""

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
    """The required form of the output."""

    TEXT = "text"
    JSON = "json"  # any JSON object
    SCHEMA = "schema"  # JSON that matches a schema
    CHOICE = "choice"  # one of some texts
    REGEX = "regex"  # what a regular expression matches
    GRAMMAR = "grammar"  # what a grammar produces


@dataclass(frozen=True, slots=True)
class Format:
    """The form of the output. `schema` is JSON text; for a choice a list of its texts; or the regular expression or
    grammar itself. `name` and `description` are the caller's, for the model. `param` is the caller's parameter.
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
    `top_logprobs` for that many alternatives to each. `top_k` keeps that many tokens to choose from, 0 all; `min_p`
    keeps those of at least this probability relative to the most probable one. A `repetition_penalty` of 1 changes
    nothing. Before `min_tokens`, or ever with `ignore_eos`, no token ends the output. `logit_bias` holds (token, number
    to add to its logit). `stop` and `stop_token_ids` end the output, which includes the stop text with
    `stop_in_output`, and special tokens with `special_tokens`. `bad_words` never occur in it; with `allowed_token_ids`
    only those tokens do.
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
        """Whether the caller sets no parameter of the choice of tokens."""
        weights = (self.presence_penalty, self.frequency_penalty, self.repetition_penalty)
        return all(value is None for value in (self.temperature, self.top_p, self.top_k, self.min_p, *weights))


EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True)
class GenerateSpec:
    """Text from a language model: the answer to a conversation, or the continuation of a raw text.

    `model` is the public name the caller used. `choices` is the number of independent outputs. `stream`: output is
    delivered as it is generated; otherwise there is one result at the end. `template_arguments` is a JSON object of
    extra arguments for the model's chat template, or empty. With `counts` a stream begins with the input tokens.
    `reasoning_effort` is one of `EFFORTS`, `verbosity` "low", "medium" or "high"; empty is the model's own.
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
    """A vector for each text (or list of the model's own tokens). `dimensions` is the requested size of a vector,
    `None` the model's own. `foreign_tokens`: if the model name is an alias, the caller's tokens are another model's.
    """

    model: str
    texts: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    tags: tuple[str, ...] = ()
    foreign_tokens: bool = False


@dataclass(frozen=True, slots=True)
class WantedTensor:
    """An output that the caller wants."""

    name: str
    parameters: Parameters = ()


@dataclass(frozen=True, slots=True)
class InferSpec:
    """Tensors for a model of any kind. `version` is one of the model's own, empty for its choice. Without `outputs` all
    are wanted.
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
    """The markup of a text to speak."""

    NONE = "none"
    SSML = "ssml"
    BREAKS = "breaks"  # plain text, in which `<break time="1.5s"/>` is a pause and every other tag is text


@dataclass(frozen=True, slots=True)
class Line:
    """The text of one voice in a dialogue."""

    voice: str
    text: str


@dataclass(frozen=True, slots=True)
class SpeakSpec:
    """Speech from a text that comes whole, or from the pieces of a `live` conversation.

    `model` and `voice` are the public names the caller used; without a voice it is the model's first. A `speed` of 1 is
    the voice's own. `timings` asks for the times of characters, sent with their sound, which waits for them; with
    `times_follow` sound does not wait, and the times of a clause come with its last sound, if available. `stream`:
    speech is delivered as it is made; otherwise there is one result at the end. `schedule` is the least number of
    waiting characters before the first, second, ... piece of a live text is spoken (the last counts for all that
    follow); without one every clause is spoken once it is complete, and the first ends after `first_words` at the
    latest. `lines` are a text of several voices, in place of `text` and `voice`, spoken one after another. `language`
    is the text's BCP 47 tag, empty if the caller gives none.
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
    """Estimate the memory that the caller's content takes, in bytes."""
    match spec:
        case SpeakSpec():
            return len(spec.text) + sum(len(line.text) for line in spec.lines)
        case EmbedSpec():
            return sum(map(len, spec.texts))
        case InferSpec():
            return sum(len(each.data) for each in spec.inputs)
    around = len(spec.format.schema) + sum(len(tool.parameters) for tool in spec.tools)
    return around + (len(spec.prompt) if isinstance(spec.prompt, str) else messages_bytes(spec.prompt))


def messages_bytes(messages: Sequence[Message]) -> int:
    """Estimate the memory that messages take, in bytes."""
    calls = sum(len(call.arguments) for message in messages for call in message.tool_calls)
    parts = (part for message in messages for part in message.parts)
    pictures = sum(len(part.url) for part in parts if isinstance(part, Image))
    return calls + pictures + sum(len(message.text) for message in messages)
