"""What the halves of a conversation share: its items, what it says to the caller, its ids, and what runs for it."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from antiphon.calls.generation import Generation
from antiphon.calls.recognition import Recognition
from antiphon.calls.synthesis import Synthesis
from antiphon.conversation.items import Items, shown
from antiphon.core.conversation.items import Item
from antiphon.core.conversation.outputs import ConversationOutput, ItemAdded, ItemDone, ItemRemoved, Limit
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError, CapacityError
from antiphon.core.ports import Clock
from antiphon.core.specs import GenerateSpec, SpeakSpec, TranscribeSpec

MAX_UNREAD = 256  # outputs, before no more are made
MAX_UNREAD_EVER = 4096  # what the speaker's own voice brings comes on top; a caller who reads slower loses the session


class Parts(Protocol):
    """Opens what a conversation is composed of. Everything raises `AntiphonError` where it may not, or there is no
    room.
    """

    def check(self, spec: ConverseSpec) -> None:
        """Whether there is all that it names."""

    def filled(self, spec: ConverseSpec) -> ConverseSpec: ...

    def transcribe(self, id: str, spec: TranscribeSpec) -> Recognition: ...

    def generate(self, id: str, spec: GenerateSpec, held: bool) -> Generation: ...

    def speak(self, id: str, spec: SpeakSpec) -> Synthesis: ...

    def limits(self) -> tuple[Limit, ...]: ...


class Stage:
    """One conversation's. `fail` ends it; `changed` is called when something due may have changed."""

    def __init__(
        self,
        id: str,
        spec: ConverseSpec,
        parts: Parts,
        clock: Clock,
        fail: Callable[[AntiphonError], None],
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self.parts = parts
        self.fail = fail
        self.changed = changed
        self.items = Items(self.mint)
        self.over = False  # nothing more is said
        self.tasks: set[asyncio.Task[None]] = set()
        self._clock = clock
        self._id = uuid.UUID(id)
        self._minted = 0
        self._unread: list[ConversationOutput] = []
        self._something = asyncio.Event()
        self._read = asyncio.Event()

    def now_ns(self) -> int:
        return self._clock.now_ns()

    # -- ids and tasks -------------------------------------------------------------------------------------------------

    def mint(self, kind: str = "item") -> str:
        """A new id that the caller sees."""
        return f"{kind}_{self._next().hex[:24]}"

    def derive(self) -> str:
        """The id of a session that is a part of the conversation."""
        return str(self._next())

    def _next(self) -> uuid.UUID:
        self._minted += 1
        return uuid.uuid5(self._id, str(self._minted))

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    # -- what is said --------------------------------------------------------------------------------------------------

    def say(self, *outputs: ConversationOutput) -> None:
        if self.over:
            return
        self._unread += outputs
        self._something.set()
        if len(self._unread) > MAX_UNREAD_EVER:
            self.fail(CapacityError("The client did not read results fast enough."))

    def unsay(self, unwanted: Callable[[ConversationOutput], bool]) -> None:
        """What of that has not been read will not be."""
        self._unread = [output for output in self._unread if not unwanted(output)]

    async def room(self) -> None:
        """Waits until the caller has read enough for more to be said."""
        while len(self._unread) >= MAX_UNREAD and not self.over:
            self._read.clear()
            await self._read.wait()

    async def listen(self) -> None:
        """Waits until there may be something to read."""
        await self._something.wait()

    def read(self) -> tuple[ConversationOutput, ...]:
        """Everything that has been said since."""
        self._something.clear()
        batch, self._unread = tuple(self._unread), []
        self._read.set()
        return batch

    def wake(self) -> None:
        """Nobody waits any more."""
        self._something.set()
        self._read.set()

    # -- items ---------------------------------------------------------------------------------------------------------

    def join(self, item: Item, after: str | None = None, done: bool = True) -> Item:
        """The item as it joined, which is told. Where there is too much, the first goes. Raises as `Items.add`."""
        while self.items.full:
            first = next(iter(self.items)).id
            self.items.remove(first)
            self.say(ItemRemoved(first))
        item = self.items.add(item, after)
        seen, before = shown(item, transcripts=self.spec.transcription is not None), self.items.before(item.id)
        self.say(ItemAdded(seen, before))
        if done:
            self.say(ItemDone(seen, before))
        return item
