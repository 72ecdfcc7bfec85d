"""One spoken conversation as a pure state machine: events from the caller and the parts lead to acts. It reads no clock
(time is an argument, in nanoseconds), does no I/O, and is consistent after every step.

1. `step` takes one event and returns the acts that follow, to be carried out in order. The answer to an act
   (`OpenFailure`, `Admission`) must be the next event.
2. A refused input changes nothing, and the conversation continues. After `Fail` no more outputs follow; after `Leave`
   every part is closed and there are no more acts.
3. The language model starts at the end of a turn, or speculatively, at a pause after words that may be the last.
   Speculative work is charged only if it is used; if the speaker continues, it is discarded.
4. Speech during a reply stops it (barge-in). The conversation keeps the words that were heard, and only these are
   charged: as the caller reports (`TruncateItem`), but not less than the time that passed allows, minus `LEEWAY_MS`. If
   the caller reports nothing, the time since the speech was sent counts.
5. A response waits for the words of the audio that it answers. One response at a time joins the conversation; at most
   `MAX_BESIDE` others may run beside it.
"""

from collections.abc import Sequence

from antiphon.calls.end_of_turn import Thought, thought_of
from antiphon.conversation.hearing import CallerTurn, Guess, SpeechBegan, check_format
from antiphon.conversation.listening import Ear, ItemAudio, Listening
from antiphon.conversation.replies import Replies
from antiphon.conversation.reply import Reply
from antiphon.conversation.stage import Stage
from antiphon.conversation.steps import (
    Act,
    Admission,
    Alarm,
    BargeIn,
    Confirmation,
    Drain,
    Event,
    Failure,
    Leave,
    OpenFailure,
    PartEnd,
    PartOutput,
    Receipt,
    Tick,
)
from antiphon.conversation.turns import Move, TurnTaking
from antiphon.core.audio import samples_to_ms
from antiphon.core.conversation.inputs import (
    AddItem,
    AppendAudio,
    CancelResponse,
    ClearAudio,
    CommitAudio,
    Configure,
    ConversationInput,
    ReadItem,
    Reject,
    RemoveItem,
    Respond,
    TruncateItem,
)
from antiphon.core.conversation.outputs import Configured, ItemRead, ItemRemoved, Refused
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError, CallerError, Conflict, Draining, InternalError
from antiphon.core.units import NS_PER_MS
from antiphon.scheduler.endpoint import TAIL

MAX_METADATA = 16


