"""The loop: hears all streams together, runs what the policy chooses, hands results back.

Everything but the engine's own work happens on the event loop's thread. Engine calls run on `workers` threads, voice
activity on one of its own, so that speech is noticed while the workers are busy. Those threads run at a lower
priority than the event loop: reading sockets late would be measured as lateness of everything.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from antiphon.core.audio import SAMPLE_RATE
from antiphon.core.errors import AntiphonError, EngineError
from antiphon.core.ports import Clock, Hypothesis, Recogniser, Utterance, VoiceDetector
from antiphon.scheduler.cost import CostModel
from antiphon.scheduler.endpoint import FRAME
from antiphon.scheduler.policy import Item, Kind, Limits, schedule
from antiphon.scheduler.stream import NS_PER_MS, Heard, Stream, StreamSpec, Timing, Work

FRAMES_PER_ROUND = 32  # of one stream, so that a recording does not hold live streams up
BACKLOG = 30 * SAMPLE_RATE  # samples a stream may be ahead of the voice detector before its sender must wait
WORKER_NICENESS = 5


@dataclass(frozen=True, slots=True)
class BatchReport:
    """One engine call, for whoever measures."""

    kinds: tuple[Kind, ...]
    audio_ms: int
    took_ms: float
    predicted_ms: float
    drafted: int
    accepted: int
    steps: int


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the runner is. `stream_share` is the part of one worker that a live stream takes."""

    live: int
    recordings: int
    waiting: dict[Kind, int]
    workers: int
    stream_share: float


@dataclass(frozen=True, slots=True)
class Settings:
    """`tick_ms` is how long live audio is gathered before it is heard in one call."""

    workers: int = 2
    tick_ms: int = 10
    timing: Timing = field(default_factory=Timing)
    limits: Limits = field(default_factory=Limits)


