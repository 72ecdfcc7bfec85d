"""The loop with real asyncio and threads, a fake ear and a fake engine. Nothing sleeps: a gate holds the engine."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

from antiphon.core.audio import BYTES_PER_MS
from antiphon.core.errors import AntiphonError, EngineError, InternalError
from antiphon.core.events import End, Final, Flush, Interim
from antiphon.core.ports import EngineCall, Hypothesis
from antiphon.core.speech import Drained, StreamSpec
from antiphon.scheduler import runner as runner_module
from antiphon.scheduler.policy import WorkKind
from antiphon.scheduler.runner import BACKLOG, BatchReport, Runner, Settings
from antiphon.testing import FakeClock, FakeDetector, FakeRecogniser

SECONDS = 60  # until a test that hangs is a failure


def speech(ms: int, loudness: int = 2000) -> bytes:
    return loudness.to_bytes(2, "little") * (ms * BYTES_PER_MS // 2)


def quiet(ms: int) -> bytes:
    return bytes(ms * BYTES_PER_MS)


class GatedRecogniser(FakeRecogniser):
    """Waits at a gate while it is shut, and says when a call has come to it."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Semaphore(0)

    def recognise(self, batch):
        self.reached.release()
        assert self.gate.wait(SECONDS)
        return super().recognise(batch)


class Caller:
    """One stream and what its session was told."""

    def __init__(self, handle) -> None:
        self.handle = handle
        self.stream = handle.stream
        self.heard = []
        self._more = asyncio.Event()
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def join(cls, runner: Runner, **fields) -> "Caller":
        return cls(await runner.open(StreamSpec(**fields), EngineCall("c1")))

    async def _listen(self) -> None:
        try:
            async for batch in self.handle.events():
                self.heard += [heard.event for heard in batch]
                self._more.set()
        except AntiphonError as error:
            self.heard.append(error)
            self._more.set()

    async def until(self, condition) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition(self.heard):
                self._more.clear()
                await self._more.wait()

    async def until_drained(self) -> None:
        self.handle.tell(End())
        await self.until(lambda heard: isinstance(heard[-1], Drained) if heard else False)

    @property
    def texts(self) -> list[str]:
        return [e.transcript.text for e in self.heard if isinstance(e, Final)]

    @property
    def errors(self) -> list[Exception]:
        return [e for e in self.heard if isinstance(e, Exception)]


@asynccontextmanager
async def running(recogniser=None, detector=None, workers=2, report=lambda report: None):
    runner = Runner(
        recogniser or FakeRecogniser(),
        detector or FakeDetector(),
        FakeClock(),
        Settings(workers=workers, tick_ms=0),
        report,
    )
    await runner.start()
    try:
        yield runner
    finally:
        await runner.stop()


async def reached(recogniser: GatedRecogniser, times: int = 1) -> None:
    for _ in range(times):
        assert await asyncio.to_thread(recogniser.reached.acquire, timeout=SECONDS)


async def test_a_stream_from_speech_to_drained():
    reports: list[BatchReport] = []
    async with running(report=reports.append) as runner:
        caller = await Caller.join(runner, timed=True)
        await caller.handle.feed(quiet(320) + speech(960) + quiet(640))
        await caller.until(lambda heard: any(isinstance(e, Final) for e in heard))
        await caller.until_drained()
        await caller.handle.close()
    assert caller.texts == ["one two three four"]  # 224 ms before, 96 ms after
    assert caller.errors == []
    assert any(WorkKind.FINAL in report.kinds for report in reports)
    assert all(report.took_ms == 0 and report.audio_ms > 0 for report in reports)  # the clock stands still


async def test_a_report_counts_what_of_the_drafts_was_accepted():
    reports: list[BatchReport] = []
    async with running(report=reports.append) as runner:
        caller = await Caller.join(runner)
        await caller.handle.feed(speech(992))
        await caller.until(lambda heard: any(isinstance(e, Interim) for e in heard))
        await caller.handle.feed(speech(992))
        await caller.until(lambda heard: sum(isinstance(e, Interim) for e in heard) == 2)
        await caller.until_drained()
    assert (reports[0].drafted, reports[0].accepted, reports[0].steps) == (0, 0, 4)
    assert (reports[1].drafted, reports[1].accepted) == (3, 3)


