"""The model's half of a conversation: the reply that joins it, those beside it, the one ahead of the end of a turn, and
the one that was spoken last, which may still be heard. Pure state.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from antiphon.conversation.listening import SpokenPart
from antiphon.conversation.reply import Reply
from antiphon.conversation.stage import Stage
from antiphon.conversation.steps import Confirmation, PartOutput, Retract, VoiceToVoice
from antiphon.core.conversation.items import AudioPart, Item, Known, MessageItem
from antiphon.core.conversation.outputs import (
    ConversationOutput,
    Ending,
    ItemDone,
    ItemTruncated,
    OutputEnded,
    OutputSpeech,
    OutputStarted,
    ResponseEnded,
    ResponseStarted,
)
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError, CapacityError, Conflict, NotFound
from antiphon.core.specs import Role
from antiphon.core.units import NS_PER_MS

MAX_BESIDE = 8  # responses that do not join the conversation
LEEWAY_MS = 500  # by which what the caller says it heard may be less than the time that passed
GRACE_NS = 2_000_000_000  # for the caller to say how far it heard a reply that it cut

NOT_SENT_NS = 1 << 62  # as a time: nobody knows when

Metadata = tuple[tuple[str, str], ...]
Chosen = Sequence[Item | Known] | None  # what the model reads, `None` for all of the conversation


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


@dataclass(slots=True)
class _Waiting:
    """A reply that reads the items once these words are known."""

    reply: Reply
    chosen: Chosen
    unknown: frozenset[SpokenPart]


class Replies:
    """One conversation's. `ended` is set where the one that joins the conversation has ended, for who looks after turns
    to see and reset.
    """

    def __init__(self, stage: Stage) -> None:
        self.ended = False
        self._stage = stage
        self._current: Reply | None = None  # the one that joins the conversation
        self._heard: _Heard | None = None
        self._beside: dict[str, Reply] = {}
        self._ahead: _Ahead | None = None
        self._waiting: list[_Waiting] = []
        self._confirming: dict[str, Reply] = {}

    @property
    def busy(self) -> bool:
        """Whether there is one that joins the conversation."""
        return self._current is not None

    # -- what is asked for ---------------------------------------------------------------------------------------------

    def respond(
        self,
        spec: ConverseSpec,
        unknown: AbstractSet[SpokenPart],
        chosen: Chosen = None,
        keep: bool = True,
        metadata: Metadata = (),
        spoken_ns: int | None = None,
    ) -> None:
        """It reads what is chosen when what is `unknown` now is known. `spoken_ns` is when the turn's last word ended,
        where it answers one. Raises `Conflict` where there is one already, `CapacityError` where there are too many
        beside, `NotFound`.
        """
        if keep and self._current is not None:
            raise Conflict("The conversation already has an active response.")
        if not keep and len(self._beside) >= MAX_BESIDE:
            raise CapacityError(f"At most {MAX_BESIDE} responses outside the conversation may run at once.")
        self._stage.items.resolve(chosen)
        reply = Reply(self._stage, spec, keep)
        self._start(reply, metadata, spoken_ns)
        self._waiting.append(_Waiting(reply, chosen, frozenset(unknown)))
        self.proceed(unknown)

    def proceed(self, unknown: AbstractSet[SpokenPart]) -> None:
        """Those that waited for words which are not unknown any more begin."""
        if not self._waiting:
            return
        for waiting in tuple(self._waiting):
            if waiting.reply.over:
                self._waiting.remove(waiting)
            elif waiting.unknown.isdisjoint(unknown):
                self._waiting.remove(waiting)
                try:
                    waiting.reply.read(self._stage.items.resolve(waiting.chosen))
                except NotFound as error:  # it was removed meanwhile
                    waiting.reply.finish(Ending.FAILED, error)
                    self._tell(waiting.reply)

    def cancel(self, id: str) -> None:
        """Without an id, the one that joins the conversation. Raises `NotFound`."""
        current = self._current if self._current and id in ("", self._current.id) else None
        reply = self._beside.get(id) or current
        if reply is None:
            raise NotFound("No active response with this id.", param="response_id")
        self._finish(reply, Ending.CANCELLED)

    def _start(self, reply: Reply, metadata: Metadata = (), spoken_ns: int | None = None) -> None:
        reply.awaited_ns = spoken_ns
        if reply.keep:
            self._current = reply
        else:
            self._beside[reply.id] = reply
        self._stage.tell(ResponseStarted(reply.id, reply.spec, reply.keep, metadata))
        self._stage.tell_limits()

    # -- ahead of the end of a turn ------------------------------------------------------------------------------------

    def think_ahead(self, text: str, unknown: AbstractSet[SpokenPart]) -> None:
        """The turn may be over, and say that. Nothing is begun where a reply is being given, or words are missing."""
        if self._current or self._ahead or unknown:
            return
        reply = Reply(self._stage, self._stage.spec, held=True)
        self._ahead = _Ahead(text, reply)
        reply.read((*self._stage.items, MessageItem(Role.USER, (AudioPart(transcript=text),))))

    def adopt(self, text: str, heard_ms: int, spoken_ns: int | None) -> bool:
        """The turn is over and says that: whether there was a reply to it, which now counts."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return False
        if ahead.text != text or ahead.reply.over:
            ahead.reply.finish(Ending.INTERRUPTED)
            return False
        self._start(ahead.reply, spoken_ns=spoken_ns)
        self._confirming[ahead.reply.id] = ahead.reply
        ahead.reply.confirm(heard_ms)
        return True

    def confirmed(self, confirmation: Confirmation) -> None:
        reply = self._confirming.pop(confirmation.response_id, None)
        if reply is not None:
            reply.confirmed(confirmation.error)
            self._tell(reply)

    def give_up_ahead(self, unless: str | None = None) -> None:
        """The turn goes on, unless it says still what it said."""
        if self._ahead is not None and self._ahead.text != unless:
            self._ahead.reply.finish(Ending.INTERRUPTED)
            self._ahead = None

    # -- what its parts do ---------------------------------------------------------------------------------------------

    def take(self, reply: Reply, output: PartOutput) -> None:
        reply.take(output)
        self._tell(reply)

    def part_ended(self, reply: Reply, part: str) -> None:
        reply.part_ended(part)
        self._tell(reply)

    def part_missing(self, reply: Reply, error: AntiphonError) -> None:
        """One of its parts could not be opened."""
        self._finish(reply, Ending.FAILED, error)

    def _finish(self, reply: Reply, ending: Ending, error: AntiphonError | None = None) -> None:
        reply.finish(ending, error)
        self._tell(reply)

    # -- what is heard of it -------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """The caller speaks: the reply stops, and of what was said only what was heard counts."""
        if self._current is not None:
            self._finish(self._current, Ending.INTERRUPTED)
        heard = self._heard
        if heard is None or heard.cut_ms is not None or heard.reply.message is None:
            return
        id = heard.reply.message.id
        self._stage.act(Retract(id))
        heard.cut_ms = heard.reply.playback.heard_ms(self._stage.now_ns)
        if id in self._stage.items and heard.cut_ms < heard.reply.made_ms:
            self._stage.items.truncate(id, 0, heard.cut_ms)
            self._stage.tell(ItemTruncated(id, heard.cut_ms))

    def truncate(self, id: str, part: int, heard_ms: int) -> bool:
        """As the caller says; whether it was the one that could still be heard. Raises `NotFound`, `CallerError`."""
        self._stage.items.truncate(id, part, heard_ms)
        self._stage.tell(ItemTruncated(id, heard_ms, part))
        heard = self._heard
        if heard is None or not heard.reply.over or heard.reply.message is None or heard.reply.message.id != id:
            return False
        heard.cut_ms = max(heard_ms, heard.until_ms(self._stage.now_ns) - LEEWAY_MS)
        self._settle()
        return True

    def sent(self, outputs: Sequence[ConversationOutput]) -> None:
        """After the transport took them."""
        if self._heard is None:
            return
        reply = self._heard.reply
        for output in outputs:
            if isinstance(output, OutputSpeech) and output.response_id == reply.id:
                reply.sent(output)
                if reply.awaited_ns is not None:
                    self._stage.act(VoiceToVoice((self._stage.now_ns - reply.awaited_ns) / NS_PER_MS))
                    reply.awaited_ns = None
        reply.go_on()

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
        reply = self._heard.reply
        return reply.playback.until_ns + GRACE_NS if reply.over else reply.scarce_ns

    def expire(self) -> None:
        """What is due by now is done."""
        deadline_ns = self.deadline_ns()
        if self._heard is None or deadline_ns is None or self._stage.now_ns < deadline_ns:
            return
        if self._heard.reply.over:
            self._settle()
        else:
            self._heard.reply.go_on()

    def _settle(self) -> None:
        """The last one that was spoken is heard no more."""
        heard, self._heard = self._heard, None
        if heard is not None:
            heard.reply.settle(heard.cut_ms)

    # -- what they say -------------------------------------------------------------------------------------------------

    def _tell(self, reply: Reply) -> None:
        """What a reply has said since, where somebody may be told."""
        stage = self._stage
        if reply.silent:
            return
        outputs, reply.outputs = reply.outputs, []
        for output, aloud in outputs:
            stage.tell(output)
            match output:
                case OutputStarted(item=item) if reply.keep:
                    stage.join(item, done=False)
                case OutputEnded(item=item) if reply.keep and item.id in stage.items:
                    stage.items.change(item, aloud)
                    stage.tell(ItemDone(item, stage.items.before(item.id)))
                case OutputSpeech() if reply.keep and (self._heard is None or self._heard.reply is not reply):
                    self._settle()
                    self._heard = _Heard(reply)
                case ResponseEnded():
                    self._over(reply)

    def _over(self, reply: Reply) -> None:
        self._beside.pop(reply.id, None)
        if self._heard is None or self._heard.reply is not reply:
            # Beside the conversation it was sent whole; in it, nothing of it was.
            reply.settle(0 if reply.keep else None)
        if reply is self._current:
            self._current = None
            self.ended = True

    # -- the end -------------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """All end now. Of the one that may still be heard counts what was."""
        self.give_up_ahead()
        for reply in (self._current, *tuple(self._beside.values())):
            if reply is not None:
                self._finish(reply, Ending.CANCELLED)
        for reply in self._confirming.values():
            reply.settle(0)
        heard, self._heard = self._heard, None
        if heard is not None:
            until_ms = heard.until_ms(self._stage.now_ns)
            heard.reply.settle(until_ms if until_ms < heard.reply.made_ms else None)
