"""One channel's state: its audio, its voice activity, its utterance, its last hypothesis.

The stream owns all of that, the engine none of it. It is told of audio (`feed`), of voice activity (`hear`) and of
results (`complete`), and answers with work for the board and with `Heard` events for its session. It never blocks and
has no clock: `now_ns` is an argument. Finals leave in the order of their utterances, whatever order they finish in.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from antiphon.core.audio import BYTES_PER_SAMPLE, ms_to_samples, samples_to_ms
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Cause, Final, Interim, SpeechStarted, Token, Transcript, UtteranceEnded, Word
from antiphon.core.ports import Hypothesis
from antiphon.scheduler.endpoint import CUT_SEARCH, FRAME, PAUSE_FRAMES, PRE_ROLL, Change, Endpointer, State, Turn
from antiphon.scheduler.policy import Item, Kind

NS_PER_MS = 1_000_000
TAIL = PAUSE_FRAMES * FRAME  # silence kept after speech: what is known of it when a pause is recognised
FIRST_AUDIO = ms_to_samples(160)  # of speech, before a first interim is worth decoding
RETRY_AUDIO = ms_to_samples(96)  # more, after a first interim that was empty
REFRESH_AUDIO = ms_to_samples(320)  # new audio, before a better interim is worth decoding


@dataclass(frozen=True, slots=True)
class Timing:
    """How soon things are due, in milliseconds after the audio they are about arrived."""

    first_ms: int = 280
    final_ms: int = 700
    refresh_ms: int = 900
    recording_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What a session wants of a stream."""

    channel: int = 0
    live: bool = True
    interims: bool = True
    endpointing_ms: int | None = 300
    utterance_end_ms: int | None = None
    speech_events: bool = False
    timed: bool = False
    tokens: bool = False


@dataclass(frozen=True, slots=True)
class Drained:
    """After `end`: everything was said."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An event with the arrival times of the first and the last sample of the speech it is about."""

    event: SpeechStarted | Interim | Final | UtteranceEnded | Drained
    onset_ns: int = 0
    spoken_ns: int = 0


@dataclass(slots=True)
class Segment:
    """An utterance that ended, until its turn to be said."""

    start: int
    end: int
    cause: Cause
    onset_ns: int
    spoken_ns: int
    hypothesis: Hypothesis | None = None
    drained: bool = False


@dataclass(eq=False, slots=True)
class Work:
    """One piece of decoding, waiting or running. `segment` is set where it makes a final."""

    stream: "Stream"
    utterance: int
    kind: Kind
    start: int
    end: int
    deadline_ns: int
    draft: tuple[int, ...]
    draft_end: int
    segment: Segment | None = None
    pcm: bytes = b""

    def item(self, key: int) -> Item:
        new = samples_to_ms(self.end - max(self.start, self.draft_end))
        return Item(key, self.kind, self.deadline_ns, samples_to_ms(self.end - self.start), new)

    def audio(self) -> bytes:
        return self.pcm or self.stream.cut(self.start, self.end)


class Board(Protocol):
    """Where work waits."""

    def put(self, work: Work) -> None: ...

    def drop(self, work: Work) -> None: ...

    def forget(self, stream: "Stream") -> None: ...


@dataclass(slots=True)
class _Utterance:
    """What is known of the utterance being spoken."""

    number: int = 0
    onset_ns: int = 0
    first_due_ns: int = 0
    heard: Hypothesis | None = None
    heard_start: int = 0
    heard_end: int = 0
    said: bool = False  # an interim was emitted
    waiting: Work | None = None
    running: Work | None = None


_EMPTY = Hypothesis(text="", words=(), confidence=0.0, tokens=())


