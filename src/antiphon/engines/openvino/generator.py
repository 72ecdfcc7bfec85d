"""The server's side of the pipeline's process: start it, ask it, hear it, and start it again when it dies.

A step's report is one read of the socket and one wake-up of the event loop, for all requests together. A generator that
is closed cancels its request inside the pipeline. What runs when the process dies fails with `EngineError`, and a new
process loads the model; one that cannot load it is tried again later and later, up to `LONGEST_PAUSE_S`.
"""

import asyncio
import logging
import os
import secrets
import socket
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from antiphon.core.errors import AntiphonError, CallerError, CapacityError, ContextLengthExceeded, EngineError
from antiphon.core.events import Generated, TokenUsage
from antiphon.core.ports import Call
from antiphon.core.specs import GenerateSpec, Shape
from antiphon.engines.openvino.messages import (
    HEADER,
    OUT_OF_MEMORY,
    Begun,
    Cancel,
    Chunk,
    Load,
    Model,
    OpenVinoSettings,
    Ready,
    Refused,
    Stepped,
    Unloadable,
    Why,
    frame,
    report_decoder,
)
from antiphon.engines.openvino.output import Choice
from antiphon.engines.openvino.request import offered, translated

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
_END_S = 5.0
_WORKER = "antiphon.engines.openvino.worker"

log = logging.getLogger(__name__)

Events = tuple[Generated | TokenUsage, ...]
_Item = Begun | Refused | Chunk | AntiphonError


@dataclass(frozen=True, slots=True)
class OpenVinoStats:
    """What the engine takes. `cache_bytes` is the bound of the key and value cache, `cache_used_bytes` the part that
    running requests hold; `rss_bytes` is all memory of the pipeline's process.
    """

    running: int
    rss_bytes: int
    cache_bytes: int
    cache_used_bytes: int
    restarts: int


class Inbox:
    """What the pipeline has said of one request and nobody has read yet."""

    __slots__ = ("_items", "_waiter")

    def __init__(self) -> None:
        self._items: list[_Item] = []
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: _Item) -> None:
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> list[_Item]:
        """All there is, at least one."""
        if not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        items, self._items = self._items, []
        return items


class _Link(asyncio.Protocol):
    """The server's end of the socket to one process."""

    def __init__(self, engine: "OpenVinoGenerator") -> None:
        self._engine = engine
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= HEADER.size:
            end = HEADER.size + HEADER.unpack_from(buffer)[0]
            if len(buffer) < end:
                return
            report = report_decoder.decode(memoryview(buffer)[HEADER.size : end].tobytes())
            del buffer[:end]
            self._engine.heard(report)

    def connection_lost(self, error: Exception | None) -> None:
        self._engine.lost()


