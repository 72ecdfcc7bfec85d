"""Real-time streams against one server. The only file of this room with a socket and a clock.

All streams of a level connect first, a few at a time, and then start together on their plans. A stream that the server
refuses for lack of capacity is counted; any other refusal ends the run, because every stream would meet it. Each is
closed with `CloseStream` and read to its end, for at most `DRAIN_S`.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import msgspec

from antiphon.bench import process, schedule
from antiphon.bench.clips import Clip
from antiphon.bench.measure import Heard, Level, Load, Stream, level
from antiphon.bench.schedule import Plan
from antiphon.bench.speech import Span
from antiphon.core.audio import SAMPLE_RATE, ms_to_samples
from antiphon.core.errors import CallerError, EngineError

CONNECTING_AT_ONCE = 16
CONNECT_TIMEOUT_S = 20
DRAIN_S = 30
OVER_CAPACITY = frozenset({429, 503})
MAX_MESSAGE_BYTES = 1 << 20
# The streams' tasks settle before the first chunk is due.
_LEAD_NS = 300_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """The server and the parameters. `url` is an origin, `ws://host:port` or `http://host:port`."""

    url: str
    api_key: str
    model: str = "nova-3"
    chunk_ms: int = 100
    endpointing_ms: int = 300


class _Alternative(msgspec.Struct):
    transcript: str = ""


class _Channel(msgspec.Struct):
    alternatives: list[_Alternative]


class _Message(msgspec.Struct):
    """The needed fields of all messages; `channel` differs by type, so it is decoded later."""

    type: str
    is_final: bool = False
    start: float = 0.0
    duration: float = 0.0
    channel: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(_Message).decode
_decode_channel = msgspec.json.Decoder(_Channel).decode


def heard(text: str, at_ns: int) -> Heard | None:
    """Return a `Results` message for measurement, or `None` for other types. Raises `msgspec.MsgspecError`."""
    message = _decode(text)
    if message.type != "Results":
        return None
    alternatives = _decode_channel(message.channel).alternatives
    start, end = message.start * SAMPLE_RATE, (message.start + message.duration) * SAMPLE_RATE
    said = alternatives[0].transcript if alternatives else ""
    return Heard(at_ns, Span(round(start), round(end)), message.is_final, said)


class _Refused(Exception):
    """The server has no capacity for this stream."""


class _Connection:
    """One stream: its socket, and its results."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.heard: list[Heard] = []
        self.late_ms: list[float] = []
        self.failure: str | None = None
        self._socket: aiohttp.ClientWebSocketResponse

    async def open(self, http: aiohttp.ClientSession, target: Target) -> None:
        """Connect. Raises `_Refused` for lack of capacity, `CallerError` or `EngineError` for any other reason."""
        query = {
            "model": target.model,
            "encoding": "linear16",
            "sample_rate": str(SAMPLE_RATE),
            "channels": "1",
            "interim_results": "true",
            "endpointing": str(target.endpointing_ms),
        }
        try:
            self._socket = await http.ws_connect(
                target.url.rstrip("/") + "/v1/listen",
                params=query,
                headers={"Authorization": f"Token {target.api_key}"},
                max_msg_size=MAX_MESSAGE_BYTES,
            )
        except aiohttp.WSServerHandshakeError as error:
            if error.status in OVER_CAPACITY:
                raise _Refused from error
            raise CallerError(f"{target.url} refused the stream: {error.status} {error.message}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise EngineError(f"cannot reach {target.url}: {error}") from error

    async def run(self, start_ns: int) -> None:
        """Send the plan, and listen until the server closes."""
        listening = asyncio.create_task(self._listen(start_ns))
        try:
            await self._send(start_ns)
            await asyncio.wait_for(asyncio.shield(listening), DRAIN_S)
        except (aiohttp.ClientError, ConnectionError) as error:
            self.failure = self.failure or f"{type(error).__name__}: {error}"
        except TimeoutError:
            self.failure = f"not closed {DRAIN_S} s after CloseStream"
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await self._socket.close()

    async def _send(self, start_ns: int) -> None:
        due_ns = start_ns + self.plan.phase_ns
        for chunk in schedule.chunks(self.plan):
            due_ns += self.plan.chunk_ns
            wait_ns = due_ns - time.monotonic_ns()
            if wait_ns > 0:
                await asyncio.sleep(wait_ns / 1e9)
            if self._socket.closed:
                self.failure = self.failure or "closed before CloseStream"
                return
            self.late_ms.append((time.monotonic_ns() - due_ns) / 1e6)
            await self._socket.send_bytes(chunk)
        await self._socket.send_str('{"type":"CloseStream"}')

    async def _listen(self, start_ns: int) -> None:
        async for message in self._socket:
            at_ns = time.monotonic_ns() - start_ns
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            try:
                result = heard(message.data, at_ns)
            except msgspec.MsgspecError as error:
                self.failure = f"a message that is not Deepgram's: {error}"
                return
            if result is not None:
                self.heard.append(result)
        if self._socket.close_code not in (None, 1000):
            self.failure = f"closed with {self._socket.close_code}"

    def outcome(self) -> Stream:
        return Stream(self.plan, self.heard, self.failure, self.late_ms)


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
        connections = [_Connection(plan) for plan in plans]
        admitted = await _open_all(http, target, connections)
        client_cpu_s, server = process.own_cpu_s(), process.usage(pid) if pid else None
        start_ns = time.monotonic_ns() + _LEAD_NS
        peak = asyncio.create_task(process.peak_rss(pid)) if pid else None
        await asyncio.gather(*(connection.run(start_ns) for connection in admitted))
    wall_s = (time.monotonic_ns() - start_ns) / 1e9
    load = Load(wall_s, process.own_cpu_s() - client_cpu_s)
    if pid and peak and before and server:
        peak.cancel()
        cpu_s = process.usage(pid).cpu_s - server.cpu_s
        load = Load(wall_s, load.client_cpu_s, cpu_s, (await asyncio.gather(peak))[0], before.rss_bytes)
    return level([connection.outcome() for connection in admitted], streams - len(admitted), load)


async def _open_all(
    http: aiohttp.ClientSession, target: Target, connections: Sequence[_Connection]
) -> list[_Connection]:
    """Connect a few at a time. Returns the admitted ones, in order."""
    gate = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def open_one(connection: _Connection) -> _Connection | None:
        async with gate:
            try:
                await asyncio.wait_for(connection.open(http, target), CONNECT_TIMEOUT_S)
            except _Refused:
                return None
            return connection

    opened = await asyncio.gather(*(open_one(connection) for connection in connections))
    return [connection for connection in opened if connection is not None]
