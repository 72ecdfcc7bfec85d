"""Fakes for users' and our own tests: time that moves when told, a ledger in memory,
an ear that hears what is loud, an engine that hears numbers, one that counts, one that embeds, one that echoes,
and one that hums.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from itertools import takewhile

from antiphon.core.audio import BYTES_PER_MS
from antiphon.core.errors import AntiphonError, Conflict, EngineError
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
    Word,
)
from antiphon.core.ports import Call, Clause, Hypothesis, Utterance
from antiphon.core.specs import GenerateSpec, InferSpec, ToolMode
from antiphon.core.tensors import ModelForm, Tensor, TensorForm
from antiphon.core.units import NS_PER_MS
from antiphon.core.usage import Dimension
from antiphon.metering.entry import Entry
from antiphon.metering.ledger import Claim


class FakeClock:
    """A clock that stands still until `advance_ms`. Starts at 2026-01-01T00:00:00Z."""

    def __init__(self, unix_ms: int = 1_767_225_600_000) -> None:
        self._start_unix_ms = unix_ms
        self._elapsed_ns = 0

    def now_ns(self) -> int:
        return self._elapsed_ns

    def unix_ms(self) -> int:
        return self._start_unix_ms + self._elapsed_ns // NS_PER_MS

    def advance_ms(self, ms: int) -> None:
        self._elapsed_ns += ms * NS_PER_MS


class FakeLedger:
    """Keeps the rules of `metering.Ledger` in memory. While `error` is set, every call raises it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.error: AntiphonError | None = None
        self.closed = False
        self._claims: dict[tuple[str, str], Claim] = {}

    @property
    def healthy(self) -> bool:
        return self.error is None and not self.closed

    async def append(self, new: Sequence[Entry], claim: Claim | None = None) -> None:
        self._check()
        written = {entry.key: entry for entry in self.entries}
        if any(written.get(entry.key, entry) != entry for entry in new):
            raise Conflict("this entry has been written before, with other contents")
        if claim is not None and new:
            if claim.replay_of is not None or self._owner(claim) != claim.session:
                return
            self._claims.setdefault((claim.project, claim.key), claim)
        self.entries += [entry for entry in new if entry.key not in written]

    async def claim(self, project: str, key: str, fingerprint: str, session: str, now_unix_ms: int) -> Claim:
        self._check()
        owner = self._owner(Claim(project, key, fingerprint, session, now_unix_ms))
        return Claim(project, key, fingerprint, session, now_unix_ms, None if owner == session else owner)

    async def charged(self, project: str, dimension: Dimension, since_unix_ms: int) -> int:
        self._check()
        ours = (e for e in self.entries if e.project == project and e.at_unix_ms >= since_unix_ms)
        return sum(e.quantity.amount for e in ours if e.quantity.dimension is dimension)

    async def flush(self) -> None:
        self._check()

    async def close(self) -> None:
        self.closed = True

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    def _owner(self, claim: Claim) -> str:
        known = self._claims.get((claim.project, claim.key), claim)
        if known.fingerprint != claim.fingerprint:
            raise Conflict("this idempotency key was used for another request")
        return known.session


class FakeDetector:
    """Calls a frame speech where its loudest sample reaches `threshold`. A stream's state is the frames it heard.

    `calls` holds the rows of each call. While `error` is set, every call raises it.
    """

    def __init__(self, threshold: int = 1000) -> None:
        self.threshold = threshold
        self.calls: list[int] = []
        self.error: Exception | None = None

    def initial_state(self) -> int:
        return 0

    def probabilities(self, frames: Sequence[bytes], states: Sequence[int]) -> tuple[list[float], list[int]]:
        if self.error is not None:
            raise self.error
        self.calls.append(len(frames))
        loudest = [max(map(abs, memoryview(frame).cast("h"))) for frame in frames]
        return [0.99 if peak >= self.threshold else 0.01 for peak in loudest], [state + 1 for state in states]


