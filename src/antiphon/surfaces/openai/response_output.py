"""A model's output, as items of a response and events of its stream.

Items are in the order in which they began. Text and reasoning are one item each until another begins; function calls
stay open until the end, since their arguments may come in parallel.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import count

from antiphon.core.events import FinishReason, ReasoningDelta, ScoredToken, TextDelta, ToolCallDelta, ToolCallStarted
from antiphon.core.specs import Message, Role, ToolCall
from antiphon.surfaces.openai import response_wire as wire
from antiphon.surfaces.openai.answers import logprob, token_bytes

CUT = (FinishReason.LENGTH, FinishReason.FILTERED)


class Written(ABC):
    """An item so far. Its only content part is made from `part`."""

    prefix: str

    def __init__(self, stem: str, index: int, numbers: Iterator[int]) -> None:
        self.id = f"{self.prefix}_{stem}{index}"
        self.index = index
        self.text = ""
        self.status: wire.Status = "in_progress"
        self._numbers = numbers
        self._pieces: list[str] = []

    def begin(self) -> list[wire.Event]:
        return [wire.ItemAdded(next(self._numbers), self.index, self.item())]

    def end(self, status: wire.Status) -> list[wire.Event]:
        self.text = "".join(self._pieces)
        events = self._done()
        self.status = status
        return [*events, wire.ItemDone(next(self._numbers), self.index, self.item())]

    def break_off(self) -> None:
        """Mark the item as incomplete."""
        if self.status == "in_progress":
            self.text = "".join(self._pieces)
            self.status = "incomplete"

    @abstractmethod
    def item(self) -> wire.Item: ...

    @abstractmethod
    def _done(self) -> list[wire.Event]: ...


class AnswerText(Written):
    """An answer's text."""

    prefix = "msg"

    def __init__(self, stem: str, index: int, numbers: Iterator[int]) -> None:
        super().__init__(stem, index, numbers)
        self._logprobs: list[wire.Logprob] = []

    def begin(self) -> list[wire.Event]:
        part = wire.OutputText("")
        return [*super().begin(), wire.PartAdded(next(self._numbers), self.id, self.index, 0, part)]

    def more(self, delta: TextDelta) -> wire.Event:
        self._pieces.append(delta.text)
        scored = logprobs(delta.scored)
        self._logprobs += scored
        return wire.TextDelta(next(self._numbers), self.id, self.index, 0, delta.text, scored)

    def item(self) -> wire.Item:
        return wire.MessageItem(self.id, self.status, [self._part()] if self.status != "in_progress" else [])

    def _part(self) -> wire.OutputText:
        return wire.OutputText(self.text, logprobs=self._logprobs)

    def _done(self) -> list[wire.Event]:
        done = wire.TextDone(next(self._numbers), self.id, self.index, 0, self.text, self._logprobs)
        return [done, wire.PartDone(next(self._numbers), self.id, self.index, 0, self._part())]


class Thought(Written):
    """The model's reasoning."""

    prefix = "rs"

    def begin(self) -> list[wire.Event]:
        part = wire.ReasoningText("")
        return [*super().begin(), wire.PartAdded(next(self._numbers), self.id, self.index, 0, part)]

    def more(self, delta: ReasoningDelta) -> wire.Event:
        self._pieces.append(delta.text)
        return wire.ReasoningDelta(next(self._numbers), self.id, self.index, 0, delta.text)

    def item(self) -> wire.Item:
        done = self.status != "in_progress"
        return wire.ReasoningItem(self.id, self.status, [wire.ReasoningText(self.text)] if done else [])

    def _done(self) -> list[wire.Event]:
        done = wire.ReasoningDone(next(self._numbers), self.id, self.index, 0, self.text)
        part = wire.ReasoningText(self.text)
        return [done, wire.PartDone(next(self._numbers), self.id, self.index, 0, part)]


class Called(Written):
    """A call of a function; `text` is its arguments."""

    prefix = "fc"

    def __init__(self, stem: str, index: int, numbers: Iterator[int], call: ToolCallStarted) -> None:
        super().__init__(stem, index, numbers)
        self.call = call

    def more(self, delta: ToolCallDelta) -> wire.Event:
        self._pieces.append(delta.arguments)
        return wire.ArgumentsDelta(next(self._numbers), self.id, self.index, delta.arguments)

    def item(self) -> wire.Item:
        return wire.FunctionCallItem(self.id, self.status, self.call.id, self.call.name, self.text)

    def _done(self) -> list[wire.Event]:
        return [wire.ArgumentsDone(next(self._numbers), self.id, self.index, self.text)]


class Output:
    """The whole output. Each method returns the events for the stream."""

    def __init__(self, stem: str) -> None:
        self.numbers = count()
        self._stem = stem
        self._items: list[Written] = []
        self._calls: dict[int, Called] = {}

    def items(self) -> list[wire.Item]:
        return [item.item() for item in self._items]

    def say(self, delta: TextDelta) -> list[wire.Event]:
        last = self._items[-1] if self._items else None
        if isinstance(last, AnswerText):
            return [last.more(delta)]
        text = AnswerText(self._stem, len(self._items), self.numbers)
        return [*self._begin(text), text.more(delta)]

    def think(self, delta: ReasoningDelta) -> list[wire.Event]:
        last = self._items[-1] if self._items else None
        if isinstance(last, Thought):
            return [last.more(delta)]
        thought = Thought(self._stem, len(self._items), self.numbers)
        return [*self._begin(thought), thought.more(delta)]

    def call(self, started: ToolCallStarted) -> list[wire.Event]:
        called = self._calls[started.index] = Called(self._stem, len(self._items), self.numbers, started)
        return self._begin(called)

    def argue(self, delta: ToolCallDelta) -> list[wire.Event]:
        return [self._calls[delta.index].more(delta)]

    def end(self, reason: FinishReason) -> list[wire.Event]:
        """Return the events of the end; only the last item can be incomplete."""
        events: list[wire.Event] = []
        for item in self._items:
            if item.status == "in_progress":
                cut = reason in CUT and item is self._items[-1]
                events += item.end("incomplete" if cut else "completed")
        return events

    def break_off(self) -> None:
        for item in self._items:
            item.break_off()

    def message(self) -> Message:
        """Return the turn for the model's next input, without its reasoning."""
        text = "".join([item.text for item in self._items if isinstance(item, AnswerText)])
        calls = [ToolCall(item.call.id, item.call.name, item.text) for item in self._items if isinstance(item, Called)]
        return Message(Role.ASSISTANT, text, tool_calls=tuple(calls))

    def _begin(self, item: Written) -> list[wire.Event]:
        last = self._items[-1] if self._items else None
        events = last.end("completed") if last is not None and not isinstance(last, Called) else []
        self._items.append(item)
        return events + item.begin()


def logprobs(scored: Sequence[ScoredToken]) -> list[wire.Logprob]:
    return [
        wire.Logprob(
            token.text,
            token_bytes(token) or [],
            logprob(token.logprob),
            [wire.TopLogprob(each.text, token_bytes(each) or [], logprob(each.logprob)) for each in token.top],
        )
        for token in scored
    ]
