"""Quantities measured by the server, as integers with their unit."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Dimension(StrEnum):
    """A counted quantity. The unit is part of the name."""

    STT_AUDIO_MS = "stt.audio_ms"
    STT_SESSION_MS = "stt.session_ms"  # how long a live stream was open, where its vendor charges for that
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


class Meter(NamedTuple):
    """A counted dimension, and its audio channel. A tuple, because tokens are looked up by it one by one."""

    dimension: Dimension
    channel: int = 0


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


class Charge(NamedTuple):
    """The sum of a session's entries that differ only in sequence, time and amount; or one entry alone. `sequence` and
    `last` are those of the first and last of its `entries`, `at_unix_ms` is the first one's time. Corrections are
    separate: `corrects` is the sequence of the corrected entry. Closing entries are not included.
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
    """The charges of a session, with its own corrections; then later corrections by others. In the order of their
    sequences.
    """

    project: str
    session: str
    closed_unix_ms: int
    abandoned: bool
    charges: list[Charge]


@dataclass(frozen=True, slots=True)
class Settled:
    """A billed period of a project. Ledger entries after `cursor` were too late for it: they belong to the next period,
    whatever their time.
    """

    cursor: str
    until_unix_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionQuery:
    """The sessions of a project that closed from `since` (included) to `until` (excluded), as `known` at a time: with
    the entries before it, up to the cursor `head`. `by_entry` returns each entry alone.
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
    """The sessions with entries in a period that did not close in it: those `reopened`, with the time of their close,
    and the number still open at its end, though charged in it.
    """

    reopened: dict[str, int]
    open: int
