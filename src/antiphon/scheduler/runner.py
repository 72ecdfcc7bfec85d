"""The loop: detects speech in all streams together, runs what the policy chooses, and returns results. A `SpeechEngine`
in this process, made of a recogniser and a voice detector.

All but the engine's own work runs on the event loop's thread. Engine calls run on `workers` threads, voice detection on
one of its own, so that speech is noticed while the workers are busy. Those threads have a lower priority than the event
loop: reading sockets late would make everything seem late.
"""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from antiphon.children import NICENESS
from antiphon.core.audio import SAMPLE_RATE
from antiphon.core.capabilities import SpeechCapabilities
from antiphon.core.errors import AntiphonError, EngineError, InternalError
from antiphon.core.events import End, Flush
from antiphon.core.ports import Clock, EngineCall, Guidance, Hypothesis, Recogniser, Utterance, VoiceDetector
from antiphon.core.speech import Drained, Load, Mark, SpeechEvent, StreamSpec, Tuning, Wait
from antiphon.core.units import NS_PER_MS
from antiphon.scheduler.board import WaitingRoom, WorkBatch
from antiphon.scheduler.cost import CostModel
from antiphon.scheduler.policy import BatchLimits, WorkKind
from antiphon.scheduler.specs import Timing
from antiphon.scheduler.stream import Stream
from antiphon.supervision import supervisor

FRAMES_PER_ROUND = 64  # of one stream, so that a recording does not delay live streams ...
FRAMES_OF_ALL = 1024  # ... nor do many streams that are behind ...
FRAMES_AT_LEAST = 4  # ... though each gets more than it receives meanwhile
BACKLOG = 30 * SAMPLE_RATE  # samples that a stream may be ahead of the voice detector before its sender must wait

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchReport:
    """The measurements of one engine call."""

    kinds: tuple[WorkKind, ...]
    audio_ms: int
    took_ms: float
    predicted_ms: float
    drafted: int
    accepted: int
    steps: int


@dataclass(frozen=True, slots=True)
class Settings:
    """`tick_ms` is how long live audio is collected before one call of the voice detector."""

    workers: int = 2
    tick_ms: int = 10
    timing: Timing = field(default_factory=Timing)
    limits: BatchLimits = field(default_factory=BatchLimits)