class FakeRecogniser:
    """Hears a word in each whole 300 ms: "one two three ...", or what `hear` makes of an utterance.

    `calls` holds the utterances of each call. A call with an utterance that `fails` raises `EngineError`.
    A token is a word's number; what of the draft agrees is counted as accepted.
    """

    WORD_MS = 300

    def __init__(
        self,
        hear: Callable[[Utterance], str] | None = None,
        fails: Callable[[Utterance], bool] = lambda utterance: False,
    ) -> None:
        self.hear = hear or self._count
        self.fails = fails
        self.calls: list[tuple[Utterance, ...]] = []

    def recognise(self, batch: Sequence[Utterance]) -> list[Hypothesis]:
        self.calls.append(tuple(batch))
        if any(self.fails(utterance) for utterance in batch):
            raise EngineError("this was asked for")
        return [self._hypothesis(utterance) for utterance in batch]

    def _count(self, utterance: Utterance) -> str:
        words = len(utterance.pcm) // BYTES_PER_MS // self.WORD_MS
        return " ".join(_NUMBERS[n % len(_NUMBERS)] for n in range(words))

    def _hypothesis(self, utterance: Utterance) -> Hypothesis:
        texts = self.hear(utterance).split()
        step_ms = len(utterance.pcm) // BYTES_PER_MS // max(1, len(texts)) if utterance.timed else 0
        words = tuple(Word(text, n * step_ms, (n + 1) * step_ms, 0.9) for n, text in enumerate(texts))
        tokens = tuple(range(1, len(texts) + 1))
        agreed = zip(tokens, utterance.draft, strict=False)
        accepted = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], agreed))
        return Hypothesis(
            text=" ".join(texts),
            words=words,
            confidence=0.9 if texts else 0.0,
            tokens=tokens,
            pieces=tuple(f" {text}" for text in texts),
            logprobs=(-0.1,) * len(texts),
            accepted=accepted,
            steps=len(tokens) - accepted + 1,
        )


Batch = tuple[Generated | TokenUsage, ...]


