"""Quantities: what the server measured, as integers with their unit."""

from dataclasses import dataclass
from enum import StrEnum


class Dimension(StrEnum):
    """What is counted. The unit is part of the name."""

    STT_AUDIO_MS = "stt.audio_ms"
    LLM_INPUT_TOKENS = "llm.input_tokens"  # those that were computed; cached ones are counted apart
    LLM_CACHED_TOKENS = "llm.cached_input_tokens"
    LLM_OUTPUT_TOKENS = "llm.output_tokens"  # without those of reasoning
    LLM_REASONING_TOKENS = "llm.reasoning_tokens"
    EMBEDDING_TOKENS = "embedding.input_tokens"
    TTS_CHARACTERS = "tts.characters"
    TTS_AUDIO_MS = "tts.audio_ms"
    INFERENCES = "inference.requests"
    INFERENCE_BYTES = "inference.bytes"  # of the tensors, in and out


@dataclass(frozen=True, slots=True)
class Quantity:
    dimension: Dimension
    amount: int
