"""The caller's half of a conversation: its turns become items, and the words of these are told once they are known.

What the caller says goes through a `Hearing`, which is opened anew where the caller wants to be heard otherwise, or an
engine failed. Audio that comes in an item of its own is recognised beside that.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from antiphon.calls.recognition import Recognition
from antiphon.conversation.hearing import Caption, Deaf, Guess, HeardTurn, Hearing, SpeechBegan, length_ms, transcribing
from antiphon.conversation.stage import Stage
from antiphon.core.audio import samples_to_ms
from antiphon.core.conversation.items import AudioPart, Item, MessageItem, Part
from antiphon.core.conversation.outputs import (
    AudioCleared,
    AudioCommitted,
    HeardDelta,
    HeardDone,
    HeardFailed,
    IdleReached,
    Refused,
    TurnStarted,
    TurnStopped,
)
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError, CallerError, EngineError
from antiphon.core.events import Closed, Failed, Final, Transcript
from antiphon.core.specs import Role
from antiphon.core.units import NS_PER_MS
from antiphon.scheduler.endpoint import TAIL


class Floor(Protocol):
    """Who must know what the caller says."""

    def speech_started(self, onset_ns: int) -> None:
        """At that time."""

    def guessed(self, text: str, paused: bool) -> None:
        """What the turn says so far; if `paused`, it may be over."""

    def speech_stopped(self, text: str, heard_ms: int, spoken_ns: int) -> None:
        """The turn was over by itself, says that, and its last word ended at that time."""

    def speech_forgotten(self) -> None:
        """The turn was over because the caller said so."""

    def defect(self, error: Exception) -> None: ...


@dataclass(slots=True)
class _Unheard:
    """The audio of an item. `known` is done when its words are known, or never will be."""

    known: asyncio.Future[None]
    caption: Caption


class Listening:
    """One conversation's. Raises `AntiphonError` where there is no room for another stream."""

    def __init__(self, stage: Stage, floor: Floor) -> None:
        self._stage = stage
        self._floor = floor
        self._turn = ""  # the item that the turn will be
        self._caption = Caption()  # of the turn
        self._unheard: dict[tuple[str, int], _Unheard] = {}  # parts of items whose words are not known yet
        self._hearing = self._open(stage.spec, 0)

    def _open(self, spec: ConverseSpec, base_ms: int) -> Hearing:
        session = self._stage.parts.transcribe(self._stage.derive(), transcribing(spec))
        hearing = Hearing(session, spec, base_ms, self._hear)
        self._running = self._stage.start(hearing.run(), f"hear {session.call.id}")
        return hearing

    def unknown(self) -> list[asyncio.Future[None]]:
        """What must be waited for until all that was said is known."""
        return [unheard.known for unheard in self._unheard.values()]

    # -- what the caller does ------------------------------------------------------------------------------------------

    async def append(self, data: bytes) -> None:
        """More audio; waits where it comes too fast."""
        await self._hearing.append(data)

    async def configure(self, spec: ConverseSpec) -> None:
        """From now on the caller is heard so. Where it must be heard by another session, what was not committed is
        forgotten. Raises `AntiphonError`.
        """
        if transcribing(spec) == transcribing(self._stage.spec):
            if spec.turns != self._stage.spec.turns:  # else a pause would lose what is known of its turn's end
                self._hearing.tune(spec.turns)
            return
        await self._hearing.end()
        await asyncio.wait([self._running])
        self._forget()
        try:
            self._hearing = self._open(spec, self._hearing.received_ms)
        except AntiphonError as error:  # nobody listens any more
            self._stage.fail(error)
            raise

    async def commit(self) -> None:
        """Raises `CallerError` where there is too little, `CapacityError` where too much waits."""
        item = self._turn or self._stage.mint()
        start_ms, end_ms = self._hearing.commit(item)
        self._floor.speech_forgotten()
        self._become(item, start_ms, end_ms)
        await self._hearing.flush()

    async def clear(self, event_id: str) -> None:
        flushes = self._hearing.clear()
        self._forget()
        self._stage.say(AudioCleared(event_id))
        if flushes:
            await self._hearing.flush()

    def idle(self, idle_ms: int) -> None:
        """Nobody spoke for so long: that becomes an item, too."""
        item = self._turn or self._stage.mint()
        start_ms, end_ms = self._hearing.skip()
        start_ms = max(start_ms, end_ms - idle_ms)
        self._stage.say(IdleReached(item, start_ms, end_ms))
        self._become(item, start_ms, end_ms)
        self._words(item, 0, Transcript("", 0.0), end_ms - start_ms)

    def add(self, item: Item, after: str | None) -> None:
        """An item of the caller's; its audio is recognised. Raises `AntiphonError`."""
        audio = _audio_parts(item)
        if isinstance(item, MessageItem) and audio:
            if item.role is not Role.USER:
                raise CallerError("Only the caller's own messages may have audio.", param="item")
            item = replace(item, parts=tuple(self._measured(part) for part in item.parts))
        stage = self._stage
        sessions: list[Recognition] = []
        try:
            for _ in audio:
                asked = replace(transcribing(stage.spec), live=False)
                sessions.append(stage.parts.transcribe(stage.derive(), asked))
            item = stage.join(item, after)
        except AntiphonError:
            for session in sessions:
                stage.start(session.close(delivered=False), f"close {session.call.id}")
            raise
        for (number, part), session in zip(audio, sessions, strict=True):
            self._unheard[item.id, number] = _unheard(Caption())
            stage.start(self._recognise(item.id, number, part.audio, session), f"recognise {session.call.id}")

    def _measured(self, part: Part) -> Part:
        if not isinstance(part, AudioPart):
            return part
        return replace(part, audio_ms=length_ms(self._stage.spec.input_format, len(part.audio)))

    async def _recognise(self, item: str, number: int, audio: bytes, session: Recognition) -> None:
        """The words of audio that came in an item."""
        error: AntiphonError | None = None
        heard: list[Transcript] = []
        audio_ms, delivered = 0, False
        try:
            await session.play(audio)
            async with aclosing(session.events()) as events:
                async for batch in events:
                    for event in batch:
                        match event:
                            case Final(transcript=transcript) if transcript.text:
                                heard.append(transcript)
                            case Closed(audio_ms=audio_ms):
                                delivered = True
                            case Failed(error):
                                pass
        finally:
            await session.close(delivered)
        words = Transcript(" ".join(t.text for t in heard), min((t.confidence for t in heard), default=0.0))
        self._words(item, number, words, audio_ms, error)

    # -- what is heard -------------------------------------------------------------------------------------------------

    def _hear(self, event: SpeechBegan | Guess | HeardTurn | Deaf) -> None:
        if self._stage.over:
            return
        try:
            match event:
                case SpeechBegan(at_ms):
                    self._begun(at_ms)
                case Guess(text, paused):
                    self._guessed(text, paused)
                case HeardTurn(None, transcript, start_ms, end_ms):
                    item = self._turn or self._stage.mint()
                    self._stage.say(TurnStopped(item, end_ms))
                    self._become(item, start_ms, end_ms)
                    self._words(item, 0, transcript, end_ms - start_ms)
                    spoken_ns = self._arrived_ns(end_ms - samples_to_ms(TAIL))
                    self._floor.speech_stopped(transcript.text, end_ms - start_ms, spoken_ns)
                case HeardTurn(str(item), transcript, start_ms, end_ms):
                    self._words(item, 0, transcript, end_ms - start_ms)
                case Deaf(error, items):
                    self._deaf(error, items)
        except Exception as error:
            self._floor.defect(error)
        self._stage.changed()

    def _begun(self, at_ms: int) -> None:
        turns = self._stage.spec.turns
        if turns is None:
            return
        self._turn = self._turn or self._stage.mint()
        self._stage.say(TurnStarted(self._turn, max(0, at_ms - turns.padding_ms)))
        self._floor.speech_started(self._arrived_ns(at_ms))

    def _arrived_ns(self, at_ms: int) -> int:
        """When that audio came, where it comes as it is spoken."""
        return self._stage.now_ns() - (self._hearing.received_ms - at_ms) * NS_PER_MS

    def _guessed(self, text: str, paused: bool) -> None:
        if self._stage.spec.transcription is not None:
            self._turn = self._turn or self._stage.mint()
            self._say_more(self._turn, 0, self._caption.push(text))
        self._floor.guessed(text, paused)

    def _deaf(self, error: AntiphonError | None, items: Sequence[str]) -> None:
        """The recognition ended: for an engine's sake it begins anew, else the conversation ends with it."""
        if error is None:
            return
        for item in items:
            self._words(item, 0, Transcript("", 0.0), 0, error)
        if not isinstance(error, EngineError):
            self._stage.fail(error)
            return
        self._stage.say(Refused(error))
        self._forget()
        try:
            self._hearing = self._open(self._stage.spec, self._hearing.received_ms)
        except AntiphonError as refused:
            self._stage.fail(refused)

    def _forget(self) -> None:
        """Nothing comes of what was said since the last turn."""
        self._turn, self._caption = "", Caption()
        self._floor.speech_forgotten()

    def _become(self, item: str, start_ms: int, end_ms: int) -> None:
        """The turn becomes an item, whose words are not known yet."""
        part = AudioPart(self._hearing.audio(start_ms, end_ms), None, end_ms - start_ms)
        self._stage.say(AudioCommitted(item, self._stage.items.last))
        self._unheard[item, 0] = _unheard(self._caption)
        self._turn, self._caption = "", Caption()
        self._stage.join(MessageItem(Role.USER, (part,), item))

    def _words(
        self, item: str, part: int, transcript: Transcript, audio_ms: int, error: AntiphonError | None = None
    ) -> None:
        """The words of an item's audio are known, or never will be."""
        unheard = self._unheard.pop((item, part))
        if not unheard.known.done():
            unheard.known.set_result(None)
        told = self._stage.spec.transcription is not None
        if error is not None:
            if told:
                self._stage.say(HeardFailed(item, error, part))
            return
        self._stage.items.heard(item, part, transcript.text)
        if told:
            self._say_more(item, part, unheard.caption.finish(transcript.text))
            self._stage.say(HeardDone(item, transcript, audio_ms, part))

    def _say_more(self, item: str, part: int, text: str) -> None:
        if text:
            self._stage.say(HeardDelta(item, text, part))


def _unheard(caption: Caption) -> _Unheard:
    return _Unheard(asyncio.get_running_loop().create_future(), caption)


def _audio_parts(item: Item) -> list[tuple[int, AudioPart]]:
    parts = item.parts if isinstance(item, MessageItem) else ()
    return [(n, part) for n, part in enumerate(parts) if isinstance(part, AudioPart) and part.audio]
