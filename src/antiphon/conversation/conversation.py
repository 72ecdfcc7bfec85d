"""One spoken conversation: recognition, language and speech, overlapped, in both directions. Read `turns.py` with it.

1. It is composed: what the caller says goes to a recognition session, each response has a generation and a session of
   speech. Each of them is metered by an account of its own, with an id that is derived from the conversation's.
2. The language model starts at the end of a turn, or ahead of it, at a pause after words that may be the last. What was
   done ahead costs the caller nothing unless it is used; if the speaker goes on, it is given up.
3. Speech during a reply stops it. The conversation keeps the words that were heard, and so much is charged: as the
   caller says (`TruncateItem`), but not less than the time that passed tells, give or take `LEEWAY_MS`. Without a word
   from the caller it is the time that passed since the speech was sent.
4. A response waits for the words of the audio it answers. One response at a time joins the conversation; beside it at
   most `MAX_BESIDE` may run that do not.
5. A refused input changes nothing, and the conversation goes on. It ends with `Failed`, always; `close` must be called
   after it, whatever happened.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence

from antiphon.calls.patience import Said, said
from antiphon.calls.services import Services
from antiphon.conversation.hearing import check
from antiphon.conversation.listening import Listening
from antiphon.conversation.replies import Replies
from antiphon.conversation.stage import Parts, Stage
from antiphon.conversation.turns import Act, TurnTaking
from antiphon.core.call import Call
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
from antiphon.core.conversation.outputs import Began, Configured, ConversationOutput, ItemRead, ItemRemoved, Refused
from antiphon.core.conversation.spec import ConverseSpec, rebased
from antiphon.core.errors import AntiphonError, CallerError, Draining, InternalError, RequestTimeout
from antiphon.core.events import Failed
from antiphon.core.units import NS_PER_MS

MAX_METADATA = 16

log = logging.getLogger(__name__)


class Conversation:
    """One call. It ends after `lasts_s` at the latest. Raises as its parts do."""

    live = False  # the session that recognises is
    given = in_doubt = False

    def __init__(
        self,
        services: Services,
        call: Call[ConverseSpec],
        parts: Parts,
        lasts_s: int,
        on_close: Callable[["Conversation"], None],
    ) -> None:
        spec = call.spec
        _check(spec)
        parts.check(spec)
        spec = parts.filled(spec)
        self.call = call
        self._services = services
        self._lasts_s = lasts_s
        self._on_close = on_close
        self._error: AntiphonError | None = None
        self._draining = False
        self._alarm: asyncio.TimerHandle | None = None
        self._due_ns: int | None = None  # what it is set for
        self._closing: asyncio.Task[None] | None = None
        self._stage = Stage(call.id, spec, parts, services.clock, self.fail, self._set_alarm)
        self._taking = TurnTaking(spec.turns)
        self._listening = Listening(self._stage, self)
        self._replies = Replies(self._stage, self._listening.unknown, self._reply_ended)

    @property
    def spec(self) -> ConverseSpec:
        """How it is now."""
        return self._stage.spec

    # -- in ------------------------------------------------------------------------------------------------------------

    async def feed(self, given: ConversationInput) -> None:
        """One thing the caller did. Waits where it comes too fast, or what it led to is not read."""
        await self._stage.room()
        if self._stage.over or self._error:
            return
        try:
            await self._take(given)
        except InternalError as error:
            self.fail(error)
        except AntiphonError as error:
            self._stage.say(Refused(error, given.event_id))
        except Exception as error:
            self.defect(error)
        self._set_alarm()

    async def _take(self, given: ConversationInput) -> None:
        stage = self._stage
        if not isinstance(given, AppendAudio | Reject):
            self._replies.give_up_ahead()
        match given:
            case AppendAudio(data):
                await self._listening.append(data)
            case Configure():
                await self._configure(rebased(given.spec, given.base, self.spec))
                stage.say(Configured(self.spec, given.event_id))
            case CommitAudio():
                await self._listening.commit()
            case ClearAudio(event_id):
                await self._listening.clear(event_id)
            case AddItem(item, after):
                self._listening.add(item, after)
            case ReadItem(id):
                stage.say(ItemRead(stage.items.get(id)))
            case RemoveItem(id):
                stage.items.remove(id)
                stage.say(ItemRemoved(id))
            case TruncateItem(id, heard_ms, part):
                if self._replies.truncate(id, part, heard_ms):
                    self._taking.reply_cut()
            case Respond():
                self._respond(given)
            case CancelResponse(id):
                self._replies.cancel(id)
            case Reject(error):
                raise error

    async def _configure(self, spec: ConverseSpec) -> None:
        """Raises `AntiphonError` where it cannot be like that."""
        _check(spec)
        self._stage.parts.check(spec)
        spec = self._stage.parts.filled(spec)
        await self._listening.configure(spec)
        self._taking.configure(spec.turns)
        self._stage.spec = spec

    def _respond(self, asked: Respond) -> None:
        if not self.spec.answers:
            raise CallerError("This session only transcribes.")
        if self._draining:
            raise Draining("The server is stopping.")
        if len(asked.metadata) > MAX_METADATA:
            raise CallerError(f"'metadata' can have at most {MAX_METADATA} pairs.", param="metadata")
        spec = rebased(asked.spec, asked.base, self.spec) if asked.spec else self.spec
        _check(spec)
        self._stage.parts.check(spec)
        self._replies.respond(spec, asked.items, asked.keep, asked.metadata)
        if asked.keep:
            self._taking.reply_started()

    # -- who speaks ----------------------------------------------------------------------------------------------------

    def speech_started(self, onset_ns: int) -> None:
        """The caller speaks, since then."""
        now_ns = self._stage.now_ns()
        acts = self._taking.speech_started(now_ns)
        self._do(acts)
        if acts:
            self._services.observer.interrupted((now_ns - onset_ns) / NS_PER_MS)

    def guessed(self, text: str, paused: bool) -> None:
        """What the turn says so far; if `paused`, it may be over."""
        self._replies.give_up_ahead(unless=text if paused else None)
        turns = self.spec.turns
        if turns is None or not turns.respond or not self._answers or not paused or not text:
            return
        if turns.eagerness is None or said(text) is not Said.HANGING:
            self._replies.think_ahead(text)

    def speech_stopped(self, text: str, heard_ms: int, spoken_ns: int) -> None:
        """The turn was over by itself, says that, and its last word ended at that time."""
        self._do(self._taking.speech_stopped(bool(text)), text, heard_ms, spoken_ns)
        self._replies.give_up_ahead()

    def speech_forgotten(self) -> None:
        """The turn was over because the caller said so."""
        self._taking.speech_forgotten()

    def _do(self, acts: Sequence[Act], text: str = "", heard_ms: int = 0, spoken_ns: int | None = None) -> None:
        """What follows from who speaks; `text` is what was said, `heard_ms` how long that took, and until when."""
        for act in acts if not self._stage.over else ():
            if act is Act.INTERRUPT:
                self._replies.interrupt()
                self._taking.reply_cut()
                continue
            if act is Act.PROMPT and self.spec.turns is not None:
                self._listening.idle(self.spec.turns.idle_ms or 0)
            if self._answers:
                if not self._replies.adopt(text, heard_ms, spoken_ns):
                    self._replies.respond(self.spec, spoken_ns=spoken_ns)
                self._taking.reply_started()

    @property
    def _answers(self) -> bool:
        return self.spec.answers and not self._draining

    def _reply_ended(self) -> None:
        self._plays_on()
        self._do(self._taking.reply_ended(self._stage.now_ns()))
        if self._draining and not self._replies.busy:
            self.fail(Draining("The server is stopping."))

    # -- out -----------------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncGenerator[tuple[ConversationOutput, ...], None]:
        """Everything the caller is told, as many at a time as came at once."""
        overdue = RequestTimeout("The conversation has reached its maximum duration.")
        ending = asyncio.get_running_loop().call_later(self._lasts_s, self.fail, overdue)
        try:
            yield (Began(self.call.id, self.spec, self._services.clock.unix_ms() // 1000 + self._lasts_s),)
            while True:
                await self._stage.listen()
                batch = self._stage.read()
                if batch:
                    yield batch
                    self._sent(batch)
                if self._error:
                    yield (Failed(self._error),)
                    return
        finally:
            ending.cancel()

    def _sent(self, batch: Sequence[ConversationOutput]) -> None:
        """After the transport took them."""
        self._replies.sent(batch, self._services.observer.answered)
        self._plays_on()
        self._set_alarm()

    def _plays_on(self) -> None:
        until_ns = self._replies.plays_until_ns
        if until_ns is not None:
            self._taking.plays_until(until_ns)

    # -- time ----------------------------------------------------------------------------------------------------------

    def _set_alarm(self) -> None:
        """For what is due next, if it is not set for that already."""
        due = [ns for ns in (self._taking.deadline_ns(), self._replies.deadline_ns()) if ns is not None]
        due_ns = min(due) if due and not self._stage.over else None
        if due_ns == self._due_ns:
            return
        self._due_ns = due_ns
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if due_ns is not None:
            wait_s = max(0, due_ns - self._stage.now_ns()) / 1e9
            self._alarm = asyncio.get_running_loop().call_later(wait_s, self.expire)

    def expire(self) -> None:
        """What is due by now is done."""
        self._due_ns = None
        now_ns = self._stage.now_ns()
        self._replies.expire(now_ns)
        self._do(self._taking.expire(now_ns))
        self._set_alarm()

    # -- the end -------------------------------------------------------------------------------------------------------

    def fail(self, error: AntiphonError) -> None:
        """End the conversation with an error; the first one counts."""
        self._error = self._error or error
        self._stage.wake()

    def defect(self, error: Exception) -> None:
        log.error("conversation failed", exc_info=error, extra={"session": self.call.id})
        self.fail(InternalError("The server failed; this has been logged."))

    def drain(self) -> None:
        """The server is stopping: the reply that is being given is given to its end."""
        self._draining = True
        if not self._replies.busy:
            self.fail(Draining("The server is stopping."))

    async def close(self, delivered: bool) -> None:
        """Free everything. Who leaves pays for what was heard, read and played. Goes on to its end where the caller of
        this is cancelled.
        """
        self._closing = asyncio.create_task(self._close(), name=f"close {self.call.id}")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        stage = self._stage
        stage.over = True
        stage.wake()
        heard = self._replies.finish()
        if self._alarm is not None:
            self._alarm.cancel()
        await asyncio.sleep(0)  # what has only just been started begins, so that it can clear up behind itself
        for task in tuple(stage.tasks):
            if not task.get_name().startswith(("settle", "close")):
                task.cancel()
        await asyncio.gather(*stage.tasks, return_exceptions=True)
        if heard is not None:
            reply, until_ms = heard
            await reply.settle(until_ms)
        self._on_close(self)
        outcome = self._error.code if self._error else "completed"
        self._services.observer.ended(self.call, self.spec.model, outcome, {})


def _check(spec: ConverseSpec) -> None:
    """Raises `CallerError` for a spec that makes no sense."""
    check(spec.input_format)
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
