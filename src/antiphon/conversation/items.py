"""The items of a conversation: their order, what may be done to them, and what the language model reads of them.

The caller's audio is held for as long as all of it together fits into `MAX_AUDIO_BYTES`; then the oldest is let go, and
only its transcript is left. Of a spoken reply the model reads the words that were heard.

What the model reads is always a conversation that makes sense: a call of a tool is left out until its result is there,
which then follows it at once, whatever was said meanwhile; a result without its call is left out, and so are messages
without words.
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
    """How a reply was said: its whole text, and for ever later positions (ms) in its speech, how many characters had
    been said. None of the text beyond the last of them was.
    """

    text: str
    marks: tuple[tuple[int, int], ...]
    total_ms: int

    def until(self, heard_ms: int) -> str:
        """The words that were heard, where the speech was heard up to there: those that were said to their end."""
        said = self._characters(heard_ms)
        end = 0
        for word in re.finditer(r"\S+", self.text):
            voiced = len(word.group().rstrip(_PUNCTUATION))
            if voiced and word.start() + voiced > said:
                return self.text[:end]
            end = word.end()
        return self.text

    def _characters(self, heard_ms: int) -> int:
        """Between two marks the characters take equal time."""
        if heard_ms >= self.total_ms:
            return self.marks[-1][1] if self.marks else 0
        begin_ms, before = 0, 0
        for end_ms, characters in self.marks:
            if heard_ms < end_ms:
                return before + (characters - before) * (heard_ms - begin_ms) // (end_ms - begin_ms)
            begin_ms, before = end_ms, characters
        return before


class Items:
    """One conversation's."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._order: list[str] = []
        self._aloud: dict[str, Aloud] = {}
        self._audio_bytes = 0

    def __iter__(self) -> Iterator[Item]:
        return (self._items[id] for id in self._order)

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, id: str) -> bool:
        return id in self._items

    def get(self, id: str, param: str = "item_id") -> Item:
        """Raises `NotFound`."""
        try:
            return self._items[id]
        except KeyError:
            raise NotFound("Item not found in the conversation.", param=param) from None

    def before(self, id: str) -> str:
        """The id of the item it comes after, or `FIRST`."""
        at = self._order.index(id)
        return self._order[at - 1] if at else FIRST

    @property
    def last(self) -> str:
        """The id of the last item, or `FIRST`."""
        return self._order[-1] if self._order else FIRST

    @property
    def full(self) -> bool:
        """What the conversation itself says may make it longer than what may be added to it."""
        return len(self._order) >= MAX_ITEMS or sum(map(length, self)) > MAX_CHARACTERS

    # -- changes -------------------------------------------------------------------------------------------------------

    def add(self, item: Item, after: str | None = None) -> None:
        """An item that has an id. Raises `NotFound`, `Conflict` for an id there is, `CallerError` for a result of no
        call, `TooLarge`.
        """
        if item.id in self._items:
            raise Conflict("An item with this id already exists.", param="id")
        if sum(map(length, self)) + length(item) > MAX_CHARACTERS:
            raise TooLarge(f"A conversation has at most {MAX_CHARACTERS} characters.")
        if isinstance(item, ResultItem) and item.call_id not in self._calls():
            raise CallerError("No tool call with this id in the conversation.", param="call_id")
        at = len(self._order)
        if after is not None:
            at = 0 if after == FIRST else self._order.index(self.get(after, "after").id) + 1
        self._order.insert(at, item.id)
        self._items[item.id] = item
        self._audio_bytes += audio_bytes(item)
        self._let_go()

    def change(self, item: Item, aloud: Aloud | None = None) -> None:
        """In place of the one of its id, if that is still there; `aloud` is how a reply was said."""
        if item.id in self._items:
            self._audio_bytes += audio_bytes(item) - audio_bytes(self._items[item.id])
            self._items[item.id] = item
            if aloud is not None:
                self._aloud[item.id] = aloud
            self._let_go()

    def remove(self, id: str) -> None:
        """Raises `NotFound`."""
        self._audio_bytes -= audio_bytes(self.get(id))
        del self._items[id]
        self._order.remove(id)
        self._aloud.pop(id, None)

    def truncate(self, id: str, part: int, heard_ms: int) -> Item:
        """The item, of which only so much was heard; a second time counts from the whole again. Raises `NotFound`,
        `CallerError`.
        """
        item = self.get(id)
        aloud = self._aloud.get(id)
        if not isinstance(item, MessageItem) or aloud is None:
            raise CallerError("Only a spoken reply can be truncated.", param="item_id")
        if part != 0:
            raise CallerError("Content part not found.", param="part")
        if not 0 <= heard_ms <= aloud.total_ms:
            raise CallerError(f"The speech of this item is only {aloud.total_ms} ms long.", param="heard_ms")
        heard = AudioPart(b"", aloud.until(heard_ms), heard_ms)
        truncated = replace(item, parts=(heard,))
        self.change(truncated)
        return truncated

    def heard(self, id: str, part: int, transcript: str) -> None:
        """What the audio of an item says, if that is still there."""
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
        """The oldest audio goes first."""
        for id in self._order:
            if self._audio_bytes <= MAX_AUDIO_BYTES:
                return
            item = self._items[id]
            self._audio_bytes -= audio_bytes(item)
            self._items[id] = silent(item)

    # -- for the language model ----------------------------------------------------------------------------------------

    def resolve(self, chosen: Sequence[Item | Known] | None) -> tuple[Item, ...]:
        """The items to read: those, or all of the conversation. Raises `NotFound`."""
        if chosen is None:
            return tuple(self)
        return tuple(self.get(each.id, "items") if isinstance(each, Known) else each for each in chosen)