class Runner:
    """One recogniser and one voice detector for all streams."""

    def __init__(
        self,
        recogniser: Recogniser,
        detector: VoiceDetector[Any],
        clock: Clock,
        settings: Settings,
        report: Callable[[BatchReport], None],
    ) -> None:
        self._recogniser = recogniser
        self._detector = detector
        self._clock = clock
        self._settings = settings
        self._report = report
        self.cost = CostModel()
        self._board = WaitingRoom(settings.workers, settings.limits, self.cost)
        self._streams: dict[Stream, LocalStream] = {}
        self._fresh: set[Stream] = set()  # that have audio or marks for the detector
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()  # a new one replaces it whenever it is set: it means "since you looked"
        self._workers = ThreadPoolExecutor(settings.workers, "engine", initializer=_be_nice)
        self._ears = ThreadPoolExecutor(1, "vad", initializer=_be_nice)
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run the engine once, so that the first caller does not wait for its first allocations, and start the loop."""
        loop = asyncio.get_running_loop()
        silence = bytes(2 * SAMPLE_RATE)
        await loop.run_in_executor(self._workers, self._recogniser.recognise, [Utterance(silence)] * 2)
        self._listening = supervisor.start("listen", self._listen, essential=True)

    async def stop(self) -> None:
        """Close every stream, and wait for running engine calls."""
        if self._listening:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        for stream in tuple(self._streams):
            self._close(stream)
        # In a thread: an engine in its own process needs this event loop to finish its work.
        await asyncio.to_thread(self._shut_down)

    def _shut_down(self) -> None:
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._ears.shutdown(wait=True, cancel_futures=True)

    # -- for sessions --------------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> SpeechCapabilities:
        return self._recogniser.capabilities

    async def open(self, spec: StreamSpec, call: EngineCall) -> "LocalStream":
        opened = LocalStream(self)
        state = self._detector.initial_state()
        stream = Stream(spec, self._board, opened.take, state, self._settings.timing, call)
        opened.stream = stream
        self._streams[stream] = opened
        self._board.live += spec.live
        return opened

    def load(self) -> Load:
        live = self._board.live
        recordings = len(self._streams) - live
        waiting = {kind.name.lower(): count for kind, count in self._board.counts().items()}
        return Load(live, recordings, waiting, self._settings.workers, self._board.stream_share())

    # -- for its streams -----------------------------------------------------------------------------------------------

    def _close(self, stream: Stream) -> None:
        if opened := self._streams.pop(stream, None):
            self._board.live -= stream.spec.live
            self._fresh.discard(stream)
            stream.abandon()
            opened.wake()
            self._notify()

    async def _feed(self, stream: Stream, pcm: bytes) -> None:
        """Add audio. Waits while the stream is more than `BACKLOG` ahead of the detector. Closed streams ignore it."""
        if stream.closed:
            return
        stream.feed(pcm, self._clock.now_ns())
        self._freshen(stream)
        while stream.backlog > BACKLOG and not stream.closed:
            await self._progress.wait()

    def _tell(self, stream: Stream, mark: Mark) -> None:
        now_ns = self._clock.now_ns()
        match mark:
            case Flush():
                stream.flush(now_ns)
            case Tuning() | Guidance():
                stream.change(mark, now_ns)
            case End():
                stream.end(now_ns)
            case Wait(pause, silence_ms, early_ms):
                if not stream.closed and stream.pause == pause:
                    self._safely(stream, stream.wait, silence_ms, now_ns, early_ms)
                    self._dispatch()
                return
        self._freshen(stream)

    # -- voice activity ------------------------------------------------------------------------------------------------

    def _freshen(self, stream: Stream) -> None:
        self._fresh.add(stream)
        self._wake.set()

    def _notify(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()

    async def _listen(self) -> None:
        while True:
            await self._wake.wait()
            if all(s.spec.live for s in self._fresh):
                await asyncio.sleep(self._settings.tick_ms / 1000)
            streams = [s for s in self._fresh if not s.closed]
            self._fresh.clear()
            self._wake.clear()
            await self._hear(streams)
            self._dispatch()
            self._notify()

    async def _hear(self, streams: list[Stream]) -> None:
        """Detect speech in the next frames of those streams, in one call."""
        most = min(FRAMES_PER_ROUND, max(FRAMES_AT_LEAST, FRAMES_OF_ALL // max(1, len(streams))))
        runs = {stream: run for stream in streams if (run := stream.run(most))}
        probabilities: dict[Stream, list[float]] = {}
        try:
            if runs:
                probabilities = await asyncio.get_running_loop().run_in_executor(self._ears, self._detect, runs)
        except Exception as error:
            log.exception("the voice detector failed")
            for stream in streams:
                self._break(stream, EngineError(f"the voice detector failed: {type(error).__name__}"))
            return
        now_ns = self._clock.now_ns()
        for stream in streams:
            if not stream.closed:
                self._safely(stream, stream.hear, probabilities.get(stream, []), now_ns)
                if stream.ready:
                    self._freshen(stream)

    def _detect(self, runs: Mapping[Stream, bytes]) -> dict[Stream, list[float]]:
        """Detect speech, on the detector's thread."""
        probabilities, states = self._detector.probabilities(list(runs.values()), [stream.state for stream in runs])
        for stream, state in zip(runs, states, strict=True):
            stream.state = state
        return dict(zip(runs, probabilities, strict=True))

    # -- decoding ------------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Give work to free workers until the policy chooses nothing more."""
        while batch := self._board.take(self._clock.now_ns()):
            utterances = [work.utterance() for work in batch.works]
            call = asyncio.get_running_loop().run_in_executor(self._workers, self._recognise, utterances)
            call.add_done_callback(lambda done, batch=batch: self._done(batch, done))  # type: ignore[misc]

    def _recognise(self, utterances: list[Utterance]) -> tuple[float, list[Hypothesis | EngineError]]:
        """Recognise, on a worker. Returns results and milliseconds. If a row fails, the others still succeed."""
        begun = self._clock.now_ns()
        results: list[Hypothesis | EngineError]
        try:
            results = list(self._recogniser.recognise(utterances))
            if len(results) != len(utterances):
                raise EngineError("the speech engine lost a row")
        except Exception:
            results = [self._alone(u) for u in utterances]
        return (self._clock.now_ns() - begun) / NS_PER_MS, results

    def _alone(self, utterance: Utterance) -> Hypothesis | EngineError:
        try:
            (result,) = self._recogniser.recognise([utterance])
        except Exception as error:
            log.exception("the speech engine failed")
            return EngineError(f"the speech engine failed: {type(error).__name__}")
        return result

    def _done(self, batch: WorkBatch, call: "asyncio.Future[tuple[float, list[Hypothesis | EngineError]]]") -> None:
        if call.cancelled():
            return
        took_ms, results = call.result()
        good = [r for r in results if isinstance(r, Hypothesis)]
        self._board.done(batch, took_ms if len(good) == len(results) else None)
        for work, result in zip(batch.works, results, strict=True):
            stream = work.stream
            assert isinstance(stream, Stream)  # only streams made by `open` have work here
            if isinstance(result, Hypothesis):
                self._safely(stream, stream.complete, work, result)
            else:
                self._safely(stream, stream.fail, work, result)
            if stream.ready and not stream.closed:
                self._freshen(stream)  # it may have waited for this
        self._dispatch()
        self._report(
            BatchReport(
                tuple(w.kind for w in batch.works),
                sum(w.audio_ms for w in batch.works),
                took_ms,
                batch.predicted_ms,
                sum(len(w.draft) for w in batch.works),
                sum(r.accepted for r in good),
                sum(r.steps for r in good),
            )
        )

    # -- one stream's defects are its own ------------------------------------------------------------------------------

    def _safely(self, stream: Stream, step: Callable[..., None], *arguments: Any) -> None:
        try:
            step(*arguments)
        except Exception:
            log.exception("a stream failed")
            self._break(stream, InternalError("The server failed; this has been logged."))

    def _break(self, stream: Stream, error: AntiphonError) -> None:
        """End a stream with an error that its session receives."""
        if not stream.closed:
            with suppress(Exception):
                stream.emit(error)
            self._close(stream)


