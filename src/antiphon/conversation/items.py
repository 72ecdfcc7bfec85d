"""The items of a conversation: their order, their changes, and what the language model reads of them.

At most `MAX_AUDIO_BYTES` of the caller's audio are kept, then the oldest is dropped and only its transcript remains. Of
a spoken reply the model reads the words that were heard.

What the model reads is always consistent: a tool call is left out until its result is there, which then follows it
directly, whatever was said in between. A result without its call is left out, and so are messages without words.
"""

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from antiphon.core.conversation.items import (
    FIRST,
    AudioPart,
    CallItem,
    Item,
    ItemStatus,
    Known,
    MessageItem,
    Part,
    ResultItem,
    TextPart,
)
from antiphon.core.errors import CallerError, Conflict, NotFound, TooLarge
from antiphon.core.specs import Message, Role, ToolCall

MAX_ITEMS = 2000
MAX_CHARACTERS = 1_000_000
MAX_AUDIO_BYTES = 32 * 1024 * 1024


_PUNCTUATION = string.punctuation + "…—–“”‘’«»"


@dataclass(frozen=True, slots=True)
class Aloud:
    """How a reply was spoken: its whole text, and marks of increasing position (ms) with the number of characters
    spoken by then. Text beyond the last mark was not spoken.
    """

    text: str
    marks: tuple[tuple[int, int], ...]
    total_ms: int

    def until(self, end_ms: int) -> str:
        """Return the words that were heard completely when the speech was heard up to `end_ms`."""
        characters = self._characters(end_ms)
        end = 0
        for word in re.finditer(r"\S+", self.text):
            voiced = len(word.group().rstrip(_PUNCTUATION))
            if voiced and word.start() + voiced > characters:
                return self.text[:end]
            end = word.end()
        return self.text

    def _characters(self, at_ms: int) -> int:
        """Return how many characters had been spoken at `at_ms`. Between two marks, each takes equal time."""
        if at_ms >= self.total_ms:
            return self.marks[-1][1] if self.marks else 0
        begin_ms, before = 0, 0
        for end_ms, characters in self.marks:
            if at_ms < end_ms:
                return before + (characters - before) * (at_ms - begin_ms) // (end_ms - begin_ms)
            begin_ms, before = end_ms, characters
        return before


class Items:
    """The items of one conversation."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._order: list[str] = []
        self._aloud: dict[str, Aloud] = {}
        self._audio_bytes = 0
        self._characters = 0

    def __iter__(self) -> Iterator[Item]:
        return (self._items[id] for id in self._order)

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, id: str) -> bool:
        return id in self._items

    def get(self, id: str, param: str = "item_id") -> Item:
        """Return the item. Raises `NotFound`."""
        try:
            return self._items[id]
        except KeyError:
            raise NotFound("Item not found in the conversation.", param=param) from None

    def before(self, id: str) -> str:
        """Return the id of the item before this one, or `FIRST`."""
        at = self._order.index(id)
        return self._order[at - 1] if at else FIRST

    def is_running(self, id: str) -> bool:
        """Return whether this is an item that a reply still adds to. What callers add is complete."""
        item = self._items.get(id)
        return item is not None and item.status is ItemStatus.IN_PROGRESS

    def is_spoken(self, id: str) -> bool:
        """Return whether this is a spoken reply: not one that the caller has removed, or replaced by an item of its
        own.
        """
        return id in self._aloud

    @property
    def last(self) -> str:
        """The id of the last item, or `FIRST`."""
        return self._order[-1] if self._order else FIRST

    @property
    def full(self) -> bool:
        """Whether there is too much for the conversation itself to add more."""
        return len(self._order) >= MAX_ITEMS or self._characters > MAX_CHARACTERS

    # -- changes -------------------------------------------------------------------------------------------------------

    def check(self, item: Item, after: str | None) -> None:
        """Check whether an item fits there. Raises `NotFound`, `Conflict`, `CallerError` as `add` does."""
        if item.id in self._items:
            raise Conflict("An item with this id already exists.", param="id")
        if isinstance(item, ResultItem) and item.call_id not in self._calls():
            raise CallerError("No tool call with this id in the conversation.", param="call_id")
        if after:
            self.get(after, "after")

    def add(self, item: Item, after: str | None = None) -> None:
        """Add an item that has an id, at the end or after another. Raises `NotFound`, `Conflict` if the id exists,
        `CallerError` for a result without its call, `TooLarge`.
        """
        self.check(item, after)
        if self._characters + length(item) > MAX_CHARACTERS:
            raise TooLarge(f"A conversation has at most {MAX_CHARACTERS} characters.")
        at = len(self._order)
        if after is not None:
            at = 0 if after == FIRST else self._order.index(after) + 1
        self._order.insert(at, item.id)
        self._items[item.id] = item
        self._audio_bytes += audio_bytes(item)
        self._characters += length(item)
        self._let_go()

    def change(self, item: Item, aloud: Aloud | None = None) -> None:
        """Replace the item of the same id, if it still exists. `aloud` is how a reply was spoken."""
        if item.id in self._items:
            before = self._items[item.id]
            self._audio_bytes += audio_bytes(item) - audio_bytes(before)
            self._characters += length(item) - length(before)
            self._items[item.id] = item
            if aloud is not None:
                self._aloud[item.id] = aloud
            self._let_go()

    def remove(self, id: str) -> None:
        """Remove an item. Raises `NotFound`."""
        item = self.get(id)
        self._audio_bytes -= audio_bytes(item)
        self._characters -= length(item)
        del self._items[id]
        self._order.remove(id)
        self._aloud.pop(id, None)

    def truncate(self, id: str, part: int, end_ms: int) -> Item:
        """Return the item, cut to what was heard of it. Each call counts from the whole item. Raises `NotFound`,
        `CallerError`.
        """
        item = self.get(id)
        aloud = self._aloud.get(id)
        if not isinstance(item, MessageItem) or aloud is None:
            raise CallerError("Only a spoken reply can be truncated.", param="item_id")
        check_cut(part, end_ms, aloud.total_ms)
        audio = AudioPart(b"", aloud.until(end_ms), end_ms)
        truncated = replace(item, parts=(audio,))
        self.change(truncated)
        return truncated

    def set_transcript(self, id: str, part: int, transcript: str) -> None:
        """Set the transcript of an item's audio, if the item still exists."""
        item = self._items.get(id)
        if isinstance(item, MessageItem):
            parts = list(item.parts)
            audio = parts[part]
            assert isinstance(audio, AudioPart)
            parts[part] = replace(audio, transcript=transcript)
            self.change(replace(item, parts=tuple(parts)))

    def _calls(self) -> set[str]:
        return {item.call_id for item in self._items.values() if isinstance(item, CallItem)}

    def _let_go(self) -> None:
        """Drop the oldest audio until the rest fits."""
        for id in self._order:
            if self._audio_bytes <= MAX_AUDIO_BYTES:
                return
            item = self._items[id]
            self._audio_bytes -= audio_bytes(item)
            self._items[id] = silent(item)

    # -- for the language model ----------------------------------------------------------------------------------------

    def resolve(self, chosen: Sequence[Item | Known] | None) -> tuple[Item, ...]:
        """Return the chosen items, or all of them for `None`. Raises `NotFound`."""
        if chosen is None:
            return tuple(self)
        return tuple(self.get(each.id, "items") if isinstance(each, Known) else each for each in chosen)


