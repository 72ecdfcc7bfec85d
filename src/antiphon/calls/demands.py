"""What a call may come to at most, by its spec alone, as it would be charged. What turns out to be more is reserved
before it is charged (`calls/account.py`): the sound of long markup, the tensors of an answer.

A language model's input is counted by it later: a token is at least one byte, and templates add some to every message.
Its output is bounded by the caller, or else, where a hard budget counts it, by `OUTPUT_TOKENS`.
"""

from collections.abc import Mapping
from math import ceil

from antiphon.core.specs import EmbedSpec, GenerateSpec, Image, InferSpec, SpeakSpec, Spec, TranscribeSpec
from antiphon.core.usage import Dimension, Meter
from antiphon.metering.tally import Demand
from antiphon.metering.tariff import ONE, Entries, Meters

OUTPUT_TOKENS = 4096  # of each choice of a caller who sets no bound
STRETCH_MS = 30_000  # of each channel of a live stream, reserved ahead of what is heard
CLOSING_MS = 1000  # that a stream may be open while it ends, where time is charged
FRAME_TOKENS = 64  # that a template may put around a conversation ...
MESSAGE_TOKENS = 16  # ... around a message, or a text ...
TOOLS_TOKENS = 512  # ... and around tools
IMAGE_TOKENS = 4096
CHARACTER_MS = 250  # of speech; if markup makes it longer, more is reserved while it is made
BYTES_PER_TOKEN = 4  # on average, for limits of rate and for an input that was not counted
UTTERANCE_MS = 5000  # of a live stream; each is an entry, as is the end
ENTRY_TOKENS = 64  # of a stream; each so many are an entry, as are the end and what was noted last

_INPUT, _CACHED = Meter(Dimension.LLM_INPUT_TOKENS), Meter(Dimension.LLM_CACHED_TOKENS)
_OUTPUT, _REASONING = Meter(Dimension.LLM_OUTPUT_TOKENS), Meter(Dimension.LLM_REASONING_TOKENS)


def of_language(spec: Spec) -> Demand:
    """Return the demand of a call of a language, embedding or other model."""
    match spec:
        case GenerateSpec():
            size = input_bytes(spec)
            bound = spec.sampling.max_tokens
            output = spec.choices * (OUTPUT_TOKENS if bound is None else bound)
            meters = {_INPUT: size + _around(spec), _CACHED: 0, _OUTPUT: output, _REASONING: 0}
            tokens = ceil(size / BYTES_PER_TOKEN) + spec.choices * (bound or 0)
            entries = dict.fromkeys((_OUTPUT, _REASONING), output // ENTRY_TOKENS + 2) if spec.stream else ONE
            return Demand(meters, tokens, entries=entries)
        case EmbedSpec():
            sizes = [_size(text) if isinstance(text, str) else len(text) for text in spec.texts]
            most = sum(sizes) + MESSAGE_TOKENS * len(sizes)
            return Demand({Meter(Dimension.EMBEDDING_TOKENS): most}, ceil(sum(sizes) / BYTES_PER_TOKEN))
        case InferSpec():
            size = sum(len(tensor.data) for tensor in spec.inputs)
            return Demand({Meter(Dimension.INFERENCES): 1, Meter(Dimension.INFERENCE_BYTES): size})


def of_speech(spec: SpeakSpec) -> Demand:
    """Return the demand of a text; of a live one, whose text is not known yet, of its first character."""
    characters = len(spec.text) + sum(len(line.text) for line in spec.lines)
    return Demand(speech_meters(max(1, characters), spec.speed), live=spec.live)


def speech_meters(characters: int, speed: float) -> Mapping[Meter, int]:
    """Return what so many characters may be charged."""
    lasts_ms = ceil(characters * CHARACTER_MS / min(max(speed, 0.1), 10))
    return {Meter(Dimension.TTS_CHARACTERS): characters, Meter(Dimension.TTS_AUDIO_MS): lasts_ms}


def of_audio(spec: TranscribeSpec) -> Demand:
    """Return the demand of a live stream's first stretch, or of a recording whose length is not known yet."""
    channels = spec.format.channels if spec.live and spec.multichannel else 1
    ms = STRETCH_MS if spec.live else 1
    meters = audio_meters(ms, channels, spec.live and spec.charges_time)
    return Demand(meters, live=spec.live, entries=utterances(meters) if spec.live else ONE)


def audio_meters(ms: int, channels: int, charges_time: bool = False) -> Mapping[Meter, int]:
    """Return what so much audio of each channel is charged, and so much time, if that is charged, too."""
    lengths = {Meter(Dimension.STT_AUDIO_MS, number): ms for number in range(channels)}
    return lengths | {Meter(Dimension.STT_SESSION_MS): ms} if charges_time else lengths


def utterances(meters: Meters) -> Entries:
    """Return how many entries so much live audio may be charged in."""
    return {meter: ms // UTTERANCE_MS + 2 for meter, ms in meters.items()}


def input_bytes(spec: GenerateSpec) -> int:
    """Return the bytes of all texts that a language model reads."""
    texts = [spec.format.schema, spec.template_arguments]
    for tool in spec.tools:
        texts += tool.name, tool.description, tool.parameters
    if isinstance(spec.prompt, str):
        texts.append(spec.prompt)
        return sum(map(_size, texts))
    for message in spec.prompt:
        texts += message.text, message.name
        for call in message.tool_calls:
            texts += call.name, call.arguments
    return sum(map(_size, texts))


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))


def _around(spec: GenerateSpec) -> int:
    messages = () if isinstance(spec.prompt, str) else spec.prompt
    images = sum(isinstance(part, Image) for message in messages for part in message.parts)
    tools = TOOLS_TOKENS if spec.tools else 0
    return FRAME_TOKENS + MESSAGE_TOKENS * len(messages) + IMAGE_TOKENS * images + tools
