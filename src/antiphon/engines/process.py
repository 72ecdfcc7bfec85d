"""A process of ours that computes for the server: start it, tell it, hear it, and start it again when it dies.

Both sides speak in messages over one socket, each with its length in front. A model that cannot be loaded is tried
again later and later, up to `LONGEST_PAUSE_S`. The process ends with the server: its socket closes.
"""

import asyncio
import logging
import os
import socket
import struct
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Self

import msgspec

from antiphon.core.errors import EngineError

HEADER = struct.Struct("<I")
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
_END_S = 5.0

log = logging.getLogger(__name__)
_encoder = msgspec.msgpack.Encoder()


class Unloadable(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """What a process says that cannot load its model."""

    reason: str


def frame(message: msgspec.Struct) -> bytes:
    """A message as it travels."""
    body = _encoder.encode(message)
    return HEADER.pack(len(body)) + body


class Frames:
    """Takes a stream of bytes apart."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def bodies(self, data: bytes) -> Iterator[bytes]:
        """The messages that `data` makes whole."""
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
        for body in self._frames.bodies(data):
            self._kept.received(body)

    def connection_lost(self, error: Exception | None) -> None:
        self._kept.lost()


class KeptProcess(ABC):
    """The server's side of one. A subclass says what is told to it first, and hears the rest.

    The process says that it has loaded its model, or `Unloadable`, and then whatever it is asked for.
    """

    worker: str  # the module that is the process
    name: str  # in logs and errors, as "language model"

    def __init__(self, load: msgspec.Struct) -> None:
        self._load_message = load
        self._process: asyncio.subprocess.Process | None = None
        self._transport: asyncio.Transport | None = None
        self._loaded: asyncio.Future[Any] | None = None
        self._gone = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._restarts = 0

    async def _begin(self) -> Self:
        """Loads the model. Raises `EngineError` if it cannot be loaded."""
        try:
            await self._load()
        except BaseException:
            await self.close()
            raise
        self._keeper = asyncio.create_task(self._keep(), name=f"keep the {self.name} running")
        return self

    # -- for the subclass ----------------------------------------------------------------------------------------------

    @abstractmethod
    def heard(self, body: bytes) -> msgspec.Struct | None:
        """One message. Returns it if it ends the loading."""

    @abstractmethod
    def ready(self, loaded: Any) -> None:
        """It has been loaded, for the first time or anew."""

    @abstractmethod
    def forsaken(self, failure: EngineError) -> None:
        """The process has ended: what it ran fails."""

    # -- hearing -------------------------------------------------------------------------------------------------------

    def received(self, body: bytes) -> None:
        message = self.heard(body)
        if message is None or self._loaded is None or self._loaded.done():
            return
        if isinstance(message, Unloadable):
            self._loaded.set_exception(EngineError(f"The {self.name} cannot be loaded: {message.reason}"))
        else:
            self._loaded.set_result(message)

    def lost(self) -> None:
        """The process has ended."""
        self._transport = None
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(EngineError(f"The {self.name}'s process ended while it loaded."))
        self.forsaken(EngineError(f"The {self.name}'s process has ended; it is started again.", retry_after_s=5))
        self._gone.set()

    def _open(self) -> asyncio.Transport:
        if self._transport is None:
            raise EngineError(f"The {self.name} is not loaded at the moment.", retry_after_s=5)
        return self._transport

    async def check(self) -> None:
        self._open()

    def _rss_bytes(self) -> int:
        if self._process is None or self._process.returncode is not None:
            return 0
        try:
            with open(f"/proc/{self._process.pid}/statm") as statm:
                return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            return 0

    # -- the process ---------------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        sock = await self._spawn()
        self._gone.clear()
        self._loaded = loop.create_future()
        transport, _ = await loop.create_connection(lambda: _Link(self), sock=sock)
        transport.write(frame(self._load_message))
        try:
            loaded = await self._loaded
        except EngineError:
            transport.close()
            await self._reap()
            raise
        self.ready(loaded)
        self._transport = transport

    async def _spawn(self) -> socket.socket:
        """Starts the process. Returns our end of its socket."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:  # no descriptor is left; later there may be
            raise EngineError(f"The {self.name}'s process cannot be started.") from error
        ours.setblocking(False)
        nothing = asyncio.subprocess.DEVNULL  # nor may a word of a caller get into a log by way of a vendor's library
        with theirs:
            command = (sys.executable, "-m", self.worker, str(theirs.fileno()))
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *command, stdin=nothing, stdout=nothing, stderr=nothing, pass_fds=(theirs.fileno(),)
                )
            except OSError as error:
                ours.close()
                raise EngineError(f"The {self.name}'s process cannot be started.") from error
        return ours

    async def _keep(self) -> None:
        """Starts the process again whenever it has died."""
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
