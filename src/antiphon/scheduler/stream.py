"""One channel's state: its audio, its voice activity, its utterance, its last hypothesis.

The stream owns all of that, the engine none of it. It takes audio (`feed`), voice activity (`hear`) and results
(`complete`), and makes work for the board and `SpeechEvent`s for its session. It never blocks and has no clock:
`now_ns` is an argument. The order of its results is decided in `delivery.py`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from antiphon.core.audio import ms_to_samples, samples_to_ms
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Cause, Interim, SpeechResumed, SpeechStarted, TurnMayEnd
from antiphon.core.ports import EngineCall, Guidance, Hypothesis
from antiphon.core.speech import SpeechEvent, StreamSpec, Tuning
from antiphon.core.text import plain
from antiphon.core.units import NS_PER_MS
from antiphon.scheduler.context import Context, repeats_context, without
from antiphon.scheduler.delivery import Delivery
from antiphon.scheduler.endpoint import CUT_SEARCH, FRAME, TAIL, Change, Endpointer, EndpointState, Turn
from antiphon.scheduler.hypotheses import is_invented, transcript_of
from antiphon.scheduler.interims import OpenUtterance
from antiphon.scheduler.marks import Marks, StreamMark
from antiphon.scheduler.policy import WorkKind
from antiphon.scheduler.specs import Timing
from antiphon.scheduler.tape import Tape
from antiphon.scheduler.work import Board, Segment, Work

USUAL_SILENCE_MS = 300  # of silence before a final; more is the caller's wish, and not lateness
MOST_PENDING = 8  # finals that may wait; beyond that the detector stops, so that a fast sender must wait


NOBODYS = EngineCall("")
_EMPTY = Hypothesis(text="", words=(), confidence=0.0, tokens=())


@dataclass(eq=False)
class Stream:
    """One channel of live audio. `emit` takes every `SpeechEvent`, or the error that ends the stream; `board` takes its
    work; `state` belongs to the voice detector and is opaque; `call` says whose the stream is.
    """

    spec: StreamSpec
    board: Board
    emit: Callable[[SpeechEvent | AntiphonError], None]
    state: Any
    timing: Timing = field(default_factory=Timing)
    call: EngineCall = NOBODYS

    def __post_init__(self) -> None:
        limits = [ms for ms in (self.spec.endpointing_ms, self.spec.utterance_end_ms) if ms is not None]
        self._silence_ms = min(limits, default=None)
        self._ends = Endpointer(self._silence_ms, threshold=self.spec.voice_threshold)
        self._tape = Tape()
        self._marks = Marks()
        self._delivery = Delivery(self.spec, self._ends, self.emit)
        self._now = OpenUtterance()
        self._context = Context()
        self._held: deque[Work] = deque()  # finals that wait for their context
        self._early: int | None = None  # samples of silence after which `TurnMayEnd` follows, if it is still to come
        self._has_early_end = False  # in this pause
        self._peak = 0.0  # the highest probability of speech since it was asked for
        self._ended = False
        self.closed = False

    # -- what the session does -----------------------------------------------------------------------------------------

    @property
    def received(self) -> int:
        """Samples received so far."""
        return self._tape.end

    @property
    def backlog(self) -> int:
        """Samples that the voice detector has not seen yet."""
        return self.received - self._ends.position

    @property
    def ready(self) -> bool:
        """Whether `frames` would return any."""
        return self._count() > 0

    @property
    def pending(self) -> int:
        """Number of finals that have not been sent."""
        return len(self._delivery)

    @property
    def pause(self) -> int | None:
        """Where the speech before the present pause ended; `None` outside a pause."""
        return self._ends.pause

    @property
    def settled(self) -> int:
        """The position before which all results have been sent."""
        return min([self._tape.begin, *self._delivery.starts])

    def speech_peak(self) -> float:
        """Return the highest probability of speech of any frame since the last call."""
        peak, self._peak = self._peak, 0.0
        return peak

    def change(self, to: Tuning | Guidance, now_ns: int) -> None:
        """Change how utterances end, or what guides the engine, for audio that is still to come."""
        if self._marks or self.backlog >= FRAME:
            self._put_mark(to, now_ns)
        else:
            self._change(to)

    def _change(self, to: Tuning | Guidance) -> None:
        if isinstance(to, Guidance):
            self.spec = replace(self.spec, guidance=to)
        else:
            self._tune(to)

    def _tune(self, tuning: Tuning) -> None:
        self._silence_ms = tuning.silence_ms if tuning.soonest_ms is None else tuning.soonest_ms
        pre_roll, parts = ms_to_samples(tuning.padding_ms), tuning.silence_ms is None
        self._ends.tune(tuning.silence_ms, pre_roll, parts, tuning.threshold)

    def wait(self, silence_ms: int, now_ns: int, early_ms: int | None = None) -> None:
        """End the utterance after this much silence, unless the speaker continues; at once if it was heard already.
        `TurnMayEnd` is sent after `early_ms` of it. Works in a pause only.
        """
        change = self._ends.wait(silence_ms)
        self._early = None if change or early_ms is None else ms_to_samples(early_ms)
        if change:
            self._turn(change, now_ns)
        elif self._early is not None:
            self._maybe_early()

    def feed(self, pcm: bytes, now_ns: int) -> None:
        """Add audio, whole samples. Ignored after `end`."""
        if not self._ended:
            self._tape.append(pcm, now_ns)

    def flush(self, now_ns: int) -> None:
        """Finalise everything received so far. Each flush leads to a final of its own, which may be empty."""
        self._put_mark(Cause.FLUSH, now_ns)

    def _put_mark(self, mark: StreamMark, now_ns: int) -> None:
        if not self._ended:
            self._marks.put(self.received, mark, now_ns)

    def end(self, now_ns: int) -> None:
        """Finalise everything; `Drained` is the last event."""
        if not self._ended:
            self._ended = True
            self._marks.put_end(self.received, now_ns)

    def abandon(self) -> None:
        """Stop: the session is gone, so there is no more work and there are no more events."""
        self.closed = True
        self.board.forget(self)
        self._delivery.close()
        self._held.clear()

    # -- voice activity ------------------------------------------------------------------------------------------------

    def _count(self) -> int:
        """Return how many frames the voice detector may take: none beyond a mark, none while too many finals wait."""
        if self.pending >= MOST_PENDING:
            return 0
        upto = self._marks.position
        return max(0, (self.received if upto is None else upto) - self._ends.position) // FRAME

    def run(self, most: int) -> bytes:
        """Return up to `most` frames that wait for the voice detector, one after the other."""
        begin = self._ends.position
        return self._tape.cut(begin, begin + min(most, self._count()) * FRAME)

    def hear(self, probabilities: list[float], now_ns: int) -> None:
        """Process the speech probabilities of the frames that `run` returned."""
        self._peak = max((self._peak, *probabilities))
        for probability in probabilities:
            change = self._ends.push(probability)
            if change:
                self._turn(change, now_ns)
            self._delivery.end_utterance()
            if self._early is not None:
                self._maybe_early()
        while (at := self._marks.position) is not None and at - self._ends.position < FRAME:
            self._mark(*self._marks.take(), now_ns)
        self._want_interim()
        self._forget()

    def _turn(self, change: Change, now_ns: int) -> None:
        match change.turn:
            case Turn.START:
                self._begin(self._ends.onset + 1)
                if self.spec.speech_events:
                    self._delivery.send(
                        SpeechEvent(SpeechStarted(self.spec.channel, samples_to_ms(change.at)), self._now.onset)
                    )
            case Turn.PAUSE:
                self._at_pause()
            case Turn.STOP:
                self._finish(change.at + TAIL, change.at, Cause.ENDPOINT, now_ns, self._wished_ms)
            case Turn.PART:
                self._finish(change.at + TAIL, self._ends.position, Cause.LENGTH, now_ns)
            case Turn.CUT:
                at = self._tape.quietest(self._ends.position - CUT_SEARCH, self._ends.position)
                self._finish(at, self._ends.position, Cause.LENGTH, now_ns)
                self._ends.split(at)
                # What follows the cut was heard long ago, but is an utterance of its own only from now on.
                self._begin(self._ends.position)
            case Turn.RESUME:
                if self._has_early_end:
                    self._delivery.send(
                        SpeechEvent(SpeechResumed(self.spec.channel, samples_to_ms(change.at)), self._now.onset)
                    )
                self._early, self._has_early_end = None, False
                if self._now.waiting and self._now.waiting.kind is WorkKind.FINAL:
                    self._drop_waiting()

    def _begin(self, onset: int) -> None:
        due_ns = self._tape.arrival_ns(onset) + self.timing.first_ms * NS_PER_MS
        start = self._ends.start
        self._context.expire(self._ends.onset)
        self._now = OpenUtterance(onset, due_ns, hypothesis_end=start, tried_end=start)

    @property
    def _wished_ms(self) -> int:
        """How long after the end of speech (ms) no final is expected yet."""
        return max(0, (self._silence_ms or 0) - USUAL_SILENCE_MS)

    def _mark(self, at: int, mark: StreamMark, mark_ns: int, now_ns: int) -> None:
        if not isinstance(mark, Cause):
            self._change(mark)
            return
        cause = mark
        if self._ends.state is not EndpointState.SILENCE:
            # After a pause there is only silence behind what was decoded speculatively.
            end = at if self._ends.state is EndpointState.SPEECH else self._ends.speech_end + TAIL
            self._finish(end, at, cause, now_ns, mark_ns=mark_ns)
            self._ends.reset(end)
        elif cause is Cause.FLUSH:
            self._delivery.put(Segment(at, at, cause, 0, at, hypothesis=_EMPTY))
        if cause is Cause.END:
            self._delivery.put(Segment(at, at, cause, 0, at, hypothesis=_EMPTY, drained=True))
        self._delivery.send_finals()

    def _maybe_early(self) -> None:
        """Send `TurnMayEnd` if the pause has lasted long enough."""
        assert self._early is not None
        if self._ends.state is EndpointState.PAUSE and self._ends.position - self._ends.speech_end >= self._early:
            self._early, self._has_early_end = None, True
            self._delivery.send(
                SpeechEvent(TurnMayEnd(self.spec.channel, samples_to_ms(self._ends.speech_end)), self._now.onset)
            )

    # -- work ----------------------------------------------------------------------------------------------------------

    def _want_interim(self) -> None:
        """Ask for an interim if there is speech and enough new audio."""
        now, end = self._now, self._ends.position
        if not (self.spec.live and self.spec.interims) or self._ends.state is not EndpointState.SPEECH or now.running:
            return
        if now.has_news(self._ends) or now.waiting:
            self._ask_interim(end)

    def _ask_interim(self, end: int) -> None:
        """Ask for an interim up to `end`, or extend the one that waits."""
        now = self._now
        if now.waiting:
            now.waiting.end = end
        elif now.is_sure(self._ends.clear):
            due_ns = self._tape.arrival_ns(now.tried_end) + self.timing.refresh_ms * NS_PER_MS
            now.waiting = self._put(WorkKind.REFRESH, end, due_ns)
        else:
            retry_ns = self._tape.arrival_ns(end) + self.timing.retry_ms * NS_PER_MS
            now.waiting = self._put(WorkKind.FIRST, end, retry_ns if now.has_interim else now.first_due_ns)

    def _at_pause(self) -> None:
        """Decode the probable final while the silence lasts; if no silence ends utterances, the last interim for a
        while.
        """
        now, end = self._now, self._ends.speech_end + TAIL
        if not self.spec.live or now.running or now.hypothesis_end == end:
            return
        if self._silence_ms is None:
            if self.spec.interims:
                self._ask_interim(end)
            return
        self._drop_waiting()
        spoken_ns = self._tape.arrival_ns(self._ends.speech_end)
        due_ns = spoken_ns + (self._wished_ms + self.timing.final_ms) * NS_PER_MS
        if self.spec.interims and not now.has_interim and now.first_due_ns > self._tape.arrival_ns(end):
            due_ns = min(due_ns, now.first_due_ns)  # it is also the first interim
        now.waiting = self._put(WorkKind.FINAL, end, due_ns)

    def _put(self, kind: WorkKind, end: int, deadline_ns: int) -> Work:
        work = self._work(kind, end, deadline_ns)
        self.board.put(work)
        return work

    def _put_held(self) -> None:
        """Put the finals whose context is known. Finals are sent in order, so waiting for it delays none."""
        while self._held and (not self._held[0].context or self._held[0].context[-1].hypothesis is not None):
            self.board.put(self._held.popleft())

    def _work(self, kind: WorkKind, end: int, deadline_ns: int) -> Work:
        now = self._now
        tokens = now.hypothesis.tokens if now.hypothesis else ()
        # An interim must be cheap, and will be replaced.
        context = self._context.upto(end) if kind is WorkKind.FINAL else ()
        start, guidance = self._ends.start, self.spec.guidance
        return Work(self, kind, start, end, deadline_ns, tokens, now.hypothesis_end, context=context, guidance=guidance)

    def _put_alone(self, work: Work) -> None:
        """Have work decoded again without its context."""
        work.alone()
        if work is self._now.running:
            self._now.waiting, self._now.running = work, None
        if work.segment or work is self._now.waiting:
            self.board.put(work)

    def _drop_waiting(self) -> None:
        if self._now.waiting:
            self.board.drop(self._now.waiting)
            self._now.waiting = None

    def _finish(
        self, end: int, spoken: int, cause: Cause, now_ns: int, wished_ms: int = 0, mark_ns: int | None = None
    ) -> None:
        """End the utterance. Its final is what was decoded speculatively, what runs, or new work. It is awaited since
        `mark_ns`, or since `wished_ms` after the sample `spoken` arrived.
        """
        now = self._now
        segment = Segment(self._ends.start, end, cause, now.onset, spoken, wished_ms)
        self._delivery.put(segment)
        self._early, self._has_early_end = None, False
        self._drop_waiting()
        if now.hypothesis and now.hypothesis_end == end:
            segment.hypothesis = now.hypothesis
            self._delivery.send_finals()
        elif now.running and now.running.end == end:
            now.running.segment = segment
        else:
            # A speaker who was cut continues, and the next interims wait for this final.
            patience_ms = self.timing.first_ms if cause is Cause.LENGTH else self.timing.final_ms
            spoken_ns = self._tape.arrival_ns(spoken) if mark_ns is None else mark_ns
            due_ns = spoken_ns + (wished_ms + patience_ms) * NS_PER_MS
            if not self.spec.live:
                # Each delays the next, so that recordings take turns.
                due_ns = now_ns + self.timing.recording_ms * self.pending * NS_PER_MS
            work = self._work(WorkKind.FINAL if self.spec.live else WorkKind.RECORDING, end, due_ns)
            work.segment, work.pcm = segment, self._tape.cut(work.begin, end)
            self._held.append(work)
            self._put_held()
        self._now = OpenUtterance()
        if cause is Cause.ENDPOINT and self._silence_ms is not None and self._silence_ms < USUAL_SILENCE_MS:
            self._context.add(segment)
        else:
            self._context.clear()

    def started(self, work: Work) -> None:
        """Note that the engine runs this work."""
        if work is self._now.waiting:
            self._now.waiting, self._now.running = None, work

    def fail(self, work: Work, error: AntiphonError) -> None:
        """Note that the engine failed. The session gets the error if a final is missing now; an interim is left out."""
        if self.closed:
            return
        if work.segment:
            self.emit(error)
        self._leave_out(work)

    def _leave_out(self, work: Work) -> None:
        """Go on without a result for the open utterance; more audio brings another."""
        if work is self._now.running:
            self._now.running = None
            self._now.tried_end = work.end

    def complete(self, work: Work, hypothesis: Hypothesis) -> None:
        """Take the engine's result of this stream's work."""
        if self.closed:
            return
        if work.context:
            if repeats_context(hypothesis, work.context):
                if work.segment or self._ends.state is EndpointState.PAUSE:
                    self._put_alone(work)
                else:  # the speaker continues
                    self._leave_out(work)
                return
            hypothesis = without(hypothesis, work.start - work.begin)
        if work.segment:
            work.segment.hypothesis = hypothesis
            self._put_held()
            self._delivery.send_finals()
        now = self._now
        if work is not now.running:
            return
        now.running = None
        before, now.hypothesis, now.hypothesis_end, now.tried_end = now.hypothesis, hypothesis, work.end, work.end
        stable = now.agreement.push([plain(word.text) for word in hypothesis.words])
        # Measured by what was heard since, not by the audio of the hypothesis: if engines are late, there is no time to
        # decode again.
        elapsed = self._ends.position - self._ends.onset
        sure = (
            now.has_interim or self._ends.state is EndpointState.PAUSE or not is_invented(hypothesis, before, elapsed)
        )
        if hypothesis.text and self.spec.interims and sure:
            now.has_interim = True
            transcript = transcript_of(hypothesis, work.start, self.spec)
            start_ms, end_ms = samples_to_ms(work.start), samples_to_ms(work.end)
            interim = Interim(self.spec.channel, start_ms, end_ms, transcript, stable_words=stable)
            self._delivery.put_interim(SpeechEvent(interim, now.onset))
        if self._ends.state is EndpointState.PAUSE:
            self._at_pause()
        else:
            self._want_interim()

    def audio(self, start: int, end: int) -> bytes:
        """Return the audio of a piece of work; it is kept while that waits."""
        return self._tape.cut(start, end)

    def _forget(self) -> None:
        """Drop audio that no utterance can need again."""
        if self._ends.state is EndpointState.SILENCE:
            self._context.expire(self._ends.position)
        # Never ahead of the detector, although after a flush no utterance may start before the flush.
        before = min(self._ends.earliest, self._context.needed_from(self._ends.position))
        if self._now.waiting:
            before = min(before, self._now.waiting.begin)
        self._tape.forget(before)
        self._ends.forget(self._tape.begin)
