"""Fake engines of language models, embeddings and tensors."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from antiphon.core import ports
from antiphon.core.capabilities import EVERYTHING, Ability
from antiphon.core.errors import EngineError
from antiphon.core.events import (
    Alternative,
    ChoiceEnded,
    Embedded,
    FinishReason,
    Generated,
    Inferred,
    ScoredToken,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.core.ports import EngineCall
from antiphon.core.specs import GenerateSpec, InferSpec, ToolMode
from antiphon.core.tensors import ModelForm, Tensor, TensorForm

Batch = tuple[Generated | TokenUsage, ...]
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class FakeGenerator:
    """A model that counts: "one two three ...", `tokens` for each choice, or fewer if the spec bounds them, one token
    of each choice at a time. If a call must use a tool, it calls it, with the tokens in its arguments. Then comes the
    engine's own count, with one token of input per word. With `early_usage` the input's count also comes first.

    `script` replaces this: tuples of events, yielded exactly as given. In place of tuple number `fails_at`, `error` is
    raised, if set. From tuple number `holds_at` on, each waits until `gate` is open. `calls` has the requests;
    `running` the ids of calls that began and were not closed, `held` of those at the gate, `cancelled` of those that
    were closed before their end. `abilities` are those it declares.
    """

    def __init__(
        self,
        script: Callable[[GenerateSpec], Iterable[Batch]] | None = None,
        *,
        tokens: int = 5,
        early_usage: bool = False,
        error: Exception | None = None,
        fails_at: int = 0,
        holds_at: int = 0,
        abilities: frozenset[Ability] = EVERYTHING,
    ) -> None:
        self.abilities = abilities
        self.script = script or self._count
        self.tokens = tokens
        self.early_usage = early_usage
        self.error = error
        self.fails_at = fails_at
        self.holds_at = holds_at
        self.gate = asyncio.Event()
        self.gate.set()
        self.unwell: EngineError | None = None
        self.closed = False
        self.calls: list[tuple[GenerateSpec, EngineCall]] = []
        self.running: list[str] = []
        self.held: list[str] = []
        self.cancelled: list[str] = []

    async def generate(self, spec: GenerateSpec, call: EngineCall) -> AsyncGenerator[Batch, None]:
        self.calls.append((spec, call))
        self.running.append(call.id)
        ended = False
        try:
            number = -1
            for number, batch in enumerate(self.script(spec)):
                await self._reach(number, call)
                yield batch
            await self._reach(number + 1, call)
            ended = True
        except Exception:
            ended = True
            raise
        finally:
            self.running.remove(call.id)
            if not ended:
                self.cancelled.append(call.id)

    async def _reach(self, number: int, call: EngineCall) -> None:
        if number >= self.holds_at and not self.gate.is_set():
            self.held.append(call.id)
            try:
                await self.gate.wait()
            finally:
                self.held.remove(call.id)
        if self.error is not None and number == self.fails_at:
            raise self.error

    async def check(self) -> None:
        """Raise `unwell`, if set."""
        if self.unwell is not None:
            raise self.unwell

    async def close(self) -> None:
        self.closed = True

    def _count(self, spec: GenerateSpec) -> Iterable[Batch]:
        texts = [spec.prompt] if isinstance(spec.prompt, str) else [message.text for message in spec.prompt]
        input_tokens = sum(len(text.split()) for text in texts)
        bound = spec.sampling.max_tokens
        length = self.tokens if bound is None else min(self.tokens, bound)
        uses_tool = bool(spec.tools) and spec.tool_choice.mode is ToolMode.REQUIRED
        choices = range(spec.choices)
        if self.early_usage:
            yield (TokenUsage(input_tokens, 0),)
        if uses_tool:
            name = spec.tool_choice.name or spec.tools[0].name
            yield tuple(ToolCallStarted(choice, 0, f"call_{choice}", name) for choice in choices)
        for n in range(length):
            yield tuple(self._piece(spec, choice, n, length, uses_tool) for choice in choices)
        full = FinishReason.TOOL_CALLS if uses_tool else FinishReason.STOP
        reason = FinishReason.LENGTH if length < self.tokens else full
        yield tuple(ChoiceEnded(choice, reason) for choice in choices)
        yield (TokenUsage(input_tokens, length * spec.choices),)

    @staticmethod
    def _piece(spec: GenerateSpec, choice: int, n: int, length: int, uses_tool: bool) -> Generated:
        word = _NUMBERS[n % len(_NUMBERS)]
        if uses_tool:
            opening, closing = "{" if n == 0 else ", ", "}" if n == length - 1 else ""
            return ToolCallDelta(choice, 0, f'{opening}"{word}": {n + 1}{closing}', 1)
        text = f" {word}" if n else word
        sampling = spec.sampling
        others = tuple(Alternative(text if k == 0 else f" {_NUMBERS[k % 10]}", -0.1 - k) for k in range(20))
        scored = (ScoredToken(text, -0.1, others[: sampling.top_logprobs]),) if sampling.logprobs else ()
        return TextDelta(choice, text, 1, scored)


class FakeEmbedder:
    """An engine whose vector for each text, of `dimensions` numbers, is its length in words (or tokens) and then zeros;
    one token per word.

    `calls` has the requests, `cancelled` the ids of calls that were ended at the `gate`. While `error` is set, every
    call raises it.
    """

    def __init__(self, dimensions: int = 8) -> None:
        self.dimensions = dimensions
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.unwell: EngineError | None = None
        self.closed = False
        self.calls: list[tuple[Sequence[str | tuple[int, ...]], EngineCall]] = []
        self.cancelled: list[str] = []

    async def embed(self, texts: Sequence[str | tuple[int, ...]], call: EngineCall) -> Embedded:
        self.calls.append((texts, call))
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(call.id)
            raise
        if self.error is not None:
            raise self.error
        lengths = [len(text.split() if isinstance(text, str) else text) for text in texts]
        rest = (0.0,) * (self.dimensions - 1)
        return Embedded(tuple((float(length), *rest) for length in lengths), sum(lengths))

    async def check(self) -> None:
        """Raise `unwell`, if set."""
        if self.unwell is not None:
            raise self.unwell

    async def close(self) -> None:
        self.closed = True


class FakeInferrer:
    """An engine that returns each input twice, named `out` and by its own name.

    `calls` has the requests. While `error` is set, every call raises it; calls wait at the `gate`.
    """

    def __init__(self) -> None:
        self.form = ModelForm(("1",), "fake", (TensorForm("x", "UINT8", (-1,)),), (TensorForm("outx", "UINT8", (-1,)),))
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.unwell: EngineError | None = None
        self.closed = False
        self.calls: list[tuple[InferSpec, EngineCall]] = []

    async def infer(self, spec: InferSpec, call: EngineCall) -> Inferred:
        self.calls.append((spec, call))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        outputs = (
            Tensor(f"out{each.name}", each.datatype, (2, *each.shape), each.data * 2, each.parameters)
            for each in spec.inputs
        )
        return Inferred(tuple(outputs), spec.version or "1", spec.parameters)

    async def describe(self, version: str) -> ModelForm:
        """Return the model's form. Raises `error`, if set."""
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.form

    async def check(self) -> None:
        """Raise `unwell`, if set."""
        if self.unwell is not None:
            raise self.unwell

    async def close(self) -> None:
        self.closed = True


if TYPE_CHECKING:  # makes mypy check that the fake implements its port
    _GENERATOR: type[ports.Generator] = FakeGenerator
    _EMBEDDER: type[ports.Embedder] = FakeEmbedder
    _INFERRER: type[ports.Inferrer] = FakeInferrer
