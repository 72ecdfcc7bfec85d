"""Translation of a choice's tokens to events.

Text is held back if it may be the beginning of a stop text, of a call, or of a character. A stop text and what follows
it are not sent; it is searched for outside of calls. Each token is counted once, with the event of its text or with the
next one, so that the sum over a choice's events equals the engine's count. Of a call that is cut off before its
arguments, nothing becomes text.
"""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from uuid import uuid4

from antiphon.core.events import (
    ChoiceEnded,
    FinishReason,
    Generated,
    ScoredToken,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from antiphon.core.specs import GenerateSpec, Tool
from antiphon.engines.openvino.messages import LENGTH, STOP, Chunk
from antiphon.engines.openvino.request import CALL_BEGIN, CALL_END, call_head

MAX_CALLS = 32  # of one answer

_Utf8 = codecs.getincrementaldecoder("utf-8")


class Held:
    """Text up to the first of some marks. What may be the beginning of a mark is held back."""

    def __init__(self, marks: Sequence[str]) -> None:
        self._marks = marks
        self._longest = max(map(len, marks))
        self._kept = ""

    def feed(self, text: str) -> tuple[str, bool, str]:
        """Return the text before the first mark, whether a mark has come, and what follows it."""
        text = self._kept + text
        found = [(at, len(mark)) for mark in self._marks if (at := text.find(mark)) >= 0]
        if found:
            self._kept = ""
            at, length = min(found)
            return text[:at], True, text[at + length :]
        keep = self._beginning(text)
        self._kept = text[len(text) - keep :]
        return text[: len(text) - keep], False, ""

    def rest(self) -> str:
        """Return what was held back, at the end of the text."""
        kept, self._kept = self._kept, ""
        return kept

    def _beginning(self, text: str) -> int:
        """Return how long an end of `text` is the beginning of a mark, at most."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            end = text[-length:]
            if any(mark.startswith(end) for mark in self._marks):
                return length
        return 0


# -- calls -------------------------------------------------------------------------------------------------------------


class _State(Enum):
    TEXT = auto()
    HEAD = auto()
    ARGUMENTS = auto()


@dataclass(frozen=True, slots=True)
class _Begun:
    name: str


@dataclass(frozen=True, slots=True)
class _Arguments:
    text: str


class _Compact:
    """JSON without the white space around its values, so that two texts of one value are equal."""

    def __init__(self) -> None:
        self.text = ""
        self._quoted = self._escaped = False

    def feed(self, text: str) -> str:
        """Return what the next piece of text adds."""
        kept = []
        for char in text:
            if self._escaped:
                self._escaped = False
            elif char == '"':
                self._quoted = not self._quoted
            elif self._quoted:
                self._escaped = char == "\\"
            elif char.isspace():
                continue
            kept.append(char)
        added = "".join(kept)
        self.text += added
        return added


class _Calls:
    """Finds calls in text. If there are tools, the grammar ensures that what begins like a call is one; without any, no
    call is wanted. `count` counts the calls sent; `ended` means that no more text is wanted.

    A small model repeats a call until its tokens end. So a call is held back while it equals an earlier one; a complete
    repeat is not sent and ends the answer, and so does the last of `MAX_CALLS`.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        self.count = 0
        self.ended = False
        self._heads = {call_head(tool): tool.name for tool in tools}
        self._state = _State.TEXT
        self._text = Held((CALL_BEGIN,))
        self._arguments = Held((CALL_END,))  # its line break is in no JSON string, so no argument contains it
        self._head = self._name = self._held = ""
        self._compact = _Compact()
        self._earlier: list[tuple[str, str]] = []  # names and compact arguments
        self._same: list[str] = []  # arguments of earlier calls that this one may still repeat

    def feed(self, text: str) -> Iterator[str | _Begun | _Arguments]:
        while text and not self.ended:
            match self._state:
                case _State.TEXT:
                    part, found, text = self._text.feed(text)
                    if part and not (self.count and part.isspace()):  # white space between calls is not text
                        yield part
                    if found:
                        self._state, self._head = _State.HEAD, CALL_BEGIN
                        self.ended = not self._heads
                case _State.HEAD:
                    self._head, text = self._head + text, ""
                    for head, name in self._heads.items():
                        if self._head.startswith(head):
                            yield from self._begin(name)
                            self._state, text = _State.ARGUMENTS, self._head[len(head) :]
                            break
                case _State.ARGUMENTS:
                    part, found, text = self._arguments.feed(text)
                    if part:
                        yield from self._argue(part)
                    if found:
                        self._state = _State.TEXT
                        yield from self._complete()

    def _begin(self, name: str) -> Iterator[_Begun]:
        self._name, self._compact = name, _Compact()
        self._same = [arguments for earlier, arguments in self._earlier if earlier == name]
        if not self._same:
            yield self._begun()

    def _begun(self) -> _Begun:
        self.count += 1
        return _Begun(self._name)

    def _argue(self, part: str) -> Iterator[_Begun | _Arguments]:
        place = len(self._compact.text)
        added = self._compact.feed(part)
        if self._same:
            self._held += part
            self._same = [arguments for arguments in self._same if arguments.startswith(added, place)]
            if not self._same:
                yield from self._release()
        else:
            yield _Arguments(part)

    def _release(self) -> Iterator[_Begun | _Arguments]:
        yield self._begun()
        yield _Arguments(self._held)
        self._held = ""

    def _complete(self) -> Iterator[_Begun | _Arguments]:
        if self._compact.text in self._same:
            self.ended = True
            return
        if self._same:
            yield from self._release()
        self._earlier.append((self._name, self._compact.text))
        self.ended = self.count == MAX_CALLS

    def rest(self, cut: bool) -> str:
        """Return text that was held back. What could have become a call, if not `cut` off, is dropped: at most "<" is
        text.
        """
        kept = self._text.rest() if self._state is _State.TEXT else ""
        return "" if cut or len(kept) > 1 else kept


def _scored(piece: bytes, logprob: float) -> ScoredToken:
    try:
        return ScoredToken(piece.decode(), logprob)
    except UnicodeDecodeError:
        return ScoredToken(piece.decode(errors="replace"), logprob, raw=piece)


# -- a choice ----------------------------------------------------------------------------------------------------------


class Choice:
    """One choice's output. `tokens` counts its tokens; `ended` means that it is complete, `stopped` that a stop text or
    its calls ended it, which the engine does not know. `vocabulary` is each token's bytes.
    """

    def __init__(self, index: int, spec: GenerateSpec, tools: Sequence[Tool], vocabulary: Sequence[bytes]) -> None:
        self.tokens = 0
        self.ended = self.stopped = False
        self._by_text = False  # by a stop text
        self._index = index
        self._vocabulary = vocabulary
        self._utf8 = _Utf8("replace")
        self._stops = Held(spec.sampling.stop) if spec.sampling.stop else None
        # A model may write a call without tools too, if it was told of some, or saw calls.
        may_call = (
            tools
            or spec.tools
            or (not isinstance(spec.prompt, str) and any(message.tool_calls for message in spec.prompt))
        )
        self._calls = _Calls(tools) if may_call else None
        self._uncounted = 0
        self._scored: list[ScoredToken] = []
        self._events: list[Generated] = []

    def take(self, chunk: Chunk) -> list[Generated]:
        """Return the events of new tokens, and of the end."""
        vocabulary = self._vocabulary
        for n, token in enumerate(chunk.tokens):
            piece = vocabulary[token] if token < len(vocabulary) else b""
            self.tokens += 1
            self._uncounted += 1
            if chunk.logprobs is not None and piece:
                self._scored.append(_scored(piece, chunk.logprobs[n]))
            text = self._utf8.decode(piece)
            if text:
                self._read(text)
                if self.stopped:
                    break
        if chunk.end or self.stopped:
            self._end(STOP if self.stopped else chunk.end)
        events, self._events = self._events, []
        return events

    def _read(self, text: str) -> None:
        if self._calls is None:
            self._say(text)
            return
        for part in self._calls.feed(text):
            number = self._calls.count - 1
            match part:
                case str():
                    self._say(part)
                case _Begun(name):
                    self._scored.clear()
                    self._events.append(ToolCallStarted(self._index, number, f"call_{uuid4().hex[:24]}", name))
                case _Arguments(arguments):
                    self._scored.clear()
                    self._events.append(ToolCallDelta(self._index, number, arguments, self._counted()))
            if self.stopped:
                return
        self.stopped = self._calls.ended

    def _say(self, text: str) -> None:
        """Add text outside of calls."""
        if self._stops is not None:
            text, self._by_text, _ = self._stops.feed(text)
            self.stopped = self._by_text
        if text:
            self._tell(text)

    def _tell(self, text: str) -> None:
        scored, self._scored = tuple(self._scored), []
        self._events.append(TextDelta(self._index, text, self._counted(), scored))

    def _counted(self) -> int:
        count, self._uncounted = self._uncounted, 0
        return count

    def _end(self, end: str) -> None:
        called = self._calls is not None and self._calls.count > 0
        if not self._by_text:
            rest = self._calls.rest(end == LENGTH) if self._calls and not self.stopped else ""
            if rest:
                self._say(rest)
            rest = self._stops.rest() if self._stops and not self._by_text else ""
            if rest:
                self._tell(rest)
        if self._uncounted:  # tokens without text: the last one, a stop text's, a call's tags
            if called and self._calls:
                self._events.append(ToolCallDelta(self._index, self._calls.count - 1, "", self._counted()))
            else:
                self._events.append(TextDelta(self._index, "", self._counted()))
        self.ended = True
        finished = FinishReason.TOOL_CALLS if called and not self._by_text else FinishReason.STOP
        self._events.append(ChoiceEnded(self._index, FinishReason.LENGTH if end == LENGTH else finished))
