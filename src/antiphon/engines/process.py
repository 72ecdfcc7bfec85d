"""A process of ours that computes for the server: start it, exchange messages, and restart it when it dies.

Both sides send messages over one socket, each after its length. An empty one asks for a sign of life, and the thread
that takes the commands answers with another; a process that loads its model sends one by itself, every second. A stuck
process (`children.Pulse`) is killed within ten seconds, and restarted.

If a model cannot be loaded, pauses between tries grow to `LONGEST_PAUSE_S`. The process ends with the server: its
socket closes.
"""

import asyncio
import logging
import math
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Self

import msgspec

from antiphon import children
from antiphon.core.errors import EngineError, EngineTimeout
from antiphon.supervision import supervisor

HEADER = struct.Struct("<I")
BEAT = HEADER.pack(0)  # a sign of life, or the request for one
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
LOADING_LOOKS = 3600  # in a row without a message while it loads, which may block its other threads
_END_S = 5.0

log = logging.getLogger(__name__)
_encoder = msgspec.msgpack.Encoder()


class Unloadable(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """The report of a process that cannot load its model."""

    reason: str


def frame(message: msgspec.Struct) -> bytes:
    """Return a message as bytes, after its length."""
    body = _encoder.encode(message)
    return HEADER.pack(len(body)) + body


@contextmanager
def beating(send: Callable[[bytes], None]) -> Iterator[None]:
    """Send signs of life from a thread while the process loads its model."""
    loaded = threading.Event()

    def beat() -> None:
        with suppress(OSError):  # the server is gone
            while not loaded.wait(children.LOOK_S):
                send(BEAT)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        loaded.set()
        thread.join()


class Frames:
    """Splits a stream of bytes into messages. An empty one is a `BEAT`."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def bodies(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that `data` completes."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= HEADER.size:
            end = HEADER.size + HEADER.unpack_from(buffer)[0]
            if len(buffer) < end:
                return
            body = bytes(buffer[HEADER.size : end])
            del buffer[:end]
            yield body


class _Link(asyncio.Protocol):
    """The server's end of the socket to one process."""

    def __init__(self, kept: "KeptProcess") -> None:
        self._kept = kept
        self._frames = Frames()

    def data_received(self, data: bytes) -> None:
        self._kept.pulse.reset()
        for body in self._frames.bodies(data):
            if body:
                self._kept.received(body)

    def connection_lost(self, error: Exception | None) -> None:
        self._kept.lost()


class KeptProcess(ABC):
    """The server's side of one process. A subclass gives the first message, and handles the reports.

    The process reports that it has loaded its model, or `Unloadable`, and then whatever is requested.
    """

    worker: str  # the module that is the process
    name: str  # in logs and errors, such as "language model"

    def __init__(self, load: msgspec.Struct) -> None:
        self._load_message = load
        self._process: asyncio.subprocess.Process | None = None
        self._transport: asyncio.Transport | None = None
        self._loaded: asyncio.Future[Any] | None = None
        self._gone = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._restarts = 0
        self._stuck = 0  # times that it was killed as stuck
        self._load_s = 0.0  # duration of the last load
        self._ready_s = 0.0  # the loop's time at which it should be ready again, if it is not
        self.pulse = children.Pulse()
        self._announce: list[Callable[[], object]] = []

    def when_ready(self, callback: Callable[[], object]) -> None:
        """Call back when the process is ready: see `core.ports.Announcing`."""
        self._announce.append(callback)

    async def _begin(self) -> Self:
        """Load the model. Raises `EngineError` if it cannot be loaded."""
        try:
            await self._load()
        except BaseException:
            await self.close()
            raise
        self._keeper = supervisor.start(f"keep the {self.name} running", self._keep)
        return self

    # -- for the subclass ----------------------------------------------------------------------------------------------

    @abstractmethod
    def handle(self, body: bytes) -> msgspec.Struct | None:
        """Handle one message. Returns it if it ends the loading."""

    @abstractmethod
    def ready(self, loaded: Any) -> None:
        """Note that the model was loaded, for the first time or again."""

    @abstractmethod
    def forsaken(self, failure: EngineError) -> None:
        """Fail everything that ran: the process has ended."""

    # -- hearing -------------------------------------------------------------------------------------------------------

    def received(self, body: bytes) -> None:
        message = self.handle(body)
        if message is None or self._loaded is None or self._loaded.done():
            return
        if isinstance(message, Unloadable):
            self._loaded.set_exception(EngineError(f"The {self.name} cannot be loaded: {message.reason}"))
        else:
            self._loaded.set_result(message)

    def lost(self) -> None:
        """Note that the process has ended, or is not waited for any more."""
        if self._looking is not None:
            self._looking.cancel()
        self._transport = None
        self._ready_s = asyncio.get_running_loop().time() + self._load_s
        kind, how = (EngineTimeout, "was stuck") if self.pulse.stuck else (EngineError, "has ended")
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(kind(f"The {self.name}'s process {how} while it loaded."))
        message = f"The {self.name}'s process {how}; it is started again."
        self.forsaken(kind(message, retry_after_s=self._retry_after_s()))
        self._gone.set()

    def _retry_after_s(self) -> int:
        """Return the seconds until it is ready, if it takes as long as the last time."""
        return max(1, math.ceil(self._ready_s - asyncio.get_running_loop().time()))

    def _open(self) -> asyncio.Transport:
        if self._transport is None:
            raise self._away()
        return self._transport

    def _away(self) -> EngineError:
        return EngineError(f"The {self.name} is not available at the moment.", retry_after_s=self._retry_after_s())

    @asynccontextmanager
    async def _owed(self, longest_s: float) -> AsyncIterator[None]:
        """Bound the wait for an answer. A process that does not give it in time counts as stuck, even if it is
        otherwise alive.
        """
        try:
            async with asyncio.timeout(longest_s):
                yield
        except TimeoutError:
            self.pulse.most_looks = 0
            raise EngineTimeout(f"The {self.name} did not answer.", retry_after_s=self._retry_after_s()) from None

    @property
    def up(self) -> bool:
        """Whether requests can be sent."""
        return self._transport is not None

    async def check(self) -> None:
        self._open()

    def _rss_bytes(self) -> int:
        if self._process is None or self._process.returncode is not None:
            return 0
        return children.resident_bytes(self._process.pid)

    # -- the process ---------------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        self._ready_s = begun_s + self._load_s
        sock = await self._spawn()
        self._gone.clear()
        self._loaded = loop.create_future()
        self.pulse = children.Pulse(LOADING_LOOKS)
        transport, _ = await loop.create_connection(lambda: _Link(self), sock=sock)
        self._looking = loop.call_later(children.LOOK_S, self._look, transport)
        transport.write(frame(self._load_message))
        try:
            loaded = await self._loaded
        except EngineError:
            transport.close()
            await self._reap()
            raise
        self._load_s = loop.time() - begun_s
        self.pulse = children.Pulse()
        self.ready(loaded)
        self._transport = transport
        log.info("the %s's process is ready", self.name)
        for announce in self._announce:
            announce()

    async def _spawn(self) -> socket.socket:
        """Start the process. Returns our end of its socket."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:  # no descriptor is left; later there may be
            raise EngineError(f"The {self.name}'s process cannot be started.") from error
        ours.setblocking(False)
        nothing = asyncio.subprocess.DEVNULL  # nor may a caller's text get into a log through a vendor's library
        with theirs:
            command = children.command(self.worker, str(theirs.fileno()))
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=nothing,
                    stdout=nothing,
                    stderr=nothing,
                    pass_fds=(theirs.fileno(),),
                    **children.apart(),
                )
            except OSError as error:
                ours.close()
                raise EngineError(f"The {self.name}'s process cannot be started.") from error
        return ours

    def _look(self, transport: asyncio.Transport) -> None:
        """Check the process again and again, until it is lost; kill it if it is stuck."""
        answered = not self.pulse.silent
        self.pulse.look(None if self._process is None else self._process.pid)
        if self.pulse.stuck:
            log.error("the %s's process is stuck", self.name)
            self._stuck += 1
            self._kill()
            transport.abort()
            return
        if answered and self._transport is not None:
            transport.write(BEAT)
        self._looking = asyncio.get_running_loop().call_later(children.LOOK_S, self._look, transport)

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _keep(self) -> None:
        """Restart the process whenever it has died."""
        pause_s = FIRST_PAUSE_S
        while True:
            await self._gone.wait()
            await self._reap()
            log.error("the %s's process ended", self.name, extra={"restarts": self._restarts})
            self._restarts += 1
            try:
                await self._load()
                pause_s = FIRST_PAUSE_S
            except EngineError as error:
                log.error("the %s could not be started again", self.name, extra={"reason": error.message})
                self._ready_s = asyncio.get_running_loop().time() + pause_s + self._load_s
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
            self._kill()
            await process.wait()

    async def close(self) -> None:
        """End the process. Everything that runs fails."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()
        self._kill()
        await self._reap()
