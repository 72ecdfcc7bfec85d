"""Quantities: what the server measured, as integers with their unit."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


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


class By(StrEnum):
    """What totals can be grouped by."""

    DAY = "day"
    PROJECT = "project"
    KEY = "key"
    MODEL = "model"
    FEATURE = "feature"
    SURFACE = "surface"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Which entries to sum: from `since` (included) to `until` (excluded), of one project, with one of some `labels`
    (the forms in which a tag may be in the ledger). `by` are the groups, in order.
    """

    by: tuple[By, ...] = (By.DAY, By.PROJECT)
    since_unix_ms: int | None = None
    until_unix_ms: int | None = None
    project: str | None = None
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """One line. `group` holds a value for each `By` that was asked for, in that order; `amount` includes corrections.

    `abandoned` counts the sessions whose last result may not have been delivered.
    """

    group: tuple[str, ...]
    dimension: str
    amount: int
    sessions: int
    abandoned: int


class Charge(NamedTuple):
    """Entries of a session that differ only in sequence, time and amount, summed up; or one entry alone. `sequence` and
    `last` are those of the first and the last of so many `entries`, `at_unix_ms` is the first one's time. Corrections
    are apart: `corrects` is the sequence of the entry that they correct. Closing entries are none.
    """

    sequence: int
    last: int
    entries: int
    at_unix_ms: int
    key_id: str
    surface: str
    model: str
    dimension: str
    amount: int
    channel: int
    feature: str
    kind: str
    corrects: int | None


@dataclass(frozen=True, slots=True)
class ClosedSession:
    """What a session was charged, with the corrections that it made of itself; then those that others made of it. In
    the order of their sequences.
    """

    project: str
    session: str
    closed_unix_ms: int
    abandoned: bool
    charges: list[Charge]


@dataclass(frozen=True, slots=True)
class Settled:
    """A period of a project that has been billed. What is in the ledger behind `cursor` came too late for it: it is of
    the next period, whatever its time.
    """

    cursor: str
    until_unix_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionQuery:
    """The sessions of a project that closed from `since` (included) to `until` (excluded), as they were `known`: with
    the entries of before that time, up to the cursor `head`. `by_entry` asks for each entry alone.
    """

    project: str
    since_unix_ms: int
    until_unix_ms: int
    known_unix_ms: int
    head: str
    settled: tuple[Settled, ...] = ()
    by_entry: bool = False


@dataclass(frozen=True, slots=True)
class LooseEnds:
    """The sessions that have entries in a period, and did not close in it: those that were `reopened`, and when they
    had closed, and how many had not closed by its end, though they were charged for something in it.
    """

    reopened: dict[str, int]
    open: int
