"""The model's half of a conversation: the reply that joins it, those beside it, the one ahead of the end of a turn, and
the one that was spoken last, which may still be heard.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from antiphon.calls.generation import Generation
from antiphon.calls.synthesis import Synthesis
from antiphon.conversation.items import Aloud
from antiphon.conversation.reply import Reply
from antiphon.conversation.stage import Stage
from antiphon.core.conversation.items import AudioPart, Item, Known, MessageItem
from antiphon.core.conversation.outputs import (
    ConversationOutput,
    Ending,
    ItemDone,
    ItemTruncated,
    Limits,
    OutputEnded,
    OutputSpeech,
    OutputStarted,
    ResponseEnded,
    ResponseStarted,
)
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import CapacityError, Conflict, NotFound
from antiphon.core.specs import GenerateSpec, Role, SpeakSpec
from antiphon.core.units import NS_PER_MS

MAX_BESIDE = 8  # responses that do not join the conversation
LEEWAY_MS = 500  # by which what the caller says it heard may be less than the time that passed
AHEAD_MS = 1500  # by which speech is made before it is heard; more may be cut, and others wait for theirs
GRACE_NS = 2_000_000_000  # for the caller to say how far it heard a reply that it cut

NOT_SENT_NS = 1 << 62  # as a time: nobody knows when

Metadata = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Ahead:
    """A reply to words that may be the turn's last."""

    text: str
    reply: Reply


@dataclass(slots=True)
class _Heard:
    """The reply that was spoken last; `cut_ms` is where it was cut."""

    reply: Reply
    cut_ms: int | None = None

    def until_ms(self, now_ns: int) -> int:
        return self.reply.playback.heard_ms(now_ns) if self.cut_ms is None else self.cut_ms