async def test_many_streams_are_heard_in_one_call_and_each_gets_its_own():
    detector, recogniser = FakeDetector(), FakeRecogniser()
    async with running(recogniser, detector) as runner:
        callers = [await Caller.join(runner, interims=False) for _ in range(100)]
        for n, caller in enumerate(callers):
            await caller.handle.feed(speech(640 + n % 3 * 608) + quiet(640))
        for caller in callers:
            await caller.until_drained()
    assert [len(c.texts) for c in callers] == [1] * 100
    assert {c.texts[0] for c in callers[::3]} == {"one two"}
    assert {c.texts[0] for c in callers[2::3]} == {"one two three four five six"}
    assert max(detector.calls) == 100
    assert max(len(call) for call in recogniser.calls) > 4


async def test_work_that_queues_up_behind_busy_workers_all_gets_done():
    recogniser = GatedRecogniser()
    async with running(recogniser) as runner:
        await reached(recogniser)  # the call at the start
        recogniser.gate.clear()
        callers = [await Caller.join(runner, interims=False) for _ in range(40)]
        for caller in callers:
            await caller.handle.feed(speech(640) + quiet(640))
        await reached(recogniser, 2)
        assert runner.load().waiting["final"] > 0
        assert runner.load().live == 40
        recogniser.gate.set()
        for caller in callers:
            await caller.until_drained()
        assert all(len(c.texts) == 1 for c in callers)
        assert sum(runner.load().waiting.values()) == 0


async def test_one_bad_row_costs_its_neighbours_nothing(caplog):
    def loud(utterance) -> bool:
        return speech(1, 9000) in utterance.pcm

    recogniser = GatedRecogniser(fails=loud)
    async with running(recogniser) as runner:
        recogniser.gate.clear()
        callers = [await Caller.join(runner, interims=False) for _ in range(12)]
        for n, caller in enumerate(callers):
            await caller.handle.feed(speech(640, 9000 if n == 7 else 2000) + quiet(640))
            caller.handle.tell(End())
        recogniser.gate.set()
        for n, caller in enumerate(callers):
            if n != 7:
                await caller.until_drained()
        await callers[7].until(lambda heard: bool(heard))
    assert [type(e) for e in callers[7].errors] == [EngineError]
    assert callers[7].texts == []
    assert all(c.texts == ["one two"] and c.errors == [] for c in callers[:7] + callers[8:])


async def test_an_engine_that_loses_a_row_is_an_engine_that_failed():
    class Loses(FakeRecogniser):
        def recognise(self, batch):
            return super().recognise(batch)[1:] if any(speech(1) in u.pcm for u in batch) else super().recognise(batch)

    async with running(Loses()) as runner:
        caller = await Caller.join(runner, interims=False)
        await caller.handle.feed(speech(640) + quiet(640))
        await caller.until(lambda heard: bool(heard))
    assert [type(e) for e in caller.errors] == [EngineError]


async def test_a_failed_call_teaches_the_cost_model_nothing():
    async with running(FakeRecogniser(fails=lambda utterance: speech(1) in utterance.pcm)) as runner:
        before = runner.cost.weights
        caller = await Caller.join(runner, interims=False)
        await caller.handle.feed(speech(640) + quiet(640))
        await caller.until(lambda heard: bool(heard))
        assert runner.cost.weights == before


async def test_a_failing_voice_detector_ends_the_streams_it_heard_and_no_later_ones():
    detector = FakeDetector()
    async with running(detector=detector) as runner:
        unlucky, idle = await Caller.join(runner), await Caller.join(runner)
        detector.error = RuntimeError("broken")
        await unlucky.handle.feed(speech(640))
        await unlucky.until(lambda heard: bool(heard))
        assert [type(e) for e in unlucky.errors] == [EngineError]
        assert unlucky.stream.closed
        detector.error = None
        for caller in (idle, await Caller.join(runner)):
            await caller.handle.feed(speech(640) + quiet(640))
            await caller.until_drained()
            assert caller.texts == ["one two"]


