"""One spoken conversation: recognition, a language model and a voice, which overlap in both directions.

`machine.py` decides; this module acts. It passes what the caller and the parts do to the machine, opens, feeds, reads
and closes the parts, and queues the outputs for the caller. Each part is charged to an account of its own, whose id is
derived from the conversation's. The conversation always ends with `Failed`. Then call `close`, whatever happened.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

from antiphon.calls.generation import Generation
from antiphon.calls.recognition import Recognition
from antiphon.calls.services import Services
from antiphon.calls.synthesis import Synthesis
from antiphon.conversation.machine import Machine, check
from antiphon.conversation.parts import Parts, Session, SessionPart
from antiphon.conversation.steps import (
    AbortPart,
    Act,
    Admission,
    Alarm,
    BargeIn,
    ClosePart,
    Confirm,
    Confirmation,
    Drain,
    EndAfter,
    EndPart,
    Event,
    Fail,
    Failure,
    FeedPart,
    Leave,
    OpenFailure,
    OpenPart,
    OpenRecordings,
    PartEnd,
    PausePart,
    Receipt,
    ResumePart,
    Retract,
    Tell,
    TellLimits,
    Tick,
    TunePart,
    VoiceToVoice,
)
from antiphon.core.call import Call
from antiphon.core.conversation.inputs import AppendAudio, Configure, ConversationInput, Reject, Respond
from antiphon.core.conversation.outputs import Began, ConversationOutput, OutputSpeech, RateLimits
from antiphon.core.conversation.spec import ConverseSpec, rebase
from antiphon.core.errors import AntiphonError, CapacityError, InternalError, RequestTimeout
from antiphon.core.events import End, Failed
from antiphon.core.specs import GenerateSpec, SpeakSpec, TranscribeSpec

MAX_UNREAD = 256  # outputs; beyond them `feed` and the parts wait
MAX_UNREAD_EVER = 4096  # outputs, with those that the caller's own speech causes; beyond them the session fails
PIECE_BYTES = 64 * 1024  # of audio, processed at once before other tasks run

Later = list[FeedPart | EndPart]  # acts that may wait

log = logging.getLogger(__name__)


class Conversation:
    """One call, of at most `lasts_s` seconds. Raises the errors of its parts."""

    live = False  # the recognition part is the live session
    was_charged = in_doubt = False
    region = ""  # its parts may be in several

    def __init__(
        self,
        services: Services,
        call: Call[ConverseSpec],
        parts: Parts,
        lasts_s: int,
        on_close: Callable[["Conversation"], None],
        disclosure: str = "",
    ) -> None:
        self.call = call
        self._services = services
        self._parts = parts
        self._lasts_s = lasts_s
        self._on_close = on_close
        self._open: dict[str, SessionPart] = {}
        self._confirming: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()  # of parts
        self._end: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._error: AntiphonError | None = None
        self._over = False
        self._unread: list[ConversationOutput] = []
        self._something = asyncio.Event()
        self._read = asyncio.Event()
        self._machine = Machine(call.id, self._checked(call.spec), disclosure)
        self._carry_out(self._machine.start(services.clock.now_ns()))
        if self._error:
            raise self._error

    @property
    def spec(self) -> ConverseSpec:
        """The current spec."""
        return self._machine.spec

    @property
    def quiet(self) -> bool:
        """Whether the caller has read all outputs and no more will follow from what was said."""
        return not self._unread and self._machine.quiet

    # -- in ------------------------------------------------------------------------------------------------------------

    async def feed(self, event: ConversationInput) -> None:
        """Process one input. Waits while inputs come too fast or too many outputs are unread."""
        if len(self._unread) >= MAX_UNREAD:
            await self._room()
        if isinstance(event, AppendAudio) and len(event.data) > PIECE_BYTES:
            for at in range(0, len(event.data), PIECE_BYTES):
                await self._take(AppendAudio(event.data[at : at + PIECE_BYTES], event.event_id))
                await asyncio.sleep(0)
        else:
            await self._take(event)

    async def _take(self, event: ConversationInput) -> None:
        if self._over or self._error:
            return
        if isinstance(event, Configure | Respond):
            event = self._resolved(event)
        later = self._step(event)
        if later:
            await self._spend(later)

    def _resolved(self, event: Configure | Respond) -> ConversationInput:
        """Return the input with its whole spec, or its refusal."""
        try:
            if isinstance(event, Configure):
                return Configure(self._checked(rebase(event.spec, event.base, self.spec)), event.event_id)
            spec = rebase(event.spec, event.base, self.spec) if event.spec else self.spec
            check(spec)
            self._parts.check(spec)
            return Respond(spec, event.items, event.keep, event.metadata, event.event_id)
        except Exception as error:
            return Reject(self._translate(error), event.event_id)

    def _checked(self, spec: ConverseSpec) -> ConverseSpec:
        """Return the spec with model and voice filled in. Raises `AntiphonError` if it cannot be served."""
        check(spec)
        self._parts.check(spec)
        return self._parts.complete(spec)

    # -- the machine ---------------------------------------------------------------------------------------------------

    def _step(self, event: Event) -> Later:
        """Give the machine an event and carry out its acts. Returns those that may wait."""
        try:
            acts = self._machine.step(event, self._services.clock.now_ns())
        except Exception as error:
            self._fail(self._defect(error))
            return []
        return self._carry_out(acts)

    def _carry_out(self, acts: Sequence[Act]) -> Later:
        later: Later = []
        answers: list[Event] = []
        for act in acts:
            match act:
                case Tell(output):
                    self._unread.append(output)
                    self._something.set()
                case FeedPart() | EndPart():
                    later.append(act)
                case Alarm(at_ns):
                    self._set_alarm(at_ns)
                case TellLimits():
                    self._unread.append(RateLimits(self._parts.limits()))
                case Retract(id):
                    self._unread = [o for o in self._unread if not (isinstance(o, OutputSpeech) and o.item_id == id)]
                case OpenPart(part):
                    if error := self._open_part(act):
                        answers.append(OpenFailure(part, error))
                case OpenRecordings(_, recordings):
                    answers.append(Admission(recordings[0].part, self._open_recordings(act)))
                case Fail(error):
                    self._fail(error)
                case _:
                    self._handle(act)
        for answer in answers:
            later += self._step(answer)
        if len(self._unread) > MAX_UNREAD_EVER and not self._error:
            later += self._step(Failure(CapacityError("The client did not read results fast enough.")))
        return later

    def _handle(self, act: Act) -> None:
        """Carry out an act that concerns one open part or is only measured."""
        match act:
            case ClosePart(id):
                if part := self._open.pop(id, None):
                    self._close_part(part, act)
            case AbortPart(id, error):
                if part := self._open.get(id):
                    part.abort(error)
            case PausePart(id):
                if part := self._open.get(id):
                    part.unpaused.clear()
            case ResumePart(id):
                if part := self._open.get(id):
                    part.unpaused.set()
            case TunePart(id, tuning):
                if isinstance(session := self._session(id), Recognition):
                    session.tune(tuning)
            case EndAfter(id, silence_ms):
                if isinstance(session := self._session(id), Recognition):
                    session.wait(silence_ms)
            case Confirm():
                self._start(self._confirm(act), self._confirming)
            case VoiceToVoice(ms):
                self._services.observer.answered(ms)
            case BargeIn(ms):
                self._services.observer.interrupted(ms)

    async def _spend(self, later: Later) -> None:
        """Carry out the acts that may wait."""
        for act in later:
            part = self._open.get(act.part)
            if part is None or isinstance(part.session, Generation):
                continue
            if isinstance(act, FeedPart):
                await part.session.feed(act.input)
            else:
                await part.session.feed(End())
                await asyncio.wait([part.reading])

    def _start(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _translate(self, error: Exception) -> AntiphonError:
        """Return the error for the caller: a defect is logged, and is the server's."""
        return error if isinstance(error, AntiphonError) else self._defect(error)

    def _defect(self, error: Exception) -> InternalError:
        log.error("conversation failed", exc_info=error, extra={"session": self.call.id})
        return InternalError("The server failed; this has been logged.")

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _session(self, id: str) -> Session | None:
        part = self._open.get(id)
        return part.session if part else None

    def _open_part(self, act: OpenPart) -> AntiphonError | None:
        """Open a part. Returns the error if that fails."""
        session: Session
        try:
            match act.spec:
                case TranscribeSpec():
                    session = self._parts.transcribe(act.part, act.spec)
                case GenerateSpec():
                    session = self._parts.generate(act.part, act.spec, act.held)
                case SpeakSpec():
                    session = self._parts.speak(act.part, act.spec)
                    if not act.held:
                        session.confirm()
        except Exception as error:
            return self._translate(error)
        self._read_part(act.part, session)
        return None

    def _open_recordings(self, act: OpenRecordings) -> AntiphonError | None:
        """Open a part for each recording. If one fails, closes them all and returns the error."""
        sessions: list[Recognition] = []
        try:
            sessions.extend(self._parts.transcribe(recording.part, act.spec) for recording in act.recordings)
        except Exception as error:
            for session in sessions:
                session.end(delivered=False)
            return self._translate(error)
        for recording, session in zip(act.recordings, sessions, strict=True):
            self._read_part(recording.part, session, recording.audio)
        return None

    def _read_part(self, id: str, session: Session, audio: bytes | None = None) -> None:
        part = self._open[id] = SessionPart(session)
        part.unpaused.set()
        part.reading = asyncio.create_task(self._events_of(id, part, audio), name=f"part {id}")

    async def _events_of(self, id: str, part: SessionPart, audio: bytes | None) -> None:
        """Pass all events of a part to the machine."""
        session = part.session
        try:
            if audio is not None:
                assert isinstance(session, Recognition)
                await session.play(audio)
            async with aclosing(session.events()) as batches:
                async for batch in batches:
                    await self._spend(self._step(part.output(id, batch)))
                    if not isinstance(session, Recognition):
                        await self._room()
                        await part.unpaused.wait()
            part.end = True
            await self._spend(self._step(PartEnd(id)))
        except Exception as error:
            self._fail(self._defect(error))

    async def _confirm(self, act: Confirm) -> None:
        generation, synthesis = self._session(act.generation), self._session(act.synthesis)
        if isinstance(synthesis, Synthesis):
            synthesis.confirm()
        error: AntiphonError | None = None
        try:
            if isinstance(generation, Generation):
                await generation.confirm()
        except Exception as failure:
            error = self._translate(failure)
        await self._spend(self._step(Confirmation(act.response_id, error)))

    def _close_part(self, part: SessionPart, act: ClosePart) -> None:
        if part.end and act.played_ms is None:
            part.session.end(act.delivered)
        else:
            self._start(part.close(act), self._closing)

    # -- out -----------------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncGenerator[tuple[ConversationOutput, ...], None]:
        """Yield the outputs for the caller, in batches of all that are ready."""
        overdue = RequestTimeout("The conversation has reached its maximum duration.")
        ending = asyncio.get_running_loop().call_later(self._lasts_s, self.fail, overdue)
        try:
            yield (Began(self.call.id, self.spec, self._services.clock.unix_ms() // 1000 + self._lasts_s),)
            while True:
                await self._something.wait()
                self._something.clear()
                batch, self._unread = tuple(self._unread), []
                self._read.set()
                if batch:
                    yield batch
                    self._step(Receipt(batch))
                if self._error:
                    yield (Failed(self._error),)
                    return
        finally:
            ending.cancel()

    async def _room(self) -> None:
        """Wait until the caller has read enough of the outputs."""
        while len(self._unread) >= MAX_UNREAD and not self._over:
            self._read.clear()
            await self._read.wait()

    # -- time ----------------------------------------------------------------------------------------------------------

    def _set_alarm(self, at_ns: int | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if at_ns is not None:
            wait_s = max(0, at_ns - self._services.clock.now_ns()) / 1e9
            self._alarm = asyncio.get_running_loop().call_later(wait_s, self.expire)

    def expire(self) -> None:
        """Do what is due by now."""
        self._step(Tick())

    # -- the end -------------------------------------------------------------------------------------------------------

    def fail(self, error: AntiphonError) -> None:
        """End the conversation with an error. Only the first error counts."""
        self._step(Failure(error))

    def _fail(self, error: AntiphonError) -> None:
        self._error = self._error or error
        self._wake()

    def _wake(self) -> None:
        """Wake every waiting task."""
        self._something.set()
        self._read.set()

    def drain(self) -> None:
        """Finish the current reply, then end: the server is stopping."""
        self._step(Drain())

    async def close(self, delivered: bool) -> None:
        """Free everything, and charge what was heard, read and played. Continues even if the task that calls it is
        cancelled.
        """
        self._end = asyncio.create_task(self._close(), name=f"close {self.call.id}")
        await asyncio.shield(self._end)

    async def _close(self) -> None:
        self._over = True
        self._wake()
        self._step(Leave())
        if self._alarm is not None:
            self._alarm.cancel()
        for id, part in self._open.items():  # left open by a defect
            self._close_part(part, ClosePart(id, delivered=False))
        self._open.clear()
        for task in self._confirming:
            task.cancel()
        await asyncio.gather(*self._confirming, *self._closing, return_exceptions=True)
        self._on_close(self)
        outcome = self._error.code if self._error else "completed"
        self._services.observer.ended(self.call, self.spec.model, outcome, {})
