"""Translation of an engine's answer to our events: chunks of a stream, or one JSON object.

Both follow the same rules: a whole answer is a stream of one chunk whose deltas are called messages. Every choice must
say how it ended. A tool call begins when its index is new, or its id and name are; a choice that stopped after tool
calls ended because of them, whatever the server says. Servers differ in how they cut a call: its name may come after
its id, its index may be missing, or an id be made for each piece.

Tokens: if the server counts with each chunk, those that are new since the choice's last chunk; else one per
log-probability, if requested; else one per delta. If it never reports a total, that is the number counted, and the
input is what its first chunk says, else estimated at one token per `BYTES_PER_TOKEN` bytes.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import msgspec

from antiphon.core.errors import EngineError
from antiphon.core.events import (
    Alternative,
    ChoiceEnded,
    FinishReason,
    Generated,
    ReasoningDelta,
    ScoredToken,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.core.specs import GenerateSpec

BYTES_PER_TOKEN = 4
MAX_NAMELESS_CHARS = 64 * 1024  # of a call's arguments before its name

_REASONS = {
    "stop": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "eos_token": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "tool_use": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.FILTERED,
}

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]  # any greater one is nonsense, and the ledger cannot hold all


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, msgspec.Raw] | None = None

    @property
    def text(self) -> str:
        """The arguments as text, which some send as an object."""
        arguments = self.arguments
        return msgspec.json.encode(arguments).decode() if isinstance(arguments, dict) else arguments or ""


class _Call(msgspec.Struct):
    index: Count | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Top(msgspec.Struct):
    token: str
    logprob: float
    octets: list[Annotated[int, msgspec.Meta(ge=0, le=255)]] | None = msgspec.field(name="bytes", default=None)

    @property
    def raw(self) -> bytes:
        """The token's bytes, if they are no whole characters: a server without them sends the text's."""
        octets = bytes(self.octets or ())
        return b"" if octets == self.token.encode() else octets


class _Token(_Top):
    top_logprobs: list[_Top] | None = None


class _Logprobs(msgspec.Struct):
    """`content` is a chat's; the others are a completion's, in parallel."""

    content: list[_Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _InputDetails(msgspec.Struct):
    cached_tokens: Count | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Count | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    reasoning_tokens: Count | None = None  # SGLang's place for it


class Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: object = None  # some send an error with status 200


_CHUNK = msgspec.json.Decoder(Chunk)


def decode(data: bytes) -> Chunk:
    """Return the chunk or the answer. Raises `EngineError` if it is neither."""
    try:
        return _CHUNK.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise EngineError("The model's server answered in a form that is not OpenAI's.") from None


class Translation:
    """The translation of one call. `counts_always` means that the usage of a chunk with choices is its choice's so
    far. `begun` is whether a chunk with choices has come.
    """

    def __init__(self, spec: GenerateSpec, call_id: str, counts_always: bool) -> None:
        self._spec = spec
        self._call_id = call_id.replace("-", "")
        self._counts_always = counts_always
        self._open = set(range(spec.choices))
        self._calls: dict[int, list[str]] = {}  # the ids of each choice's calls, in order
        self._current: dict[tuple[int, int], int] = {}  # the call that the server's index refers to
        self._nameless: dict[tuple[int, int], tuple[str, str]] = {}  # id and arguments of a call whose name is to come
        self._counted: dict[int, int] = {}  # the tokens of each choice, by the server's continuous count
        self._seen = self._seen_reasoning = 0
        self._usage: TokenUsage | None = None
        self._early: TokenUsage | None = None  # the usage of the first chunk, which has the whole input
        self.begun = False

    @property
    def ended(self) -> bool:
        """Whether every choice has said how it ended."""
        return not self._open

    def usage(self) -> TokenUsage:
        """Return the usage of the whole answer, once it has ended: the server's count, else ours."""
        if self._usage is not None:
            return self._usage
        if self._early is not None:
            return replace(self._early, output=self._seen, reasoning=self._seen_reasoning)
        prompt = self._spec.prompt
        texts = [prompt] if isinstance(prompt, str) else [message.text for message in prompt]
        read = sum(-(-len(text.encode()) // BYTES_PER_TOKEN) for text in texts)
        return TokenUsage(read, self._seen, reasoning=self._seen_reasoning)

    def whole(self, answer: Chunk) -> tuple[Generated | TokenUsage, ...]:
        """Return the events of an answer that is not a stream. Raises `EngineError`."""
        events: list[Generated | TokenUsage] = []
        for choice in answer.choices or ():
            self._add(events, choice, None)
        if not self.ended:
            raise EngineError("The model's server did not say how its answer ended.")
        self._usage = _usage_of(answer.usage)
        if self._usage is None:  # a whole text is one delta, but more than one token
            self._seen = sum(_estimated(event) for event in events)
            self._seen_reasoning = sum(_estimated(event) for event in events if isinstance(event, ReasoningDelta))
        return (*_shared(events, self.usage(), self._spec.choices), self.usage())

    def chunk(self, events: list[Generated | TokenUsage], chunk: Chunk) -> None:
        """Add the events of a stream's chunk. Raises `EngineError`."""
        usage = chunk.usage
        if not chunk.choices:
            self._usage = _usage_of(usage) or self._usage
            return
        self.begun = True
        counted = None
        if usage is not None and self._counts_always:
            counted = usage.completion_tokens
            if not self._counted and (early := _usage_of(usage)) is not None:
                self._early = early
                events.append(early)
        elif usage is not None:
            self._usage = _usage_of(usage) or self._usage
        for choice in chunk.choices:
            self._add(events, choice, counted)

    def _add(self, events: list[Generated | TokenUsage], choice: _Choice, counted: int | None) -> None:
        index = choice.index
        if index not in self._open:
            if 0 <= index < self._spec.choices:
                return  # some say the end twice
            raise EngineError("The model's server answered with more choices than were asked for.")
        delta = choice.delta or choice.message
        scored = _scored(choice.logprobs, self._spec.sampling.top_logprobs) if choice.logprobs else ()
        tokens = self._tokens(index, counted, len(scored))
        before = len(events)
        text = choice.text
        if delta is not None:
            text = delta.content
            thought = delta.reasoning_content or delta.reasoning
            if thought:
                events.append(ReasoningDelta(index, thought, tokens))
                self._seen_reasoning += tokens
                self._took(index, counted, tokens)
                tokens = 0
        if text or scored:
            events.append(TextDelta(index, text or "", tokens, scored))
            self._took(index, counted, tokens)
            tokens = 0
        if delta is not None and delta.tool_calls:
            for place, call in enumerate(delta.tool_calls):
                at = place if choice.delta is None else self._place(index, call)
                if self._call(events, index, at, call, tokens):
                    self._took(index, counted, tokens)
                    tokens = 0
        if choice.finish_reason:
            if any(at == index and any(begun) for (at, _), begun in self._nameless.items()):
                raise EngineError("The model's server called a tool without a name.")
            self._open.discard(index)
            events.append(ChoiceEnded(index, self._reason(index, choice.finish_reason)))
        elif len(events) == before and counted is not None:
            self._counted.setdefault(index, 0)

    def _tokens(self, index: int, counted: int | None, scored: int) -> int:
        if counted is not None:
            return max(0, counted - self._counted.get(index, 0))
        return scored or 1

    def _took(self, index: int, counted: int | None, tokens: int) -> None:
        self._seen += tokens
        if counted is not None:
            self._counted[index] = counted

    def _call(self, events: list[Generated | TokenUsage], choice: int, at: int, call: _Call, tokens: int) -> bool:
        """Add a tool call. Returns whether `tokens` were counted with it."""
        ids = self._calls.setdefault(choice, [])
        function = call.function or _Function()
        arguments = function.text
        continues = not (call.id or function.name)
        known = self._current.get((choice, at), at if continues and at < len(ids) else None)
        if known is None or (function.name and call.id and call.id != ids[known]):
            early_id, early = self._nameless.pop((choice, at), ("", ""))
            call_id, arguments = early_id or call.id or "", early + arguments
            if not function.name:
                if (arguments and not call_id) or len(arguments) > MAX_NAMELESS_CHARS:
                    raise EngineError("The model's server called a tool without a name.")
                self._nameless[choice, at] = call_id, arguments
                return False
            known = len(ids)
            ids.append(call_id or f"call_{self._call_id}{choice}{known}")
            self._current[choice, at] = known
            events.append(ToolCallStarted(choice, known, ids[known], function.name))
        if not arguments:
            return False
        events.append(ToolCallDelta(choice, known, arguments, tokens))
        return True

    def _place(self, choice: int, call: _Call) -> int:
        """Return the index of a call in a stream. Without one, a new id or a name begins a call, and what has neither
        belongs to the last.
        """
        if call.index is not None:
            return call.index
        ids = self._calls.get(choice, [])
        if call.id in ids:
            return ids.index(call.id)
        begins = call.id or (call.function and call.function.name)
        return len(ids) if begins or not ids else len(ids) - 1

    def _reason(self, choice: int, finish_reason: str) -> FinishReason:
        reason = _REASONS.get(finish_reason)
        if reason is None:  # "abort", "error" and the like
            raise EngineError("The model's server broke off its answer.")
        if reason is FinishReason.STOP and choice in self._calls:
            return FinishReason.TOOL_CALLS
        return reason


def _usage_of(usage: _Usage | None) -> TokenUsage | None:
    """Return the usage, or `None` if nothing was counted: some servers send zeros."""
    if usage is None or not usage.prompt_tokens:
        return None
    cached = usage.prompt_tokens_details.cached_tokens or 0 if usage.prompt_tokens_details else 0
    details = usage.completion_tokens_details
    reasoning = (details.reasoning_tokens if details else usage.reasoning_tokens) or 0
    output = usage.completion_tokens or 0
    return TokenUsage(usage.prompt_tokens, output, min(cached, usage.prompt_tokens), min(reasoning, output))


def _scored(logprobs: _Logprobs, top: int) -> tuple[ScoredToken, ...]:
    if logprobs.content is not None:
        return tuple(
            ScoredToken(
                token.token,
                token.logprob,
                tuple(Alternative(other.token, other.logprob, other.raw) for other in (token.top_logprobs or ())[:top]),
                token.raw,
            )
            for token in logprobs.content
        )
    if not logprobs.tokens or not logprobs.token_logprobs or len(logprobs.tokens) != len(logprobs.token_logprobs):
        return ()
    others = logprobs.top_logprobs or [None] * len(logprobs.tokens)
    return tuple(
        ScoredToken(text, logprob or 0.0, _alternatives(other, top))
        for text, logprob, other in zip(logprobs.tokens, logprobs.token_logprobs, others, strict=False)
    )


def _alternatives(logprobs: dict[str, float] | None, top: int) -> tuple[Alternative, ...]:
    ranked = sorted((logprobs or {}).items(), key=lambda item: -item[1])
    return tuple(Alternative(text, logprob) for text, logprob in ranked[:top])


def _shared(events: list[Generated | TokenUsage], usage: TokenUsage, choices: int) -> Iterator[Generated | TokenUsage]:
    """Return a whole answer's events with tokens: of a choice's share, reasoning takes its own, the first delta the
    rest.
    """
    left: dict[int, int] = {}
    for event in events:
        if isinstance(event, ReasoningDelta):
            yield replace(event, tokens=usage.reasoning // choices)
        elif isinstance(event, TextDelta | ToolCallDelta):
            share = len(event.scored) if isinstance(event, TextDelta) and event.scored else None
            rest = left.get(event.choice, (usage.output - usage.reasoning) // choices)
            left[event.choice] = 0
            yield replace(event, tokens=rest if share is None else share)
        else:
            yield event


def _estimated(event: Generated | TokenUsage) -> int:
    match event:
        case TextDelta(scored=scored) if scored:
            return len(scored)
        case TextDelta(text=text) | ReasoningDelta(text=text) | ToolCallDelta(arguments=text):
            return -(-len(text.encode()) // BYTES_PER_TOKEN)
        case _:
            return 0
