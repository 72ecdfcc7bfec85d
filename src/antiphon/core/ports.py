"""Every Protocol that one room implements and another uses."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Embedded, Generated, Inferred, TokenUsage, Word
from antiphon.core.specs import GenerateSpec, InferSpec, SpeakSpec, Spec, TranscribeSpec
from antiphon.core.tensors import ModelForm
from antiphon.core.usage import Dimension
from antiphon.core.wire import Body, ModelCard, Opening, Response, Step, Url, VoiceCard

State = TypeVar("State")
Event = TypeVar("Event", contravariant=True)
Asks = TypeVar("Asks", bound=TranscribeSpec | SpeakSpec | ConverseSpec, covariant=True)

# -- surfaces ----------------------------------------------------------------------------------------------------------


class Surface(Protocol[Event]):
    """One connection's translation between a vendor's wire and our vocabulary. It never blocks and holds no socket.
    `Event` is what its kind of session says: `Output`, `SpeechOutput` or `ConversationOutput`.

    `now_ns` is monotonic. On HTTP, `receive` is not called: the body came with `negotiate`, the answer is what `emit`
    sends, a `Head` first.
    """

    def receive(self, message: str | bytes, now_ns: int) -> Step: ...

    def emit(self, event: Event, now_ns: int) -> Step: ...

    def deadline_ns(self) -> int | None:
        """When `expire` wants to be called, if nothing happens before."""

    def expire(self, now_ns: int) -> Step: ...


@dataclass(frozen=True, slots=True)
class Accepted(Generic[Asks]):
    """A call that makes sense: what it asks for, and who translates.

    `media` is the audio of a call that brings it whole; `None` where it will be streamed. `headers` go on the answer
    to a WebSocket's opening; `subprotocol` is the one chosen.
    """

    spec: Asks
    surface: Surface[Any]
    media: bytes | Url | None = None
    headers: tuple[tuple[str, str], ...] = ()
    subprotocol: str | None = None


class AnswerSurface(Protocol[Event]):
    """One call's translation of a model's events (`LanguageOutput` or `SpeechOutput`) to a vendor's wire; a `Head`
    first.
    """

    def emit(self, event: Event, now_ns: int) -> Step: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A call of a model with a text that makes sense: what it asks for, and who translates.

    `previous` is the id of a kept answer that this one goes on from: its conversation belongs after the first `lead`
    messages of the prompt. `keep` says that the caller wants this one kept (`None`: as the project's policy has it).
    With `background` the caller is told at once what the surface says to `Opened`, and what comes later is only kept.
    An error about one of these has its name as `param`.
    """

    spec: Spec | SpeakSpec
    surface: AnswerSurface[Any]
    previous: str = ""
    lead: int = 0
    keep: bool | None = False
    background: bool = False


class Endpoint(Protocol):
    """What every route of a vendor can do, before there is a session."""

    def credential(self, opening: Opening) -> str | None:
        """The secret the caller sent, wherever the vendor puts it; whether it holds is not the surface's to say."""

    def refuse(self, opening: Opening, error: AntiphonError) -> Response:
        """The error in the vendor's own shape, status and headers."""


class LiveEndpoint(Endpoint, Protocol):
    """A WebSocket route."""

    def negotiate(self, opening: Opening) -> Accepted[TranscribeSpec] | Accepted[SpeakSpec] | Accepted[ConverseSpec]:
        """Raises `AntiphonError` for a call that does not make sense."""


@runtime_checkable
class LateEndpoint(LiveEndpoint, Protocol):
    """A WebSocket route whose caller may say who it is in its first message, as browsers cannot in a header."""

    def credential_in(self, message: str | bytes) -> str | None:
        """The secret in the first message, where the opening had none."""


class UnaryEndpoint(Endpoint, Protocol):
    """An HTTP route whose body is the audio, or says where it is."""

    max_body_bytes: int

    def negotiate(self, opening: Opening, body: Body) -> Accepted[TranscribeSpec]:
        """Raises `AntiphonError` for a call that does not make sense."""


class JsonEndpoint(Endpoint, Protocol):
    """An HTTP route whose body is a JSON object that asks a model for something."""

    max_body_bytes: int

    def negotiate(self, opening: Opening, body: bytes) -> Asked:
        """Raises `AntiphonError` for a call that does not make sense."""


@dataclass(frozen=True, slots=True)
class SecretAsked:
    """A secret for one call: what is settled for that, in the surface's own form, how long it may wait, and the call
    that it opens if nothing more is said.
    """

    settled: bytes
    lifetime_s: int
    spec: ConverseSpec


class SecretEndpoint(Endpoint, Protocol):
    """An HTTP route that makes secrets for one call each."""

    max_body_bytes: int

    def negotiate(self, opening: Opening, body: bytes) -> SecretAsked:
        """Raises `AntiphonError` for a call that does not make sense."""

    def grant(self, opening: Opening, asked: SecretAsked, secret: str, expires_unix_s: int) -> Response: ...


