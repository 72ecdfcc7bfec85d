"""Real-time paced streams against one server, by any of the protocols.

All streams of a level connect first, a few at a time, and then start together on their plans; a stream that the server
refuses for lack of capacity is counted; any other refusal ends the run, because every stream would meet it. Each is
ended as its protocol has it and read to its end, for at most `DRAIN_S`.
"""

import asyncio
import time
from collections.abc import Sequence

import aiohttp

from antiphon.bench import process, schedule
from antiphon.bench.clips import Clip
from antiphon.bench.measure import Level, Load, Stream, TimedResult, level
from antiphon.bench.protocols.line import Broken, Line, Refused, Target
from antiphon.bench.protocols.table import PROTOCOLS
from antiphon.bench.schedule import Plan
from antiphon.core.audio import SAMPLE_RATE, ms_to_samples
from antiphon.core.errors import EngineError

CONNECTING_AT_ONCE = 16
CONNECT_TIMEOUT_S = 20
DRAIN_S = 30
# The streams' tasks settle before the first chunk is due.
_LEAD_NS = 300_000_000


class Played:
    """One stream: its plan, its line, and what came back."""

    def __init__(self, plan: Plan, line: Line) -> None:
        self.plan = plan
        self.line = line
        self.results: list[TimedResult] = []
        self.late_ms: list[float] = []
        self.failure: str | None = None

    async def run(self, start_ns: int) -> None:
        """Send the plan, and listen until the server closes."""
        listening = asyncio.create_task(self._listen(start_ns))
        try:
            await self._send(start_ns)
            await asyncio.wait_for(asyncio.shield(listening), DRAIN_S)
        except Broken as error:
            self.failure = self.failure or str(error)
        except TimeoutError:
            self.failure = f"not closed {DRAIN_S} s after its end"
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await self.line.close()

    async def _send(self, start_ns: int) -> None:
        due_ns = start_ns + self.plan.phase_ns
        for chunk in schedule.chunks(self.plan):
            due_ns += self.plan.chunk_ns
            wait_ns = due_ns - time.monotonic_ns()
            if wait_ns > 0:
                await asyncio.sleep(wait_ns / 1e9)
            self.late_ms.append((time.monotonic_ns() - due_ns) / 1e6)
            await self.line.send(chunk)
        await self.line.finish()

    async def _listen(self, start_ns: int) -> None:
        try:
            async for result in self.line.results():
                at_ns = time.monotonic_ns() - start_ns
                self.results.append(TimedResult(at_ns, result.window, result.final, result.text))
        except Broken as error:
            self.failure = self.failure or str(error)

    def outcome(self) -> Stream:
        return Stream(self.plan, self.results, self.failure, self.late_ms)


async def run_level(target: Target, clips: Sequence[Clip], streams: int, *, seconds: int, pid: int | None) -> Level:
    """Measure `streams` streams for `seconds`. `pid` is the server's process, if it runs here.

    Raises `CallerError` or `EngineError` if the server cannot be measured at all.
    """
    plans = schedule.plan_streams(
        clips, streams, samples=seconds * SAMPLE_RATE, chunk_samples=ms_to_samples(target.chunk_ms)
    )
    before = process.usage(pid) if pid else None
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
        line = PROTOCOLS[target.protocol].line
        admitted = await open_all([Played(plan, line(target, http)) for plan in plans])
        client_cpu_s, server = process.own_cpu_s(), process.usage(pid) if pid else None
        start_ns = time.monotonic_ns() + _LEAD_NS
        peak = asyncio.create_task(process.peak_rss(pid)) if pid else None
        await asyncio.gather(*(played.run(start_ns) for played in admitted))
    wall_s = (time.monotonic_ns() - start_ns) / 1e9
    load = Load(wall_s, process.own_cpu_s() - client_cpu_s)
    if pid and peak and before and server:
        peak.cancel()
        cpu_s = process.usage(pid).cpu_s - server.cpu_s
        load = Load(wall_s, load.client_cpu_s, cpu_s, (await asyncio.gather(peak))[0], before.rss_bytes)
    return level([played.outcome() for played in admitted], streams - len(admitted), load)


async def open_all(streams: Sequence[Played]) -> list[Played]:
    """Connect a few at a time. Returns the admitted ones, in order. Raises `CallerError`, `EngineError`."""
    gate = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def open_one(played: Played) -> Played | None:
        async with gate:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await played.line.open()
            except Refused:
                await played.line.close()
                return None
            except TimeoutError:
                raise EngineError(f"a stream was not opened within {CONNECT_TIMEOUT_S} s") from None
            return played

    opened = await asyncio.gather(*map(open_one, streams))
    return [played for played in opened if played is not None]
