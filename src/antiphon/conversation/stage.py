"""What the halves of a conversation share, as plain state: its spec, its items, the time of the step, the parts that
are open, and the acts that the step has led to.
"""

import uuid
from dataclasses import replace

from antiphon.conversation.items import Items, shown
from antiphon.conversation.steps import AbortPart, Act, ClosePart, Fail, FeedPart, OpenPart, Tell, TellLimits
from antiphon.core.conversation.items import Item
from antiphon.core.conversation.outputs import ConversationOutput, ItemAdded, ItemDone, ItemRemoved
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Audio, End, Flush, Say
from antiphon.core.specs import GenerateSpec, SpeakSpec, TranscribeSpec


class Owner:
    """What a part works for."""


class Stage:
    """One conversation's."""

    def __init__(self, id: str, spec: ConverseSpec) -> None:
        self.spec = spec
        self.items = Items()
        self.now_ns = 0  # of the step
        self.error: AntiphonError | None = None  # why it has ended
        self.over = False  # nothing more is told
        self.parts: dict[str, Owner] = {}  # that are open
        self._id = uuid.UUID(id)
        self._minted = 0
        self._acts: list[Act] = []

    def collect(self) -> tuple[Act, ...]:
        """The acts since the last time."""
        acts, self._acts = tuple(self._acts), []
        return acts

    # -- ids -----------------------------------------------------------------------------------------------------------

    def mint(self, kind: str = "item") -> str:
        """A new id that the caller sees, and has not given to an item of its own."""
        id = f"{kind}_{self._next().hex[:24]}"
        return self.mint(kind) if id in self.items else id

    def derive(self) -> str:
        """A new part's id."""
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
        """The first error counts."""
        if not self.over:
            self.over, self.error = True, error
            self._acts.append(Fail(error))

    def open(self, owner: Owner, spec: TranscribeSpec | GenerateSpec | SpeakSpec, held: bool = False) -> str:
        """The part that is opened for that owner."""
        part = self.derive()
        self.parts[part] = owner
        self._acts.append(OpenPart(part, spec, held))
        return part

    def feed(self, part: str, given: Audio | Flush | Say | End) -> None:
        if part in self.parts:
            self._acts.append(FeedPart(part, given))

    def abort(self, part: str, error: AntiphonError) -> None:
        if part in self.parts:
            self._acts.append(AbortPart(part, error))

    def close(self, part: str, delivered: bool, played_ms: int | None = None) -> None:
        """Once; later calls do nothing."""
        if self.parts.pop(part, None) is not None:
            self._acts.append(ClosePart(part, delivered, played_ms))

    # -- items ---------------------------------------------------------------------------------------------------------

    def join(self, item: Item, after: str | None = None, done: bool = True) -> Item:
        """The item as it joined, with an id, which is told. Where there is too much, the first goes. Raises as
        `Items.add`.
        """
        if not item.id:
            item = replace(item, id=self.mint())
        while self.items.full:
            first = next(iter(self.items)).id
            self.items.remove(first)
            self.tell(ItemRemoved(first))
        self.items.add(item, after)
        seen, before = shown(item, transcripts=self.spec.transcription is not None), self.items.before(item.id)
        self.tell(ItemAdded(seen, before))
        if done:
            self.tell(ItemDone(seen, before))
        return item
