"""One caller's call of a language or embedding model: generate, meter, measure, close.

The charge is the engine's count, reconciled with the tokens that passed. Output is durable in the ledger before it is
sent: a whole answer as one entry; a stream token by token, with notes in between and an entry at least every
`ENTRY_TOKENS`. A caller who leaves a stream early, or whose stream failed, pays for what was sent; a whole answer that
failed is free. A held generation costs nothing until it is confirmed, and yields only its first `HELD_TOKENS` until
then, which must not reach the caller before `confirm` returns. `events` always ends with `Completed` or `Failed`.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TypeVar

from antiphon.calls import demands
from antiphon.calls.metered import MeteredSession
from antiphon.calls.pictures import Pictures, remote_images
from antiphon.calls.services import Services
from antiphon.catalogue.language import Served
from antiphon.core.call import Call
from antiphon.core.capabilities import Ability
from antiphon.core.entry import EntryKind
from antiphon.core.errors import (
    AntiphonError,
    CallerError,
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
from antiphon.core.ports import AnySpec, EngineCall
from antiphon.core.specs import EmbedSpec, GenerateSpec, InferSpec, Spec
from antiphon.core.usage import Dimension, Meter
from antiphon.core.wire import Keep
from antiphon.slo.measure import TokenTimer

ENTRY_TOKENS = demands.ENTRY_TOKENS  # of a running stream; tokens beyond its entries are noted
HELD_TOKENS = 64
RELEASE_S = 10.0  # for an engine to stop its work

Result = TypeVar("Result")
Batch = tuple[Generated | TokenUsage, ...]

_INPUT, _CACHED = Meter(Dimension.LLM_INPUT_TOKENS), Meter(Dimension.LLM_CACHED_TOKENS)
_OUTPUT, _REASONING = Meter(Dimension.LLM_OUTPUT_TOKENS), Meter(Dimension.LLM_REASONING_TOKENS)
_FEATURES = {EmbedSpec: "embedding", InferSpec: "inference"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Keeping:
    """How an answer is kept: `put` gets what the surface made of it. One that is not `stored` is kept in memory for a
    while.
    """

    put: Callable[[Keep], Awaitable[None]]
    stored: bool = True


class Generation(MeteredSession[LanguageOutput]):
    """One call. It is stopped at `deadline_ns`; `keeping` keeps its answer, if set. `unmet` are the abilities that the
    engine lacks, whose parameters are dropped.
    """

    def __init__(
        self,
        services: Services,
        call: Call[Spec],
        served: Served,
        deadline_ns: int,
        on_close: Callable[["Generation"], None],
        keeping: Keeping | None = None,
        held: bool = False,
        unmet: frozenset[Ability] = frozenset(),
    ) -> None:
        spec, principal = call.spec, call.principal
        self._streams = isinstance(spec, GenerateSpec) and spec.stream
        feature = _FEATURES.get(type(spec), "stream" if self._streams else "whole")
        demand = partial(demands.of_language, spec)
        super().__init__(services, call, served.version, feature, on_close, demand)
        self._served = served
        if self._allowance is not None and self._allowance.bounded and isinstance(spec, GenerateSpec):
            spec = _bounded(spec)
        self._spec = spec
        self._unmet = unmet
        self._pictures: Pictures | None = None  # those fetched
        self._deadline_ns = deadline_ns
        self._engine_call = EngineCall(
            call.id, deadline_ns, principal.project, principal.weight, call.item, self.serving
        )
        # A kept answer has the caller's input too, which no filter has seen.
        self._keeping = None if keeping is not None and keeping.stored and self._redacts else keeping
        self._timer = TokenTimer(services.clock.now_ns())
        self._waiting: asyncio.Task[object] | None = None  # for the engine
        self._giving_up: asyncio.TimerHandle | None = None  # at the deadline
        self._confirmed = asyncio.Event()
        if not held:
            self._confirmed.set()
        self._interrupted = False  # cancelled by `fail`
        self._counted: TokenUsage | None = None  # by the engine
        self._seen = self._seen_reasoning = 0  # tokens that passed, by our own count
        self._sent: TokenUsage | None = None  # certainly sent to the caller, as far as charged
        self._noted: TokenUsage | None = None  # as last noted by the account
        self._leaving: TokenUsage | None = None  # sent in all, after the present events
        self._passed = self._passed_reasoning = 0  # tokens that filters let pass
        self._due: Mapping[Meter, int] | None = None  # for the whole, once known
        self._left = 0  # choices that have not ended
        self._final = False  # all have ended, and the engine has counted them

    @property
    def whole(self) -> bool:
        return not self._streams

    def fail(self, error: AntiphonError) -> None:
        super().fail(error)
        if self._waiting and not self._interrupted:
            self._interrupted = True
            self._waiting.cancel()

    async def confirm(self) -> None:
        """Confirm a held generation: from now on it is charged, and what it has yielded is durable on return. Raises
        `LedgerUnavailable`.
        """
        self._confirmed.set()
        if self._leaving:
            await self._account.note(_amounts(self._leaving))

    @property
    def leaving(self) -> TokenUsage:
        """The tokens sent to the caller once the last yielded events are sent."""
        return self._leaving or TokenUsage(0, 0)

    def drain(self) -> None:
        """Do nothing when the server stops: a generation ends by itself."""

    async def keep(self, keep: Keep) -> None:
        """Keep what the surface made of the events; durable on return. Raises `InternalError`."""
        if self._keeping is not None:
            try:
                await self._keeping.put(keep)
            except BaseException:
                self._outcome = EntryKind.ABANDONED  # it is not sent
                raise

    # -- out -----------------------------------------------------------------------------------------------------------

    def _produce(self) -> AsyncGenerator[tuple[LanguageOutput, ...], None]:
        left_s = (self._deadline_ns - self._services.clock.now_ns()) / 1e9
        self._giving_up = asyncio.get_running_loop().call_later(left_s, self._give_up)
        match self._spec:
            case GenerateSpec() as spec:
                return self._generated(spec)
            case EmbedSpec() as spec:
                return self._embedded(spec)
            case InferSpec() as spec:
                return self._inferred(spec)

    def _give_up(self) -> None:
        self.fail(EngineTimeout("The model took too long."))

    def _opened(self) -> Opened:
        keeping = self._keeping
        kept, remembered = keeping is not None and keeping.stored, keeping is not None
        opened = self._served.opened(kept, self._unmet, remembered)
        return replace(opened, rates=self._allowance.rates()) if self._allowance is not None else opened

    async def _engine_spec(self, spec: AnySpec) -> AnySpec:
        """Return what the engine gets of the spec."""
        prompts = self._prompts
        if prompts is None or not self._served.by_others:
            return spec
        return await self._wait(lambda: prompts.hide(spec))

    async def _generated(self, spec: GenerateSpec) -> AsyncGenerator[tuple[LanguageOutput, ...], None]:
        yield (self._opened(),)
        spec = await self._engine_spec(spec)
        self._left = spec.choices
        if remote := remote_images(spec):
            self._pictures = Pictures(self._services, self.call.principal)
            spec = await self._wait(partial(self._pictures.fetch, spec, remote))
        produced = self._served.generator().generate(spec, self._engine_call)
        try:
            while not self._final:
                events = self._note(await self._wait(lambda: anext(produced)))
                if self._final and self._confirmed.is_set():
                    break  # the rest is sent with the end; if held, a voice that runs ahead needs it earlier
                if not events:
                    continue
                self._costs = self._streams
                if spec.counts and not self._sent:
                    so_far = self._so_far()
                    yield (TokenUsage(so_far.input, 0, so_far.cached), *events)
                else:
                    yield events
                self._sent = self._leaving
                self._measure(events)
                events = ()
            await self._wanted()
            usage = self._so_far()
            self._services.observer.token_drift(usage.output - self._seen)
            self._costs, self._due = True, _amounts(usage)
            yield (*events, Completed(usage))
            self._measure(events)
            if not self.call.item:  # nobody waits for an item
                measured = self._timer.measured(usage.output, self._services.clock.now_ns())
                self._services.observer.generation(measured)
        finally:
            await self._release(produced)

    async def _free(self) -> None:
        if self._giving_up:
            self._giving_up.cancel()
        if self._pictures:
            self._pictures.let_go()

    async def _embedded(self, spec: EmbedSpec) -> AsyncGenerator[tuple[LanguageOutput, ...], None]:
        yield (self._opened(),)
        spec = await self._engine_spec(spec)
        version = self._served.version
        if spec.foreign_tokens and version != spec.model and any(isinstance(text, tuple) for text in spec.texts):
            message = f"Here {version!r} answers, whose tokens are others than those of {spec.model!r}. Send texts."
            raise CallerError(message, param="input")
        embedded = await self._wait(lambda: self._served.embedder().embed(spec.texts, self._engine_call))
        size = len(embedded.vectors[0])
        if spec.dimensions not in (None, size):
            raise UnsupportedParameter(f"This model's vectors have {size} dimensions.", param="dimensions")
        self._costs, self._due = True, {Meter(Dimension.EMBEDDING_TOKENS): embedded.input_tokens}
        yield (embedded, Completed(TokenUsage(embedded.input_tokens, 0)))

    async def _inferred(self, spec: InferSpec) -> AsyncGenerator[tuple[LanguageOutput, ...], None]:
        yield (self._opened(),)
        spec = await self._engine_spec(spec)
        inferred = await self._wait(lambda: self._served.inferrer().infer(spec, self._engine_call))
        moved = sum(len(tensor.data) for tensor in (*spec.inputs, *inferred.outputs))
        self._costs = True
        self._due = {Meter(Dimension.INFERENCES): 1, Meter(Dimension.INFERENCE_BYTES): moved}
        yield (inferred, Completed(TokenUsage(0, 0)))

    async def _wait(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Return the engine's result. Raises the error passed to `fail` before or meanwhile. It does the work of
        `asyncio.timeout` itself, because one per token would cost as much as the whole surface.
        """
        if self._error:
            raise self._error
        self._waiting = task = asyncio.current_task()
        assert task is not None
        try:
            return await work()
        except StopAsyncIteration:
            raise EngineError("The engine stopped without finishing its answer.") from None
        except TimeoutError:
            raise EngineTimeout("The model took too long.") from None
        except asyncio.CancelledError:
            if task.cancelling() > self._interrupted:
                raise
            # By `fail`, or the engine's own work was cancelled, not this task.
            raise self._error or EngineError("The engine was stopped.") from None
        finally:
            self._waiting = None
            if self._interrupted:
                self._interrupted = False
                task.uncancel()

    async def _pay(self, events: tuple[LanguageOutput, ...]) -> None:
        if self._due is not None:
            await self._account.charge(self._due)
            self._outcome = EntryKind.COMPLETED
            return
        self._leaving = so_far = self._so_far() if self._chain is None else self._passing(events)
        charged = self._account.charged
        uncharged = so_far.output - charged.get(_OUTPUT, 0) - charged.get(_REASONING, 0)
        if uncharged >= HELD_TOKENS:
            await self._wanted()
        if uncharged >= ENTRY_TOKENS:
            await self._account.charge(_amounts(so_far))
        elif self._confirmed.is_set():
            noted = self._noted
            grown = noted and (noted.input, noted.cached, noted.reasoning) == (
                so_far.input,
                so_far.cached,
                so_far.reasoning,
            )
            await self._account.note({_OUTPUT: so_far.output - so_far.reasoning} if grown else _amounts(so_far))
            self._noted = so_far

    def _passing(self, events: tuple[LanguageOutput, ...]) -> TokenUsage:
        """Return the tokens sent including these events, of which filters may hold back some."""
        for event in events:
            match event:
                case TextDelta() | ToolCallDelta():
                    self._passed += event.tokens
                case ReasoningDelta():
                    self._passed += event.tokens
                    self._passed_reasoning += event.tokens
        made = self._so_far()
        output, reasoning = min(made.output, self._passed), min(made.reasoning, self._passed_reasoning)
        return replace(made, output=output, reasoning=min(output, reasoning))

    async def _wanted(self) -> None:
        """Wait until a held generation is confirmed."""
        if not self._confirmed.is_set():
            await self._wait(self._confirmed.wait)

    async def _release(self, produced: AsyncGenerator[Batch, None]) -> None:
        """End the engine's work; errors are only logged. A finished one is read to its end, so that its connection is
        free for the next call.
        """
        try:
            async with asyncio.timeout(RELEASE_S):
                if self._final:
                    await anext(produced, None)
                await produced.aclose()
        except Exception as error:
            log.error("an engine could not be stopped", exc_info=error, extra={"session": self.call.id})

    def _note(self, batch: Batch) -> tuple[Generated, ...]:
        """Count the tokens, and return the events for the caller. Raises `EngineError` for an impossible count."""
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
                        raise EngineError("The engine reported an impossible number of tokens.")
                    self._counted = event
                    self._final = self._left == 0
                    counts = True
        return tuple([e for e in batch if not isinstance(e, TokenUsage)]) if counts else batch  # type: ignore[return-value]

    def _measure(self, events: tuple[Generated, ...]) -> None:
        """Measure, after the transport took the events."""
        if any(isinstance(e, TextDelta | ReasoningDelta | ToolCallStarted | ToolCallDelta) for e in events):
            self._timer.sent(self._services.clock.now_ns())

    # -- counting ------------------------------------------------------------------------------------------------------

    def _so_far(self) -> TokenUsage:
        """Return the engine's count if there is one; before the end, the larger of that and the output seen."""
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
        return sum(-(-len(text.encode()) // demands.BYTES_PER_TOKEN) for text in texts)

    def _owed(self) -> dict[Meter, int]:
        theirs = self._streams and self._confirmed.is_set() and self._outcome is not EntryKind.COMPLETED
        return _amounts(self._sent) if theirs and self._sent else {}


def _bounded(spec: GenerateSpec) -> GenerateSpec:
    """Return a spec with a bound of its output, which the budget has reserved."""
    if spec.sampling.max_tokens is not None:
        return spec
    return replace(spec, sampling=replace(spec.sampling, max_tokens=demands.OUTPUT_TOKENS))


def _amounts(usage: TokenUsage) -> dict[Meter, int]:
    return {
        _INPUT: usage.input - usage.cached,
        _CACHED: usage.cached,
        _OUTPUT: usage.output - usage.reasoning,
        _REASONING: usage.reasoning,
    }