@dataclass(eq=False)
class Stream:
    """`emit` gets every `Heard`, or the error that ends the stream; `board` gets every piece of work; `state` is the
    voice detector's own and opaque.
    """

    spec: StreamSpec
    board: Board
    emit: Callable[[Heard | AntiphonError], None]
    state: Any
    timing: Timing = field(default_factory=Timing)

    def __post_init__(self) -> None:
        limits = [ms for ms in (self.spec.endpointing_ms, self.spec.utterance_end_ms) if ms is not None]
        self._ends = Endpointer(min(limits, default=None))
        self._pcm = bytearray()
        self._base = 0  # sample position of the first byte in `_pcm`
        self._arrivals: deque[tuple[int, int]] = deque()
        self._marks: deque[tuple[int, Cause]] = deque()
        self._segments: deque[Segment] = deque()
        self._now = _Utterance()
        self._gap_from: int | None = None  # last word's end, while `UtteranceEnded` is still to be said
        self.closed = False

    # -- what the session does -----------------------------------------------------------------------------------------

    @property
    def received(self) -> int:
        """Samples received so far."""
        return self._base + len(self._pcm) // BYTES_PER_SAMPLE

    @property
    def backlog(self) -> int:
        """Samples received and not yet looked at by the voice detector."""
        return self.received - self._ends.position

    @property
    def pending(self) -> int:
        """Finals that wait to be said."""
        return len(self._segments)

    def feed(self, pcm: bytes, now_ns: int) -> None:
        self._pcm += pcm
        self._arrivals.append((self.received, now_ns))

    def flush(self) -> None:
        self._marks.append((self.received, Cause.FLUSH))

    def end(self) -> None:
        self._marks.append((self.received, Cause.END))

    def abandon(self) -> None:
        """The session is gone: no more work, no more events."""
        self.closed = True
        self.board.forget(self)
        self._segments.clear()

    # -- voice activity ------------------------------------------------------------------------------------------------

    def frames(self, most: int) -> list[bytes]:
        """Up to that many frames that wait for the voice detector, none of which crosses a mark."""
        upto = self._marks[0][0] if self._marks else self.received
        count = min(most, (upto - self._ends.position) // FRAME)
        return [
            self.cut(at, at + FRAME) for at in range(self._ends.position, self._ends.position + count * FRAME, FRAME)
        ]

    def hear(self, probabilities: list[float], now_ns: int) -> None:
        """What the voice detector said of the frames that `frames` gave."""
        for probability in probabilities:
            change = self._ends.push(probability)
            if change:
                self._turn(change, now_ns)
            if self._gap_from is not None:
                self._maybe_utterance_end()
        while self._marks and self._marks[0][0] - self._ends.position < FRAME:
            self._mark(*self._marks.popleft(), now_ns)
        self._want_interim()
        self._trim()

    def _turn(self, change: Change, now_ns: int) -> None:
        match change.turn:
            case Turn.START:
                self._begin()
                if self.spec.speech_events:
                    self._say(Heard(SpeechStarted(self.spec.channel, samples_to_ms(change.at)), self._now.onset_ns))
            case Turn.PAUSE:
                self._decode_ahead(change.at)
            case Turn.STOP:
                self._finish(min(change.at + TAIL, self._ends.position), change.at, Cause.ENDPOINT, now_ns)
            case Turn.PART:
                self._finish(min(change.at + TAIL, self._ends.position), change.at, Cause.LENGTH, now_ns)
            case Turn.CUT:
                at = self._quietest()
                self._finish(at, at, Cause.LENGTH, now_ns)
                self._ends.split(at)
                self._begin()
            case Turn.RESUME:
                if self._now.waiting:
                    self.board.drop(self._now.waiting)
                    self._now.waiting = None

    def _begin(self) -> None:
        self._gap_from = None
        onset_ns = self._arrival(self._ends.onset + 1)
        self._now = _Utterance(
            self._now.number + 1, onset_ns, onset_ns + self.timing.first_ms * NS_PER_MS, heard_end=self._ends.start
        )

    def _mark(self, at: int, cause: Cause, now_ns: int) -> None:
        if self._ends.state is not State.SILENCE:
            self._finish(at, self._ends.speech_end, cause, now_ns)
            self._ends.reset(at)
        elif cause is Cause.FLUSH:
            self._segments.append(Segment(at, at, cause, 0, 0, _EMPTY))
        if cause is Cause.END:
            self._segments.append(Segment(at, at, cause, 0, 0, _EMPTY, drained=True))
        self._say_finals()

    # -- work ----------------------------------------------------------------------------------------------------------

    def _want_interim(self) -> None:
        """Ask for an interim where there is enough new audio; one that already waits hears up to now instead."""
        now = self._now
        if not (self.spec.live and self.spec.interims) or self._ends.state is not State.SPEECH or now.running:
            return
        end = self._ends.position
        if now.waiting:
            now.waiting.end = end
            return
        if now.said:
            wanted = end - now.heard_end >= REFRESH_AUDIO
        elif now.heard:
            wanted = end - now.heard_end >= RETRY_AUDIO
        else:
            wanted = end - self._ends.onset >= FIRST_AUDIO
        if wanted:
            kind = Kind.REFRESH if now.said else Kind.FIRST
            due = self._arrival(now.heard_end) + self.timing.refresh_ms * NS_PER_MS if now.said else now.first_due_ns
            now.waiting = self._put(kind, end, due)

    def _decode_ahead(self, speech_end: int) -> None:
        """At a pause: decode what will be the final if the speaker does not go on, while the silence runs."""
        if self._now.waiting:
            self.board.drop(self._now.waiting)
            self._now.waiting = None
        silence = self.spec.endpointing_ms
        if self.spec.live and silence is not None and self._now.running is None:
            due = self._arrival(speech_end) + min(silence, self.timing.final_ms) * NS_PER_MS
            self._now.waiting = self._put(Kind.FINAL, speech_end + TAIL, due)

    def _put(self, kind: Kind, end: int, deadline_ns: int) -> Work:
        now = self._now
        tokens = now.heard.tokens if now.heard else ()
        work = Work(self, now.number, kind, self._ends.start, end, deadline_ns, tokens, now.heard_end)
        self.board.put(work)
        return work

    def _finish(self, end: int, speech_end: int, cause: Cause, now_ns: int) -> None:
        """The utterance is over: its final is what was decoded ahead, or what runs, or new work."""
        now = self._now
        spoken_ns = self._arrival(speech_end)
        segment = Segment(self._ends.start, end, cause, now.onset_ns, spoken_ns)
        self._segments.append(segment)
        if now.waiting:
            self.board.drop(now.waiting)
            now.waiting = None
        if now.heard and (now.heard_start, now.heard_end) == (segment.start, end):
            segment.hypothesis = now.heard
            self._say_finals()
        elif now.running and (now.running.start, now.running.end) == (segment.start, end):
            now.running.segment = segment
        else:
            due = spoken_ns + self.timing.final_ms * NS_PER_MS
            if not self.spec.live:
                due = now_ns + self.timing.recording_ms * NS_PER_MS
            work = self._put(Kind.FINAL if self.spec.live else Kind.RECORDING, end, due)
            work.segment, work.pcm = segment, self.cut(segment.start, end)
        self._now = _Utterance(now.number)

    def started(self, work: Work) -> None:
        """The board gave that work to the engine."""
        if work is self._now.waiting:
            self._now.waiting, self._now.running = None, work

    def fail(self, error: AntiphonError) -> None:
        """The engine could not; the session must know, since a final is missing now."""
        if not self.closed:
            self.emit(error)

    def complete(self, work: Work, hypothesis: Hypothesis) -> None:
        if self.closed:
            return
        if work.segment:
            work.segment.hypothesis = hypothesis
            self._say_finals()
        if work.utterance != self._now.number or work is not self._now.running:
            return
        now = self._now
        now.running = None
        now.heard, now.heard_start, now.heard_end = hypothesis, work.start, work.end
        if hypothesis.text and self.spec.interims:
            now.said = True
            interim = Interim(
                self.spec.channel,
                samples_to_ms(work.start),
                samples_to_ms(work.end),
                self._transcript(hypothesis, work.start),
            )
            self._say(Heard(interim, now.onset_ns))
        if self._ends.state is State.PAUSE:
            if work.end != self._ends.speech_end + TAIL:
                self._decode_ahead(self._ends.speech_end)
        else:
            self._want_interim()

    # -- what is said --------------------------------------------------------------------------------------------------

    def _say(self, heard: Heard) -> None:
        if not self.closed:
            self.emit(heard)

    def _say_finals(self) -> None:
        while self._segments and self._segments[0].hypothesis is not None:
            segment = self._segments.popleft()
            if segment.drained:
                self._say(Heard(Drained()))
                return
            assert segment.hypothesis is not None
            transcript = self._transcript(segment.hypothesis, segment.start)
            final = Final(
                self.spec.channel, samples_to_ms(segment.start), samples_to_ms(segment.end), transcript, segment.cause
            )
            self._say(Heard(final, segment.onset_ns, segment.spoken_ns))
            if transcript.text and self.spec.utterance_end_ms is not None:
                end_ms = transcript.words[-1].end_ms if self.spec.timed else samples_to_ms(segment.end - TAIL)
                self._gap_from = ms_to_samples(end_ms)
                self._maybe_utterance_end()

    def _maybe_utterance_end(self) -> None:
        assert self._gap_from is not None
        gap = ms_to_samples(self.spec.utterance_end_ms or 0)
        if self._ends.state is State.SILENCE and self._ends.position - self._gap_from >= gap:
            self._say(Heard(UtteranceEnded(self.spec.channel, samples_to_ms(self._gap_from))))
            self._gap_from = None

    def _transcript(self, hypothesis: Hypothesis, start: int) -> Transcript:
        offset = samples_to_ms(start)
        words = hypothesis.words
        if self.spec.timed:
            words = tuple(Word(w.text, offset + w.start_ms, offset + w.end_ms, w.confidence) for w in words)
        tokens: tuple[Token, ...] = ()
        if self.spec.tokens:
            columns = zip(hypothesis.tokens, hypothesis.pieces, hypothesis.logprobs, strict=True)
            tokens = tuple(Token(id=i, text=piece, logprob=logprob) for i, piece, logprob in columns)
        return Transcript(hypothesis.text, hypothesis.confidence, words, tokens)

    # -- audio ---------------------------------------------------------------------------------------------------------

    def cut(self, start: int, end: int) -> bytes:
        """The samples of `start..end`, which must still be held."""
        return bytes(self._pcm[(start - self._base) * BYTES_PER_SAMPLE : (end - self._base) * BYTES_PER_SAMPLE])

    def _quietest(self) -> int:
        """The middle of the quietest 96 ms in the late part of an utterance that has become too long."""
        begin = self._ends.position - CUT_SEARCH
        samples = np.frombuffer(self.cut(begin, self._ends.position), dtype="<i2").astype(np.float32)
        blocks = np.square(samples[: len(samples) // FRAME * FRAME]).reshape(-1, FRAME).sum(axis=1)
        loudness = np.convolve(blocks, np.ones(3), mode="valid")
        return begin + int(np.argmin(loudness)) * FRAME + 3 * FRAME // 2

    def _arrival(self, position: int) -> int:
        """When the sample before `position` arrived. Asked only of audio not yet trimmed."""
        for end, at_ns in self._arrivals:
            if end >= position:
                return at_ns
        return self._arrivals[-1][1] if self._arrivals else 0

    def _trim(self) -> None:
        """Forget audio that no utterance can need again."""
        keep = self._ends.position - PRE_ROLL - 2 * FRAME
        if self._ends.state is not State.SILENCE:
            keep = min(keep, self._ends.start)
        if keep - self._base > FRAME * 8:
            del self._pcm[: (keep - self._base) * BYTES_PER_SAMPLE]
            self._base = keep
        while self._arrivals and self._arrivals[0][0] < keep:
            self._arrivals.popleft()