class Runner:
    """Implements `scheduler.stream.Board`."""

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
        self._streams: set[Stream] = set()
        self._fresh: set[Stream] = set()  # streams with audio or marks the detector has not seen
        self._wake = asyncio.Event()
        self._heard = asyncio.Condition()
        self._waiting: dict[int, Work] = {}
        self._keys = count()
        self._free = settings.workers
        self._live = 0
        self._workers = ThreadPoolExecutor(settings.workers, "engine", initializer=_be_nice)
        self._ears = ThreadPoolExecutor(1, "vad", initializer=_be_nice)
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Runs the engine once, so that the first caller does not pay for its first allocations."""
        loop = asyncio.get_running_loop()
        silence = bytes(2 * SAMPLE_RATE)
        await loop.run_in_executor(self._workers, self._recogniser.recognise, [Utterance(silence)] * 2)
        self._listening = asyncio.create_task(self._listen(), name="listen")

    async def stop(self) -> None:
        if self._listening:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._ears.shutdown(wait=True, cancel_futures=True)

    # -- for sessions --------------------------------------------------------------------------------------------------

    def open(self, spec: StreamSpec, emit: Callable[[Heard | AntiphonError], None]) -> Stream:
        stream = Stream(spec, self, emit, self._detector.initial_state(), self._settings.timing)
        self._streams.add(stream)
        self._live += spec.live
        return stream

    def close(self, stream: Stream) -> None:
        if stream in self._streams:
            self._streams.remove(stream)
            self._live -= stream.spec.live
            self._fresh.discard(stream)
            stream.abandon()

    async def feed(self, stream: Stream, pcm: bytes) -> None:
        """Waits while the stream is more than `BACKLOG` ahead of what was heard."""
        stream.feed(pcm, self._clock.now_ns())
        self._freshen(stream)
        if stream.backlog > BACKLOG:
            async with self._heard:
                await self._heard.wait_for(lambda: stream.closed or stream.backlog <= BACKLOG)

    def flush(self, stream: Stream) -> None:
        stream.flush()
        self._freshen(stream)

    def end(self, stream: Stream) -> None:
        stream.end()
        self._freshen(stream)

    def load(self) -> Load:
        waiting = dict.fromkeys(Kind, 0)
        for work in self._waiting.values():
            waiting[work.kind] += 1
        # A typical utterance: 4 s of speech in 5 s, a first interim, and a final of which 1 s is new, in batches of 4.
        first = self.cost.predict_ms([Item(0, Kind.FIRST, 0, 500, 500)] * 4) / 4
        final = self.cost.predict_ms([Item(0, Kind.FINAL, 0, 4000, 1000)] * 4) / 4
        recordings = len(self._streams) - self._live
        return Load(self._live, recordings, waiting, self._settings.workers, (first + final) / 5000)

    # -- the board -----------------------------------------------------------------------------------------------------

    def put(self, work: Work) -> None:
        self._waiting[next(self._keys)] = work

    def drop(self, work: Work) -> None:
        self._waiting = {k: w for k, w in self._waiting.items() if w is not work}

    def forget(self, stream: Stream) -> None:
        self._waiting = {k: w for k, w in self._waiting.items() if w.stream is not stream}

    # -- voice activity ------------------------------------------------------------------------------------------------

    def _freshen(self, stream: Stream) -> None:
        self._fresh.add(stream)
        self._wake.set()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            if all(s.spec.live for s in self._fresh):
                await asyncio.sleep(self._settings.tick_ms / 1000)
            streams = [s for s in self._fresh if not s.closed]
            self._fresh.clear()
            self._wake.clear()
            rows = [(s, s.frames(FRAMES_PER_ROUND)) for s in streams]
            probabilities = await loop.run_in_executor(self._ears, self._detect, rows)
            now_ns = self._clock.now_ns()
            for (stream, _), heard in zip(rows, probabilities, strict=True):
                if not stream.closed:
                    stream.hear(heard, now_ns)
                    if stream.backlog >= FRAME:
                        self._freshen(stream)
            self._dispatch()
            async with self._heard:
                self._heard.notify_all()

    def _detect(self, rows: Sequence[tuple[Stream, list[bytes]]]) -> list[list[float]]:
        """On the detector's thread: the n-th frames of all streams that have one, in one call."""
        heard: list[list[float]] = [[] for _ in rows]
        for n in range(max((len(frames) for _, frames in rows), default=0)):
            at = [i for i, (_, frames) in enumerate(rows) if len(frames) > n]
            probabilities, states = self._detector.probabilities(
                [rows[i][1][n] for i in at], [rows[i][0].state for i in at]
            )
            for i, probability, state in zip(at, probabilities, states, strict=True):
                heard[i].append(probability)
                rows[i][0].state = state
        return heard

    # -- decoding ------------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Give free workers what the policy chooses, until it chooses nothing."""
        while self._free and self._waiting:
            kept = 1 if self._live and self._settings.workers > 1 else 0
            batch = schedule(
                self._clock.now_ns(),
                [work.item(key) for key, work in self._waiting.items()],
                self._free,
                kept,
                self.cost.predict_ms,
                self._settings.limits,
            )
            if not batch:
                return
            works = [self._waiting.pop(item.key) for item in batch]
            utterances = [Utterance(w.audio(), w.draft, w.stream.spec.timed) for w in works]
            for work in works:
                work.stream.started(work)
            self._free -= 1
            call = asyncio.get_running_loop().run_in_executor(self._workers, self._recognise, utterances)
            call.add_done_callback(lambda done, batch=batch, works=works: self._done(batch, works, done))  # type: ignore[misc]

    def _recognise(self, utterances: list[Utterance]) -> tuple[float, list[Hypothesis | EngineError]]:
        """On a worker: the results and the milliseconds taken. One bad row must not cost its neighbours theirs."""
        begun = self._clock.now_ns()
        results: list[Hypothesis | EngineError]
        try:
            results = list(self._recogniser.recognise(utterances))
        except Exception:
            results = [self._alone(u) for u in utterances]
        return (self._clock.now_ns() - begun) / NS_PER_MS, results

    def _alone(self, utterance: Utterance) -> Hypothesis | EngineError:
        try:
            return self._recogniser.recognise([utterance])[0]
        except Exception as error:
            return EngineError(f"the speech engine failed: {type(error).__name__}")

    def _done(
        self,
        batch: list[Item],
        works: list[Work],
        call: "asyncio.Future[tuple[float, list[Hypothesis | EngineError]]]",
    ) -> None:
        self._free += 1
        if call.cancelled():
            return
        took_ms, results = call.result()
        predicted_ms = self.cost.predict_ms(batch)
        self.cost.learn(batch, took_ms)
        good = [r for r in results if isinstance(r, Hypothesis)]
        self._report(
            BatchReport(
                tuple(i.kind for i in batch),
                sum(i.audio_ms for i in batch),
                took_ms,
                predicted_ms,
                sum(len(w.draft) for w in works),
                sum(r.accepted for r in good),
                sum(r.steps for r in good),
            )
        )
        for work, result in zip(works, results, strict=True):
            if isinstance(result, Hypothesis):
                work.stream.complete(work, result)
            else:
                work.stream.fail(result)
        self._dispatch()


def _be_nice() -> None:
    """Lower this thread's priority, where the system lets threads have their own (Linux)."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), WORKER_NICENESS)
