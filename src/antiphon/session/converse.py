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
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from antiphon.core.conversation import (
    AddItem,
    AppendAudio,
    AudioCleared,
    AudioCommitted,
    AudioPart,
    CancelResponse,
    ClearAudio,
    CommitAudio,
    Configure,
    Configured,
    ConversationInput,
    ConversationOutput,
    ConverseSpec,
    Ending,
    HeardDelta,
    HeardDone,
    HeardFailed,
    IdleReached,
    Item,
    ItemAdded,
    ItemDone,
    ItemRead,
    ItemRemoved,
    ItemTruncated,
    Known,
    Limit,
    Limits,
    MessageItem,
    OutputEnded,
    OutputSpeech,
    OutputStarted,
    ReadItem,
    Refused,
    RemoveItem,
    Respond,
    ResponseEnded,
    ResponseStarted,
    TruncateItem,
    TurnStarted,
    TurnStopped,
    rebased,
)
from antiphon.core.conversation import Began as ConversationBegan
from antiphon.core.errors import (
    AntiphonError,
    CallerError,
    CapacityError,
    Conflict,
    Draining,
    EngineError,
    InternalError,
    NotFound,
    RequestTimeout,
)
from antiphon.core.events import Failed, Final, Transcript
from antiphon.core.identity import Principal
from antiphon.core.specs import GenerateSpec, Role, SpeakSpec, TranscribeSpec
from antiphon.session.generation import Generation
from antiphon.session.hearing import Began, Caption, Deaf, Guess, Heard, Hearing, check, transcribing
from antiphon.session.items import Aloud, Items, shown
from antiphon.session.patience import Said, said
from antiphon.session.reply import Reply
from antiphon.session.services import Services
from antiphon.session.session import Session
from antiphon.session.speaking import Speaking
from antiphon.session.turns import Act, TurnTaking

MAX_UNREAD = 256  # outputs, before no more are made
MAX_UNREAD_EVER = 4096  # what the speaker's own voice brings comes on top; a caller who reads slower loses the session
MAX_BESIDE = 8  # responses that do not join the conversation
MAX_METADATA = 16
LEEWAY_MS = 500  # by which what the caller says it heard may be less than the time that passed
GRACE_NS = 2_000_000_000  # for the caller to say how far it heard a reply that it cut

log = logging.getLogger(__name__)


class Parts(Protocol):
    """Opens what a conversation is composed of. Everything raises `AntiphonError` where it may not, or there is no
    room.
    """

    def check(self, spec: ConverseSpec) -> None:
        """Whether there is all that it names."""

    def transcribe(self, id: str, spec: TranscribeSpec) -> Session: ...

    def generate(self, id: str, spec: GenerateSpec, held: bool) -> Generation: ...

    def speak(self, id: str, spec: SpeakSpec) -> Speaking: ...

    def limits(self) -> tuple[Limit, ...]: ...


@dataclass(slots=True)
class _Unheard:
    """The audio of an item. `known` is done when its words are known, or never will be."""

    known: asyncio.Future[None]
    caption: Caption


@dataclass(slots=True)
class _Ahead:
    """A reply to words that may be the turn's last."""

    text: str
    reply: Reply


