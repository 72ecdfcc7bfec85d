"""Answers of chats and completions: whole, or as streams of server-sent events.

Nothing is sent before the first output, so an error until then has its own status; later it is an `error` event of the
stream. A stream ends with `[DONE]`. The constant beginning of its chunks is encoded once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import msgspec

from antiphon.core.errors import AntiphonError
from antiphon.core.events import (
    Alternative,
    ChoiceEnded,
    Completed,
    Failed,
    FinishReason,
    LanguageOutput,
    Opened,
    ReasoningDelta,
    ScoredToken,
    TextDelta,
    TokenUsage,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.core.wire import NOTHING, Close, Head, Opening, Step, lifecycle, no_effect
from antiphon.surfaces.openai import wire

LEAST_LOGPROB = -9999.0  # OpenAI's value for a token of almost no probability
BROKEN = "\ufffd"  # in tokens that are only a part of a character

encode = msgspec.json.Encoder().encode
Render = Callable[["Whole", list["Choice"], wire.CompletionUsage], msgspec.Struct]


@dataclass(slots=True)
class Call:
    """A tool call so far."""

    id: str
    name: str
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Choice:
    """One output so far."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    scored: list[ScoredToken] = field(default_factory=list)
    calls: dict[int, Call] = field(default_factory=dict)
    reason: FinishReason = FinishReason.STOP


class Answer:
    """The answer to one call: its head and its errors. `id` is the answer's, `created_unix_s` when it began."""

    def __init__(self, endpoint: wire.Endpoint, opening: Opening, id_prefix: str, content_type: str) -> None:
        self.id = id_prefix + opening.request_id.replace("-", "")
        self.created_unix_s = opening.received_unix_ms // 1000
        self.opened = Opened("")
        self._endpoint = endpoint
        self._opening = opening
        self._content_type = content_type
        self._headed = False
        self._without_effect: tuple[str, ...] = ()

    def names(self, without_effect: tuple[str, ...]) -> Self:
        """Return it with these parameters named in its head as without effect."""
        self._without_effect = without_effect
        return self

    def _send(self, body: bytes, close: Close | None = None) -> Step:
        if self._headed:
            return Step((), (body,), close)
        self._headed = True
        headers = wire.headers(self._opening, self._content_type) + lifecycle(self.opened)
        headers += wire.rate_headers(self.opened.rates)
        headers += no_effect((*self._unmet(), *self._without_effect))
        return Step((), (Head(200, headers), self._first() + body), close)

    def _first(self) -> bytes:
        """Return what precedes everything else in the body."""
        return b""

    def _unmet(self) -> Sequence[str]:
        """Return the parameters without effect on the engine that answers."""
        return sorted(self.opened.unmet)

    def _fail(self, error: AntiphonError) -> Step:
        if self._headed:
            return Step((), (b"event: error\ndata: " + encode(wire.error_body(error)) + b"\n\n",), Close())
        refusal = self._endpoint.refuse(self._opening, error)
        return Step((), (Head(refusal.status, refusal.headers), refusal.body), Close())


class Whole(Answer):
    """An answer that is sent when it is complete."""

    def __init__(
        self,
        endpoint: wire.Endpoint,
        opening: Opening,
        id_prefix: str,
        choices: int,
        render: Render,
    ) -> None:
        super().__init__(endpoint, opening, id_prefix, wire.JSON)
        self._choices = [Choice() for _ in range(choices)]
        self._render = render

    def emit(self, event: LanguageOutput, now_ns: int) -> Step:
        match event:
            case TextDelta():
                choice = self._choices[event.choice]
                choice.texts.append(event.text)
                choice.scored += event.scored
            case ReasoningDelta():
                self._choices[event.choice].thoughts.append(event.text)
            case ToolCallStarted():
                self._choices[event.choice].calls[event.index] = Call(event.id, event.name)
            case ToolCallDelta():
                self._choices[event.choice].calls[event.index].arguments.append(event.arguments)
            case ChoiceEnded():
                self._choices[event.choice].reason = event.reason
            case Opened():
                self.opened = event
            case Completed():
                return self._send(encode(self._render(self, self._choices, usage(event.usage))), Close())
            case Failed():
                return self._fail(event.error)
        return NOTHING


