"""One caller's text, spoken: cut into clauses, synthesised step by step, metered, measured, closed.

1. Work is done on demand: one step at a time for each session, and the steps of all sessions in the order of their
   deadlines (`scheduler/steps.py`). For a caller who does not read, nothing is synthesised.
2. A live text has contexts, each spoken in its own order, independently of the others.
3. Characters are charged when the first sound of their clause is sent, milliseconds with their sound, and both are
   durable before that. A caller who does not hear everything is charged for what was heard (`played`). A whole answer
   is charged whole, or not at all. A text without any sound costs nothing; flushes separate the texts of one context.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

from antiphon.calls import demands
from antiphon.calls.context import SpeechContext, TextMark
from antiphon.calls.metered import MeteredSession
from antiphon.calls.services import Services
from antiphon.calls.speech_sound import SpeechSound
from antiphon.catalogue.voices import Voice
from antiphon.core.call import Call
from antiphon.core.entry import EntryKind
from antiphon.core.errors import AntiphonError, BudgetExceeded, CallerError, CapacityError
from antiphon.core.events import (
    AllSpoken,
    Begin,
    CharacterTime,
    Clear,
    Cleared,
    ContextEnded,
    End,
    Finish,
    Flush,
    Flushed,
    Input,
    Opened,
    Say,
    SpeechOutput,
    Spoken,
)
from antiphon.core.ports import Aligner
from antiphon.core.specs import SpeakSpec
from antiphon.core.units import NS_PER_MS
from antiphon.core.usage import Dimension, Meter
from antiphon.core.wire import Keep
from antiphon.metering.allowances import Allowance
from antiphon.text.clauses import Phrase

MAX_WAITING_CHARACTERS = 100_000  # of a live session, not spoken yet
MAX_WAITING = 100_000  # of its clauses and marks that are not spoken, and of events that are not sent yet
MAX_CONTEXTS = 16
MAX_SENT = 4096  # pieces that `played` can look back on
PIECE_CHARACTERS = 256  # cut into clauses at once, before other tasks run
SLACK_MS = 30  # of a deadline: for coding, metering and sending

CHARACTERS, AUDIO_MS = Meter(Dimension.TTS_CHARACTERS), Meter(Dimension.TTS_AUDIO_MS)

Sign = Callable[[bytes], bytes]


class Synthesis(MeteredSession[SpeechOutput]):
    """One call. `sign` marks an answer that is delivered whole; `align` is for timings. A `part` of a conversation is
    ended only by it, and held: its first piece is made ahead, but nothing is yielded or charged before `confirm`.
    `beside` finds the other voices of a dialogue by name.
    """

    def __init__(
        self,
        services: Services,
        call: Call[SpeakSpec],
        model: str,
        voice: Voice,
        on_close: Callable[["Synthesis"], None],
        sign: Sign | None = None,
        align: Aligner | None = None,
        part: bool = False,
        beside: Callable[[str], Voice] | None = None,
    ) -> None:
        spec = call.spec
        feature = "live" if spec.live else "stream" if spec.stream else "whole"
        demand = partial(demands.of_speech, spec)
        super().__init__(services, call, model, feature, on_close, demand)
        self.live = spec.live
        self._voice = voice
        self._beside = beside
        self._spec = spec
        self._sign = sign
        self._part = part
        self._contexts: dict[str, SpeechContext] = {}
        self._now: deque[SpeechOutput] = deque()  # yielded before anything else
        self._something = asyncio.Event()
        self._ended = False  # no more input is taken
        self._reading = asyncio.Lock()
        self._drained = False
        self._held = part
        self._sound = SpeechSound(spec, voice, align)
        self._written = 0  # characters that came, of a live text
        self._refused: BudgetExceeded | None = None  # by a budget: what came before is spoken, then this is the end
        self._sent: deque[tuple[int, int]] = deque(maxlen=MAX_SENT)  # totals after each piece: milliseconds, characters

    @property
    def whole(self) -> bool:
        return not self._spec.stream

    @property
    def silent(self) -> bool:
        """Whether there is nothing to speak."""
        return not any(context.busy for context in self._contexts.values())

    @property
    def characters(self) -> int:
        """The characters of all texts whose clause has begun to sound."""
        return self._sound.characters

    # -- in ------------------------------------------------------------------------------------------------------------

    async def feed(self, event: Input) -> None:
        """Process one input. Errors in it end the session through `events`."""
        async with self._reading:
            if self._ended or self._error:
                return
            try:
                if self._waiting >= MAX_WAITING and not isinstance(event, End):
                    raise _too_fast()
                if isinstance(event, Say):
                    await self._say(event)
                else:
                    self._take(event)
            except AntiphonError as error:
                self.fail(error)
            except Exception as error:
                self.fail(self._defect(error))
            if self._drained and not self._error:
                self._take(End())
            self._something.set()

    def _take(self, event: Input) -> None:
        match event:
            case Begin(name, speed, schedule):
                if name in self._contexts:
                    raise CallerError("This context has already started.", param="context")
                self._open(name, speed, schedule)
            case Flush(name):
                self._end_of(name, Flushed(name))
            case Finish(name):
                self._end_of(name, ContextEnded(name))
            case Clear(name):
                self._clear(name)
            case End():
                for name in tuple(self._contexts):
                    self._end_of(name, ContextEnded(name))
                self._ended = True

    @property
    def _waiting(self) -> int:
        """How many clauses, marks and events wait."""
        return len(self._now) + sum(len(context.waiting) for context in self._contexts.values())

    def _open(self, name: str, speed: float, schedule: tuple[int, ...]) -> SpeechContext:
        if len(self._contexts) >= MAX_CONTEXTS:
            raise CallerError(f"A connection has at most {MAX_CONTEXTS} contexts at once.", param="context")
        context = self._contexts[name] = SpeechContext(
            name, self._spec, speed * self._spec.speed, schedule, self._voice
        )
        return context

    async def _say(self, event: Say) -> None:
        text = event.text
        if self.live and self._allowance is not None and not self._cover(self._allowance, len(text)):
            self._take(End())
            return
        context = self._contexts.get(event.context) or self._open(event.context, 1.0, self._spec.schedule)
        if sum(len(c.text) for c in self._contexts.values()) + len(text) > MAX_WAITING_CHARACTERS:
            raise _too_fast()
        voice = context.writes_for
        if event.voice and self._beside:
            voice = self._beside(event.voice)
            voice.check(self._spec.language)
        if voice is not context.writes_for:
            context.writes_for = voice
            self._enqueue(context, (*context.clauses.flush(), voice))
        context.text += text
        self._enqueue(context, context.clauses.push(text[:PIECE_CHARACTERS]))
        for place in range(PIECE_CHARACTERS, len(text), PIECE_CHARACTERS):
            self._something.set()
            await asyncio.sleep(0)
            if self._error:
                return
            self._enqueue(context, context.clauses.push(text[place : place + PIECE_CHARACTERS]))
        if event.whole:
            self._enqueue(context, context.clauses.flush())

    def _cover(self, allowance: Allowance, characters: int) -> bool:
        """Return whether so many more characters may be spoken."""
        written = self._written + characters
        try:
            allowance.cover(demands.speech_meters(max(1, written), self._spec.speed))
        except BudgetExceeded as error:
            self._refused = error
            return False
        self._written = written
        allowance.note(self._amounts())
        return True

    def _enqueue(self, context: SpeechContext, more: Sequence[Phrase | Voice | TextMark]) -> None:
        if more and not context.busy:
            context.received_ns = self._services.clock.now_ns()
        context.waiting += more

    def _end_of(self, name: str, event: Flushed | ContextEnded) -> None:
        context = self._contexts.get(name)
        if context is None:
            self._now.append(event)
        else:
            written = context.spoken + len(context.text)
            self._enqueue(context, (*context.clauses.flush(), TextMark(event, written)))

    def _clear(self, name: str) -> None:
        """Drop unspoken text, uncharged; the result of a running step is dropped. A flush of it is not answered,
        because clients read `Flushed` as the end of the speech since the last one.
        """
        context = self._contexts.pop(name, None)
        if context is not None:
            anew = self._open(name, context.speed / self._spec.speed, context.schedule)
            anew.voice = anew.writes_for = context.writes_for
            marks = (each for each in context.waiting if isinstance(each, TextMark))
            anew.waiting += (TextMark(mark.event) for mark in marks if isinstance(mark.event, ContextEnded))
        self._now.append(Cleared(name))

    def fail(self, error: AntiphonError) -> None:
        super().fail(error)
        self._something.set()

    def drain(self) -> None:
        """Speak what was written, then end, because the server is stopping. A single text ends by itself."""
        if self.live and not self._part and not self._ended:
            if self._reading.locked():
                self._drained = True  # and ends once the present input is processed
                return
            self._take(End())
            self._something.set()

    def confirm(self) -> None:
        """Confirm held speech: from now on it is awaited, and charged."""
        self._held = False
        for context in self._contexts.values():
            context.received_ns = self._services.clock.now_ns()
        self._something.set()

    async def keep(self, keep: Keep) -> None:
        """Do nothing: speech is not kept."""

    # -- out -----------------------------------------------------------------------------------------------------------

    async def _produce(self) -> AsyncGenerator[tuple[SpeechOutput, ...], None]:
        yield (Opened(self.model),)
        if not self.live:
            for line in self._spec.lines:
                await self.feed(Say(line.text, whole=True, voice=line.voice))
            await self.feed(Say(self._spec.text))
            await self.feed(End())
        if self._spec.stream:
            async for events in self._spoken():
                await self._wanted()
                if any(isinstance(event, Spoken) for event in events):
                    self._costs = True
                yield events
                self._measure(events)
        else:
            whole = await self._whole()
            self._costs = True
            yield (whole,)
        self._costs = True
        yield (AllSpoken(self._sound.characters, self._sound.length_ms),)

    async def _pay(self, events: tuple[SpeechOutput, ...]) -> None:
        await self._account.charge(self._amounts())
        if isinstance(events[-1], AllSpoken):
            self._outcome = EntryKind.COMPLETED

    async def _wanted(self) -> None:
        """Wait until held speech is confirmed. Raises the session's error."""
        while self._held:
            if self._error:
                raise self._error
            self._something.clear()
            await self._something.wait()

    async def _whole(self) -> Spoken:
        audio = bytearray()
        written: list[CharacterTime] = []
        spelled: list[CharacterTime] = []
        async for events in self._spoken():
            for event in events:
                if isinstance(event, Spoken):
                    audio += event.audio
                    written += event.characters
                    spelled += event.spelled
        signed = await asyncio.to_thread(self._sign, bytes(audio)) if self._sign else bytes(audio)
        return Spoken(signed, 0, self._sound.length_ms, tuple(written), tuple(spelled))

    async def _spoken(self) -> AsyncGenerator[tuple[SpeechOutput, ...], None]:
        """Yield every step's outcome, until the end."""
        while True:
            if self._error:
                raise self._error
            if self._now:
                yield (self._now.popleft(),)
                continue
            busy = [context for context in self._contexts.values() if context.busy]
            if busy:
                events = await self._advance(min(busy, key=self._deadline_ns))
                if events and not self._error:  # or it would be charged, and not delivered
                    yield events
            elif self._ended:
                if self._refused is not None:
                    raise self._refused
                return
            else:
                self._something.clear()
                await self._something.wait()

    def _deadline_ns(self, context: SpeechContext) -> int:
        """Return when its next sound is needed: as soon as possible, or when the sound sent has been played. For whole
        answers, as if they were played while being made.
        """
        first_ns = context.received_ns + self._services.observer.objectives.tts_ttfb_ms * NS_PER_MS
        made_ms = 0 if self._spec.stream else self._sound.ms(context.samples)
        return max(first_ns + made_ms * NS_PER_MS, context.plays_until_ns) - SLACK_MS * NS_PER_MS

    async def _advance(self, context: SpeechContext) -> tuple[SpeechOutput, ...]:
        """Run one step of a context: a piece of its present clause, or what comes after it."""
        if context.work is None:
            following = context.waiting.popleft()
            if isinstance(following, Voice):
                context.voice = following
                return ()
            if isinstance(following, TextMark):
                if isinstance(following.event, ContextEnded):
                    del self._contexts[context.name]
                return await self._sound.mark(context, following)
            context.work = self._sound.begin(context, following)
        work = context.work
        who = self.call.principal
        async with context.voice.steps.place(self._deadline_ns(context), who.project, who.weight) as step:
            piece = await anext(work.pieces, None)
            step.made_ms = self._sound.ms(len(piece or b"") // 2)
        if self._contexts.get(context.name) is not context:
            await work.pieces.aclose()
            return ()  # cleared meanwhile
        work.pcm += work.shaper.finish(work.phrase.pause_ms) if piece is None else work.shaper.push(piece)
        if piece is None:
            context.work = None
        elif self._spec.timings:
            return ()
        return await self._sound.push(context, work, last=piece is None)

    # -- what it comes to ----------------------------------------------------------------------------------------------

    def _amounts(self) -> dict[Meter, int]:
        return {CHARACTERS: self._sound.characters, AUDIO_MS: self._sound.length_ms}

    async def played(self, position_ms: int) -> None:
        """Correct the charge to what was heard: the speech up to `position_ms`. Durable on return."""
        made = self._sound.characters
        characters = next((characters for end_ms, characters in self._sent if end_ms >= position_ms), made)
        charged = self._account.charged
        amounts = {CHARACTERS: characters if position_ms > 0 else 0, AUDIO_MS: position_ms}
        await self._account.charge({meter: min(amount, charged.get(meter, 0)) for meter, amount in amounts.items()})

    def _measure(self, events: tuple[SpeechOutput, ...]) -> None:
        """Measure, after the transport took the events, how late the sound was and until when it plays."""
        now_ns = self._services.clock.now_ns()
        for event in events:
            context = self._contexts.get(event.context) if isinstance(event, Spoken) else None
            if context is None or not isinstance(event, Spoken):
                continue
            self._sent.append((self._sound.length_ms, self._sound.characters))
            if context.plays_until_ns <= context.received_ns:
                self._services.observer.first_sound((now_ns - context.received_ns) / NS_PER_MS)
            elif context.plays_until_ns < now_ns:
                self._services.observer.ran_dry()
            length_ns = (event.end_ms - event.start_ms) * NS_PER_MS
            context.plays_until_ns = max(now_ns, context.plays_until_ns) + length_ns

    async def _free(self) -> None:
        self._ended = True
        async with AsyncExitStack() as stack:  # whichever of them fails, the others end
            for context in self._contexts.values():
                if context.work is not None:
                    stack.push_async_callback(context.work.pieces.aclose)


def _too_fast() -> CapacityError:
    return CapacityError("Text arrives faster than it can be spoken.")