class Conversation:
    """One call. `id` is a UUID; it ends after `lasts_s` at the latest. Raises as its parts do."""

    live = False  # the session that recognises is
    charged_whole = False

    def __init__(
        self,
        services: Services,
        id: str,
        principal: Principal,
        surface: str,
        parts: Parts,
        spec: ConverseSpec,
        lasts_s: int,
        on_close: Callable[["Conversation"], None],
    ) -> None:
        self.id = id
        self.principal = principal
        self.surface = surface
        self.spec = spec
        self._services = services
        self._parts = parts
        self._lasts_s = lasts_s
        self._on_close = on_close
        self._minted = 0
        self._out: list[ConversationOutput] = []
        self._something = asyncio.Event()
        self._read = asyncio.Event()
        self._error: AntiphonError | None = None
        self._over = False
        self._draining = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        self._items = Items(self.mint)
        self._taking = TurnTaking(spec.turns)
        self._turn = ""  # the item that the turn will be
        self._caption = Caption()  # of the turn
        self._unheard: dict[tuple[str, int], _Unheard] = {}  # parts of items whose words are not known yet
        self._reply: Reply | None = None  # the one that joins the conversation
        self._heard: Reply | None = None  # the last one that was spoken
        self._cut_ms: int | None = None  # where that was cut
        self._beside: dict[str, Reply] = {}
        self._ahead: _Ahead | None = None
        _check(spec)
        parts.check(spec)
        self._hearing = self._listen(spec, 0)

    # -- in ------------------------------------------------------------------------------------------------------------

    async def feed(self, given: ConversationInput) -> None:
        """One thing the caller did. Waits where it comes too fast, or what it led to is not read."""
        await self.room()
        if self._over or self._error:
            return
        try:
            await self._take(given)
        except InternalError as error:
            self.fail(error)
        except AntiphonError as error:
            self.emit(Refused(error, given.event_id))
        except Exception as error:
            log.error("conversation failed", exc_info=error, extra={"session": self.id})
            self.fail(InternalError("The server failed; this has been logged."))
        self._set_alarm()

    async def _take(self, given: ConversationInput) -> None:
        match given:
            case AppendAudio(data):
                await self._hearing.append(data)
                return
            case Configure():
                spec = rebased(given.spec, given.base, self.spec)
                await self._configure(spec)
                self.emit(Configured(spec, given.event_id))
            case CommitAudio():
                await self._commit_audio()
            case ClearAudio():
                flushes = self._hearing.clear()
                self._forget_turn()
                self.emit(AudioCleared(given.event_id))
                if flushes:
                    await self._hearing.flush()
            case AddItem(item, after):
                self._add(item, after)
            case ReadItem(id):
                self.emit(ItemRead(self._items.get(id)))
            case RemoveItem(id):
                self._items.remove(id)
                self.emit(ItemRemoved(id))
            case TruncateItem(id, heard_ms, part):
                self._truncate(id, part, heard_ms)
            case Respond():
                self._respond_as_asked(given)
            case CancelResponse(id):
                self._cancel(id)
        self._give_up_ahead()

    async def _configure(self, spec: ConverseSpec) -> None:
        """Raises `AntiphonError` where it cannot be like that."""
        _check(spec)
        self._parts.check(spec)
        if transcribing(spec) != transcribing(self.spec):
            await self._hearing.end()
            await asyncio.wait([self._listening])
            self._forget_turn()
            self._hearing = self._listen(spec, self._hearing.received_ms)
        else:
            self._hearing.tune(spec.turns)
        self._taking.configure(spec.turns)
        self.spec = spec

    def _listen(self, spec: ConverseSpec, base_ms: int) -> Hearing:
        session = self._parts.transcribe(self._derived(), transcribing(spec))
        hearing = Hearing(session, spec, base_ms, self._hear)
        self._listening = self._start(hearing.run(), f"hear {self.id}")
        return hearing

    async def _commit_audio(self) -> None:
        item = self._turn or self.mint()
        start_ms, end_ms = self._hearing.commit(item)
        self._taking.speech_stopped(words=False)
        self._commit(item, start_ms, end_ms)
        await self._hearing.flush()

    def _add(self, item: Item, after: str | None) -> None:
        audio = _audio_parts(item)
        if audio and not (isinstance(item, MessageItem) and item.role is Role.USER):
            raise CallerError("Only the caller's own messages may have audio.", param="item")
        sessions: list[tuple[int, AudioPart, Session]] = []
        try:
            for number, part in audio:
                asked = replace(transcribing(self.spec), live=False)
                sessions.append((number, part, self._parts.transcribe(self._derived(), asked)))
            item = self._join(item, after)
        except AntiphonError:
            for _, _, session in sessions:
                self._start(session.close(delivered=False), f"close {session.id}")
            raise
        for number, part, session in sessions:
            self._unheard[item.id, number] = _unheard(Caption())
            self._start(self._recognise(item.id, number, part, session), f"recognise {item.id}")

    async def _recognise(self, item: str, number: int, part: AudioPart, session: Session) -> None:
        """The words of audio that came in an item."""
        error: AntiphonError | None = None
        texts: list[Transcript] = []
        delivered = False
        try:
            await session.play(part.audio)
            async for batch in session.events():
                for event in batch:
                    if isinstance(event, Failed):
                        error = event.error
                    elif isinstance(event, Final):
                        texts.append(event.transcript)
            delivered = error is None
        finally:
            await session.close(delivered)
        words = Transcript(" ".join(t.text for t in texts if t.text), min((t.confidence for t in texts), default=0.0))
        self._words(item, number, words, part.audio_ms, error)

    def _truncate(self, id: str, part: int, heard_ms: int) -> None:
        self._items.truncate(id, part, heard_ms)
        self.emit(ItemTruncated(id, heard_ms, part))
        reply = self._heard
        if reply is not None and reply.over and reply.message is not None and reply.message.id == id:
            passed_ms = self._cut_ms
            if passed_ms is None:
                passed_ms = reply.playback.heard_ms(self._services.clock.now_ns())
            self._settle(max(heard_ms, passed_ms - LEEWAY_MS))
            self._taking.reply_cut()

    # -- what is heard -------------------------------------------------------------------------------------------------

    def _hear(self, event: Began | Guess | Heard | Deaf) -> None:
        if self._over or self._error:
            return
        try:
            match event:
                case Began(at_ms):
                    self._speech_began(at_ms)
                case Guess(text, paused):
                    self._guess(text, paused)
                case Heard(item, transcript, start_ms, end_ms):
                    self._turn_heard(item, transcript, start_ms, end_ms)
                case Deaf(error, items):
                    self._deaf(error, items)
        except Exception as error:
            log.error("conversation failed", exc_info=error, extra={"session": self.id})
            self.fail(InternalError("The server failed; this has been logged."))
        self._set_alarm()

    def _speech_began(self, at_ms: int) -> None:
        turns = self.spec.turns
        if turns is None:
            return
        if not self._turn:
            self._turn = self.mint()
        self.emit(TurnStarted(self._turn, max(0, at_ms - turns.padding_ms)))
        self._do(self._taking.speech_started(self._services.clock.now_ns()))

    def _guess(self, text: str, paused: bool) -> None:
        if self.spec.transcription is not None:
            self._turn = self._turn or self.mint()
            self._caption_more(self._turn, self._caption.push(text))
        if self._ahead and (not paused or self._ahead.text != text):
            self._give_up_ahead()
        turns = self.spec.turns
        answers = self.spec.answers and turns is not None and turns.respond and not self._draining
        free = self._reply is None and self._ahead is None and not self._unheard
        if answers and paused and free and said(text) is not Said.HANGING:
            item = MessageItem(Role.USER, (AudioPart(transcript=text),))
            items = (*self._items, item)
            reply = Reply(self.mint("resp"), self.spec, self, lambda: _at_once(items), held=True)
            self._ahead = _Ahead(text, reply)
            self._start(reply.run(), f"reply {reply.id}")

    def _turn_heard(self, item: str | None, transcript: Transcript, start_ms: int, end_ms: int) -> None:
        if item is None:
            item = self._turn or self.mint()
            self.emit(TurnStopped(item, end_ms))
            self._commit(item, start_ms, end_ms)
            self._words(item, 0, transcript, end_ms - start_ms)
            self._do(self._taking.speech_stopped(bool(transcript.text)), transcript.text, end_ms - start_ms)
            self._give_up_ahead()
        else:
            self._words(item, 0, transcript, end_ms - start_ms)

    def _forget_turn(self) -> None:
        """Nothing comes of what was said since the last one."""
        self._turn, self._caption = "", Caption()
        self._taking.speech_stopped(words=False)

    def _deaf(self, error: AntiphonError | None, items: Sequence[str]) -> None:
        """The recognition ended: for an engine's sake it begins anew, else the conversation ends with it."""
        if error is None:
            return
        for item in items:
            self._words(item, 0, Transcript("", 0.0), 0, error)
        if not isinstance(error, EngineError):
            self.fail(error)
            return
        self.emit(Refused(error))
        self._forget_turn()
        try:
            self._hearing = self._listen(self.spec, self._hearing.received_ms)
        except AntiphonError as refused:
            self.fail(refused)

    def _commit(self, item: str, start_ms: int, end_ms: int) -> None:
        """The turn becomes an item, whose words are not known yet."""
        part = AudioPart(self._hearing.audio(start_ms, end_ms), None, end_ms - start_ms)
        self.emit(AudioCommitted(item, self._items.last))
        self._unheard[item, 0] = _unheard(self._caption)
        self._turn, self._caption = "", Caption()
        self._join(MessageItem(Role.USER, (part,), item), None)

    def _words(
        self, item: str, part: int, transcript: Transcript, audio_ms: int, error: AntiphonError | None = None
    ) -> None:
        """The words of an item's audio are known, or never will be."""
        unheard = self._unheard.pop((item, part))
        unheard.known.set_result(None)
        told = self.spec.transcription is not None
        if error is not None:
            if told:
                self.emit(HeardFailed(item, error, part))
            return
        self._items.heard(item, part, transcript.text)
        if told:
            self._caption_more(item, unheard.caption.finish(transcript.text), part)
            self.emit(HeardDone(item, transcript, audio_ms, part))

    def _caption_more(self, item: str, text: str, part: int = 0) -> None:
        if text:
            self.emit(HeardDelta(item, text, part))

    # -- who speaks ----------------------------------------------------------------------------------------------------

    def _do(self, acts: Sequence[Act], text: str = "", heard_ms: int = 0) -> None:
        """What follows from who speaks; `text` is what was said, `heard_ms` how long that took."""
        for act in acts if not self._over else ():
            match act:
                case Act.INTERRUPT:
                    self._interrupt()
                case Act.RESPOND if self.spec.answers and not self._draining:
                    ahead = self._ahead
                    if ahead and ahead.text == text and not ahead.reply.over:
                        self._ahead = None
                        self._begin(ahead.reply)
                        ahead.reply.confirm(heard_ms)
                    else:
                        self._respond()
                case Act.PROMPT:
                    self._prompt()

    def _prompt(self) -> None:
        item = self._turn or self.mint()
        start_ms, end_ms = self._hearing.skip()
        idle_ms = (self.spec.turns.idle_ms if self.spec.turns else None) or 0
        self.emit(IdleReached(item, max(start_ms, end_ms - idle_ms), end_ms))
        self._commit(item, max(start_ms, end_ms - idle_ms), end_ms)
        self._words(item, 0, Transcript("", 0.0), end_ms - start_ms)
        if self.spec.answers and not self._draining:
            self._respond()

    def _interrupt(self) -> None:
        """The caller speaks: the reply stops, and of what was said only what was heard counts."""
        if self._reply is not None:
            self._reply.finish(Ending.INTERRUPTED)
        reply = self._heard
        self._taking.reply_cut()
        if reply is None or reply.message is None or self._cut_ms is not None:
            return
        id = reply.message.id
        self._out = [o for o in self._out if not (isinstance(o, OutputSpeech) and o.item_id == id)]
        self._cut_ms = reply.playback.heard_ms(self._services.clock.now_ns())
        if id in self._items and self._cut_ms < reply.made_ms:
            self._items.truncate(id, 0, self._cut_ms)
            self.emit(ItemTruncated(id, self._cut_ms))

    def _respond_as_asked(self, asked: Respond) -> None:
        if not self.spec.answers:
            raise CallerError("This conversation only transcribes.")
        if self._draining:
            raise Draining("The server is stopping.")
        if asked.keep and self._reply is not None:
            raise Conflict("There is a response already; one at a time joins the conversation.")
        if not asked.keep and len(self._beside) >= MAX_BESIDE:
            raise CapacityError(f"At most {MAX_BESIDE} responses may run beside the conversation's.")
        if len(asked.metadata) > MAX_METADATA:
            raise CallerError(f"At most {MAX_METADATA} pairs of metadata are kept.", param="metadata")
        spec = rebased(asked.spec, asked.base, self.spec) if asked.spec else self.spec
        _check(spec)
        self._parts.check(spec)
        self._items.resolve(asked.items)
        self._respond(spec, asked.items, asked.keep, asked.metadata)

    def _respond(
        self,
        spec: ConverseSpec | None = None,
        items: Sequence[Item | Known] | None = None,
        keep: bool = True,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> None:
        unheard = [each.known for each in self._unheard.values()]

        async def read() -> Sequence[Item]:
            if unheard:
                await asyncio.wait(unheard)
            return self._items.resolve(items)

        reply = Reply(self.mint("resp"), spec or self.spec, self, read, keep)
        self._begin(reply, metadata)
        self._start(reply.run(), f"reply {reply.id}")

    def _begin(self, reply: Reply, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        if reply.keep:
            self._reply = reply
            self._taking.reply_started()
        else:
            self._beside[reply.id] = reply
        self.emit(ResponseStarted(reply.id, reply.spec, reply.keep, metadata), Limits(self._parts.limits()))

    def _cancel(self, id: str) -> None:
        reply = self._beside.get(id) or (self._reply if self._reply and id in ("", self._reply.id) else None)
        if reply is None:
            raise NotFound("There is no such response to cancel.", param="response_id")
        reply.finish(Ending.CANCELLED)

    def _give_up_ahead(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.reply.finish(Ending.INTERRUPTED)

    # -- for replies ---------------------------------------------------------------------------------------------------

    def generate(self, spec: GenerateSpec, held: bool) -> Generation:
        return self._parts.generate(self._derived(), spec, held)

    def speak(self, spec: SpeakSpec) -> Speaking:
        return self._parts.speak(self._derived(), spec)

    def told(self, reply: Reply, output: ConversationOutput, aloud: Aloud | None) -> None:
        """From a reply."""
        self.emit(output)
        match output:
            case OutputStarted(item=item) if reply.keep:
                self._join(item, None, done=False)
            case OutputEnded(item=item) if reply.keep and item.id in self._items:
                self._items.change(item, aloud)
                self.emit(ItemDone(item, self._items.before(item.id)))
            case OutputSpeech() if reply.keep and self._heard is not reply:
                self._settle(self._cut_ms)
                self._heard, self._cut_ms = reply, None
            case ResponseEnded():
                self._reply_ended(reply)

    def _reply_ended(self, reply: Reply) -> None:
        self._beside.pop(reply.id, None)
        if not reply.keep:
            self._start(reply.settle(), f"settle {reply.id}")
        elif reply is not self._heard:  # nothing of it was sent
            self._start(reply.settle(0), f"settle {reply.id}")
        if reply is self._reply:
            self._reply = None
            self._do(self._taking.reply_ended(self._services.clock.now_ns()))
            if self._draining and self._reply is None:
                self.fail(Draining("The server is stopping."))
        self._set_alarm()

    def _settle(self, heard_ms: int | None) -> None:
        """The last spoken reply is heard no more."""
        reply, self._heard, self._cut_ms = self._heard, None, None
        if reply is not None:
            self._start(reply.settle(heard_ms), f"settle {reply.id}")

    def _join(self, item: Item, after: str | None, done: bool = True) -> Item:
        """The item as it joined. Where there are too many, the first goes."""
        if self._items.full:
            first = next(iter(self._items)).id
            self._items.remove(first)
            self.emit(ItemRemoved(first))
        item = self._items.add(item, after)
        seen, before = shown(item, transcripts=self.spec.transcription is not None), self._items.before(item.id)
        self.emit(ItemAdded(seen, before))
        if done:
            self.emit(ItemDone(seen, before))
        return item

    def mint(self, kind: str = "item") -> str:
        """A new id."""
        self._minted += 1
        return f"{kind}_{uuid.uuid5(uuid.UUID(self.id), str(self._minted)).hex[:24]}"

    def _derived(self) -> str:
        """A part's id."""
        self._minted += 1
        return str(uuid.uuid5(uuid.UUID(self.id), str(self._minted)))

    # -- out -----------------------------------------------------------------------------------------------------------

    def emit(self, *outputs: ConversationOutput) -> None:
        if self._over:
            return
        self._out += outputs
        self._something.set()
        if len(self._out) > MAX_UNREAD_EVER:
            self.fail(CapacityError("Results were not read fast enough."))

    async def room(self) -> None:
        """Waits until the caller has read enough for more to be said."""
        while len(self._out) >= MAX_UNREAD and not self._over and not self._error:
            self._read.clear()
            await self._read.wait()

    async def events(self) -> AsyncGenerator[tuple[ConversationOutput, ...], None]:
        """Everything the caller is told, as many at a time as came at once."""
        overdue = RequestTimeout("The conversation has lasted as long as it may.")
        ending = asyncio.get_running_loop().call_later(self._lasts_s, self.fail, overdue)
        try:
            yield (ConversationBegan(self.id, self.spec, self._services.clock.unix_ms() // 1000 + self._lasts_s),)
            while True:
                while not self._out and not self._error:
                    self._something.clear()
                    await self._something.wait()
                batch, self._out = tuple(self._out), []
                self._read.set()
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
        now_ns = self._services.clock.now_ns()
        reply = self._heard
        for output in batch:
            if isinstance(output, OutputSpeech) and reply is not None and output.response_id == reply.id:
                reply.sent(output, now_ns)
                if self._cut_ms is None:
                    self._taking.plays_until(reply.playback.until_ns)
        self._set_alarm()

    # -- time ----------------------------------------------------------------------------------------------------------

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        deadlines = [d for d in (self._taking.deadline_ns(), self._played_ns()) if d is not None]
        if deadlines and not self._over and not self._error:
            wait_s = max(0, min(deadlines) - self._services.clock.now_ns()) / 1e9
            self._alarm = asyncio.get_running_loop().call_later(wait_s, self.expire)

    def _played_ns(self) -> int | None:
        """When the last spoken reply will have been played, and nothing more will be heard of that."""
        reply = self._heard
        return reply.playback.until_ns + GRACE_NS if reply is not None and reply.over else None

    def expire(self) -> None:
        """What is due by now is done."""
        self._alarm = None
        now_ns = self._services.clock.now_ns()
        played_ns = self._played_ns()
        if played_ns is not None and now_ns >= played_ns:
            self._settle(self._cut_ms)
        self._do(self._taking.expire(now_ns))
        self._set_alarm()

    # -- the end -------------------------------------------------------------------------------------------------------

    def fail(self, error: AntiphonError) -> None:
        """End the conversation with an error; the first one counts."""
        self._error = self._error or error
        self._something.set()
        self._read.set()

    def drain(self) -> None:
        """The server is stopping: the reply that is being given is given to its end."""
        self._draining = True
        if self._reply is None:
            self.fail(Draining("The server is stopping."))

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self, delivered: bool) -> None:
        """Free everything. Who leaves pays for what was heard, read and played. Goes on to its end where the caller of
        this is cancelled.
        """
        self._closing = asyncio.create_task(self._close(), name=f"close {self.id}")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        now_ns = self._services.clock.now_ns()
        self._over = True
        self._read.set()
        if self._alarm is not None:
            self._alarm.cancel()
        replies = [reply for reply in (self._reply, self._heard, *self._beside.values()) if reply is not None]
        if self._ahead is not None:
            replies.append(self._ahead.reply)
        for reply in replies:
            reply.finish(Ending.CANCELLED)
        await asyncio.sleep(0)  # what has only just been started begins, so that it can clear up behind itself
        for task in tuple(self._tasks):
            if not task.get_name().startswith(("settle", "close")):
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for reply in replies:
            heard_ms = (
                reply.playback.heard_ms(now_ns) if reply is not self._heard or self._cut_ms is None else self._cut_ms
            )
            await reply.settle(heard_ms)
        self._on_close(self)
        outcome = self._error.code if self._error else "completed"
        self._services.observer.ended(self.surface, outcome)
        log.info(
            "session ended",
            extra={
                "session": self.id,
                "project": self.principal.project,
                "key": self.principal.key_id,
                "surface": self.surface,
                "model": self.spec.model,
                "outcome": outcome,
                "items": len(self._items),
            },
        )


async def _at_once(items: Sequence[Item]) -> Sequence[Item]:
    return items


def _unheard(caption: Caption) -> _Unheard:
    return _Unheard(asyncio.get_running_loop().create_future(), caption)


def _audio_parts(item: Item) -> list[tuple[int, AudioPart]]:
    parts = item.parts if isinstance(item, MessageItem) else ()
    return [(n, part) for n, part in enumerate(parts) if isinstance(part, AudioPart) and part.audio]


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
