"""The caller's side of a conversation: the finals of a recognition become turns.

A turn ends where the recognition detects its end (endpointing), or where the caller commits. A commit flushes the
recognition, and all finals up to there are the turn's. Cuts are answered in order. Appended audio is kept for
`HELD_MS`, so that items can contain it.
"""

from collections import deque
from dataclasses import dataclass
from itertools import takewhile

from antiphon.calls.end_of_turn import longest_ms, silence_after_ms, soonest_ms
from antiphon.core.audio import AudioFormat, Encoding
from antiphon.core.conversation.spec import ConverseSpec, Turns
from antiphon.core.errors import CallerError, CapacityError, UnsupportedParameter
from antiphon.core.events import Cause, Final, Interim, SpeechStarted, Token, Transcript
from antiphon.core.specs import TranscribeSpec
from antiphon.core.speech import Tuning
from antiphon.core.text import join

MIN_MS = 100  # of audio, for a commit
HELD_MS = 120_000
MAX_CUTS = 16  # that wait for recognition

SAMPLE_BYTES = {Encoding.LINEAR16: 2, Encoding.MULAW: 1, Encoding.ALAW: 1}


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """Speech starts at `at_ms`."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Patience:
    """How much silence ends the turn in this pause, given the words before it."""

    silence_ms: int


@dataclass(frozen=True, slots=True)
class Guess:
    """The words of the turn so far. If `paused`, these are all words and the speaker is silent now."""

    text: str
    paused: bool


@dataclass(frozen=True, slots=True)
class CallerTurn:
    """A turn. `item` is the id given to `commit`, or `None` if the recognition ended the turn."""

    item: str | None
    transcript: Transcript
    start_ms: int
    end_ms: int


Notice = SpeechBegan | Patience | Guess | CallerTurn


@dataclass(frozen=True, slots=True)
class _Cut:
    """A place where the caller cut the audio. `item` is `None` if the audio before it is discarded."""

    item: str | None
    start_ms: int
    end_ms: int


class Hearing:
    """The turns of one recognition. Positions start at `base_ms`."""

    def __init__(self, spec: ConverseSpec, base_ms: int) -> None:
        self._format = spec.input_format
        self._base_ms = base_ms
        self._tape = bytearray()
        self._forgotten = 0  # bytes that the tape has dropped
        self._cut_ms = base_ms  # audio before it belongs to a turn, or to none
        self._cuts: deque[_Cut] = deque()
        self._finals: list[Final] = []  # since the last cut that was answered
        self._begun: deque[int] = deque()  # starts of utterances without a final; the first was announced
        self.take_turns(spec.turns)

    @property
    def received_ms(self) -> int:
        return self._base_ms + self._ms(self._forgotten + len(self._tape))

    @property
    def speaking(self) -> bool:
        """Whether an utterance has started whose final has not come yet."""
        return bool(self._begun)

    @property
    def cut_items(self) -> tuple[str, ...]:
        """The items whose cuts are not answered yet."""
        return tuple(cut.item for cut in self._cuts if cut.item is not None)

    def take_turns(self, turns: Turns | None) -> None:
        """Set how turns end from now on."""
        if turns is None:
            self._begun.clear()
        self._detects = turns is not None
        self._eagerness = turns.eagerness if turns else None

    # -- what the caller does ------------------------------------------------------------------------------------------

    def append(self, data: bytes) -> None:
        """Append audio."""
        self._tape += data
        over = len(self._tape) - self._bytes(HELD_MS)
        if over > 0:
            del self._tape[:over]
            self._forgotten += over

    def commit(self, item: str) -> tuple[int, int]:
        """Make the audio since the last cut the turn `item`. Returns its start and end (ms); a flush must follow.
        Raises `CallerError` if there is less than `MIN_MS` of audio.
        """
        if self.received_ms - self._cut_ms < MIN_MS:
            raise CallerError(f"The audio to commit is shorter than {MIN_MS} ms.")
        return self._cut(item)

    def clear(self) -> bool:
        """Discard the audio since the last cut. Returns whether a flush must follow."""
        if self.received_ms - self._cut_ms < MIN_MS:
            self._cut_ms = self.received_ms
            return False
        self._cut(None)
        return True

    def skip(self) -> tuple[int, int]:
        """Return the start and end (ms) of the audio since the last cut, which held no speech, and cut there."""
        start_ms, self._cut_ms = self._cut_ms, self.received_ms
        return start_ms, self._cut_ms

    def _cut(self, item: str | None) -> tuple[int, int]:
        if len(self._cuts) >= MAX_CUTS:
            raise CapacityError("Too much audio is waiting to be recognised.")
        start_ms, self._cut_ms = self._cut_ms, self.received_ms
        self._cuts.append(_Cut(item, start_ms, self._cut_ms))
        return start_ms, self._cut_ms

    def audio(self, start_ms: int, end_ms: int) -> bytes:
        """Return the audio between two positions (ms), or nothing if it is no longer kept."""
        start, end = (self._bytes(ms - self._base_ms) - self._forgotten for ms in (start_ms, end_ms))
        return bytes(self._tape[start:end]) if start >= 0 else b""

    # -- what is recognised --------------------------------------------------------------------------------------------

    def take(self, event: object) -> list[Notice]:
        """Return what a recognition event says about turns, in the order of the audio."""
        match event:
            case SpeechStarted(at_ms=at_ms):
                return self._begin(at_ms)
            case Interim():
                return self._guess(event)
            case Final():
                return [*self._final(event), *self._ended(event)]
        return []

    def _begin(self, at_ms: int) -> list[Notice]:
        """Note that speech started.

        Its start is known before the words of the previous turn are. It is announced in the order of the audio, or it
        would count as part of that turn.
        """
        if self._detects:
            self._begun.append(at_ms)
        return self._announced() if len(self._begun) == 1 else []

    def _announced(self) -> list[Notice]:
        """Announce the first utterance, unless the caller has already cut after its start: it is part of that turn."""
        at_ms = self._base_ms + self._begun[0]
        return [] if self._cuts and at_ms < self._cuts[-1].end_ms else [SpeechBegan(at_ms)]

    def _ended(self, final: Final) -> list[Notice]:
        """End the utterance of this final, unless it was only split for its length."""
        if final.cause is Cause.LENGTH or final.start_ms == final.end_ms:
            return []
        if not self._begun or final.end_ms <= self._begun[0]:
            return []
        self._begun.popleft()
        return self._announced() if self._begun else []

    def _guess(self, interim: Interim) -> list[Notice]:
        text = join([*(final.transcript.text for final in self._finals), interim.transcript.text])
        notices: list[Notice] = []
        if interim.paused and self._eagerness is not None:
            notices.append(Patience(silence_after_ms(text, self._eagerness)))
        if not self._cuts:
            notices.append(Guess(text, interim.paused))
        return notices

    def _final(self, final: Final) -> list[Notice]:
        self._finals.append(final)
        if final.cause is Cause.FLUSH and self._cuts:
            cut = self._cuts.popleft()
            transcript = self._whole()
            return [CallerTurn(cut.item, transcript, cut.start_ms, cut.end_ms)] if cut.item is not None else []
        if final.cause is Cause.ENDPOINT and self._detects and not self._cuts:
            start_ms, end_ms = self._base_ms + self._finals[0].start_ms, self._base_ms + final.end_ms
            self._cut_ms = max(self._cut_ms, end_ms)
            return [CallerTurn(None, self._whole(), start_ms, end_ms)]
        return []

    def _whole(self) -> Transcript:
        """Return all finals as one transcript, and start the next turn without any."""
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
    """The stable part of changing hypotheses: the words that two in a row agree on."""

    def __init__(self) -> None:
        self._last: list[str] = []
        self._words: list[str] = []

    def push(self, text: str) -> str:
        """Take the newest hypothesis. Returns the words that are new in the caption, if any."""
        words = text.split()
        agreed = [word for word, _ in takewhile(lambda pair: pair[0] == pair[1], zip(words, self._last, strict=False))]
        self._last = words
        return self._more(agreed)

    def finish(self, text: str) -> str:
        """Take the final. Returns the rest of the caption, or nothing if the final contradicts it."""
        return self._more(text.split())

    def _more(self, words: list[str]) -> str:
        length = len(self._words)
        if words[:length] != self._words or len(words) <= length:
            return ""
        self._words = words
        return (" " if length else "") + " ".join(words[length:])


def length_ms(audio_format: AudioFormat, size: int) -> int:
    """Return how many milliseconds of audio `size` bytes are."""
    return size * 1000 // (SAMPLE_BYTES[audio_format.encoding] * audio_format.sample_rate)


def recognition_spec(spec: ConverseSpec) -> TranscribeSpec:
    """Return how the caller's audio is recognised. Raises `UnsupportedParameter` if its format cannot be cut."""
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
    """Check that the audio can be cut at any sample. Raises `UnsupportedParameter`."""
    if audio_format.encoding not in SAMPLE_BYTES or audio_format.channels != 1:
        raise UnsupportedParameter("The audio of a conversation is raw samples of one channel.", param="input_format")


def tuning(turns: Turns | None) -> Tuning:
    """Return how the recognition ends utterances."""
    if turns is None:
        return Tuning(None)
    silence_ms, soonest_ms_ = turns.silence_ms, None
    if turns.eagerness is not None:
        silence_ms, soonest_ms_ = longest_ms(turns.eagerness), soonest_ms(turns.eagerness)
    threshold = min(max(turns.threshold, 0.01), 0.99)
    return Tuning(silence_ms, soonest_ms_, threshold, turns.padding_ms)