def messages(instructions: str, items: Sequence[Item]) -> tuple[Message, ...]:
    """What the language model reads."""
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


def shortened(items: Sequence[Item], retain: float) -> tuple[Item, ...]:
    """Without the oldest, until at most that share (0..1) of the characters is left, and at least one item less."""
    left = list(items)
    most = int(sum(map(length, left)) * retain)
    if left:
        left.pop(0)
    while len(left) > 1 and sum(map(length, left)) > most:
        left.pop(0)
    return tuple(left)


def written(item: MessageItem) -> str:
    """Its words, spoken or written."""
    texts = (part.text if isinstance(part, TextPart) else part.transcript or "" for part in item.parts)
    return " ".join(text for text in texts if text.strip())


def length(item: Item) -> int:
    """In characters."""
    match item:
        case MessageItem():
            return len(written(item))
        case CallItem():
            return len(item.arguments)
        case ResultItem():
            return len(item.output)


def heard_ms(items: Sequence[Item]) -> int:
    """The length of the caller's audio in them."""
    said = (item for item in items if isinstance(item, MessageItem) and item.role is Role.USER)
    return sum(part.audio_ms for item in said for part in item.parts if isinstance(part, AudioPart))


def audio_bytes(item: Item) -> int:
    parts: tuple[Part, ...] = item.parts if isinstance(item, MessageItem) else ()
    return sum(len(part.audio) for part in parts if isinstance(part, AudioPart))


def silent(item: Item) -> Item:
    """The item without its audio."""
    if not isinstance(item, MessageItem):
        return item
    parts = (replace(part, audio=b"") if isinstance(part, AudioPart) else part for part in item.parts)
    return replace(item, parts=tuple(parts))


def shown(item: Item, transcripts: bool) -> Item:
    """As the caller is told of it: without audio, and of what it said itself without words unless it wants them."""
    item = silent(item)
    if transcripts or not isinstance(item, MessageItem) or item.role is not Role.USER:
        return item
    parts = (replace(part, transcript=None) if isinstance(part, AudioPart) else part for part in item.parts)
    return replace(item, parts=tuple(parts))


def ended(item: Item, status: ItemStatus) -> Item:
    return replace(item, status=status)
