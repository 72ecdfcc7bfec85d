"""State that the halves of a conversation share: its spec and items, the time of the step, the open parts, and the acts
that the step has led to.
"""

import uuid
from dataclasses import replace

from antiphon.conversation.items import Items, shown
from antiphon.conversation.steps import AbortPart, Act, ClosePart, Fail, FeedPart, OpenPart, Tell, TellLimits
from antiphon.core.conversation.items import FIRST, Item
from antiphon.core.conversation.outputs import ConversationOutput, ItemAdded, ItemDone, ItemRemoved
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Audio, End, Flush, Say
from antiphon.core.specs import GenerateSpec, SpeakSpec, TranscribeSpec


class Owner:
    """What a part works for: a reply, or a recognition."""


class Stage:
    """The shared state of one conversation."""

    def __init__(self, id: str, spec: ConverseSpec, disclosure: str = "") -> None:
        """Create it; the caller must hear the sentence `disclosure`, if there is one."""
        self.spec = spec
        self.items = Items()
        self.disclosure = disclosure.strip()  # to be said by the next reply that is spoken
        self.now_ns = 0  # of the step
        self.error: AntiphonError | None = None  # why it has ended
        self.over = False  # there are no more outputs
        self.parts: dict[str, Owner] = {}  # that are open
        self._id = uuid.UUID(id)
        self._minted = 0
        self._acts: list[Act] = []

    def collect(self) -> tuple[Act, ...]:
        """Return the acts since the last call."""
        acts, self._acts = tuple(self._acts), []
        return acts

    # -- ids -----------------------------------------------------------------------------------------------------------

    def mint(self, kind: str = "item") -> str:
        """Return a new id that the caller sees and that no item of its own has."""
        id = f"{kind}_{self._next().hex[:24]}"
        return self.mint(kind) if id in self.items else id

    def derive(self) -> str:
        """Return a new id for a part."""
        return str(self._next())

    def _next(self) -> uuid.UUID:
        self._minted += 1
        return uuid.uuid5(self._id, str(self._minted))

    # -- acts ----------------------------------------------------------------------------------------------------------

    def act(self, act: Act) -> None:
        self._acts.append(act)

    def tell(self, output: ConversationOutput) -> None:
        if not self.over:
            self._acts.append(Tell(output))

    def tell_limits(self) -> None:
        if not self.over:
            self._acts.append(TellLimits())

    def fail(self, error: AntiphonError) -> None:
        """End the conversation with an error. Only the first error counts."""
        if not self.over:
            self.over, self.error = True, error
            self._acts.append(Fail(error))

    def open(self, owner: Owner, spec: TranscribeSpec | GenerateSpec | SpeakSpec, held: bool = False) -> str:
        """Open a part for its owner, and return its id."""
        part = self.derive()
        self.parts[part] = owner
        self._acts.append(OpenPart(part, spec, held))
        return part

    def feed(self, part: str, event: Audio | Flush | Say | End) -> None:
        if part in self.parts:
            self._acts.append(FeedPart(part, event))

    def abort(self, part: str, error: AntiphonError) -> None:
        if part in self.parts:
            self._acts.append(AbortPart(part, error))

    def close(self, part: str, delivered: bool, played_ms: int | None = None) -> None:
        """Close a part. Takes effect once."""
        if self.parts.pop(part, None) is not None:
            self._acts.append(ClosePart(part, delivered, played_ms))

    # -- items ---------------------------------------------------------------------------------------------------------

    def join(self, item: Item, after: str | None = None, done: bool = True) -> Item:
        """Add an item, with a new id if it has none, and report it. If there are too many, the first is removed.
        Returns the item. Raises the errors of `Items.add`.
        """
        if not item.id:
            item = replace(item, id=self.mint())
        self.items.check(item, after)  # before another is removed for it
        while self.items.full:
            first = next(iter(self.items)).id
            self.items.remove(first)
            self.tell(ItemRemoved(first))
            after = FIRST if after == first else after
        self.items.add(item, after)
        seen, before = shown(item, transcripts=self.spec.transcription is not None), self.items.before(item.id)
        self.tell(ItemAdded(seen, before))
        if done:
            self.tell(ItemDone(seen, before))
        return item
