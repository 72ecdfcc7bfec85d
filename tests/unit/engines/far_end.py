"""The other end of the socket of a process that is kept running, in a test's hands."""

import asyncio
import socket
from typing import Any, ClassVar, Self

import msgspec

from antiphon.core.errors import EngineError
from antiphon.engines.process import HEADER, KeptProcess, frame


class FarEnd:
    """Hears what is told to the process, and says what a test has it say."""

    decoder: ClassVar[msgspec.msgpack.Decoder[Any]]

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._loop = asyncio.get_running_loop()

    @classmethod
    def spawned(cls, ends: "asyncio.Queue[Self]") -> socket.socket:
        """The server's end of a new socket; this one goes into `ends`."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        ends.put_nowait(cls(theirs))
        return ours

    async def told(self) -> Any:
        async with asyncio.timeout(60):
            size = 0
            while not size:  # the server asks for signs of life
                (size,) = HEADER.unpack(await self._exactly(HEADER.size))
            return self.decoder.decode(await self._exactly(size))

    async def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += await self._loop.sock_recv(self._socket, size - len(data))
        return data

    async def say(self, *reports: msgspec.Struct) -> None:
        await self._loop.sock_sendall(self._socket, b"".join(map(frame, reports)))

    def die(self) -> None:
        self._socket.close()


async def ready(kept: KeptProcess) -> None:
    """When it has been started, again."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await kept.check()
            except EngineError:
                await asyncio.sleep(0)
