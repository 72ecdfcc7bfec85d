"""One caller's call of a language or embedding model: generate, meter, measure, close.

What it is charged is what the engine counted, reconciled with what was seen to pass. A result that is delivered whole
is durable in the ledger before it leaves. Of a stream fewer than `UNCHARGED_TOKENS` of output have been sent that are
not in the ledger yet, and everything is there before `Completed`. Who leaves a stream early pays for what was sent, and
so does one whose stream failed; a whole answer that failed is free. `events` ends with `Completed` or `Failed`, always;
`close` must be called after it, whatever happened.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import cached_property
from typing import TypeVar

from antiphon.core.errors import (
    AntiphonError,
    Conflict,
    EngineError,
    EngineTimeout,
    InternalError,
    UnsupportedParameter,
)
from antiphon.core.events import (
    ChoiceEnded,
    Completed,
    Failed,
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
from antiphon.core.usage import Dimension, Quantity
from antiphon.core.wire import Keep
from antiphon.metering.entry import Entry, Reference
from antiphon.metering.entry import Kind as EntryKind
from antiphon.metering.ledger import Claim
from antiphon.session.language import Served
from antiphon.session.session import Services
from antiphon.slo.measure import NS_PER_MS, TokenTimer

UNCHARGED_TOKENS = 64  # of a stream; so many are in the ledger before the last of them is sent
BYTES_PER_TOKEN = 4  # of an input that no engine counted, because the caller left before it could
RELEASE_S = 10.0  # for an engine to end its work

Given = TypeVar("Given")
Batch = tuple[Generated | TokenUsage, ...]
Keeping = Callable[[Keep], Awaitable[None]]

_FEATURES = {EmbedSpec: "embedding", InferSpec: "inference"}

log = logging.getLogger(__name__)


class Generation:
    """One call. `id` is a UUID; `claim` an idempotency key's; `deadline_ns` when it is given up; `keeping` keeps its
    answer, if it is kept.
    """

    live = False

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
    ) -> None:
        self.id = id
        self.principal = principal
        self.surface = surface
        self._services = services
        self._served = served
        self._spec = spec
        self._deadline_ns = deadline_ns
        self._on_close = on_close
        self._claim = claim
        self._keeping = keeping
        self._streams = isinstance(spec, GenerateSpec) and spec.stream
        self._feature = _FEATURES.get(type(spec), "stream" if self._streams else "whole")
        self._timer = TokenTimer(services.clock.now_ns())
        self._error: AntiphonError | None = None
        self._waiting: asyncio.Task[object] | None = None  # for the engine
        self._interrupted = False  # it was cancelled by `fail`
        self._counted: TokenUsage | None = None  # by the engine
        self._seen = self._seen_reasoning = 0  # tokens that passed, by our own count
        self._sent: TokenUsage | None = None  # what the caller has certainly been given, so far as it is charged for
        self._left = 0  # choices that have not ended
        self._final = False  # all have, and the engine has said what they took
        self._charged: dict[Dimension, int] = {}
        self._last: dict[Dimension, int] = {}  # the sequence of the latest entry that charges for it
        self._sequence = 0
        self._unsettled: list[Entry] = []
        self._outcome = EntryKind.ABANDONED
        self._closing: asyncio.Task[None] | None = None

    @property
    def charged_whole(self) -> bool:
        """Whether it was charged for an answer that is delivered whole."""
        return not (self._streams or self._replays) and any(self._charged.values())

    def fail(self, error: AntiphonError) -> None:
        """End the call with an error; the first one counts."""
        self._error = self._error or error
        if self._waiting and not self._interrupted:
            self._interrupted = True
            self._waiting.cancel()

    def drain(self) -> None:
        """The server is stopping. A generation ends by itself."""

    async def keep(self, keep: Keep) -> None:
        """What the surface made of its events, durable on return. Raises `InternalError`."""
        if self._keeping is not None:
            await self._keeping(keep)

    # -- out -----------------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncGenerator[tuple[LanguageOutput, ...], None]:
        """Everything the caller is told, as many at a time as came at once."""
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
        except AntiphonError as error:
            self.fail(error)
            yield (Failed(self._error or error),)
        except Exception as error:
            log.error("generation failed", exc_info=error, extra={"session": self.id})
            failure = InternalError("The server failed; this has been logged.")
            self.fail(failure)
            yield (Failed(self._error or failure),)
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
                if self._final:
                    break
                if not events:
                    continue
                so_far = self._so_far()
                if self._streams and so_far.output - self._charged_output() >= UNCHARGED_TOKENS:
                    await self._charge(so_far)
                yield events
                self._sent = so_far
                self._measure(events)
            usage = self._so_far()
            await self._charge(usage)
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
        await self._write(self._owed({Dimension.EMBEDDING_TOKENS: embedded.input_tokens}))
        self._outcome = EntryKind.COMPLETED
        yield (embedded, Completed(TokenUsage(embedded.input_tokens, 0)))

    async def _inferred(self, spec: InferSpec) -> AsyncGenerator[tuple[LanguageOutput, ...], None]:
        call = Call(self.id, self._deadline_ns)
        inferred = await self._wait(lambda: self._served.inferrer().infer(spec, call))
        moved = sum(len(tensor.data) for tensor in (*spec.inputs, *inferred.outputs))
        await self._write(self._owed({Dimension.INFERENCES: 1, Dimension.INFERENCE_BYTES: moved}))
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

    # -- the ledger ----------------------------------------------------------------------------------------------------

    def _so_far(self) -> TokenUsage:
        """The engine's count where there is one; until the end, of the output what was seen to pass if that is more."""
        counted = self._counted
        if counted is None:
            return TokenUsage(self._estimated_input, self._seen, reasoning=self._seen_reasoning)
        if self._final:
            self._services.observer.token_drift(counted.output - self._seen)
            return counted
        output = max(counted.output, self._seen)
        return TokenUsage(counted.input, output, counted.cached, max(counted.reasoning, self._seen_reasoning))

    @cached_property
    def _estimated_input(self) -> int:
        assert isinstance(self._spec, GenerateSpec)
        prompt = self._spec.prompt
        texts = [prompt] if isinstance(prompt, str) else [message.text for message in prompt]
        return sum(-(-len(text.encode()) // BYTES_PER_TOKEN) for text in texts)

    def _charged_output(self) -> int:
        charged = self._charged
        return charged.get(Dimension.LLM_OUTPUT_TOKENS, 0) + charged.get(Dimension.LLM_REASONING_TOKENS, 0)

    async def _charge(self, usage: TokenUsage) -> None:
        """Durable on return."""
        await self._write(self._owed(_amounts(usage)))

    def _owed(self, amounts: Mapping[Dimension, int], correct: bool = True) -> list[Entry]:
        """Entries for what is not charged yet. What was charged too much, because we counted more than the engine did
        in the end, is corrected, unless `correct` says not.
        """
        entries = []
        for dimension, amount in amounts.items():
            more = amount - self._charged.get(dimension, 0)
            if more > 0:
                entries.append(self._entry(EntryKind.USAGE, dimension, more))
                self._last[dimension] = entries[-1].sequence
            elif more < 0 and correct:
                corrects = Reference(self.id, self._last[dimension])
                entries.append(self._entry(EntryKind.CORRECTION, dimension, more, corrects))
            else:
                continue
            self._charged[dimension] = amount
        return entries

    def _entry(self, kind: EntryKind, dimension: Dimension, amount: int, corrects: Reference | None = None) -> Entry:
        number, self._sequence = self._sequence, self._sequence + 1
        return Entry(
            project=self.principal.project,
            session=self.id,
            sequence=number,
            kind=kind,
            key_id=self.principal.key_id,
            at_unix_ms=self._services.clock.unix_ms(),
            surface=self.surface,
            model=self._served.version,
            quantity=Quantity(dimension, amount),
            feature=self._feature,
            corrects=corrects,
            tags=self._spec.tags,
        )

    async def _write(self, entries: list[Entry]) -> None:
        """Durable on return. Where it was cancelled nobody knows; the same entries are then written again with the
        next ones, and the ledger takes each once.
        """
        self._unsettled += entries
        if not self._unsettled:
            return
        begun_ns = self._services.clock.now_ns()
        try:
            await self._services.ledger.append(self._unsettled, self._claim)
        except AntiphonError as error:
            for entry in self._unsettled:  # refused, so not in the ledger
                if entry.quantity.dimension in self._charged:
                    self._charged[entry.quantity.dimension] -= entry.quantity.amount
            self._unsettled = []
            if isinstance(error, Conflict):
                self._claim = None  # another request's; what of this one was sent is paid for without
            raise
        took_ms = (self._services.clock.now_ns() - begun_ns) / NS_PER_MS
        if not self._replays:
            self._services.observer.tokens_metered(self.surface, self._served.version, self._unsettled, took_ms)
        self._unsettled = []

    # -- the end -------------------------------------------------------------------------------------------------------

    async def close(self, delivered: bool) -> None:
        """Free everything. `delivered` says whether all that `events` yielded was sent; the ledger is told. Goes on to
        its end where the caller of this is cancelled.
        """
        self.end(delivered)
        assert self._closing is not None
        await asyncio.shield(self._closing)

    def end(self, delivered: bool) -> None:
        """Begins to close, and does not wait: the next request of the same connection need not wait for what the ledger
        is told about the end of this one.
        """
        self._closing = asyncio.create_task(self._close(delivered), name=f"close {self.id}")

    async def _close(self, delivered: bool) -> None:
        completed = self._outcome is EntryKind.COMPLETED
        try:
            entries = []
            if self._streams and self._sent and not completed:
                entries = self._owed(_amounts(self._sent), correct=False)
            if any(self._charged.values()):
                outcome = self._outcome if delivered else EntryKind.ABANDONED
                entries.append(self._entry(outcome, next(iter(self._charged)), 0))
            await self._write(entries)
        except AntiphonError:
            pass  # nothing more is delivered; the ledger's own recovery marks the session as abandoned
        except Exception as error:
            log.error("generation failed", exc_info=error, extra={"session": self.id})
        finally:
            self._on_close(self)
            self._report(delivered, completed)

    def _report(self, delivered: bool, completed: bool) -> None:
        tokens = sum(amount for dimension, amount in self._charged.items() if dimension.endswith("tokens"))
        outcome = "completed" if completed and delivered else self._error.code if self._error else "abandoned"
        self._services.observer.ended(self.surface, outcome)
        log.info(
            "session ended",
            extra={
                "session": self.id,
                "project": self.principal.project,
                "key": self.principal.key_id,
                "surface": self.surface,
                "model": self._served.version,
                "outcome": outcome,
                "tokens": 0 if self._replays else tokens,
            },
        )

    @property
    def _replays(self) -> bool:
        """Whether the caller has been charged for this before."""
        return self._claim is not None and self._claim.replay_of is not None


def _amounts(usage: TokenUsage) -> dict[Dimension, int]:
    return {
        Dimension.LLM_INPUT_TOKENS: usage.input - usage.cached,
        Dimension.LLM_CACHED_TOKENS: usage.cached,
        Dimension.LLM_OUTPUT_TOKENS: usage.output - usage.reasoning,
        Dimension.LLM_REASONING_TOKENS: usage.reasoning,
    }
