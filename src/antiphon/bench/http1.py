"""A lean HTTP/1.1 client for load: kept-alive connections, one request at a time on each, parsed by httptools.

The generator runs beside the server that it measures and competes with it: for a short answer this client takes about a
sixth of the processor time of aiohttp's. It does not support redirects, proxies or compression.
"""

import asyncio
import ssl
from typing import Protocol, cast
from urllib.parse import SplitResult

import httptools

CONNECT_TIMEOUT_S = 20


class Reader(Protocol):
    """Takes one answer as it arrives."""

    def head(self, status: int) -> None: ...

    def body(self, data: bytes) -> None: ...


class Unanswered(ConnectionError):
    """A kept-alive connection was closed before a byte of the answer: the server may not have seen the request."""


class Connection(asyncio.Protocol):
    """One connection. After an error it must not be used again."""

    def __init__(self) -> None:
        self.usable = True
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._reader: Reader
        self._answered: asyncio.Future[None] | None = None
        self._silent = True
        self._used = False

    async def ask(self, request: bytes, reader: Reader) -> None:
        """Send a whole request, and return when its answer has ended. Raises `ConnectionError`."""
        self._reader, self._silent = reader, True
        self._answered = asyncio.get_running_loop().create_future()
        if not self.usable:
            raise Unanswered("closed while it was idle")
        try:
            self._transport.write(request)
            await self._answered
        except BaseException:
            self.close()
            raise
        finally:
            self._answered = None
        self._used = True

    def close(self) -> None:
        self.usable = False
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._silent = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"not an HTTP answer: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        if self._silent and self._used:
            self._fail(Unanswered("closed while it was idle"))
        else:
            self._fail(ConnectionError(str(error) if error else "closed before the answer's end"))

    def _fail(self, error: ConnectionError) -> None:
        self.usable = False
        self._transport.close()
        if self._answered and not self._answered.done():
            self._answered.set_exception(error)

    # -- httptools calls these -----------------------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        self._reader.head(self._parser.get_status_code())

    def on_body(self, data: bytes) -> None:
        self._reader.body(data)

    def on_message_complete(self) -> None:
        self.usable = self.usable and self._parser.should_keep_alive()
        if self._answered and not self._answered.done():
            self._answered.set_result(None)


class Pool:
    """Connections to one origin, as many as needed at once."""

    def __init__(self, origin: SplitResult) -> None:
        self._host = origin.hostname or ""
        self._ssl = ssl.create_default_context() if origin.scheme == "https" else None
        self._port = origin.port or (443 if self._ssl else 80)
        self._idle: list[Connection] = []

    async def warm(self, connections: int) -> None:
        """Open connections until there are so many. Raises `OSError`, `TimeoutError`."""
        while len(self._idle) < connections:
            self._idle.append(await self._connect())

    async def ask(self, request: bytes, reader: Reader) -> None:
        """Send one request and read its answer; retries if an idle connection was closed.

        Raises `OSError`, `TimeoutError`.
        """
        while True:
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                await connection.ask(request, reader)
            except Unanswered:
                continue
            if connection.usable:
                self._idle.append(connection)
            else:
                connection.close()
            return

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, connection = await loop.create_connection(Connection, self._host, self._port, ssl=self._ssl)
        return connection