class LocalStream:
    """A `SpeechStream` of a runner in this process. Unread events have no bound: the session reads all the time."""

    stream: Stream

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._unread: list[SpeechEvent] = []
        self._error: AntiphonError | None = None
        self._more = asyncio.Event()

    @property
    def speaking(self) -> bool:
        return self._runner._board.speaking(self.stream)

    @property
    def settled(self) -> int:
        return 0 if self._unread else self.stream.settled

    def speech_peak(self) -> float:
        return self.stream.speech_peak()

    async def feed(self, pcm: bytes) -> None:
        await self._runner._feed(self.stream, pcm)

    def tell(self, mark: Mark) -> None:
        self._runner._tell(self.stream, mark)

    async def events(self) -> AsyncGenerator[tuple[SpeechEvent, ...], None]:
        while True:
            while not self._unread:
                if self._error:
                    raise self._error
                if self.stream.closed:
                    return
                self._more.clear()
                await self._more.wait()
            batch, self._unread = tuple(self._unread), []
            yield batch
            if isinstance(batch[-1].event, Drained):
                return

    async def close(self) -> None:
        self._runner._close(self.stream)

    # -- for the runner ------------------------------------------------------------------------------------------------

    def take(self, event: SpeechEvent | AntiphonError) -> None:
        """Queue an event or the error of the stream."""
        if isinstance(event, AntiphonError):
            self._error = event
        else:
            self._unread.append(event)
        self._more.set()

    def wake(self) -> None:
        self._more.set()


def _be_nice() -> None:
    """Lower this thread's priority, if threads have their own (Linux)."""
    if not hasattr(os, "setpriority"):
        return
    with suppress(OSError):  # some systems accept only whole processes; the engine works without
        thread = threading.get_native_id()
        nicer = os.getpriority(os.PRIO_PROCESS, thread) + NICENESS
        os.setpriority(os.PRIO_PROCESS, thread, nicer)
