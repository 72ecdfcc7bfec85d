"""The model's half of a conversation: the reply that joins it, those beside it, the speculative one, and the one that
was spoken last, which the caller may still hear. Pure state.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from antiphon.conversation.items import check_cut
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
from antiphon.core.units import NS_PER_MS, NS_PER_S

MAX_BESIDE = 8  # responses that do not join the conversation
LEEWAY_MS = 500  # how much less the caller may report than the time that passed allows
GRACE_NS = 2 * NS_PER_S  # for the caller to report how much of a cut reply it heard

NOT_SENT_NS = 1 << 62  # as a time: unknown

Metadata = tuple[tuple[str, str], ...]
Chosen = Sequence[Item | Known] | None  # what the model reads, `None` for all of the conversation


@dataclass(slots=True)
class _Ahead:
    """A speculative reply to words that may be the turn's last."""

    text: str
    reply: Reply


@dataclass(slots=True)
class _Speech:
    """The reply that was spoken last; `cut_ms` is where it was cut."""

    reply: Reply
    cut_ms: int | None = None

    def until_ms(self, now_ns: int) -> int:
        return self.reply.playback.position_ms(now_ns) if self.cut_ms is None else self.cut_ms


@dataclass(slots=True)
class _Waiting:
    """A reply that reads the items once the words in `unknown` are known."""

    reply: Reply
    chosen: Chosen
    unknown: frozenset[SpokenPart]