class KeptAct(StrEnum):
    """What is done with a kept answer, before it is shown."""

    READ = "read"
    CANCEL = "cancel"
    DELETE = "delete"


class KeptEndpoint(Endpoint, Protocol):
    """An HTTP route about one kept answer."""

    act: KeptAct

    def named(self, opening: Opening) -> str:
        """Its id. Raises `AntiphonError` for a call that does not make sense."""

    def show(self, opening: Opening, body: bytes, running: bool) -> Response:
        """`body` is what was kept last; `running` says that its generation still goes on. Raises `AntiphonError`."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question about a model of tensors: what it is like if `described`, else whether it is ready. Without a `model`
    it is about the server, and needs no key.
    """

    model: str = ""
    version: str = ""
    described: bool = False


class InquiryEndpoint(Endpoint, Protocol):
    """An HTTP route that tells about the server, or one of its models of tensors."""

    def inquire(self, opening: Opening) -> Inquiry:
        """Raises `AntiphonError` for a call that does not make sense."""

    def tell(self, opening: Opening, ready: bool, form: ModelForm | None) -> Response: ...


class ListEndpoint(Endpoint, Protocol):
    """An HTTP route that tells which models there are."""

    def answer(self, opening: Opening, models: Sequence[ModelCard]) -> Response: ...


class VoicesEndpoint(Endpoint, Protocol):
    """An HTTP route that tells who can speak: every name of a voice, and of a model that speaks."""

    def answer(self, opening: Opening, voices: Sequence[VoiceCard], models: Sequence[ModelCard]) -> Response:
        """Raises `AntiphonError`."""


@dataclass(frozen=True, slots=True)
class Spent:
    """How much of something a project was charged for."""

    project: str
    amount: int


class SpentEndpoint(Endpoint, Protocol):
    """An HTTP route that tells a project what it was charged for of one `dimension`."""

    dimension: Dimension

    def since_unix_ms(self, opening: Opening) -> int:
        """From when on. Raises `AntiphonError` for a call that does not make sense."""

    def answer(self, opening: Opening, spent: Spent) -> Response: ...


# -- engines -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Utterance:
    """Speech to recognise: 16 kHz mono int16 little-endian. `draft` is the last hypothesis of the same utterance
    (tokens, without start or end), which speeds decoding up and never changes its result.
    """

    pcm: bytes
    draft: tuple[int, ...] = ()
    timed: bool = False


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What an engine heard. Word times are relative to the utterance's first sample, zero unless `timed`.

    `pieces` and `logprobs` (natural) are one per token. `accepted` counts draft tokens kept, `steps` decoder passes;
    `looped` says that the output ran in a circle and was cut.
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


class Recogniser(Protocol):
    """Turns utterances into text. Blocking, safe to call from several threads, without state between calls."""

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
class Call:
    """What an engine is told of a call besides its spec. `id` is the session's; `deadline_ns` (monotonic) is when
    nobody waits any more, `None` for never.
    """

    id: str
    deadline_ns: int | None = None


class Generator(Protocol):
    """One engine that serves one language model."""

    def generate(self, spec: GenerateSpec, call: Call) -> AsyncGenerator[tuple[Generated | TokenUsage, ...], None]:
        """Each choice's deltas and its end, as many at a time as came at once; never an empty tuple.

        `TokenUsage` is the engine's own count so far; it may come early, when the input is known, and comes in any case
        after the last choice's end. Closing the generator cancels the work inside the engine. Raises `CallerError` for
        what the engine cannot do, `CapacityError` where it is full, `EngineError` where it failed; one that is raised
        before anything was yielded may be tried elsewhere.
        """

    async def check(self) -> None:
        """Whether the engine can work now. Raises `EngineError` if not."""

    async def close(self) -> None: ...


class Embedder(Protocol):
    """One engine that serves one embedding model."""

    async def embed(self, texts: Sequence[str | tuple[int, ...]], call: Call) -> Embedded:
        """A vector for each text, in order. Raises `CallerError` for a text that is too long, `EngineError`."""

    async def check(self) -> None: ...

    async def close(self) -> None: ...


class Inferrer(Protocol):
    """One engine that serves one model of tensors."""

    async def infer(self, spec: InferSpec, call: Call) -> Inferred:
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


class Aligner(Protocol):
    """Finds words that are known in the audio that says them. Blocking, safe to call from several threads."""

    def align(self, pcm: bytes, words: Sequence[str]) -> list[tuple[int, int]]:
        """`pcm` is 16 kHz mono int16 little-endian. The (start, end) of each word in milliseconds, in order."""


# -- time --------------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Monotonic for durations, wall for dates."""

    def now_ns(self) -> int: ...

    def unix_ms(self) -> int: ...
