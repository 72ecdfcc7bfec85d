"""Language calls against one server: a fixed number at once, or a fixed rate, however the server responds.

With `concurrency`, each of so many callers asks again once it was answered (a closed loop), over connections that are
open before the clock starts. With `rate`, requests arrive as a Poisson process on a schedule that never waits for an
answer (an open loop). Requests are made before the clock starts; the one for `warm_up` is not measured.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from urllib.parse import urlsplit

import msgspec

from antiphon.bench import completions, process
from antiphon.bench.completions import DONE, OVER_CAPACITY, Completion, EventLines, Messages
from antiphon.bench.generations import OBJECTIVES, Answer, ChatLevel, Objectives, level
from antiphon.bench.http1 import Pool
from antiphon.bench.measure import Load
from antiphon.core.errors import CallerError, EngineError

TIMEOUT_S = 600  # for one answer
MAX_REASON = 120


@dataclass(frozen=True, slots=True)
class Target:
    """The server and the parameters. `url` is an origin or an SDK's base; `extra` is added to each body."""

    url: str
    api_key: str
    model: str
    max_tokens: int = 64
    stream: bool = True
    extra: dict[str, object] = field(default_factory=dict)


def requests(target: Target, prompts: Sequence[Messages], count: int) -> list[bytes]:
    """Return `count` whole HTTP requests, with the prompts in turn. Raises `CallerError` for an invalid address."""
    address = urlsplit(completions.endpoint(target.url))
    if address.scheme not in ("http", "https") or not address.hostname:
        raise CallerError(f"--url must be an address like http://127.0.0.1:8080, not {target.url!r}")
    head = (
        f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {target.api_key}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()
    made = []
    for messages in prompts:
        values = completions.body(target.model, messages, stream=target.stream, max_tokens=target.max_tokens)
        body = msgspec.json.encode(values | target.extra)
        made.append(head + str(len(body)).encode() + b"\r\n\r\n" + body)
    return [made[index % len(made)] for index in range(count)]


class _Reading:
    """One answer as it arrives; `outcome` sums it up."""

    def __init__(self, due_ns: int, start_ns: int, stream: bool) -> None:
        self._due_ns = due_ns
        self._start_ns = start_ns
        self._sent_ns = time.monotonic_ns() - start_ns
        self._events = EventLines() if stream else None
        self._status = 0
        self._body = bytearray()
        self._first_ns: int | None = None
        self._last_ns = 0
        self._deltas = 0
        self._usage: completions.Usage | None = None
        self._ended = False
        self._error: str | None = None

    def head(self, status: int) -> None:
        self._status = status

    def body(self, data: bytes) -> None:
        if self._events is None or self._status != 200:
            self._body += data
            return
        at_ns = time.monotonic_ns() - self._start_ns
        for event in self._events.feed(data):
            if event != DONE:
                try:
                    self._chunk(completions.decode(event), at_ns)
                except msgspec.MsgspecError as error:
                    self._error = f"not a chunk: {error}"

    def _chunk(self, chunk: Completion, at_ns: int) -> None:
        if chunk.error:
            self._error = completions.reason(bytes(chunk.error))
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices:
            self._ended = self._ended or choice.finish_reason is not None
            if choice.delta is not None and choice.delta.holds_tokens:
                self._first_ns = at_ns if self._first_ns is None else self._first_ns
                self._last_ns = at_ns
                self._deltas += 1

    def outcome(self, failure: str | None = None) -> Answer:
        ended_ns = time.monotonic_ns() - self._start_ns
        if failure is None and self._status != 200 and self._status not in OVER_CAPACITY:
            failure = f"{self._status}: {completions.reason(bytes(self._body))}"
        if failure is None and self._status == 200 and self._events is None:
            failure = self._whole()
        elif failure is None and self._status == 200 and (self._error or not self._ended):
            failure = f"in the stream: {self._error or 'no end'}"
        return Answer(
            due_ns=self._due_ns,
            sent_ns=self._sent_ns,
            last_ns=self._last_ns or ended_ns,
            first_ns=self._first_ns,
            deltas=self._deltas,
            reported=self._usage.completion_tokens if self._usage else None,
            input_tokens=self._usage.prompt_tokens if self._usage else None,
            refused=failure is None and self._status in OVER_CAPACITY,
            failure=failure and failure[:MAX_REASON],
        )

    def _whole(self) -> str | None:
        try:
            answer = completions.decode(bytes(self._body))
        except msgspec.MsgspecError as error:
            return f"not a completion: {error}"
        self._usage = answer.usage
        return None if answer.choices else "not a completion: no choices"


class _Caller:
    def __init__(self, pool: Pool, stream: bool, start_ns: int) -> None:
        self.answers: list[Answer] = []
        self.start_ns = start_ns
        self._pool = pool
        self._stream = stream

    async def ask(self, request: bytes, due_ns: int | None = None) -> Answer:
        """Send a request that is due at `due_ns` from the start, or now, and return its answer."""
        now_ns = time.monotonic_ns() - self.start_ns
        reading = _Reading(now_ns if due_ns is None else due_ns, self.start_ns, self._stream)
        failure = None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._pool.ask(request, reading)
        except TimeoutError:
            failure = "no answer in time"
        except OSError as error:
            failure = f"{type(error).__name__}: {error}"
        answer = reading.outcome(failure)
        self.answers.append(answer)
        return answer


async def warm_up(target: Target, messages: Messages) -> None:
    """Send one request that is not measured. Raises `EngineError` if it fails, except for lack of capacity."""
    pool = Pool(urlsplit(target.url))
    try:
        answer = await _Caller(pool, target.stream, 0).ask(requests(target, [messages], 1)[0])
    finally:
        pool.close()
    if answer.failure:
        raise EngineError(f"{target.url} does not answer: {answer.failure}")


async def run_level(
    target: Target,
    prompts: Sequence[Messages],
    count: int,
    *,
    concurrency: int | None = None,
    rate: float | None = None,
    objectives: Objectives = OBJECTIVES,
    pid: int | None = None,
) -> ChatLevel:
    """Measure one level: `ask_all`, summed up."""
    answers, load = await ask_all(target, prompts, count, concurrency=concurrency, rate=rate, pid=pid)
    return level(answers, load, objectives, concurrency=concurrency, rate=rate)


async def ask_all(
    target: Target,
    prompts: Sequence[Messages],
    count: int,
    *,
    concurrency: int | None = None,
    rate: float | None = None,
    pid: int | None = None,
    seed: int = 0,
) -> tuple[list[Answer], Load]:
    """Send `count` requests, `concurrency` at once or `rate` per second. Returns the answers in the order of their
    ends, and the load; `pid` is the server's process, if it runs here.

    Raises `CallerError`, or `EngineError` if the server cannot be reached.
    """
    queue = requests(target, prompts, count)
    pool = Pool(urlsplit(target.url))
    try:
        await pool.warm(min(concurrency or 0, count))
    except OSError as error:
        raise EngineError(f"cannot reach {target.url}: {error}") from error
    watch = process.Watch(pid)
    caller = _Caller(pool, target.stream, time.monotonic_ns())
    try:
        if rate is None:
            await _closed(caller, queue, concurrency or 1)
        else:
            await _open(caller, queue, rate, random.Random(seed))
    finally:
        load = await watch.stop()
        pool.close()
    return caller.answers, load


async def _closed(caller: _Caller, queue: Sequence[bytes], concurrency: int) -> None:
    waiting = iter(queue)

    async def ask_on() -> None:
        for request in waiting:
            await caller.ask(request)

    await asyncio.gather(*(ask_on() for _ in range(concurrency)))


async def _open(caller: _Caller, queue: Sequence[bytes], rate: float, rng: random.Random) -> None:
    async with asyncio.TaskGroup() as group:
        for request, due_ns in zip(queue, arrivals(len(queue), rate, rng), strict=True):
            wait_ns = caller.start_ns + due_ns - time.monotonic_ns()
            if wait_ns > 0:
                await asyncio.sleep(wait_ns / 1e9)
            group.create_task(caller.ask(request, due_ns))


def arrivals(count: int, rate: float, rng: random.Random) -> list[int]:
    """Return when each of `count` requests arrives (ns): gaps are exponential, with `rate` requests per second on
    average.
    """
    return [round(at_s * 1e9) for at_s in accumulate(rng.expovariate(rate) for _ in range(count))]