class Machine:
    """The state of one conversation. `id` is a UUID, from which all ids are derived. Every spec that it is given, also
    inside inputs, must have passed `check` and be complete (`base` is ignored).
    """

    def __init__(self, id: str, spec: ConverseSpec, disclosure: str = "") -> None:
        """Create it; the first reply that is spoken begins with the sentence `disclosure`, if there is one, and so does
        the next one if that was not heard.
        """
        self._stage = Stage(id, spec, disclosure)
        self._taking = TurnTaking(spec.turns)
        self._listening = Listening(self._stage)
        self._replies = Replies(self._stage)
        self._draining = False
        self._left = False
        self._configuring: Configure | None = None  # applied once the ear has ended
        self._alarm_ns: int | None = None  # the time it is set for

    @property
    def spec(self) -> ConverseSpec:
        """The current spec."""
        return self._stage.spec

    @property
    def quiet(self) -> bool:
        """Whether nobody speaks, all words are known and no reply is being made."""
        return not (self._listening.unknown or self._listening.speaking or self._replies.busy)

    def start(self, now_ns: int) -> tuple[Act, ...]:
        """Return the first acts."""
        self._stage.now_ns = now_ns
        return self._stage.collect()

    def step(self, event: Event, now_ns: int) -> tuple[Act, ...]:
        """Return the acts that follow from an event."""
        if self._left:
            return ()
        self._stage.now_ns = now_ns
        match event:
            case AppendAudio():
                self._input(event)
                return self._stage.collect()  # nothing else follows from audio, and there is much of it
            case PartOutput():
                self._part_output(event)
            case PartEnd(part):
                self._part_ended(part)
            case OpenFailure(part, error):
                self._part_missing(part, error)
            case Receipt(outputs):
                self._replies.sent(outputs)
                self._plays_on()
            case Tick():
                self._alarm_ns = None
                self._replies.expire()
                self._move(self._taking.expire(self._stage.now_ns))
            case Admission():
                self._listening.admit(event)
            case Confirmation():
                self._replies.confirmed(event)
            case Failure(error):
                self._stage.fail(error)
            case Drain():
                self._draining = True
                if not self._replies.busy:
                    self._stage.fail(Draining("The server is stopping."))
            case Leave():
                self._leave()
                return self._stage.collect()
            case _:
                self._input(event)
        self._follow_up()
        self._set_alarm()
        return self._stage.collect()

    def _follow_up(self) -> None:
        """Do what is due because words are known or the reply has ended."""
        self._replies.proceed(self._listening.unknown)
        while self._replies.ended:
            self._replies.ended = False
            self._plays_on()
            self._move(self._taking.reply_ended(self._stage.now_ns))
            if self._draining and not self._replies.busy:
                self._stage.fail(Draining("The server is stopping."))

    def _set_alarm(self) -> None:
        """Set the alarm for what is due next, unless it is set already."""
        due_ns, other_ns = self._taking.deadline_ns(), self._replies.deadline_ns()
        if due_ns is None or (other_ns is not None and other_ns < due_ns):
            due_ns = other_ns
        if due_ns != self._alarm_ns:
            self._alarm_ns = due_ns
            self._stage.act(Alarm(due_ns))

    # -- what the caller does ------------------------------------------------------------------------------------------

    def _input(self, event: ConversationInput) -> None:
        if self._stage.over:
            return
        try:
            if self._configuring is not None:
                raise Conflict("The conversation is being changed.")
            self._take(event)
        except InternalError as error:
            self._stage.fail(error)
        except AntiphonError as error:
            self._stage.tell(Refused(error, event.event_id))

    def _take(self, event: ConversationInput) -> None:
        stage = self._stage
        if not isinstance(event, AppendAudio | Reject):
            self._replies.give_up_ahead()
        match event:
            case AppendAudio(data):
                self._listening.append(data)
            case Configure():
                if self._listening.configure(event.spec):
                    self._configured(event)
                else:
                    self._configuring = event
            case CommitAudio():
                self._listening.commit()
                self._taking.speech_forgotten()
            case ClearAudio(event_id):
                self._listening.clear(event_id)
                self._taking.speech_forgotten()
            case AddItem(item, after, event_id):
                self._listening.add(item, after, event_id)
            case ReadItem(id):
                stage.tell(ItemRead(stage.items.get(id)))
            case RemoveItem(id):
                stage.items.remove(id)
                stage.tell(ItemRemoved(id))
            case TruncateItem(id, end_ms, part):
                if self._replies.truncate(id, part, end_ms):
                    self._taking.reply_cut()
            case Respond():
                self._respond(event)
            case CancelResponse(id):
                self._replies.cancel(id)
            case Reject(error):
                raise error

    def _configured(self, configure: Configure) -> None:
        self._taking.configure(configure.spec.turns)
        self._stage.spec = configure.spec
        self._stage.tell(Configured(configure.spec, configure.event_id))

    def _respond(self, request: Respond) -> None:
        if not self.spec.answers:
            raise CallerError("This session only transcribes.")
        if self._draining:
            raise Draining("The server is stopping.")
        if len(request.metadata) > MAX_METADATA:
            raise CallerError(f"'metadata' can have at most {MAX_METADATA} pairs.", param="metadata")
        spec = request.spec or self.spec
        self._replies.respond(spec, self._listening.unknown, request.items, request.keep, request.metadata)
        if request.keep:
            self._taking.reply_started()

    # -- what the parts do ---------------------------------------------------------------------------------------------

    def _part_output(self, output: PartOutput) -> None:
        owner = self._stage.parts.get(output.part)
        if isinstance(owner, Reply):
            self._replies.take(owner, output)
        elif isinstance(owner, ItemAudio):
            self._listening.take(owner, output)
        elif isinstance(owner, Ear):
            for event in output.events:
                for notice in self._listening.notices(event):
                    self._listening.notice(notice)
                    self._act_on(notice)

    def _part_ended(self, part: str) -> None:
        owner = self._stage.parts.get(part)
        if isinstance(owner, Reply):
            self._replies.part_ended(owner, part)
        elif isinstance(owner, ItemAudio):
            self._listening.recording_ended(part, owner)
        elif isinstance(owner, Ear):
            configure, self._configuring = self._configuring, None
            if self._listening.ear_ended(part, configure.spec if configure else None):
                self._taking.speech_forgotten()
                if configure is not None:
                    self._configured(configure)

    def _part_missing(self, part: str, error: AntiphonError) -> None:
        owner = self._stage.parts.pop(part, None)
        if isinstance(owner, Reply):
            self._replies.part_missing(owner, error)
        elif isinstance(owner, Ear):  # nothing recognises the caller any more
            self._stage.fail(error)

    # -- who speaks ----------------------------------------------------------------------------------------------------

    def _act_on(self, notice: object) -> None:
        """Act on a notice about the caller's speech."""
        match notice:
            case SpeechBegan(at_ms) if self.spec.turns is not None:
                self._speech_started(self._listening.arrived_ns(at_ms))
            case Guess(text, paused):
                self._guessed(text, paused)
            case CallerTurn(None, transcript, start_ms, end_ms):
                spoken_ns = self._listening.arrived_ns(end_ms - samples_to_ms(TAIL))
                turn_ms = end_ms - start_ms
                self._move(self._taking.speech_stopped(bool(transcript.text)), transcript.text, turn_ms, spoken_ns)
                self._replies.give_up_ahead()
        self._follow_up()

    def _speech_started(self, onset_ns: int) -> None:
        moves = self._taking.speech_started(self._stage.now_ns)
        self._move(moves)
        if moves:
            self._stage.act(BargeIn((self._stage.now_ns - onset_ns) / NS_PER_MS))

    def _guessed(self, text: str, paused: bool) -> None:
        """Act on the words so far; if `paused`, the turn may be over."""
        self._replies.give_up_ahead(unless=text if paused else None)
        turns = self.spec.turns
        if turns is None or not turns.respond or not self._answers or not paused or not text:
            return
        if turns.eagerness is None or thought_of(text) is not Thought.HANGING:
            self._replies.think_ahead(text, self._listening.unknown)

    def _move(self, moves: Sequence[Move], text: str = "", turn_ms: int = 0, spoken_ns: int | None = None) -> None:
        """Make the moves. `text` was said, took `turn_ms` and ended at `spoken_ns`."""
        for move in moves:
            if move is Move.INTERRUPT:
                self._replies.interrupt()
                self._taking.reply_cut()
                continue
            if move is Move.PROMPT and self.spec.turns is not None:
                self._listening.idle(self.spec.turns.idle_ms or 0)
            if self._answers:
                if not self._replies.adopt(text, turn_ms, spoken_ns):
                    self._replies.respond(self.spec, self._listening.unknown, spoken_ns=spoken_ns)
                self._taking.reply_started()

    @property
    def _answers(self) -> bool:
        return self.spec.answers and not self._draining and not self._stage.over

    def _plays_on(self) -> None:
        until_ns = self._replies.plays_until_ns
        if until_ns is not None:
            self._taking.plays_until(until_ns)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """Close every part, and charge what was heard, read and played."""
        self._left = True
        self._stage.over = True
        self._replies.leave()
        self._replies.ended = False
        for part in tuple(self._stage.parts):
            self._stage.close(part, delivered=False)


def check(spec: ConverseSpec) -> None:
    """Check a spec. Raises `CallerError` if a value is out of range, `UnsupportedParameter` for an audio format."""
    check_format(spec.input_format)
    turns = spec.turns
    bounds = [("speed", spec.speed, 0.25, 4.0), ("retain", 0.0 if spec.retain is None else spec.retain, 0.0, 1.0)]
    if turns is not None:
        bounds.append(("threshold", turns.threshold, 0.0, 1.0))
        bounds.append(("padding_ms", turns.padding_ms, 0, 5000))
        bounds.append(("silence_ms", turns.silence_ms, 0, 60_000))
        bounds.append(("idle_ms", 1 if turns.idle_ms is None else turns.idle_ms, 1, 3_600_000))
    for param, value, least, most in bounds:
        if not least <= value <= most:
            raise CallerError(f"It must be from {least} to {most}.", param=param)