class Replies:
    """The replies of one conversation. `ended` is set when the one that joins the conversation has ended; whoever
    handles turns resets it.
    """

    def __init__(self, stage: Stage) -> None:
        self.ended = False
        self._stage = stage
        self._current: Reply | None = None  # the one that joins the conversation
        self._speech: _Speech | None = None
        self._beside: dict[str, Reply] = {}
        self._ahead: _Ahead | None = None
        self._waiting: list[_Waiting] = []
        self._confirming: dict[str, Reply] = {}

    @property
    def busy(self) -> bool:
        """Whether there is a reply that joins the conversation."""
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
        """Start a reply that reads the chosen items once the words in `unknown` are known. `spoken_ns` is when the last
        word of the turn ended. Raises `Conflict` if there is a reply already, `CapacityError` if too many run beside
        it, `NotFound`.
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
        """Begin the waiting replies whose words are all known now."""
        if not self._waiting:
            return
        for waiting in tuple(self._waiting):
            if waiting.reply.over:
                self._waiting.remove(waiting)
            elif waiting.unknown.isdisjoint(unknown):
                self._waiting.remove(waiting)
                try:
                    waiting.reply.read(self._stage.items.resolve(waiting.chosen))
                except NotFound as error:  # removed while the reply waited
                    waiting.reply.finish(Ending.FAILED, error)
                    self._tell(waiting.reply)

    def cancel(self, id: str) -> None:
        """Cancel a reply; without an id, the one that joins the conversation. Raises `NotFound`."""
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
        """Start a speculative reply to `text`, unless a reply is being made or words are unknown."""
        if self._current or self._ahead or unknown:
            return
        reply = Reply(self._stage, self._stage.spec, held=True)
        self._ahead = _Ahead(text, reply)
        reply.read((*self._stage.items, MessageItem(Role.USER, (AudioPart(transcript=text),))))

    def adopt(self, text: str, turn_ms: int, spoken_ns: int | None) -> bool:
        """Return whether there is a speculative reply to exactly this turn, which now counts."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return False
        if ahead.text != text or ahead.reply.over:
            ahead.reply.finish(Ending.INTERRUPTED)
            return False
        self._start(ahead.reply, spoken_ns=spoken_ns)
        self._confirming[ahead.reply.id] = ahead.reply
        ahead.reply.confirm(turn_ms)
        return True

    def confirmed(self, confirmation: Confirmation) -> None:
        reply = self._confirming.pop(confirmation.response_id, None)
        if reply is not None:
            reply.confirmed(confirmation.error)
            self._tell(reply)

    def give_up_ahead(self, unless: str | None = None) -> None:
        """Discard the speculative reply, unless the turn still says `unless`."""
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
        """End a reply because one of its parts could not be opened."""
        self._finish(reply, Ending.FAILED, error)

    def _finish(self, reply: Reply, ending: Ending, error: AntiphonError | None = None) -> None:
        reply.finish(ending, error)
        self._tell(reply)

    # -- what is heard of it -------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Stop the reply because the caller speaks. Only what was heard of it counts."""
        if self._current is not None:
            self._finish(self._current, Ending.INTERRUPTED)
        speech = self._speech
        if speech is None or speech.cut_ms is not None or speech.reply.message is None:
            return
        id = speech.reply.message.id
        self._stage.act(Retract(id))
        speech.cut_ms = speech.reply.playback.position_ms(self._stage.now_ns)
        speech.reply.note_playback(speech.cut_ms)
        if self._stage.items.is_spoken(id) and speech.cut_ms < speech.reply.made_ms:
            self._stage.items.truncate(id, 0, speech.cut_ms)
            self._stage.tell(ItemTruncated(id, speech.cut_ms))

    def truncate(self, id: str, part: int, end_ms: int) -> bool:
        """Cut an item to what the caller heard; a reply that still runs ends there. Returns whether it is the reply
        that could still be heard. Raises `NotFound`, `CallerError`.
        """
        current = self._current
        if current is not None and current.speaks(id) and self._stage.items.is_running(id):
            check_cut(part, end_ms, current.made_ms)
            self._finish(current, Ending.CANCELLED)
        self._stage.items.truncate(id, part, end_ms)
        self._stage.tell(ItemTruncated(id, end_ms, part))
        speech = self._speech
        if speech is None or not speech.reply.over or speech.reply.message is None or speech.reply.message.id != id:
            return False
        speech.cut_ms = max(end_ms, speech.until_ms(self._stage.now_ns) - LEEWAY_MS)
        self._settle()
        return True

    def sent(self, outputs: Sequence[ConversationOutput]) -> None:
        """Count speech that the transport has sent."""
        if self._speech is None:
            return
        reply = self._speech.reply
        for output in outputs:
            if isinstance(output, OutputSpeech) and output.response_id == reply.id:
                reply.sent(output)
                if reply.awaited_ns is not None:
                    self._stage.act(VoiceToVoice((self._stage.now_ns - reply.awaited_ns) / NS_PER_MS))
                    reply.awaited_ns = None
        reply.go_on()

    @property
    def plays_until_ns(self) -> int | None:
        """When all speech of the last spoken reply will have been played, if known."""
        if self._speech is None or self._speech.cut_ms is not None:
            return None
        playback = self._speech.reply.playback
        return playback.until_ns if playback.sent_ms >= self._speech.reply.made_ms else NOT_SENT_NS

    def deadline_ns(self) -> int | None:
        """Return when the last spoken reply needs more speech, or can no longer be heard."""
        if self._speech is None:
            return None
        reply = self._speech.reply
        return reply.playback.until_ns + GRACE_NS if reply.over else reply.scarce_ns

    def expire(self) -> None:
        """Do what is due by now."""
        deadline_ns = self.deadline_ns()
        if self._speech is None or deadline_ns is None or self._stage.now_ns < deadline_ns:
            return
        if self._speech.reply.over:
            self._settle()
        else:
            self._speech.reply.go_on()

    def _settle(self) -> None:
        """Close the last spoken reply: it can no longer be heard."""
        speech, self._speech = self._speech, None
        if speech is not None:
            speech.reply.settle(speech.cut_ms)

    # -- what they say -------------------------------------------------------------------------------------------------

    def _tell(self, reply: Reply) -> None:
        """Send what a reply has said since the last call, unless it is silent."""
        stage = self._stage
        if reply.silent:
            return
        outputs, reply.outputs = reply.outputs, []
        for output, aloud in outputs:
            stage.tell(output)
            match output:
                case OutputStarted(item=item) if reply.keep:
                    stage.join(item, done=False)
                case OutputEnded(item=item) if reply.keep and stage.items.is_running(item.id):
                    stage.items.change(item, aloud)
                    stage.tell(ItemDone(item, stage.items.before(item.id)))
                case OutputSpeech() if reply.keep and (self._speech is None or self._speech.reply is not reply):
                    self._settle()
                    self._speech = _Speech(reply)
                case ResponseEnded():
                    self._over(reply)

    def _over(self, reply: Reply) -> None:
        self._beside.pop(reply.id, None)
        if self._speech is None or self._speech.reply is not reply:
            # A reply beside the conversation was sent whole; of one in it, no speech was sent.
            reply.settle(0 if reply.keep else None)
        if reply is self._current:
            self._current = None
            self.ended = True

    # -- the end -------------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """End all replies. Of the one that may still be heard, only what was heard counts."""
        self.give_up_ahead()
        for reply in (self._current, *tuple(self._beside.values())):
            if reply is not None:
                self._finish(reply, Ending.CANCELLED)
        for reply in self._confirming.values():
            reply.settle(0)
        speech, self._speech = self._speech, None
        if speech is not None:
            until_ms = speech.until_ms(self._stage.now_ns)
            speech.reply.settle(until_ms if until_ms < speech.reply.made_ms else None)