class OpenVinoGenerator:
    """One language model, from a GGUF file or a folder of OpenVINO files. Use `start`; `fingerprint` tells its weights
    apart from others.
    """

    def __init__(self, path: Path, settings: OpenVinoSettings, fingerprint: str = "") -> None:
        self.fingerprint = fingerprint
        self._path = path
        self._settings = settings
        self._model: Model | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._transport: asyncio.Transport | None = None
        self._inboxes: dict[int, Inbox] = {}
        self._next = 0
        self._loaded: asyncio.Future[Model] | None = None
        self._gone = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._cache_bytes = 0
        self._cache_share = 0.0
        self._restarts = 0

    @classmethod
    async def start(cls, path: Path, settings: OpenVinoSettings, fingerprint: str = "") -> "OpenVinoGenerator":
        """Loads the model. Raises `EngineError` if it cannot be loaded."""
        engine = cls(path, settings, fingerprint)
        try:
            await engine._load()
        except BaseException:
            await engine.close()
            raise
        engine._keeper = asyncio.create_task(engine._keep(), name="keep the language model running")
        return engine

    # -- asking --------------------------------------------------------------------------------------------------------

    async def generate(self, spec: GenerateSpec, call: Call) -> AsyncGenerator[Events, None]:
        """See `core.ports.Generator`. Of several choices, the input is counted once."""
        model, transport = self._ready()
        if len(self._inboxes) >= self._settings.max_requests:
            raise CapacityError("The model has as many requests as it can take.", retry_after_s=5)
        number, self._next = self._next, self._next + 1
        request = translated(spec, number, model, self._settings.default_max_tokens, secrets.randbits(32))
        choices = [Choice(index, spec, offered(spec), model.vocabulary) for index in range(spec.choices)]
        inbox = self._inboxes[number] = Inbox()
        left = len(choices)
        try:
            transport.write(frame(request))
            usage = TokenUsage(0, 0)
            while left:
                events: list[Generated | TokenUsage] = []
                for item in await inbox.take():
                    if isinstance(item, Chunk):
                        choice = choices[item.choice]
                        if choice.ended:
                            continue
                        events += choice.take(item)
                        if choice.ended:
                            left -= 1
                            if choice.stopped:
                                self._tell(Cancel(number, item.choice))
                    elif isinstance(item, Begun):
                        usage = TokenUsage(item.input, 0, item.cached)
                        events.append(usage)
                    elif isinstance(item, Refused):
                        raise _refusal(item, spec, model)
                    else:
                        raise item
                if not left:
                    output = sum(choice.tokens for choice in choices)
                    events.append(TokenUsage(usage.input, output, usage.cached))
                if events:
                    yield tuple(events)
        finally:
            del self._inboxes[number]
            if left:
                self._tell(Cancel(number))

    def _ready(self) -> tuple[Model, asyncio.Transport]:
        if self._model is None or self._transport is None:
            raise EngineError("The model is not loaded at the moment.", retry_after_s=5)
        return self._model, self._transport

    def _tell(self, command: Cancel) -> None:
        if self._model is not None and self._transport is not None:
            self._transport.write(frame(command))

    async def check(self) -> None:
        self._ready()

    def stats(self) -> OpenVinoStats:
        return OpenVinoStats(
            running=len(self._inboxes),
            rss_bytes=_rss_bytes(self._process.pid) if self._process and self._process.returncode is None else 0,
            cache_bytes=self._cache_bytes,
            cache_used_bytes=round(self._cache_bytes * self._cache_share),
            restarts=self._restarts,
        )

    # -- hearing -------------------------------------------------------------------------------------------------------

    def heard(self, report: Ready | Unloadable | Stepped) -> None:
        """One report of the process."""
        if isinstance(report, Stepped):
            self._cache_bytes, self._cache_share = report.cache_bytes, report.cache_share
            inboxes = self._inboxes
            for begun in report.begun:
                if begun.number in inboxes:
                    inboxes[begun.number].put(begun)
            for refused in report.refused:
                if refused.number in inboxes:
                    inboxes[refused.number].put(refused)
            for chunk in report.chunks:
                if chunk.number in inboxes:
                    failed = chunk.end == OUT_OF_MEMORY
                    inboxes[chunk.number].put(CapacityError("The model's cache is full.") if failed else chunk)
        elif self._loaded is not None and not self._loaded.done():
            if isinstance(report, Ready):
                self._loaded.set_result(report.model)
            else:
                self._loaded.set_exception(EngineError(f"The model cannot be loaded: {report.reason}"))

    def lost(self) -> None:
        """The process has ended."""
        self._model = self._transport = None
        failure = EngineError("The model's process has ended; it is started again.", retry_after_s=5)
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(EngineError("The model's process ended while it loaded the model."))
        for inbox in self._inboxes.values():
            inbox.put(failure)
        self._gone.set()

    # -- the process ---------------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        sock = await self._spawn()
        self._gone.clear()
        self._loaded = loop.create_future()
        transport, _ = await loop.create_connection(lambda: _Link(self), sock=sock)
        transport.write(frame(Load(str(self._path), self._settings)))
        try:
            self._model = await self._loaded
        except EngineError:
            transport.close()
            await self._reap()
            raise
        self._transport = transport

    async def _spawn(self) -> socket.socket:
        """Starts the process. Returns our end of its socket."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        nothing = asyncio.subprocess.DEVNULL  # nor may a word of a prompt get into a log by way of the vendor's library
        with theirs:
            command = (sys.executable, "-m", _WORKER, str(theirs.fileno()))
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *command, stdin=nothing, stdout=nothing, stderr=nothing, pass_fds=(theirs.fileno(),)
                )
            except OSError as error:
                ours.close()
                raise EngineError("The model's process cannot be started.") from error
        return ours

    async def _keep(self) -> None:
        """Starts the process again whenever it has died."""
        pause_s = FIRST_PAUSE_S
        while True:
            await self._gone.wait()
            await self._reap()
            log.error("the language model's process ended", extra={"restarts": self._restarts})
            self._restarts += 1
            try:
                await self._load()
                pause_s = FIRST_PAUSE_S
            except EngineError as error:
                log.error("the language model could not be started again", extra={"reason": error.message})
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _reap(self) -> None:
        process = self._process
        if process is None:
            return
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def close(self) -> None:
        """Ends the process. What still runs fails."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        await self._reap()


def _refusal(refused: Refused, spec: GenerateSpec, model: Model) -> AntiphonError:
    prompt = "prompt" if isinstance(spec.prompt, str) else "messages"
    match refused.why:
        case Why.EMPTY:
            return CallerError("There is no text to go on from.", param=prompt)
        case Why.TOO_LONG:
            return ContextLengthExceeded(
                f"The prompt has {refused.input} tokens or more; with an answer, {model.context_tokens} fit.",
                param=prompt,
            )
        case Why.GRAMMAR:
            shaped = spec.format.shape is Shape.SCHEMA
            return CallerError("The schema cannot be enforced.", param="response_format" if shaped else "tools")


def _rss_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
