"""The caller's half of a conversation: its turns become items, and their words are sent once they are known.

One part recognises what the caller says. It is opened again if the caller changes how it is recognised, or an engine
failed. Audio that arrives as an item is recognised separately.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from antiphon.conversation.hearing import (
    CallerTurn,
    Caption,
    Guess,
    Hearing,
    Notice,
    Patience,
    SpeechBegan,
    length_ms,
    recognition_spec,
    tuning,
)
from antiphon.conversation.stage import Owner, Stage
from antiphon.conversation.steps import Admission, EndAfter, EndPart, OpenRecordings, PartAudio, PartOutput, TunePart
from antiphon.core.conversation.items import AudioPart, Item, MessageItem, Part
from antiphon.core.conversation.outputs import (
    AudioCleared,
    AudioCommitted,
    IdleReached,
    Refused,
    TranscriptionDelta,
    TranscriptionDone,
    TranscriptionFailed,
    TurnStarted,
    TurnStopped,
)
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import AntiphonError, CallerError, Conflict, EngineError
from antiphon.core.events import Audio, Closed, Failed, Final, Flush, Transcript
from antiphon.core.specs import Role
from antiphon.core.text import join
from antiphon.core.units import NS_PER_MS

SpokenPart = tuple[str, int]  # an item's id, and the number of its part


@dataclass(slots=True, eq=False)
class Ear(Owner):
    """Recognises the caller. `error` is why it stopped."""

    error: AntiphonError | None = None


@dataclass(slots=True, eq=False)
class ItemAudio(Owner):
    """The recognition of audio that arrived in an item."""

    key: SpokenPart
    transcripts: list[Transcript] = field(default_factory=list)
    audio_ms: int = 0
    delivered: bool = False
    error: AntiphonError | None = None


@dataclass(frozen=True, slots=True)
class _Arrival:
    """An item that is added once its recordings are open."""

    item: Item
    after: str | None
    event_id: str
    recordings: tuple[tuple[int, str], ...]  # the numbers of its parts, and the parts that recognise them


class Listening:
    """What one conversation's caller says."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._turn = ""  # the item that the open turn becomes
        self._caption = Caption()  # of the turn
        self._unknown: dict[SpokenPart, Caption] = {}  # audio whose words are not known yet
        self._arrivals: dict[str, _Arrival] = {}  # by their first part
        self._open(stage.spec, 0)

    def _open(self, spec: ConverseSpec, base_ms: int) -> None:
        self._ear = Ear()
        self._part = self._stage.open(self._ear, recognition_spec(spec))
        self._hearing = Hearing(spec, base_ms)
        self._stage.act(TunePart(self._part, tuning(spec.turns)))

    @property
    def unknown(self) -> AbstractSet[SpokenPart]:
        """The audio whose words are not known yet (a live view)."""
        return self._unknown.keys()

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open."""
        return self._hearing.speaking

    # -- what the caller does ------------------------------------------------------------------------------------------

    def append(self, data: bytes) -> None:
        self._hearing.append(data)
        self._stage.feed(self._part, Audio(data))

    def configure(self, spec: ConverseSpec) -> bool:
        """Change how the caller is recognised. Returns `False` if `reopen` must be called once the ear has ended."""
        if recognition_spec(spec) != recognition_spec(self._stage.spec):
            if self._part in self._stage.parts:
                self._stage.act(EndPart(self._part))
                return False
            self.reopen(spec)
        elif spec.turns != self._stage.spec.turns:  # an unchanged tuning would reset what is known about the pause
            self._hearing.take_turns(spec.turns)
            if self._part in self._stage.parts:
                self._stage.act(TunePart(self._part, tuning(spec.turns)))
        return True

    def reopen(self, spec: ConverseSpec) -> None:
        """Open another part that recognises the caller. Discards audio that was not committed."""
        self.forget()
        self._open(spec, self._hearing.received_ms)

    def commit(self) -> None:
        """Make the audio since the last turn an item. Raises `CallerError` if there is too little, `CapacityError` if
        too much waits.
        """
        item = self._turn or self._stage.mint()
        start_ms, end_ms = self._hearing.commit(item)
        self._become(item, start_ms, end_ms)
        self._stage.feed(self._part, Flush())

    def clear(self, event_id: str) -> None:
        """Discard the audio since the last turn. Raises `CapacityError` if too much waits."""
        flushes = self._hearing.clear()
        self.forget()
        self._stage.tell(AudioCleared(event_id))
        if flushes:
            self._stage.feed(self._part, Flush())

    def forget(self) -> None:
        """Discard the turn that is open."""
        self._turn, self._caption = "", Caption()

    def idle(self, idle_ms: int) -> None:
        """Add an item for `idle_ms` without speech."""
        item = self._turn or self._stage.mint()
        start_ms, end_ms = self._hearing.skip()
        start_ms = max(start_ms, end_ms - idle_ms)
        self._stage.tell(IdleReached(item, start_ms, end_ms))
        self._become(item, start_ms, end_ms)
        self._know((item, 0), Transcript("", 0.0), end_ms - start_ms)

    def add(self, item: Item, after: str | None, event_id: str) -> None:
        """Add an item of the caller's and recognise its audio. Raises `AntiphonError`."""
        if item.id and (item.id == self._turn or any(id == item.id for id, _ in self._unknown)):
            # It was announced and is not added yet; or it was removed, and its words are still to come.
            raise Conflict("An item with this id already exists.", param="id")
        audio = _audio_parts(item)
        if not audio:
            self._stage.join(item, after)
            return
        assert isinstance(item, MessageItem)
        if item.role is not Role.USER:
            raise CallerError("Only the caller's own messages may have audio.", param="item")
        parts = tuple(self._measured(part) for part in item.parts)
        item = replace(item, parts=parts, id=item.id or self._stage.mint())
        recordings = tuple(PartAudio(self._stage.derive(), part.audio) for _, part in audio)
        numbers = tuple((number, recording.part) for (number, _), recording in zip(audio, recordings, strict=True))
        self._arrivals[recordings[0].part] = _Arrival(item, after, event_id, numbers)
        self._stage.act(OpenRecordings(replace(recognition_spec(self._stage.spec), live=False), recordings))

    def admit(self, admission: Admission) -> None:
        """Add the item whose recordings are open, or refuse it."""
        arrival = self._arrivals.pop(admission.part, None)
        if arrival is None:
            return
        item, stage = arrival.item, self._stage
        audios = {part: ItemAudio((item.id, number)) for number, part in arrival.recordings}
        error = admission.error
        if error is None:
            stage.parts.update(audios)
            try:
                stage.join(item, arrival.after)
            except AntiphonError as refusal:
                error = refusal
        if error is None:
            self._unknown.update((audio.key, Caption()) for audio in audios.values())
            return
        for part in audios:
            stage.close(part, delivered=False)
        stage.tell(Refused(error, arrival.event_id))

    def _measured(self, part: Part) -> Part:
        if not isinstance(part, AudioPart):
            return part
        return replace(part, audio_ms=length_ms(self._stage.spec.input_format, len(part.audio)))

    # -- what is heard of an item's audio ------------------------------------------------------------------------------

    def take(self, audio: ItemAudio, output: PartOutput) -> None:
        """Take events of a part that recognises an item's audio."""
        for event in output.events:
            match event:
                case Final(transcript=transcript) if transcript.text:
                    audio.transcripts.append(transcript)
                case Closed(audio_ms=audio_ms):
                    audio.audio_ms, audio.delivered = audio_ms, True
                case Failed(error):
                    audio.error = error

    def recording_ended(self, part: str, audio: ItemAudio) -> None:
        """Close a part that recognised an item's audio, and set its words."""
        self._stage.close(part, audio.delivered)
        text = join(transcript.text for transcript in audio.transcripts)
        words = Transcript(text, min((transcript.confidence for transcript in audio.transcripts), default=0.0))
        self._know(audio.key, words, audio.audio_ms, audio.error)

    # -- what is heard of the caller -----------------------------------------------------------------------------------

    def notices(self, event: object) -> list[Notice]:
        """Return what an event of the ear says about turns. Pass each to `notice`, in order."""
        if isinstance(event, Failed):
            self._ear.error = event.error
        return self._hearing.take(event)

    def notice(self, notice: Notice) -> None:
        """Do what follows from a notice: announce, caption or complete a turn."""
        stage, turns = self._stage, self._stage.spec.turns
        match notice:
            case SpeechBegan(at_ms) if turns is not None:
                self._turn = self._turn or stage.mint()
                stage.tell(TurnStarted(self._turn, max(0, at_ms - turns.padding_ms)))
            case Patience(silence_ms):
                stage.act(EndAfter(self._part, silence_ms))
            case Guess(text) if stage.spec.transcription is not None:
                self._turn = self._turn or stage.mint()
                self._caption_grows(self._turn, 0, self._caption.push(text))
            case CallerTurn(None, transcript, start_ms, end_ms):
                item = self._turn or stage.mint()
                stage.tell(TurnStopped(item, end_ms))
                self._become(item, start_ms, end_ms)
                self._know((item, 0), transcript, end_ms - start_ms)
            case CallerTurn(str(item), transcript, start_ms, end_ms):
                self._know((item, 0), transcript, end_ms - start_ms)

    def arrived_ns(self, at_ms: int) -> int:
        """Return when the audio at that position arrived, for live audio."""
        return self._stage.now_ns - (self._hearing.received_ms - at_ms) * NS_PER_MS

    def ear_ended(self, part: str, spec: ConverseSpec | None) -> bool:
        """Close the part that recognised the caller. Returns whether another was opened: with `spec` if given, or as
        before if an engine failed. Any other error ends the conversation.
        """
        error = self._ear.error
        self._stage.close(part, delivered=error is None)
        if error is not None:
            for item in self._hearing.cut_items:
                self._know((item, 0), Transcript("", 0.0), 0, error)
            if not isinstance(error, EngineError):
                self._stage.fail(error)
                return False
            self._stage.tell(Refused(error))
        elif spec is None:
            return False
        self.reopen(spec or self._stage.spec)
        return True

    def _become(self, item: str, start_ms: int, end_ms: int) -> None:
        """Add an item for the turn, whose words are not known yet."""
        part = AudioPart(self._hearing.audio(start_ms, end_ms), None, end_ms - start_ms)
        self._stage.tell(AudioCommitted(item, self._stage.items.last))
        self._unknown[item, 0] = self._caption
        self.forget()
        self._stage.join(MessageItem(Role.USER, (part,), item))

    def _know(self, key: SpokenPart, transcript: Transcript, audio_ms: int, error: AntiphonError | None = None) -> None:
        """Set the words of an item's audio, or report why there are none."""
        caption = self._unknown.pop(key)
        item, part = key
        has_transcription = self._stage.spec.transcription is not None
        if error is not None:
            if has_transcription:
                self._stage.tell(TranscriptionFailed(item, error, part))
            return
        self._stage.items.set_transcript(item, part, transcript.text)
        if has_transcription:
            self._caption_grows(item, part, caption.finish(transcript.text))
            self._stage.tell(TranscriptionDone(item, transcript, audio_ms, part))

    def _caption_grows(self, item: str, part: int, text: str) -> None:
        if text:
            self._stage.tell(TranscriptionDelta(item, text, part))


def _audio_parts(item: Item) -> list[tuple[int, AudioPart]]:
    parts = item.parts if isinstance(item, MessageItem) else ()
    return [(n, part) for n, part in enumerate(parts) if isinstance(part, AudioPart) and part.audio]
