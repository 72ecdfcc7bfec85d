"""Every Protocol that one room implements and another uses, but for endpoints, stores and speech engines."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from antiphon.core.capabilities import Ability, SpeechCapabilities
from antiphon.core.events import Embedded, Generated, Inferred, TokenUsage, Word
from antiphon.core.specs import GenerateSpec, InferSpec
from antiphon.core.tensors import ModelForm

State = TypeVar("State")

# -- engines -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Guidance:
    """How speech is to be heard, as far as the engine can (`core.specs.TranscribeSpec`). `languages` is empty where the
    engine is to find out which of all that it knows is spoken; of one it finds out nothing.
    """

    languages: tuple[str, ...] = ()
    translate: bool = False
    prompt: str = ""
    keyterms: tuple[str, ...] = ()


UNGUIDED = Guidance()


@dataclass(frozen=True, slots=True)
class Utterance:
    """Speech to recognise: 16 kHz mono int16 little-endian. `draft` is the last hypothesis of the same utterance
    (tokens, without start or end), which speeds decoding up and never changes its result. `prefix` is what was
    recognised of the beginning of `pcm` and is final: the hypothesis goes on from there, and does not hold it.
    """

    pcm: bytes
    draft: tuple[int, ...] = ()
    timed: bool = False
    prefix: tuple[int, ...] = ()
    guidance: Guidance = UNGUIDED


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What an engine heard. Word times are relative to the first sample of `pcm`, zero unless `timed`.

    `pieces` and `logprobs` (natural) are one per token. `accepted` counts draft tokens kept, `steps` decoder passes;
    `looped` says that the output ran in a circle and was cut. `language` (BCP 47) is what it heard, and
    `language_confidence` (0..1) how likely that is, 1 where it was told.
    """

    text: str
    words: tuple[Word, ...]
    confidence: float
    tokens: tuple[int, ...]
    pieces: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    accepted: int = 0
    steps: int = 0
    looped: bool = False
    language: str = ""
    language_confidence: float = 1.0


class Recogniser(Protocol):
    """Turns utterances into text. Blocking, safe to call from several threads, without state between calls."""

    @property
    def capabilities(self) -> SpeechCapabilities:
        """What it can do beyond hearing words. It is asked for nothing else."""

    def recognise(self, batch: Sequence[Utterance]) -> list[Hypothesis]:
        """One hypothesis per utterance, in order. A row's text does not depend on its neighbours.

        Raises `EngineError`.
        """


class VoiceDetector(Protocol[State]):
    """Says how likely each frame is speech, for many streams in one call. Blocking, safe to call from one thread."""

    def initial_state(self) -> State: ...

    def probabilities(
        self, frames: Sequence[bytes], states: Sequence[State]
    ) -> tuple[Sequence[float], Sequence[State]]:
        """`frames` are 512 samples each, one per stream, with the state the stream's last call returned."""


@dataclass(frozen=True, slots=True)
class EngineCall:
    """What an engine is told of a call besides its spec. `id` is the session's; `deadline_ns` (monotonic) is when
    nobody waits any more, `None` for never. `project` and its `weight` share out what many wait for. Nobody waits for
    an `item` of a job.
    """

    id: str
    deadline_ns: int | None = None
    project: str = ""
    weight: int = 1
    item: bool = False


class Generator(Protocol):
    """One engine that serves one language model."""

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it can do beyond answering a conversation with text and calls of tools. It is asked for nothing else."""

    def generate(
        self, spec: GenerateSpec, call: EngineCall
    ) -> AsyncGenerator[tuple[Generated | TokenUsage, ...], None]:
        """Each choice's deltas and its end, as many at a time as came at once; never an empty tuple.

        `TokenUsage` is the engine's own count so far; it may come early, when the input is known, and comes in any case
        after the last choice's end. Closing the generator cancels the work inside the engine. Raises `CallerError` for
        what the engine cannot do, `CapacityError` where it is full, `EngineError` where it failed; one that is raised
        before anything was yielded may be request retried at another backend.
        """

    async def check(self) -> None:
        """Whether the engine can work now. Raises `EngineError` if not."""

    async def close(self) -> None: ...


@runtime_checkable
class Announcing(Protocol):
    """An engine that says by itself when it can work again, so that nobody has to ask."""

    def when_ready(self, callback: Callable[[], object]) -> None:
        """`callback` is called, in the event loop, whenever the engine has become ready."""


class Embedder(Protocol):
    """One engine that serves one embedding model."""

    async def embed(self, texts: Sequence[str | tuple[int, ...]], call: EngineCall) -> Embedded:
        """A vector for each text, in order. Raises `CallerError` for a text that is too long, `EngineError`."""

    async def check(self) -> None: ...

    async def close(self) -> None: ...


class Inferrer(Protocol):
    """One engine that serves one model of tensors."""

    async def infer(self, spec: InferSpec, call: EngineCall) -> Inferred:
        """Raises `CallerError` for what the model does not take, `CapacityError` where it is full, `EngineError`."""

    async def describe(self, version: str) -> ModelForm:
        """What the model takes and gives; `version` may be empty. Raises `NotFound`, `EngineError`."""

    async def check(self) -> None:
        """Whether the model can work now. Raises `EngineError` if not."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Clause:
    """What a voice says in one go: words as they are read aloud, with their punctuation, without markup. `speed` is 1
    for the voice's own.
    """

    text: str
    speed: float = 1.0


class Synthesiser(Protocol):
    """One engine that serves one voice."""

    sample_rate: int

    def synthesise(self, clause: Clause) -> AsyncGenerator[bytes, None]:
        """The speech, 16-bit little-endian mono at `sample_rate` Hz, in pieces.

        Each `anext` is a step of work of its own, so that more urgent work can go in between; none is begun before
        it is asked for. Closing the generator drops what is left. Raises `EngineError`.
        """

    async def check(self) -> None:
        """Whether the voice can speak now. Raises `EngineError` if not."""

    async def close(self) -> None: ...


@runtime_checkable
class Aligner(Protocol):
    """Finds words that are known in the audio that says them. Blocking, safe to call from several threads."""

    def align(self, pcm: bytes, words: Sequence[str]) -> list[tuple[int, int]]:
        """`pcm` is 16 kHz mono int16 little-endian. The (start, end) of each word in milliseconds, in order."""


# -- what callers hear -------------------------------------------------------------------------------------------------


class EventFilter(Protocol):
    """One call's view of what its caller hears, as tuples of the events of `core.events`. Pure: no I/O, no clock; one
    that asks a model is a coroutine, and bounds how long it waits. One that raises ends the call, and nothing of what
    it was given leaves.

    It may replace events, leave them out, or hold text back until it has seen what follows; but not sound, nor what
    begins and ends something (`Opened`, `ToolCallStarted`, `ChoiceEnded`). Events of text keep their count of tokens.
    """

    def push(self, events: tuple[Any, ...]) -> tuple[Any, ...] | Awaitable[tuple[Any, ...]]:
        """What of these, and of what was held back, goes on now; in order."""

    def finish(self) -> tuple[Any, ...] | Awaitable[tuple[Any, ...]]:
        """Nothing follows but the session's own last event: what was held back goes on."""


# -- time --------------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Monotonic for durations, wall for dates."""

    def now_ns(self) -> int: ...

    def unix_ms(self) -> int: ...