async def test_a_stream_with_a_defect_ends_and_nobody_elses(monkeypatch):
    async with running() as runner:
        broken, other = await Caller.join(runner), await Caller.join(runner)
        monkeypatch.setattr(broken.stream, "_turn", lambda change, now_ns: 1 // 0)
        await broken.handle.feed(speech(640) + quiet(640))
        await other.handle.feed(speech(640) + quiet(640))
        await other.until_drained()
        assert other.texts == ["one two"]
        assert broken.stream.closed
        assert [type(e) for e in broken.heard] == [InternalError]


async def test_a_session_closed_while_its_work_runs_hears_nothing_more_and_frees_the_worker():
    recogniser = GatedRecogniser()
    async with running(recogniser, workers=1) as runner:
        await reached(recogniser)
        recogniser.gate.clear()
        gone, stays = await Caller.join(runner, interims=False), await Caller.join(runner, interims=False)
        await gone.handle.feed(speech(640) + quiet(640))
        await reached(recogniser)
        await stays.handle.feed(speech(640) + quiet(640))
        await gone.handle.close()
        await gone.handle.close()
        recogniser.gate.set()
        await stays.until_drained()
        assert gone.heard == []
        assert stays.texts == ["one two"]
        assert runner.load().live == 1


async def test_a_closed_stream_takes_no_audio():
    async with running() as runner:
        caller = await Caller.join(runner)
        await caller.handle.close()
        async with asyncio.timeout(SECONDS):
            await caller.handle.feed(bytes(4 * BACKLOG))
        assert caller.stream.received == 0


class DeafDetector(FakeDetector):
    """Waits at a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.reached = threading.Semaphore(0)

    def probabilities(self, frames, states):
        self.reached.release()
        assert self.gate.wait(SECONDS)
        return super().probabilities(frames, states)


async def test_a_sender_too_far_ahead_waits_until_it_was_heard():
    detector = DeafDetector()
    async with running(detector=detector) as runner:
        caller = await Caller.join(runner)
        await caller.handle.feed(quiet(32))
        ahead = asyncio.create_task(caller.handle.feed(quiet(BACKLOG // 16 + 1000)))
        assert await asyncio.to_thread(detector.reached.acquire, timeout=SECONDS)
        assert not ahead.done()
        detector.gate.set()
        async with asyncio.timeout(SECONDS):
            await ahead
        assert caller.stream.backlog <= BACKLOG


async def test_a_sender_that_waits_is_let_go_when_its_stream_is_closed():
    detector = DeafDetector()
    async with running(detector=detector) as runner:
        caller = await Caller.join(runner)
        ahead = asyncio.create_task(caller.handle.feed(quiet(BACKLOG // 16 + 1000)))
        assert await asyncio.to_thread(detector.reached.acquire, timeout=SECONDS)
        await caller.handle.close()
        async with asyncio.timeout(SECONDS):
            await ahead
        detector.gate.set()


async def test_a_recording_far_longer_than_the_bounds_gets_through_with_few_finals_waiting():
    recogniser = FakeRecogniser()
    async with running(recogniser) as runner:
        caller = await Caller.join(runner, live=False, interims=False)
        async with asyncio.timeout(SECONDS):
            await caller.handle.feed((speech(640) + quiet(640)) * 100)
        await caller.until_drained()
    assert len(caller.texts) == 100


async def test_a_recording_is_decoded_next_to_live_streams_and_holds_none_of_them_up():
    recogniser = GatedRecogniser()
    async with running(recogniser) as runner:
        await reached(recogniser)
        recogniser.gate.clear()
        live = await Caller.join(runner, interims=False)
        recording = await Caller.join(runner, live=False, interims=False)
        await recording.handle.feed((speech(8000) + quiet(640)) * 6)
        await reached(recogniser)
        # One worker has recordings, too long to be brief; the other is kept for the live stream.
        await live.handle.feed(speech(640) + quiet(640))
        await reached(recogniser)
        kinds = runner.load().waiting
        assert kinds["final"] == 0
        assert kinds["recording"] > 0
        recogniser.gate.set()
        await live.until_drained()
        await recording.until_drained()
    assert (len(live.texts), len(recording.texts)) == (1, 6)
    assert runner.load().recordings == 0


async def test_no_wake_up_is_lost_between_rounds():
    """Audio, flushes and ends that arrive at any moment of a round are heard without anything coming after them."""
    async with running() as runner:
        for turns in range(60):
            caller = await Caller.join(runner, interims=False)
            await caller.handle.feed(speech(320))
            for _ in range(turns % 12):
                await asyncio.sleep(0)
            caller.handle.tell(Flush())
            for _ in range(turns // 12):
                await asyncio.sleep(0)
            await caller.until(lambda heard: any(isinstance(e, Final) for e in heard))
            assert caller.texts == ["one"]
            await caller.until_drained()
            await caller.handle.close()
        assert runner.load().live == 0


async def test_clients_that_vanish_at_random_moments_leave_nothing_behind():
    async with running() as runner:
        for n in range(100):
            caller = await Caller.join(runner, live=n % 3 != 0, interims=n % 2 == 0)
            feeding = asyncio.create_task(caller.handle.feed(speech(320 + n * 16) + quiet(320)))
            for _ in range(n % 17):
                await asyncio.sleep(0)
            await caller.handle.close()
            async with asyncio.timeout(SECONDS):
                await feeding
        last = await Caller.join(runner)
        await last.handle.feed(speech(640) + quiet(640))
        await last.until_drained()
        await last.handle.close()
        assert (runner._streams, runner._fresh, len(runner._board)) == ({}, set(), 0)
    for _ in range(9):
        await asyncio.sleep(0)  # until the results that came back are seen
    assert runner._board.free == 2


class LoopRecogniser(FakeRecogniser):
    """Finishes by way of the event loop, as an engine in a process of its own does."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.reached, self.timed_out = threading.Event(), False
        self.leaving = asyncio.Event()
        self.leaving.set()

    def recognise(self, batch):
        self.reached.set()
        try:
            asyncio.run_coroutine_threadsafe(self.leaving.wait(), self.loop).result(SECONDS)
        except TimeoutError:
            self.timed_out = True
        return super().recognise(batch)


async def test_stopping_leaves_the_event_loop_to_an_engine_that_needs_it():
    recogniser = LoopRecogniser()
    async with running(recogniser) as runner:
        recogniser.reached.clear()
        recogniser.leaving.clear()
        caller = await Caller.join(runner)
        await caller.handle.feed(speech(992))
        assert await asyncio.to_thread(recogniser.reached.wait, SECONDS)
        recogniser.leaving.set()  # which it hears of once the loop goes on
    assert not recogniser.timed_out


async def test_stopping_waits_for_the_engine_and_lets_waiting_senders_go():
    recogniser = GatedRecogniser()
    async with running(recogniser) as runner:
        await reached(recogniser)
        recogniser.gate.clear()
        caller = await Caller.join(runner, live=False, interims=False)
        feeding = asyncio.create_task(caller.handle.feed((speech(640) + quiet(640)) * 60))
        await reached(recogniser)
        assert not feeding.done()
        recogniser.gate.set()
    async with asyncio.timeout(SECONDS):
        await feeding
    assert caller.stream.closed
    await asyncio.sleep(0)  # results that came back after the stop are dropped in silence


async def test_an_engine_that_cannot_start_says_so_at_the_start():
    runner = Runner(FakeRecogniser(fails=lambda _: True), FakeDetector(), FakeClock(), Settings(), lambda _: None)
    with pytest.raises(EngineError):
        await runner.start()
    await runner.stop()


async def test_threads_that_may_not_lower_their_priority_work_all_the_same(monkeypatch):
    def refuse(*_) -> None:
        raise PermissionError

    monkeypatch.setattr(runner_module.os, "setpriority", refuse)
    async with running() as runner:
        caller = await Caller.join(runner)
        await caller.handle.feed(speech(640) + quiet(640))
        await caller.until_drained()
    assert caller.texts == ["one two"]


async def test_results_are_hypotheses_of_the_audio_that_was_sent():
    recogniser = FakeRecogniser()
    async with running(recogniser) as runner:
        caller = await Caller.join(runner, interims=False)
        await caller.handle.feed(quiet(320) + speech(640) + quiet(640))
        await caller.until_drained()
    (call,) = [c for c in recogniser.calls if any(speech(1) in u.pcm for u in c)]
    (result,) = recogniser.recognise(call)
    assert isinstance(result, Hypothesis)
    assert call[0].pcm == quiet(224) + speech(640) + quiet(96)
