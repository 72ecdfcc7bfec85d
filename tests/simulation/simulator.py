"""Thousands of streams on a clock that jumps: the real streams, board, policy, cost model and admission, over an engine
that only takes time. Nothing here sleeps, and one seed gives one history.
"""

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from antiphon.core.arrivals import Arrivals
from antiphon.core.audio import BYTES_PER_MS, BYTES_PER_SAMPLE, ms_to_samples
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Cause, Final, Interim
from antiphon.core.identity import Principal
from antiphon.core.ports import EngineCall, Hypothesis
from antiphon.core.speech import Drained, SpeechEvent, StreamSpec
from antiphon.core.units import NS_PER_MS
from antiphon.scheduler.board import WaitingRoom, WorkBatch
from antiphon.scheduler.cost import CostModel, features
from antiphon.scheduler.endpoint import FRAME
from antiphon.scheduler.policy import BatchLimits, WorkKind
from antiphon.scheduler.specs import Timing
from antiphon.scheduler.stream import Stream
from antiphon.slo.admission import SILENT, Asker, Capacity, admit
from antiphon.slo.measure import Measured, UtteranceTimer
from antiphon.slo.objectives import Objectives
from antiphon.slo.shares import Bound, Place, Shares

TICK_MS = 10  # audio is heard in rounds, as the runner does it
SPEECH, QUIET = 0.99, 0.01
FRAMES_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Law:
    """What the engine truly takes: milliseconds a batch, a second of audio, and a second of the longest new audio."""

    batch_ms: float = 4.0
    audio_ms: float = 5.0
    new_ms: float = 12.0

    def of(self, batch: WorkBatch) -> float:
        one, audio, new = features(batch.works)
        return self.batch_ms * one + self.audio_ms * audio + self.new_ms * new


def conversation(chance: random.Random, seconds: float) -> list[float]:
    """Speech about 80 % of the time, with the short pauses that people make within a sentence."""
    frames: list[float] = [QUIET] * chance.randint(0, 60)
    while len(frames) < seconds * 31.25:
        for _ in range(chance.randint(1, 3)):
            frames += [SPEECH] * chance.randint(20, 80) + [QUIET] * chance.randint(3, 6)
        frames += [QUIET] * chance.randint(12, 35)
    return frames


@dataclass(eq=False)
class Caller:
    """One stream and what became of it."""

    script: list[float]
    spec: StreamSpec
    call: EngineCall
    arrivals: Arrivals = field(default_factory=Arrivals)
    stream: Stream = field(init=False)
    at: int = 0  # frames of the script that were heard
    timer: UtteranceTimer = field(default_factory=UtteranceTimer)
    measured: list[tuple[int, Measured]] = field(default_factory=list)  # with when the speech of it ended
    finals: list[Final] = field(default_factory=list)
    interims_ns: list[int] = field(default_factory=list)
    most_pending: int = 0
    drained_ns: int | None = None
    place: Place | None = None
    opened_ns: int = 0


