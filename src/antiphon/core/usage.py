"""Quantities measured by the server, as integers with their unit."""

from dataclasses import dataclass
from enum import StrEnum


class Dimension(StrEnum):
    """A counted quantity. The unit is part of the name."""

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


class By(StrEnum):
    """A grouping of totals."""

    DAY = "day"
    PROJECT = "project"
    KEY = "key"
    MODEL = "model"
    FEATURE = "feature"
    SURFACE = "surface"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """The entries to sum: from `since` (included) to `until` (excluded), of one project, with one of some `labels` (the
    possible ledger forms of a tag). `by` are the groups, in order.
    """

    by: tuple[By, ...] = (By.DAY, By.PROJECT)
    since_unix_ms: int | None = None
    until_unix_ms: int | None = None
    project: str | None = None
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """One line. `group` holds a value for each requested `By`, in that order; `amount` includes corrections.

    `abandoned` counts the sessions whose last result may not have been delivered.
    """

    group: tuple[str, ...]
    dimension: str
    amount: int
    sessions: int
    abandoned: int