class Replies:
    """One conversation's. `unknown` gives what a reply must wait for before it can read the items; `ended` is called
    when the reply that joins the conversation has ended.
    """

    def __init__(
        self, stage: Stage, unknown: Callable[[], list[asyncio.Future[None]]], ended: Callable[[], None]
    ) -> None:
        self._stage = stage
        self._unknown = unknown
        self._ended = ended
        self._current: Reply | None = None  # the one that joins the conversation
        self._heard: _Heard | None = None
        self._beside: dict[str, Reply] = {}
        self._ahead: _Ahead | None = None
        self._scarce = asyncio.Event()  # more speech is needed soon
        self._scarce.set()

    @property
    def busy(self) -> bool:
        """Whether there is one that joins the conversation."""
        return self._current is not None

    # -- what is asked for ---------------------------------------------------------------------------------------------

    def respond(
        self,
        spec: ConverseSpec,
        items: Sequence[Item | Known] | None = None,
        keep: bool = True,
        metadata: Metadata = (),
        spoken_ns: int | None = None,
    ) -> None:
        """`spoken_ns` is when the turn's last word ended, where it answers one. Raises `Conflict` where there is one
        already, `CapacityError` where there are too many beside, `NotFound`.
        """
        if keep and self._current is not None:
            raise Conflict("The conversation already has an active response.")
        if not keep and len(self._beside) >= MAX_BESIDE:
            raise CapacityError(f"At most {MAX_BESIDE} responses outside the conversation may run at once.")
        self._stage.items.resolve(items)
        unknown = self._unknown()

        async def read() -> Sequence[Item]:
            if unknown:
                await asyncio.wait(unknown)
            return self._stage.items.resolve(items)

        reply = Reply(self._stage.mint("resp"), spec, self, read, keep)
        self._begin(reply, metadata, spoken_ns)
        self._stage.start(reply.run(), f"reply {reply.id}")

    def cancel(self, id: str) -> None:
        """Without an id, the one that joins the conversation. Raises `NotFound`."""
        current = self._current if self._current and id in ("", self._current.id) else None
        reply = self._beside.get(id) or current
        if reply is None:
            raise NotFound("No active response with this id.", param="response_id")
        reply.finish(Ending.CANCELLED)

    def _begin(self, reply: Reply, metadata: Metadata = (), spoken_ns: int | None = None) -> None:
        reply.awaited_ns = spoken_ns
        if reply.keep:
            self._current = reply
        else:
            self._beside[reply.id] = reply
        started = ResponseStarted(reply.id, reply.spec, reply.keep, metadata)
        self._stage.say(started, Limits(self._stage.parts.limits()))

    # -- ahead of the end of a turn ------------------------------------------------------------------------------------

    def think_ahead(self, text: str) -> None:
        """The turn may be over, and say that. Nothing is begun where a reply is being given, or words are missing."""
        if self._current or self._ahead or self._unknown():
            return
        items = (*self._stage.items, MessageItem(Role.USER, (AudioPart(transcript=text),)))

        async def read() -> Sequence[Item]:
            return items

        reply = Reply(self._stage.mint("resp"), self._stage.spec, self, read, held=True)
        self._ahead = _Ahead(text, reply)
        self._stage.start(reply.run(), f"reply {reply.id}")

    def adopt(self, text: str, heard_ms: int, spoken_ns: int | None) -> bool:
        """The turn is over and says that: whether there was a reply to it, which now counts."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return False
        if ahead.text != text or ahead.reply.over:
            ahead.reply.finish(Ending.INTERRUPTED)
            return False
        self._begin(ahead.reply, spoken_ns=spoken_ns)
        self._stage.start(ahead.reply.confirm(heard_ms), f"confirm {ahead.reply.id}")
        return True

    def give_up_ahead(self, unless: str | None = None) -> None:
        """The turn goes on, unless it says still what it said."""
        if self._ahead is not None and self._ahead.text != unless:
            self._ahead.reply.finish(Ending.INTERRUPTED)
            self._ahead = None

    # -- what is heard of it -------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """The caller speaks: the reply stops, and of what was said only what was heard counts."""
        if self._current is not None:
            self._current.finish(Ending.INTERRUPTED)
        heard = self._heard
        if heard is None or heard.cut_ms is not None or heard.reply.message is None:
            return
        id = heard.reply.message.id
        self._stage.unsay(lambda output: isinstance(output, OutputSpeech) and output.item_id == id)
        heard.cut_ms = heard.reply.playback.heard_ms(self._stage.now_ns())
        if id in self._stage.items and heard.cut_ms < heard.reply.made_ms:
            self._stage.items.truncate(id, 0, heard.cut_ms)
            self._stage.say(ItemTruncated(id, heard.cut_ms))

    def truncate(self, id: str, part: int, heard_ms: int) -> bool:
        """As the caller says; whether it was the one that could still be heard. Raises `NotFound`, `CallerError`."""
        self._stage.items.truncate(id, part, heard_ms)
        self._stage.say(ItemTruncated(id, heard_ms, part))
        heard = self._heard
        if heard is None or not heard.reply.over or heard.reply.message is None or heard.reply.message.id != id:
            return False
        heard.cut_ms = max(heard_ms, heard.until_ms(self._stage.now_ns()) - LEEWAY_MS)
        self._settle()
        return True

    def sent(self, batch: Sequence[ConversationOutput], answered: Callable[[float], None]) -> None:
        """After the transport took that. `answered` is told how long a turn's reply was waited for (ms)."""
        heard, now_ns = self._heard, self._stage.now_ns()
        if heard is None:
            return
        self._scarce.set()
        for output in batch:
            if isinstance(output, OutputSpeech) and output.response_id == heard.reply.id:
                heard.reply.sent(output, now_ns)
                if heard.reply.awaited_ns is not None:
                    answered((now_ns - heard.reply.awaited_ns) / NS_PER_MS)
                    heard.reply.awaited_ns = None

    @property
    def plays_until_ns(self) -> int | None:
        """When all that was made of the last one that was spoken will have been played, as far as that is known."""
        if self._heard is None or self._heard.cut_ms is not None:
            return None
        playback = self._heard.reply.playback
        return playback.until_ns if playback.sent_ms >= self._heard.reply.made_ms else NOT_SENT_NS

    def deadline_ns(self) -> int | None:
        """When more speech is needed of the last one that was spoken, or nothing more will be heard of it."""
        if self._heard is None:
            return None
        reply, until_ns = self._heard.reply, self._heard.reply.playback.until_ns
        if reply.over:
            return until_ns + GRACE_NS
        if self._scarce.is_set() or reply.playback.sent_ms < reply.made_ms:
            return None
        return until_ns - AHEAD_MS * NS_PER_MS

    def expire(self, now_ns: int) -> None:
        deadline_ns = self.deadline_ns()
        if self._heard is None or deadline_ns is None or now_ns < deadline_ns:
            return
        if self._heard.reply.over:
            self._settle()
        else:
            self._scarce.set()

    def _settle(self) -> None:
        """The last one that was spoken is heard no more."""
        heard, self._heard = self._heard, None
        if heard is not None:
            self._stage.start(heard.reply.settle(heard.cut_ms), f"settle {heard.reply.id}")

    # -- for replies: what they need, and what they say ----------------------------------------------------------------

    def generate(self, spec: GenerateSpec, held: bool) -> Generation:
        return self._stage.parts.generate(self._stage.derive(), spec, held)

    def speak(self, spec: SpeakSpec) -> Synthesis:
        return self._stage.parts.speak(self._stage.derive(), spec)

    def mint(self) -> str:
        return self._stage.mint()

    async def room(self) -> None:
        await self._stage.room()

    async def scarce(self, reply: Reply) -> None:
        while not reply.over and reply.made_ms - reply.playback.heard_ms(self._stage.now_ns()) > AHEAD_MS:
            self._scarce.clear()
            self._stage.changed()
            await self._scarce.wait()

    def told(self, reply: Reply, output: ConversationOutput, aloud: Aloud | None) -> None:
        stage = self._stage
        stage.say(output)
        match output:
            case OutputStarted(item=item) if reply.keep:
                stage.join(item, done=False)
            case OutputEnded(item=item) if reply.keep and item.id in stage.items:
                stage.items.change(item, aloud)
                stage.say(ItemDone(item, stage.items.before(item.id)))
            case OutputSpeech() if reply.keep and (self._heard is None or self._heard.reply is not reply):
                self._settle()
                self._heard = _Heard(reply)
            case ResponseEnded():
                self._over(reply)

    def _over(self, reply: Reply) -> None:
        self._beside.pop(reply.id, None)
        if self._heard is None or self._heard.reply is not reply:
            # Beside the conversation it was sent whole; in it, nothing of it was.
            self._stage.start(reply.settle(0 if reply.keep else None), f"settle {reply.id}")
        if reply is self._current:
            self._current = None
            self._scarce.set()
            self._ended()
        self._stage.changed()

    # -- the end -------------------------------------------------------------------------------------------------------

    def finish(self) -> tuple[Reply, int | None] | None:
        """All end now. The one that is to be settled when nothing of it runs any more, and how far it was heard, where
        that was not to the end.
        """
        self.give_up_ahead()
        for reply in (self._current, *tuple(self._beside.values())):
            if reply is not None:
                reply.finish(Ending.CANCELLED)
        heard, self._heard = self._heard, None
        if heard is None:
            return None
        until_ms = heard.until_ms(self._stage.now_ns())
        return heard.reply, until_ms if until_ms < heard.reply.made_ms else None
