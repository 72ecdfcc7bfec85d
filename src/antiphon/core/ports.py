"""Every Protocol that one room implements and another uses, but for endpoints, stores and speech engines."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from antiphon.core.capabilities import Ability, SpeechCapabilities
from antiphon.core.events import Embedded, Generated, Inferred, TokenUsage, Word
from antiphon.core.specs import GenerateSpec, InferSpec, Spec
from antiphon.core.tensors import ModelForm

State = TypeVar("State")
AnySpec = TypeVar("AnySpec", bound=Spec)

# -- engines -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Guidance:
    """How to recognise speech, as far as the engine can (`core.specs.TranscribeSpec`). With one of `languages` the
    engine detects nothing; with none it chooses among all that it knows.
    """

    languages: tuple[str, ...] = ()
    translate: bool = False
    prompt: str = ""
    keyterms: tuple[str, ...] = ()


UNGUIDED = Guidance()


@dataclass(frozen=True, slots=True)
class Utterance:
    """Speech to recognise: 16 kHz mono int16 little-endian. `draft` is the last hypothesis of the same utterance
    (tokens, without start or end), which speeds decoding up and never changes its result. `prefix` is the final result
    for the beginning of `pcm`: the hypothesis continues it, and does not include it.
    """

    pcm: bytes
    draft: tuple[int, ...] = ()
    timed: bool = False
    prefix: tuple[int, ...] = ()
    guidance: Guidance = UNGUIDED


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The result for one utterance. Word times are relative to the first sample of `pcm`, zero unless `timed`.

    `pieces` and `logprobs` (natural) are one per token. `accepted` counts draft tokens kept, `steps` decoder passes;
    `looped` says that the output repeated itself and was cut. `language` (BCP 47) is the recognised one, and
    `language_confidence` (0..1) its probability, 1 if it was given.
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
    """An engine that turns utterances into text. Blocking, safe to call from several threads, without state between
    calls.
    """

    @property
    def capabilities(self) -> SpeechCapabilities:
        """Its capabilities beyond plain recognition. It gets no request for others."""

    def recognise(self, batch: Sequence[Utterance]) -> list[Hypothesis]:
        """Return one hypothesis per utterance, in order. A row's text does not depend on its neighbours.

        Raises `EngineError`.
        """


class VoiceDetector(Protocol[State]):
    """A detector of the probability of speech in each frame, for many streams in one call. Blocking, safe to call from
    one thread.
    """

    def initial_state(self) -> State: ...

    def probabilities(
        self, runs: Sequence[bytes], states: Sequence[State]
    ) -> tuple[Sequence[list[float]], Sequence[State]]:
        """Return the speech probabilities (0..1) of each stream's run of frames, and its new state. A run is one or
        more frames of 512 samples each, after those that made the stream's last state.
        """


@dataclass(frozen=True, slots=True)
class EngineCall:
    """What an engine gets of a call besides its spec. `id` is the session's; at `deadline_ns` (monotonic) nobody waits
    any more, `None` for never. `project` and its `weight` are for fair sharing. Nobody waits for an `item` of a job.
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
        """Its abilities beyond answering a conversation with text and tool calls. It gets no request for others."""

    def generate(
        self, spec: GenerateSpec, call: EngineCall
    ) -> AsyncGenerator[tuple[Generated | TokenUsage, ...], None]:
        """Yield each choice's deltas and its end, as many at a time as arrived together; never an empty tuple.

        `TokenUsage` is the engine's own count so far; it may come early, when the input is known, and always comes
        after the last choice's end. Closing the generator cancels the work inside the engine. Raises `CallerError` for
        what the engine cannot do, `CapacityError` if it is full, `EngineError` if it failed; a request that fails
        before the first yield may be retried at another backend.
        """

    async def check(self) -> None:
        """Check that the engine can work now. Raises `EngineError` if not."""

    async def close(self) -> None: ...


@runtime_checkable
class Announcing(Protocol):
    """An engine that reports by itself when it can work again, so that no polling is needed."""

    def when_ready(self, callback: Callable[[], object]) -> None:
        """Have `callback` called, in the event loop, whenever the engine has become ready."""


class Embedder(Protocol):
    """One engine that serves one embedding model."""

    async def embed(self, texts: Sequence[str | tuple[int, ...]], call: EngineCall) -> Embedded:
        """Return a vector for each text, in order. Raises `CallerError` for a text that is too long, `EngineError`."""

    async def check(self) -> None: ...

    async def close(self) -> None: ...


class Inferrer(Protocol):
    """One engine that serves one model of tensors."""

    async def infer(self, spec: InferSpec, call: EngineCall) -> Inferred:
        """Run the model. Raises `CallerError` for invalid input, `CapacityError` if it is full, `EngineError`."""

    async def describe(self, version: str) -> ModelForm:
        """Return the model's inputs and outputs; `version` may be empty. Raises `NotFound`, `EngineError`."""

    async def check(self) -> None:
        """Check that the model can work now. Raises `EngineError` if not."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Clause:
    """A text for a voice to speak at once: words as they are read aloud, with punctuation, without markup. A `speed` of
    1 is the voice's own.
    """

    text: str
    speed: float = 1.0


class Synthesiser(Protocol):
    """One engine that serves one voice."""

    sample_rate: int

    def synthesise(self, clause: Clause) -> AsyncGenerator[bytes, None]:
        """Yield the speech, 16-bit little-endian mono at `sample_rate` Hz, in pieces.

        Each `anext` is a separate step of work, started only when requested, so that more urgent work can run in
        between. Closing the generator drops the rest. Raises `EngineError`.
        """

    async def check(self) -> None:
        """Check that the voice can speak now. Raises `EngineError` if not."""

    async def close(self) -> None: ...


@runtime_checkable
class Aligner(Protocol):
    """A finder of known words in the audio that says them. Blocking, safe to call from several threads."""

    def align(self, pcm: bytes, words: Sequence[str]) -> list[tuple[int, int]]:
        """Return the (start, end) of each word in milliseconds, in order. `pcm` is 16 kHz mono int16 little-endian."""


# -- what callers hear -------------------------------------------------------------------------------------------------


class EventFilter(Protocol):
    """A filter of the events of one call before its caller gets them, as tuples of the events of `core.events`. Pure:
    no I/O, no clock; one that asks a model is a coroutine, and bounds its wait. If it raises, the call ends, and none
    of the events given to it are sent.

    It may replace events, leave them out, or hold text back until it has seen what follows; but not sound, nor events
    that begin or end something (`Opened`, `ToolCallStarted`, `ChoiceEnded`). Events of text keep their count of tokens.
    """

    def push(self, events: tuple[Any, ...]) -> tuple[Any, ...] | Awaitable[tuple[Any, ...]]:
        """Filter the next events; return those to send now, in order, with any that were held back."""

    def finish(self) -> tuple[Any, ...] | Awaitable[tuple[Any, ...]]:
        """Return what is still held back. Only the session's own last event follows."""


@runtime_checkable
class PromptFilter(EventFilter, Protocol):
    """A filter of a call that also has to do with what its engine gets."""

    async def hide(self, spec: AnySpec) -> AnySpec:
        """Return the spec as an engine that others operate may get it. Raises `AntiphonError` if it may not
        get it at all, or if that could not be found out.
        """


# -- time --------------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Clocks: monotonic for durations, wall clock for dates."""

    def now_ns(self) -> int: ...

    def unix_ms(self) -> int: ...
