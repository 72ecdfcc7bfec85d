"""One caller's call of a language or embedding model: generate, meter, measure, close.

What it is charged is what the engine counted, reconciled with what was seen to pass. A result that is delivered whole
is durable in the ledger before it leaves. Of a stream at most `UNCHARGED_TOKENS` have been sent that are not in the
ledger yet, and all of it is there before the last event. Who leaves early pays for what was sent, and so does one whose
stream failed. `events` ends with `Completed` or `Failed`, always; `close` must be called after it, whatever happened.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from antiphon.core.errors import AntiphonError, EngineTimeout, InternalError
from antiphon.core.events import (
    ChoiceEnded,
    Completed,
    Embedded,
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
from antiphon.core.specs import EmbedSpec, GenerateSpec
from antiphon.core.usage import Dimension, Quantity
from antiphon.metering.entry import Entry, Reference
from antiphon.metering.entry import Kind as EntryKind
from antiphon.metering.ledger import Claim
from antiphon.session.language import Served
from antiphon.session.session import Services
from antiphon.slo.measure import NS_PER_MS, TokenTimer

UNCHARGED_TOKENS = 64  # of a stream, sent and not in the ledger yet; what came at once may add to it
BYTES_PER_TOKEN = 4  # of an input that no engine counted, because the caller left before it could

log = logging.getLogger(__name__)


class Generation:
    """One call. `id` is a UUID; `claim` an idempotency key's; `deadline_ns` when it is given up."""

    live = False

    def __init__(
        self,
        services: Services,
        id: str,
        principal: Principal,
        surface: str,
        served: Served,
        spec: GenerateSpec | EmbedSpec,
        deadline_ns: int,
        on_close: Callable[["Generation"], None],
        claim: Claim | None = None,
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
        self._streams = isinstance(spec, GenerateSpec) and spec.stream
        self._timer = TokenTimer(services.clock.now_ns())
        self._error: AntiphonError | None = None
        self._patience: asyncio.Timeout | None = None
        self._counted: TokenUsage | None = None  # by the engine
        self._seen = self._seen_reasoning = 0  # tokens that passed, by our own count
        self._sent: TokenUsage | None = None  # what the caller has certainly been given, so far as it is charged for
        self._left = 0  # choices that have not ended
        self._final = False  # all have, and the engine has said what they took
        self._charged: dict[Dimension, int] = {}
        self._last: dict[Dimension, int] = {}  # the sequence of its latest entry
        self._sequence = 0
        self._unsettled: list[Entry] = []
        self._outcome = EntryKind.ABANDONED
        self._closing: asyncio.Task[None] | None = None

    def fail(self, error: AntiphonError) -> None:
        """End the call with an error; the first one counts."""
        self._error = self._error or error
        if self._patience and not self._patience.expired():
            self._patience.reschedule(0)

    def drain(self) -> None:
        """The server is stopping. A generation ends by itself."""

    # -- out -----------------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncGenerator[tuple[LanguageOutput, ...], None]:
        """Everything the caller is told, as many at a time as came at once."""
        served = self._served
        yield (Opened(served.version, served.fingerprint, served.deprecated_unix_s, served.sunset_unix_s),)
        try:
            produce = self._embedded() if isinstance(self._spec, EmbedSpec) else self._generated(self._spec)
            async with aclosing(produce) as produced:
                async for events in produced:
                    yield events
        except AntiphonError as error:
            self.fail(error)
            yield (Failed(error),)
        except Exception as error:
            log.error("generation failed", exc_info=error, extra={"session": self.id})
            failure = InternalError("The server failed; this has been logged.")
            self.fail(failure)
            yield (Failed(failure),)

    async def _generated(self, spec: GenerateSpec) -> AsyncGenerator[tuple[LanguageOutput, ...], None]:
        self._left = spec.choices
        async with aclosing(self._served.generator().generate(spec, Call(self.id, self._deadline_ns))) as produced:
            while True:
                batch = await self._next(produced)
                events = self._note(batch)
                if self._final:
                    usage = self._so_far()
                    await self._charge(usage)
                    self._outcome = EntryKind.COMPLETED
                    yield (*events, Completed(usage))
                    self._measure(events)
                    self._services.observer.generation(self._timer.measured(usage.output))
                    return
                if not events:
                    continue
                so_far = self._so_far()
                if self._streams and so_far.output - self._charged_output() >= UNCHARGED_TOKENS:
                    await self._charge(so_far)
                yield events
                self._sent = so_far
                self._measure(events)

    async def _next(
        self, produced: AsyncGenerator[tuple[Generated | TokenUsage, ...], None]
    ) -> tuple[Generated | TokenUsage, ...]:
        """What the engine gives next. Raises what `fail` was told, and where the deadline passes."""
        if self._error:
            raise self._error
        left_s = (self._deadline_ns - self._services.clock.now_ns()) / 1e9
        try:
            async with asyncio.timeout(left_s) as self._patience:
                return await anext(produced)
        except StopAsyncIteration:
            raise InternalError("The engine ended without an end.") from None
        except TimeoutError:
            raise self._error or EngineTimeout("The model took too long.") from None
        finally:
            self._patience = None

    def _note(self, batch: tuple[Generated | TokenUsage, ...]) -> tuple[Generated, ...]:
        """Counts what passes; what is left of it is for the caller."""
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
                    self._counted = event
                    self._final = self._left == 0
                    counts = True
        return tuple(e for e in batch if not isinstance(e, TokenUsage)) if counts else batch  # type: ignore[return-value]

    def _measure(self, events: tuple[Generated, ...]) -> None:
        """After the transport took them."""
        if any(isinstance(e, TextDelta | ReasoningDelta | ToolCallStarted | ToolCallDelta) for e in events):
            self._timer.sent(self._services.clock.now_ns())

    async def _embedded(self) -> AsyncGenerator[tuple[LanguageOutput, ...], None]:
        assert isinstance(self._spec, EmbedSpec)
        if self._error:
            raise self._error
        left_s = (self._deadline_ns - self._services.clock.now_ns()) / 1e9
        try:
            async with asyncio.timeout(left_s) as self._patience:
                embedded: Embedded = await self._served.embedder().embed(
                    self._spec.texts, Call(self.id, self._deadline_ns)
                )
        except TimeoutError:
            raise self._error or EngineTimeout("The model took too long.") from None
        finally:
            self._patience = None
        await self._write(self._owed({Dimension.EMBEDDING_TOKENS: embedded.input_tokens}))
        self._outcome = EntryKind.COMPLETED
        yield (embedded, Completed(TokenUsage(embedded.input_tokens, 0)))

    # -- the ledger ----------------------------------------------------------------------------------------------------

    def _so_far(self) -> TokenUsage:
        """The engine's count where there is one; until the end, of the output what was seen to pass if that is more."""
        counted = self._counted
        if counted is None:
            return TokenUsage(self._estimated_input(), self._seen, reasoning=self._seen_reasoning)
        if self._final:
            self._services.observer.token_drift(counted.output - self._seen)
            return counted
        output = max(counted.output, self._seen)
        return TokenUsage(counted.input, output, counted.cached, max(counted.reasoning, self._seen_reasoning))

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

    def _owed(self, amounts: Mapping[Dimension, int]) -> list[Entry]:
        """Entries for what is not charged yet. What was charged too much, because we counted more than the engine did
        in the end, is corrected.
        """
        entries = []
        for dimension, amount in amounts.items():
            more = amount - self._charged.get(dimension, 0)
            if more:
                kind = EntryKind.USAGE if more > 0 else EntryKind.CORRECTION
                entries.append(self._entry(kind, dimension, more))
                self._charged[dimension] = amount
        return entries

    def _entry(self, kind: EntryKind, dimension: Dimension, amount: int) -> Entry:
        number, self._sequence = self._sequence, self._sequence + 1
        corrects = Reference(self.id, self._last[dimension]) if kind is EntryKind.CORRECTION else None
        self._last[dimension] = number
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
            feature="embedding" if isinstance(self._spec, EmbedSpec) else "stream" if self._streams else "whole",
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
        except AntiphonError:
            self._unsettled = []  # refused, so not in the ledger
            raise
        took_ms = (self._services.clock.now_ns() - begun_ns) / NS_PER_MS
        if self._claim is None or self._claim.replay_of is None:
            self._services.observer.tokens_metered(self.surface, self._served.version, self._unsettled, took_ms)
        self._unsettled = []

    # -- the end -------------------------------------------------------------------------------------------------------

    async def close(self, delivered: bool) -> None:
        """Free everything. `delivered` says whether all that `events` yielded was sent; the ledger is told. Goes on to
        its end where the caller of this is cancelled.
        """
        self._closing = asyncio.create_task(self._close(delivered), name=f"close {self.id}")
        await asyncio.shield(self._closing)

    async def _close(self, delivered: bool) -> None:
        completed = self._outcome is EntryKind.COMPLETED
        try:
            entries = self._owed(_amounts(self._sent)) if self._streams and self._sent and not completed else []
            entries = [entry for entry in entries if entry.kind is EntryKind.USAGE]
            if self._sequence:
                outcome = self._outcome if delivered else EntryKind.ABANDONED
                entries.append(self._entry(outcome, next(iter(self._last)), 0))
            await self._write(entries)
        except AntiphonError:
            pass  # nothing more is delivered; the ledger's own recovery marks the session as abandoned
        finally:
            self._on_close(self)
            outcome_name = self._error.code if self._error else ("completed" if delivered else "abandoned")
            self._services.observer.ended(self.surface, outcome_name)
            log.info(
                "session ended",
                extra={
                    "session": self.id,
                    "project": self.principal.project,
                    "key": self.principal.key_id,
                    "surface": self.surface,
                    "model": self._served.version,
                    "outcome": outcome_name,
                    "tokens": sum(self._charged.values()),
                },
            )


def _amounts(usage: TokenUsage) -> dict[Dimension, int]:
    return {
        Dimension.LLM_INPUT_TOKENS: usage.input - usage.cached,
        Dimension.LLM_CACHED_TOKENS: usage.cached,
        Dimension.LLM_OUTPUT_TOKENS: usage.output - usage.reasoning,
        Dimension.LLM_REASONING_TOKENS: usage.reasoning,
    }