class Simulation:
    """`workers` that take `law` for a batch; `observe` sees every batch as it starts."""

    def __init__(
        self,
        law: Law,
        workers: int = 2,
        seed: int = 1,
        noise: float = 0.1,
        chunk_ms: int = 100,
        timing: Timing | None = None,
        limits: BatchLimits | None = None,
        observe: Callable[[int, WorkBatch], None] = lambda now_ns, batch: None,
    ) -> None:
        self.chance = random.Random(seed)
        self.now_ns = 0
        self.law = law
        self.cost = CostModel()
        self.board = WaitingRoom(workers, limits or BatchLimits(), self.cost)
        self.timing = timing or Timing()
        self.callers: list[Caller] = []
        self._by_stream: dict[Stream, Caller] = {}
        self.most_live = 0
        self.refused = 0
        self.refusals: Counter[str] = Counter()
        self.busy_ns = dict.fromkeys(WorkKind, 0)
        self.rows = dict.fromkeys(WorkKind, 0)
        self.most_waiting = 0
        self._noise = noise
        self._chunk_ms = chunk_ms
        self._chunk = bytes(chunk_ms * BYTES_PER_MS)
        self._observe = observe
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._objectives = Objectives()
        self._recent: deque[tuple[bool, str]] = deque(maxlen=200)
        self.shares = Shares(Bound(100_000))
        self.weights: dict[str, int] = {}

    # -- who calls -----------------------------------------------------------------------------------------------------

    def call(
        self,
        seconds: float,
        at_ns: int | None = None,
        admitted: bool = False,
        project: str = "",
        silent_s: float = 0.0,
    ) -> None:
        """A live stream of that length after that silence, from then on; with `admitted`, only if there is room."""
        script = [QUIET] * int(silent_s * 31.25) + conversation(self.chance, seconds)
        at_ns = self.chance.randrange(1000 // TICK_MS) * TICK_MS * NS_PER_MS if at_ns is None else at_ns

        def start() -> None:
            who = Principal(project, project, frozenset(), self.weights.get(project, 1))
            if admitted and not self._fits(who):
                self.refused += 1
                self.refusals[project] += 1
                return
            caller = self._join(script, StreamSpec(), EngineCall("", project=project, weight=who.weight))
            caller.opened_ns, caller.place = self.now_ns, self.shares.hold(who, 1, self.now_ns)
            self.board.live += 1
            self.most_live = max(self.most_live, self.board.live)
            self._speak(caller)

        self._at(at_ns, start)

    def upload(self, seconds: float, at_ns: int = 0, project: str = "") -> None:
        """A recording, which the server has all of."""
        script = conversation(self.chance, seconds)

        def start() -> None:
            whose = EngineCall("", project=project, weight=self.weights.get(project, 1))
            caller = self._join(script, StreamSpec(live=False, interims=False), whose)
            for _ in range(len(script) * FRAME // ms_to_samples(self._chunk_ms)):
                caller.stream.feed(self._chunk, self.now_ns)
            caller.stream.end(self.now_ns)
            self._listen(caller)

        self._at(at_ns, start)

    def _late(self, project: str | None = None) -> float:
        recent = [good for good, whose in self._recent if project in (None, whose)]
        return recent.count(False) / len(recent) if len(recent) >= 50 else 0.0

    def _fits(self, who: Principal) -> bool:
        for caller in self.callers:
            if caller.place:
                fresh = self.now_ns - caller.opened_ns < 10_000 * NS_PER_MS
                self.shares.mark(caller.place, not fresh and not self.board.speaking(caller.stream))
        live, workers, share = self.shares.weighed(SILENT), self.board.workers, self.board.stream_share()
        capacity = Capacity(live, workers, share, self._late(), most_streams=100_000)
        asker = Asker(self.shares.own(who, SILENT), self._late(who.project), self.shares.others(who, 0.0))
        return admit(capacity, 1, asker)

    def _join(self, script: list[float], spec: StreamSpec, call: EngineCall) -> Caller:
        caller = Caller(script, spec, call)

        def emit(heard: SpeechEvent | AntiphonError) -> None:
            assert isinstance(heard, SpeechEvent), heard
            self._hear_back(caller, heard)

        caller.stream = Stream(spec, self.board, emit, None, self.timing, call)
        self.callers.append(caller)
        self._by_stream[caller.stream] = caller
        return caller

    def _speak(self, caller: Caller) -> None:
        """The next chunk arrives."""
        stream = caller.stream
        stream.feed(self._chunk, self.now_ns)
        caller.arrivals.add(len(self._chunk) // BYTES_PER_SAMPLE, self.now_ns)
        caller.arrivals.forget(stream.settled)
        if stream.received + ms_to_samples(self._chunk_ms) > len(caller.script) * FRAME:
            stream.end(self.now_ns)
            caller.arrivals.mark(self.now_ns)
            self.board.live -= 1
            assert caller.place is not None
            self.shares.let_go(caller.place)
            caller.place = None
        else:
            self._at(self.now_ns + self._chunk_ms * NS_PER_MS, lambda: self._speak(caller))
        self._listen(caller)

    def _listen(self, caller: Caller) -> None:
        stream = caller.stream
        while True:
            frames = len(stream.run(FRAMES_AT_ONCE)) // (2 * FRAME)
            stream.hear(caller.script[caller.at : caller.at + frames], self.now_ns)
            caller.at += frames
            caller.most_pending = max(caller.most_pending, stream.pending)
            if not stream.ready:
                return

    def _hear_back(self, caller: Caller, heard: SpeechEvent) -> None:
        match heard.event:
            case Interim(transcript=transcript):
                caller.timer.interim(transcript.text, self.now_ns)
                caller.interims_ns.append(self.now_ns)
            case Final(transcript=transcript):
                caller.finals.append(heard.event)
                if caller.spec.live and heard.onset:
                    arrivals = caller.arrivals
                    spoken_ns = arrivals.at_ns(heard.spoken) + heard.wished_ms * NS_PER_MS
                    if heard.event.cause is Cause.END:
                        spoken_ns = arrivals.marked_ns(heard.spoken)
                    onset_ns = arrivals.at_ns(heard.onset)
                    given = caller.timer.final(transcript.text, onset_ns, spoken_ns, self.now_ns, True)
                    caller.measured.append((spoken_ns, given))
                    self._recent.append((self._objectives.met(given.ttfb_ms, given.final_ms), caller.call.project))
            case Drained():
                caller.drained_ns = self.now_ns

    # -- the engine ----------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        self.most_waiting = max(self.most_waiting, len(self.board))
        while batch := self.board.take(self.now_ns):
            self._observe(self.now_ns, batch)
            took_ms = self.law.of(batch) * self.chance.uniform(1 - self._noise, 1 + self._noise)
            for work in batch.works:
                self.busy_ns[work.kind] += int(took_ms * NS_PER_MS / len(batch.works))
                self.rows[work.kind] += 1
            self._at(
                self.now_ns + int(took_ms * NS_PER_MS), lambda batch=batch, took_ms=took_ms: self._done(batch, took_ms)
            )

    def _done(self, batch: WorkBatch, took_ms: float) -> None:
        self.board.done(batch, took_ms)
        for work in batch.works:
            length = max(1, (work.end - work.start) // 5000)
            words = Hypothesis("word", (), 1.0, tuple(range(length)))
            work.stream.complete(work, words)
        for work in batch.works:
            if work.stream.ready:
                self._listen(self._by_stream[work.stream])

    # -- time ----------------------------------------------------------------------------------------------------------

    def _at(self, at_ns: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_ns, next(self._order), what))

    def run(self, until_ns: int | None = None) -> None:
        """Everything that happens until then, or until nothing more does."""
        while self._events and (until_ns is None or self._events[0][0] <= until_ns):
            self.now_ns, _, what = heapq.heappop(self._events)
            what()
            if not self._events or self._events[0][0] > self.now_ns:
                self._dispatch()

    # -- how it went ---------------------------------------------------------------------------------------------------

    def measured(self, since_ns: int = 0, until_ns: int | None = None, project: str | None = None) -> list[Measured]:
        """All utterances of live streams, or of one project's, whose speech ended in that time."""
        until_ns = self.now_ns if until_ns is None else until_ns
        callers = [c for c in self.callers if project in (None, c.call.project)]
        return [m for c in callers for at_ns, m in c.measured if since_ns <= at_ns <= until_ns]

    def goodput(self, since_ns: int = 0, until_ns: int | None = None, project: str | None = None) -> float:
        measured = self.measured(since_ns, until_ns, project)
        return sum(self._objectives.met(m.ttfb_ms, m.final_ms) for m in measured) / len(measured)

    def interims_an_utterance(self) -> float:
        return sum(len(c.interims_ns) for c in self.callers) / len(self.measured())


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
