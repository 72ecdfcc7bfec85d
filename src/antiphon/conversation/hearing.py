"""What the caller says in a conversation, as a recognition's events tell: its finals are cut into turns.

A turn ends where the recognition says so (its endpointing is the turn detection), or where the caller commits: then the
recognition is flushed, and everything it finalises up to there is the turn's. Cuts are answered in their order. What
was appended is held for `HELD_MS`, so that an item can have its audio.
"""

from collections import deque
from dataclasses import dataclass
from itertools import takewhile

from antiphon.calls.patience import longest_ms, patience_ms, soonest_ms
from antiphon.core.audio import AudioFormat, Encoding
from antiphon.core.conversation.spec import ConverseSpec, Turns
from antiphon.core.errors import CallerError, CapacityError, UnsupportedParameter
from antiphon.core.events import Cause, Final, Interim, SpeechStarted, Token, Transcript
from antiphon.core.specs import TranscribeSpec
from antiphon.core.speech import Tuning
from antiphon.core.text import join

MIN_MS = 100  # of audio, to be worth a commit
HELD_MS = 120_000
MAX_CUTS = 16  # that wait to be recognised

SAMPLE_BYTES = {Encoding.LINEAR16: 2, Encoding.MULAW: 1, Encoding.ALAW: 1}


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """Speech, at that position."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Patience:
    """In the present pause, how much silence ends the turn, by what was said before it."""

    silence_ms: int


@dataclass(frozen=True, slots=True)
class Guess:
    """What the turn says so far. `paused`: that is everything, and the speaker is silent now."""

    text: str
    paused: bool


@dataclass(frozen=True, slots=True)
class HeardTurn:
    """A turn. `item` is what the caller's cut said it was for, `None` where the recognition ended the turn."""

    item: str | None
    transcript: Transcript
    start_ms: int
    end_ms: int


Notice = SpeechBegan | Patience | Guess | HeardTurn


@dataclass(frozen=True, slots=True)
class _Cut:
    """`item` is `None` where what was said is to be forgotten."""

    item: str | None
    start_ms: int
    end_ms: int


class Hearing:
    """Of one recognition. Positions start with `base_ms`."""

    def __init__(self, spec: ConverseSpec, base_ms: int) -> None:
        self._format = spec.input_format
        self._base_ms = base_ms
        self._tape = bytearray()
        self._forgotten = 0  # bytes
        self._cut_ms = base_ms  # what is before belongs to a turn, or to none
        self._cuts: deque[_Cut] = deque()
        self._finals: list[Final] = []  # since the last cut that was answered
        self._begun: deque[int] = deque()  # where utterances begin whose finals are to come; the first was told
        self.take_turns(spec.turns)

    @property
    def received_ms(self) -> int:
        return self._base_ms + self._ms(self._forgotten + len(self._tape))

    @property
    def speaking(self) -> bool:
        """Whether an utterance has begun whose final is to come."""
        return bool(self._begun)

    @property
    def cut_items(self) -> tuple[str, ...]:
        """The items whose cuts wait to be answered."""
        return tuple(cut.item for cut in self._cuts if cut.item is not None)

    def take_turns(self, turns: Turns | None) -> None:
        """From now on turns end so."""
        if turns is None:
            self._begun.clear()
        self._detects = turns is not None
        self._eagerness = turns.eagerness if turns else None

    # -- what the caller does ------------------------------------------------------------------------------------------

    def append(self, data: bytes) -> None:
        """More audio."""
        self._tape += data
        over = len(self._tape) - self._bytes(HELD_MS)
        if over > 0:
            del self._tape[:over]
            self._forgotten += over

    def commit(self, item: str) -> tuple[int, int]:
        """A cut here: what was appended since the last one is the turn `item`. Its start and end; a flush must follow.
        Raises `CallerError` where there is too little.
        """
        if self.received_ms - self._cut_ms < MIN_MS:
            raise CallerError(f"The audio to commit is shorter than {MIN_MS} ms.")
        return self._cut(item)

    def clear(self) -> bool:
        """A cut here: what was appended since the last one is forgotten. Whether a flush must follow."""
        if self.received_ms - self._cut_ms < MIN_MS:
            self._cut_ms = self.received_ms
            return False
        self._cut(None)
        return True

    def skip(self) -> tuple[int, int]:
        """What was appended since the last cut held no speech: where it starts and ends."""
        start_ms, self._cut_ms = self._cut_ms, self.received_ms
        return start_ms, self._cut_ms

    def _cut(self, item: str | None) -> tuple[int, int]:
        if len(self._cuts) >= MAX_CUTS:
            raise CapacityError("Too much audio is waiting to be recognised.")
        start_ms, self._cut_ms = self._cut_ms, self.received_ms
        self._cuts.append(_Cut(item, start_ms, self._cut_ms))
        return start_ms, self._cut_ms

    def audio(self, start_ms: int, end_ms: int) -> bytes:
        """What was appended there, empty where it is not held any more."""
        start, end = (self._bytes(ms - self._base_ms) - self._forgotten for ms in (start_ms, end_ms))
        return bytes(self._tape[start:end]) if start >= 0 else b""

    # -- what is recognised --------------------------------------------------------------------------------------------

    def take(self, event: object) -> list[Notice]:
        """What an event of the recognition says of the turn, in the order of the audio."""
        match event:
            case SpeechStarted(at_ms=at_ms):
                return self._begin(at_ms)
            case Interim():
                return self._guess(event)
            case Final():
                return [*self._final(event), *self._ended(event)]
        return []

    def _begin(self, at_ms: int) -> list[Notice]:
        """Speech is noticed at once, words come later: the next turn may begin before the words of this one are there.
        It is told in the order of the audio, or it would count as a part of this turn.
        """
        if self._detects:
            self._begun.append(at_ms)
        return [SpeechBegan(self._base_ms + at_ms)] if len(self._begun) == 1 else []

    def _ended(self, final: Final) -> list[Notice]:
        """That utterance is over, unless it was only parted for its length."""
        if final.cause is Cause.LENGTH or final.start_ms == final.end_ms:
            return []
        if not self._begun or final.end_ms <= self._begun[0]:
            return []
        self._begun.popleft()
        return [SpeechBegan(self._base_ms + self._begun[0])] if self._begun else []

    def _guess(self, interim: Interim) -> list[Notice]:
        text = join([*(final.transcript.text for final in self._finals), interim.transcript.text])
        notices: list[Notice] = []
        if interim.paused and self._eagerness is not None:
            notices.append(Patience(patience_ms(text, self._eagerness)))
        if not self._cuts:
            notices.append(Guess(text, interim.paused))
        return notices

    def _final(self, final: Final) -> list[Notice]:
        self._finals.append(final)
        if final.cause is Cause.FLUSH and self._cuts:
            cut = self._cuts.popleft()
            transcript = self._whole()
            return [HeardTurn(cut.item, transcript, cut.start_ms, cut.end_ms)] if cut.item is not None else []
        if final.cause is Cause.ENDPOINT and self._detects and not self._cuts:
            start_ms, end_ms = self._base_ms + self._finals[0].start_ms, self._base_ms + final.end_ms
            self._cut_ms = max(self._cut_ms, end_ms)
            return [HeardTurn(None, self._whole(), start_ms, end_ms)]
        return []

    def _whole(self) -> Transcript:
        """The finals in one; the next turn begins without any."""
        transcripts = [final.transcript for final in self._finals if final.transcript.text]
        self._finals.clear()
        tokens: tuple[Token, ...] = ()
        for transcript in transcripts:
            tokens += transcript.tokens
        text = join(transcript.text for transcript in transcripts)
        return Transcript(text, min((t.confidence for t in transcripts), default=0.0), (), tokens)

    def _ms(self, size: int) -> int:
        return length_ms(self._format, size)

    def _bytes(self, ms: int) -> int:
        return ms * self._format.sample_rate // 1000 * SAMPLE_BYTES[self._format.encoding]