def check_cut(part: int, end_ms: int, total_ms: int) -> None:
    """Check where speech of that length is to be cut. Raises `CallerError`."""
    if part != 0:
        raise CallerError("Content part not found.", param="part")
    if not 0 <= end_ms <= total_ms:
        raise CallerError(f"The speech of this item is only {total_ms} ms long.", param="end_ms")


def messages(instructions: str, items: Sequence[Item]) -> tuple[Message, ...]:
    """Return the messages that the language model reads."""
    results = {item.call_id: item for item in items if isinstance(item, ResultItem)}
    read = [Message(Role.SYSTEM, instructions)] if instructions else []
    for item in items:
        if isinstance(item, MessageItem):
            text = written(item)
            if text:
                read.append(Message(item.role, text))
        elif isinstance(item, CallItem) and item.call_id in results:
            call = ToolCall(item.call_id, item.name, item.arguments)
            read.append(Message(Role.ASSISTANT, "", tool_calls=(call,)))
            read.append(Message(Role.TOOL, results[item.call_id].output, tool_call_id=item.call_id))
    return tuple(read)


def shorten(items: Sequence[Item], retain: float) -> tuple[Item, ...]:
    """Drop the oldest items, at least one, until at most the share `retain` (0 to 1) of the characters is left."""
    left = list(items)
    most = int(sum(map(length, left)) * retain)
    if left:
        left.pop(0)
    while len(left) > 1 and sum(map(length, left)) > most:
        left.pop(0)
    return tuple(left)


def written(item: MessageItem) -> str:
    """Return the words of a message, spoken or written."""
    texts = (part.text if isinstance(part, TextPart) else part.transcript or "" for part in item.parts)
    return " ".join(text for text in texts if text.strip())


def length(item: Item) -> int:
    """Return the length in characters."""
    match item:
        case MessageItem():
            return len(written(item))
        case CallItem():
            return len(item.arguments)
        case ResultItem():
            return len(item.output)


def input_ms(items: Sequence[Item]) -> int:
    """Return the milliseconds of the caller's audio in the items."""
    inputs = (item for item in items if isinstance(item, MessageItem) and item.role is Role.USER)
    return sum(part.audio_ms for item in inputs for part in item.parts if isinstance(part, AudioPart))


def audio_bytes(item: Item) -> int:
    parts: tuple[Part, ...] = item.parts if isinstance(item, MessageItem) else ()
    return sum(len(part.audio) for part in parts if isinstance(part, AudioPart))


def silent(item: Item) -> Item:
    """Return the item without its audio."""
    if not isinstance(item, MessageItem):
        return item
    parts = (replace(part, audio=b"") if isinstance(part, AudioPart) else part for part in item.parts)
    return replace(item, parts=tuple(parts))


def shown(item: Item, transcripts: bool) -> Item:
    """Return the item as the caller sees it: without audio, and its own words only if it wants transcripts."""
    item = silent(item)
    if transcripts or not isinstance(item, MessageItem) or item.role is not Role.USER:
        return item
    parts = (replace(part, transcript=None) if isinstance(part, AudioPart) else part for part in item.parts)
    return replace(item, parts=tuple(parts))
