"""Live streams over WebSockets: the common part of Deepgram's, AssemblyAI's and ElevenLabs'."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TypeVar

import aiohttp
import msgspec

from antiphon.bench.protocols.line import Broken, Refused, Result, Target
from antiphon.core.errors import CallerError, EngineError

OVER_CAPACITY = frozenset({429, 503})
MAX_MESSAGE_BYTES = 1 << 20

T = TypeVar("T")


class SocketLine(ABC):
    """Implements `Line`, except for the messages."""

    path: str

    def __init__(self, target: Target, http: aiohttp.ClientSession) -> None:
        self.target = target
        self._http = http
        self._opened: aiohttp.ClientWebSocketResponse | None = None

    # -- what a protocol says ------------------------------------------------------------------------------------------

    @abstractmethod
    def query(self) -> Mapping[str, str]:
        """Return the query of the opening."""

    @abstractmethod
    def headers(self) -> Mapping[str, str]:
        """Return the headers of the opening."""

    @abstractmethod
    def audio(self, pcm: bytes) -> str | bytes:
        """Return the message with more audio."""

    @abstractmethod
    async def finish(self) -> None:
        """Say that no more audio comes. Raises `Broken`."""

    @abstractmethod
    def read(self, text: str) -> Result | None:
        """Return the result in a server message, `None` if it has none. Raises `Broken`, `msgspec.MsgspecError`."""

    # -- the line ------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        url = self.target.url
        try:
            self._opened = await self._http.ws_connect(
                url.rstrip("/") + self.path,
                params=self.query(),
                headers=self.headers(),
                max_msg_size=MAX_MESSAGE_BYTES,
                ssl=self.target.tls() or True,
            )
        except aiohttp.WSServerHandshakeError as error:
            if error.status in OVER_CAPACITY:
                raise Refused from error
            raise CallerError(f"{url} refused the stream: {error.status} {error.message}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise EngineError(f"cannot reach {url}: {error}") from error

    @property
    def _socket(self) -> aiohttp.ClientWebSocketResponse:
        assert self._opened is not None, "open it first"
        return self._opened

    async def receive(self, decode: Callable[[str], T]) -> T:
        """Return the next message, where one must come. Raises `EngineError`."""
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise EngineError(f"{self.target.url} closed the stream with {self._socket.close_code}")
        try:
            return decode(message.data)
        except msgspec.MsgspecError as error:
            raise EngineError(f"{self.target.url}: a message that is not of the protocol: {error}") from error

    async def send(self, pcm: bytes) -> None:
        await self.say(self.audio(pcm))

    async def say(self, message: str | bytes) -> None:
        """Send a message. Raises `Broken`."""
        if self._socket.closed:
            raise Broken("closed before its end")
        try:
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Broken(f"{type(error).__name__}: {error}") from error

    async def results(self) -> AsyncGenerator[Result, None]:
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            try:
                result = self.read(message.data)
            except msgspec.MsgspecError as error:
                raise Broken(f"a message that is not of the protocol: {error}") from error
            if result is not None:
                yield result
        if self._socket.close_code not in (None, 1000):
            raise Broken(f"closed with {self._socket.close_code}")

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()