class FakeGenerator:
    """Counts: "one two three ...", `tokens` of each choice, or fewer where the spec bounds them, a token of each choice
    at a time; a call that must use a tool uses it, with its tokens in its arguments. Then comes the engine's own count,
    with a token of input for each word. With `early_usage` the input's count comes first, too.

    `script` gives something else to say: the tuples of events of a call, yielded exactly so. In place of tuple number
    `fails_at`, `error` is raised, if there is one. From tuple number `holds_at` on, each waits until `gate` is open.
    `calls` holds what was asked; `running` the ids of calls that were begun and not closed, `held` of those at the
    gate, `cancelled` of those that were closed before their end.
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
    ) -> None:
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
        self.calls: list[tuple[GenerateSpec, Call]] = []
        self.running: list[str] = []
        self.held: list[str] = []
        self.cancelled: list[str] = []

    async def generate(self, spec: GenerateSpec, call: Call) -> AsyncGenerator[Batch, None]:
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

    async def _reach(self, number: int, call: Call) -> None:
        if number >= self.holds_at and not self.gate.is_set():
            self.held.append(call.id)
            try:
                await self.gate.wait()
            finally:
                self.held.remove(call.id)
        if self.error is not None and number == self.fails_at:
            raise self.error

    async def check(self) -> None:
        """Raises `unwell`, while it is set."""
        if self.unwell is not None:
            raise self.unwell

    async def close(self) -> None:
        self.closed = True

    def _count(self, spec: GenerateSpec) -> Iterable[Batch]:
        texts = [spec.prompt] if isinstance(spec.prompt, str) else [message.text for message in spec.prompt]
        asked = sum(len(text.split()) for text in texts)
        bound = spec.sampling.max_tokens
        said = self.tokens if bound is None else min(self.tokens, bound)
        uses_tool = bool(spec.tools) and spec.tool_choice.mode is ToolMode.REQUIRED
        choices = range(spec.choices)
        if self.early_usage:
            yield (TokenUsage(asked, 0),)
        if uses_tool:
            name = spec.tool_choice.name or spec.tools[0].name
            yield tuple(ToolCallStarted(choice, 0, f"call_{choice}", name) for choice in choices)
        for n in range(said):
            yield tuple(self._piece(spec, choice, n, said, uses_tool) for choice in choices)
        full = FinishReason.TOOL_CALLS if uses_tool else FinishReason.STOP
        reason = FinishReason.LENGTH if said < self.tokens else full
        yield tuple(ChoiceEnded(choice, reason) for choice in choices)
        yield (TokenUsage(asked, said * spec.choices),)

    @staticmethod
    def _piece(spec: GenerateSpec, choice: int, n: int, said: int, uses_tool: bool) -> Generated:
        word = _NUMBERS[n % len(_NUMBERS)]
        if uses_tool:
            opening, closing = "{" if n == 0 else ", ", "}" if n == said - 1 else ""
            return ToolCallDelta(choice, 0, f'{opening}"{word}": {n + 1}{closing}', 1)
        text = f" {word}" if n else word
        sampling = spec.sampling
        others = tuple(Alternative(text if k == 0 else f" {_NUMBERS[k % 10]}", -0.1 - k) for k in range(20))
        scored = (ScoredToken(text, -0.1, others[: sampling.top_logprobs]),) if sampling.logprobs else ()
        return TextDelta(choice, text, 1, scored)


class FakeEmbedder:
    """A vector of `dimensions` for each text, its length in words (or tokens) and then zeros; a token for each word.

    `calls` holds what was asked, `cancelled` the ids of calls that were ended at the `gate`. While `error` is set,
    every call raises it.
    """

    def __init__(self, dimensions: int = 8) -> None:
        self.dimensions = dimensions
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.unwell: EngineError | None = None
        self.closed = False
        self.calls: list[tuple[Sequence[str | tuple[int, ...]], Call]] = []
        self.cancelled: list[str] = []

    async def embed(self, texts: Sequence[str | tuple[int, ...]], call: Call) -> Embedded:
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
        """Raises `unwell`, while it is set."""
        if self.unwell is not None:
            raise self.unwell

    async def close(self) -> None:
        self.closed = True


class FakeInferrer:
    """Gives its inputs back, each twice over, named `out` and what it was named.

    `calls` holds what was asked. While `error` is set, every call raises it; calls wait at the `gate`.
    """

    def __init__(self) -> None:
        self.form = ModelForm(("1",), "fake", (TensorForm("x", "UINT8", (-1,)),), (TensorForm("outx", "UINT8", (-1,)),))
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.unwell: EngineError | None = None
        self.closed = False
        self.calls: list[tuple[InferSpec, Call]] = []

    async def infer(self, spec: InferSpec, call: Call) -> Inferred:
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
        """Raises `error`, while it is set."""
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.form

    async def check(self) -> None:
        """Raises `unwell`, while it is set."""
        if self.unwell is not None:
            raise self.unwell

    async def close(self) -> None:
        self.closed = True


_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class FakeSynthesiser:
    """Says every letter for 10 ms, a tone as loud as the letter is late in the alphabet, in pieces of a word each.

    `clauses` holds those that were begun. A step takes `step_ms` of the clock, and waits for `gate`; `error` is raised
    by the next one.
    """

    sample_rate = 16_000

    def __init__(self, clock: FakeClock) -> None:
        self.clauses: list[Clause] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.step_ms = 0
        self.error: EngineError | None = None
        self.dropped = 0
        self._clock = clock

    async def synthesise(self, clause: Clause) -> AsyncGenerator[bytes, None]:
        self.clauses.append(clause)
        words = clause.text.split()
        for number, word in enumerate(words):
            await self.gate.wait()
            self._clock.advance_ms(self.step_ms)
            if self.error is not None:
                raise self.error
            try:
                yield b"".join(_tone(letter, clause.speed) for letter in word)
            except GeneratorExit:
                self.dropped += len(words) - number - 1
                raise

    async def check(self) -> None:
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        pass


def _tone(letter: str, speed: float) -> bytes:
    level = 1000 + 100 * (ord(letter) % 32)
    samples = round(FakeSynthesiser.sample_rate * 0.01 / speed)
    return b"".join((level if n % 2 else -level).to_bytes(2, "little", signed=True) for n in range(samples))


class FakeAligner:
    """Gives every word an equal part of the audio."""

    def align(self, pcm: bytes, words: Sequence[str]) -> list[tuple[int, int]]:
        length_ms = len(pcm) // BYTES_PER_MS
        return [(length_ms * n // len(words), length_ms * (n + 1) // len(words)) for n in range(len(words))]
