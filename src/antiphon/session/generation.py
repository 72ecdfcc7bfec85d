"""One caller's call of a language or embedding model: generate, meter, measure, close.

What it is charged is what the engine counted, reconciled with what was seen to pass. A result that is delivered whole
is durable in the ledger before it leaves. Of a stream fewer than `UNCHARGED_TOKENS` of output have been sent that are
not in the ledger yet, and everything is there before `Completed`. Who leaves a stream early pays for what was sent, and
so does one whose stream failed; a whole answer that failed is free. One that is held costs nothing until it is
confirmed, and says no more than the first of its tokens until then. `events` ends with `Completed` or `Failed`, always.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import cached_property
from typing import TypeVar

from antiphon.core.errors import (
    AntiphonError,
    EngineError,
    EngineTimeout,
    UnsupportedParameter,
)
from antiphon.core.events import (
    ChoiceEnded,
    Completed,
    Generated,
    LanguageOutput,
    Opened,
    ReasoningDelta,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.core.identity import Principal
from antiphon.core.ports import Call
from antiphon.core.specs import EmbedSpec, GenerateSpec, InferSpec, Spec
from antiphon.core.usage import Dimension
from antiphon.core.wire import Keep
from antiphon.metering.entry import Kind as EntryKind
from antiphon.metering.ledger import Claim
from antiphon.session.account import Meter
from antiphon.session.language import Served
from antiphon.session.metered import MeteredSession
from antiphon.session.services import Services
from antiphon.slo.measure import TokenTimer

UNCHARGED_TOKENS = 64  # of a stream; so many are in the ledger before the last of them is sent
BYTES_PER_TOKEN = 4  # of an input that no engine counted, because the caller left before it could
RELEASE_S = 10.0  # for an engine to end its work

Given = TypeVar("Given")
Batch = tuple[Generated | TokenUsage, ...]
Keeping = Callable[[Keep], Awaitable[None]]

_OUTPUT = (Dimension.LLM_OUTPUT_TOKENS, Dimension.LLM_REASONING_TOKENS)
_FEATURES = {EmbedSpec: "embedding", InferSpec: "inference"}

log = logging.getLogger(__name__)


class Generation(MeteredSession[LanguageOutput]):
    """One call. `deadline_ns` is when it is given up; `keeping` keeps its answer, if it is kept."""

    def __init__(
        self,
        services: Services,
        id: str,
        principal: Principal,
        surface: str,
        served: Served,
        spec: Spec,
        deadline_ns: int,
        on_close: Callable[["Generation"], None],
        claim: Claim | None = None,
        keeping: Keeping | None = None,
        held: bool = False,
    ) -> None:
        self._streams = isinstance(spec, GenerateSpec) and spec.stream
        feature = _FEATURES.get(type(spec), "stream" if self._streams else "whole")
        super().__init__(services, id, principal, surface, served.version, feature, spec.tags, on_close, claim)
        self._served = served
        self._spec = spec
        self._deadline_ns = deadline_ns
        self._keeping = keeping
        self._timer = TokenTimer(services.clock.now_ns())
        self._waiting: asyncio.Task[object] | None = None  # for the engine
        self._confirmed = asyncio.Event()
        if not held:
            self._confirmed.set()
        self._interrupted = False  # it was cancelled by `fail`
        self._counted: TokenUsage | None = None  # by the engine
        self._seen = self._seen_reasoning = 0  # tokens that passed, by our own count
        self._sent: TokenUsage | None = None  # what the caller has certainly been given, so far as it is charged for
        self._left = 0  # choices that have not ended
        self._final = False  # all have, and the engine has said what they took

    @property
    def charged_whole(self) -> bool:
        """Whether it was charged for an answer that is delivered whole."""
        return not self._streams and self._account.any

    def fail(self, error: AntiphonError) -> None:
        super().fail(error)
        if self._waiting and not self._interrupted:
            self._interrupted = True
            self._waiting.cancel()

    def confirm(self) -> None:
        """The caller wants it after all: from now on it is charged."""
        self._confirmed.set()

    @property
    def sent(self) -> TokenUsage:
        """What the caller has certainly been given."""
        return self._sent or TokenUsage(0, 0)

    def drain(self) -> None:
        """The server is stopping. A generation ends by itself."""

    async def keep(self, keep: Keep) -> None:
        """What the surface made of its events, durable on return. Raises `InternalError`."""
        if self._keeping is not None:
            await self._keeping(keep)

    # -- out -----------------------------------------------------------------------------------------------------------

    async def _told(self) -> AsyncGenerator[tuple[LanguageOutput, ...], None]:
        served = self._served
        left_s = (self._deadline_ns - self._services.clock.now_ns()) / 1e9
        overdue = EngineTimeout("The model took too long.")
        giving_up = asyncio.get_running_loop().call_later(left_s, self.fail, overdue)
        try:
            kept = self._keeping is not None
            yield (Opened(served.version, served.fingerprint, served.deprecated_unix_s, served.sunset_unix_s, kept),)
            async with aclosing(self._produced(self._spec)) as produced:
                async for events in produced:
                    yield events
        finally:
            giving_up.cancel()

    def _produced(self, spec: Spec) -> AsyncGenerator[tuple[LanguageOutput, ...], None]:
        match spec:
            case GenerateSpec():
                return self._generated(spec)
            case EmbedSpec():
                return self._embedded(spec)
            case InferSpec():
                return self._inferred(spec)

    async def _generated(self, spec: GenerateSpec) -> AsyncGenerator[tuple[LanguageOutput, ...], None]:
        self._left = spec.choices
        produced = self._served.generator().generate(spec, Call(self.id, self._deadline_ns))
        try:
            while not self._final:
                events = self._note(await self._wait(lambda: anext(produced)))
                if self._final and self._confirmed.is_set():
                    break  # the last of it leaves with the end; held, it is wanted before, by a voice that goes ahead
                if not events:
                    continue
                so_far = self._so_far()
                if self._streams and so_far.output - self._account.total(*_OUTPUT) >= UNCHARGED_TOKENS:
                    await self._wanted()
                    await self._account.charge(_amounts(so_far))
                yield events
                self._sent = so_far
                self._measure(events)
                events = ()
            await self._wanted()
            usage = self._so_far()
            self._services.observer.token_drift(usage.output - self._seen)
            await self._account.charge(_amounts(usage))
            self._outcome = EntryKind.COMPLETED
            yield (*events, Completed(usage))
            self._measure(events)
            self._services.observer.generation(self._timer.measured(usage.output))
        finally:
            await self._release(produced)

    async def _embedded(self, spec: EmbedSpec) -> AsyncGenerator[tuple[LanguageOutput, ...], None]:
        call = Call(self.id, self._deadline_ns)
        embedded = await self._wait(lambda: self._served.embedder().embed(spec.texts, call))
        size = len(embedded.vectors[0])
        if spec.dimensions not in (None, size):
            raise UnsupportedParameter(f"This model's vectors have {size} dimensions.", param="dimensions")
        await self._account.charge({Meter(Dimension.EMBEDDING_TOKENS): embedded.input_tokens})
        self._outcome = EntryKind.COMPLETED
        yield (embedded, Completed(TokenUsage(embedded.input_tokens, 0)))

    async def _inferred(self, spec: InferSpec) -> AsyncGenerator[tuple[LanguageOutput, ...], None]:
        call = Call(self.id, self._deadline_ns)
        inferred = await self._wait(lambda: self._served.inferrer().infer(spec, call))
        moved = sum(len(tensor.data) for tensor in (*spec.inputs, *inferred.outputs))
        await self._account.charge({Meter(Dimension.INFERENCES): 1, Meter(Dimension.INFERENCE_BYTES): moved})
        self._outcome = EntryKind.COMPLETED
        yield (inferred, Completed(TokenUsage(0, 0)))

    async def _wait(self, work: Callable[[], Awaitable[Given]]) -> Given:
        """What the engine gives. Raises what `fail` was told before or meanwhile. It keeps `asyncio.timeout`'s books
        itself, because one for every token would cost as much as the whole surface.
        """
        if self._error:
            raise self._error
        self._waiting = task = asyncio.current_task()
        assert task is not None
        try:
            return await work()
        except StopAsyncIteration:
            raise EngineError("The engine ended without an end.") from None
        except TimeoutError:
            raise EngineTimeout("The model took too long.") from None
        except asyncio.CancelledError:
            if task.cancelling() > self._interrupted:
                raise
            # By `fail`, or its own work was cancelled, not this.
            raise self._error or EngineError("The engine was stopped.") from None
        finally:
            self._waiting = None
            if self._interrupted:
                self._interrupted = False
                task.uncancel()

    async def _wanted(self) -> None:
        """Waits until what is held is confirmed."""
        if not self._confirmed.is_set():
            await self._wait(self._confirmed.wait)

    async def _release(self, produced: AsyncGenerator[Batch, None]) -> None:
        """Ends the engine's work; what goes wrong with that concerns nobody else. One that has said everything comes to
        its own end, so that a connection to it is free for the next call.
        """
        try:
            async with asyncio.timeout(RELEASE_S):
                if self._final:
                    await anext(produced, None)
                await produced.aclose()
        except Exception as error:
            log.error("engine did not end", exc_info=error, extra={"session": self.id})

    def _note(self, batch: Batch) -> tuple[Generated, ...]:
        """Counts what passes; what is left of it is for the caller. Raises `EngineError` for a count of less than
        nothing.
        """
        counts = False
        for event in batch:
            match event:
                case TextDelta() | ToolCallDelta():
                    self._seen += event.tokens
                case ReasoningDelta():
                    self._seen += event.tokens
                    self._seen_reasoning += event.tokens
                case ChoiceEnded():
                    self._left -= 1
                case TokenUsage():
                    if not (0 <= event.cached <= event.input and 0 <= event.reasoning <= event.output):
                        raise EngineError("The engine's count of tokens makes no sense.")
                    self._counted = event
                    self._final = self._left == 0
                    counts = True
        return tuple(e for e in batch if not isinstance(e, TokenUsage)) if counts else batch  # type: ignore[return-value]

    def _measure(self, events: tuple[Generated, ...]) -> None:
        """After the transport took them."""
        if any(isinstance(e, TextDelta | ReasoningDelta | ToolCallStarted | ToolCallDelta) for e in events):
            self._timer.sent(self._services.clock.now_ns())

    # -- counting ------------------------------------------------------------------------------------------------------

    def _so_far(self) -> TokenUsage:
        """The engine's count where there is one; until the end, of the output what was seen to pass if that is more."""
        counted = self._counted
        if counted is None:
            return TokenUsage(self._estimated_input, self._seen, reasoning=self._seen_reasoning)
        if self._final:
            return counted
        output = max(counted.output, self._seen)
        return TokenUsage(counted.input, output, counted.cached, max(counted.reasoning, self._seen_reasoning))

    @cached_property
    def _estimated_input(self) -> int:
        assert isinstance(self._spec, GenerateSpec)
        prompt = self._spec.prompt
        texts = [prompt] if isinstance(prompt, str) else [message.text for message in prompt]
        return sum(-(-len(text.encode()) // BYTES_PER_TOKEN) for text in texts)

    def _owed(self) -> dict[Meter, int]:
        theirs = self._streams and self._confirmed.is_set() and self._outcome is not EntryKind.COMPLETED
        return _amounts(self._sent) if theirs and self._sent else {}


def _amounts(usage: TokenUsage) -> dict[Meter, int]:
    return {
        Meter(Dimension.LLM_INPUT_TOKENS): usage.input - usage.cached,
        Meter(Dimension.LLM_CACHED_TOKENS): usage.cached,
        Meter(Dimension.LLM_OUTPUT_TOKENS): usage.output - usage.reasoning,
        Meter(Dimension.LLM_REASONING_TOKENS): usage.reasoning,
    }