class Streamed(Answer, ABC):
    """An answer that is sent as it is generated, one chunk for each output of one choice.

    `fields` are in every chunk; with `with_usage` each chunk has a `usage` of null, and a last one the counts; with
    `counts` each has those of its choice so far. `BEFORE` and `AFTER` enclose a choice's output.
    """

    BEFORE: ClassVar[bytes]
    AFTER: ClassVar[bytes]

    def __init__(
        self,
        endpoint: wire.Endpoint,
        opening: Opening,
        id_prefix: str,
        choices: int,
        fields: dict[str, str],
        with_usage: bool,
        counts: bool,
    ) -> None:
        super().__init__(endpoint, opening, id_prefix, wire.EVENTS)
        self._choices = choices
        self._counts = [0] * choices if counts else None  # the tokens of each choice so far
        self._read = TokenUsage(0, 0)
        self._fields = fields
        self._with_usage = with_usage
        self._start = b""
        self._starts: list[bytes] = []  # of each choice's chunks
        self._end = b'}],"usage":null}\n\n' if with_usage else b"}]}\n\n"
        self._running = self._before = self.AFTER + b',"finish_reason":null' + self._end

    def emit(self, event: LanguageOutput, now_ns: int) -> Step:
        if self._counts is not None:
            self._count(event, self._counts)
        match event:
            case TextDelta():
                return self._text(event) if event.text or event.scored else NOTHING
            case ReasoningDelta(text="") | ToolCallDelta(arguments=""):
                return NOTHING
            case ReasoningDelta() | ToolCallStarted() | ToolCallDelta():
                return self._beside(event)
            case ChoiceEnded():
                return self._ended(event)
            case Opened():
                self._begin(event)
            case Completed():
                return self._completed(event.usage)
            case Failed():
                return self._fail(event.error)
        return NOTHING

    def _count(self, event: LanguageOutput, counts: list[int]) -> None:
        """Update the usage of an event's choice."""
        match event:
            case TokenUsage():
                self._read = event
                self._end_with(event)
                self._before = self._running
                return
            case TextDelta() | ReasoningDelta() | ToolCallDelta():
                counts[event.choice] += event.tokens
            case ToolCallStarted() | ChoiceEnded():
                pass
            case _:
                return
        self._end_with(TokenUsage(self._read.input, counts[event.choice], self._read.cached))

    def _end_with(self, so_far: TokenUsage) -> None:
        self._end = b'}],"usage":' + encode(usage(so_far)) + b"}\n\n"
        self._running = self.AFTER + b',"finish_reason":null' + self._end

    @abstractmethod
    def _text(self, event: TextDelta) -> Step: ...

    @abstractmethod
    def _beside(self, event: ReasoningDelta | ToolCallStarted | ToolCallDelta) -> Step: ...

    @abstractmethod
    def _ended(self, event: ChoiceEnded) -> Step: ...

    def _chunk(self, choice: int, news: bytes) -> Step:
        """Return a chunk of a choice that continues."""
        return self._send(self._starts[choice] + news + self._running)

    def _last(self, choice: int, news: bytes, reason: str) -> Step:
        return self._send(
            b'%b%b%b,"finish_reason":"%b"%b' % (self._starts[choice], news, self.AFTER, reason.encode(), self._end)
        )

    def _begin(self, opened: Opened) -> None:
        """Encode the beginning of every chunk, known from now on."""
        self.opened = opened
        fields = {"id": self.id, "created": self.created_unix_s, "model": opened.model, **self._fields}
        if opened.fingerprint:
            fields["system_fingerprint"] = opened.fingerprint
        self._start = b"data: " + encode(fields)[:-1] + b',"choices":['
        self._starts = [self._start + self.BEFORE % choice for choice in range(self._choices)]

    def _completed(self, used: TokenUsage) -> Step:
        body = b"data: [DONE]\n\n"
        if self._with_usage:
            body = self._start + b'],"usage":' + encode(usage(used)) + b"}\n\n" + body
        return self._send(body, Close())


def usage(used: TokenUsage) -> wire.CompletionUsage:
    return wire.CompletionUsage(
        used.input,
        used.output,
        used.input + used.output,
        wire.PromptTokensDetails(used.cached),
        wire.CompletionTokensDetails(used.reasoning),
    )


def token_bytes(token: ScoredToken | Alternative) -> list[int] | None:
    """Return a token's bytes, `None` if it is a part of a character and they are not known."""
    return None if BROKEN in token.text and not token.raw else list(token.raw or token.text.encode())


def logprob(value: float) -> float:
    return max(value, LEAST_LOGPROB)