class Caption:
    """What of ever changing hypotheses will not change much any more: the words that two in a row agree on."""

    def __init__(self) -> None:
        self._last: list[str] = []
        self._said: list[str] = []

    def push(self, text: str) -> str:
        """The newest hypothesis; more of the caption, perhaps nothing."""
        words = text.split()
        agreed = [word for word, _ in takewhile(lambda pair: pair[0] == pair[1], zip(words, self._last, strict=False))]
        self._last = words
        return self._more(agreed)

    def finish(self, text: str) -> str:
        """The final; the rest of the caption, where it is what has been said of it already."""
        return self._more(text.split())

    def _more(self, words: list[str]) -> str:
        said = len(self._said)
        if words[:said] != self._said or len(words) <= said:
            return ""
        self._said = words
        return (" " if said else "") + " ".join(words[said:])


def length_ms(audio_format: AudioFormat, size: int) -> int:
    """How long so many bytes are."""
    return size * 1000 // (SAMPLE_BYTES[audio_format.encoding] * audio_format.sample_rate)


def transcribing(spec: ConverseSpec) -> TranscribeSpec:
    """How the conversation is listened to. Raises `UnsupportedParameter` for a format that it cannot be cut in."""
    check_format(spec.input_format)
    wanted = spec.transcription
    return TranscribeSpec(
        model=wanted.model if wanted else "",
        format=spec.input_format,
        live=True,
        incremental=True,
        interims=True,
        speech_events=True,
        tokens=wanted is not None and wanted.tokens,
        tags=spec.tags,
        language=wanted.language if wanted else "",
        languages=wanted.languages if wanted else (),
    )


def check_format(audio_format: AudioFormat) -> None:
    if audio_format.encoding not in SAMPLE_BYTES or audio_format.channels != 1:
        raise UnsupportedParameter("The audio of a conversation is raw samples of one channel.", param="input_format")


def tuning(turns: Turns | None) -> Tuning:
    """How its stream ends utterances."""
    if turns is None:
        return Tuning(None)
    silence_ms, soonest_ms_ = turns.silence_ms, None
    if turns.eagerness is not None:
        silence_ms, soonest_ms_ = longest_ms(turns.eagerness), soonest_ms(turns.eagerness)
    threshold = min(max(turns.threshold, 0.01), 0.99)
    return Tuning(silence_ms, soonest_ms_, threshold, turns.padding_ms)
