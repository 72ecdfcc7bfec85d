"""One server with OpenAI's API: its connections, its credential, its errors.

Connections are pooled, kept alive for less time than servers keep them, and bounded: a call over `outstanding` is
refused at once, since waiting is a queue's task. Compressed answers are not requested, redirects not followed, the
environment's proxies not used. If a caller stops reading an answer, its connection is closed, which tells the server to
stop; the same at a deadline, since none of these servers accepts one (llama.cpp has a time limit that cuts an answer
without saying so, which is worse).
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

import aiohttp
from yarl import URL

from antiphon.core.errors import AntiphonError, CallerError, CapacityError, EngineError, EngineTimeout
from antiphon.core.ports import Clock, EngineCall
from antiphon.engines.openai_compatible.presets import Preset
from antiphon.engines.openai_compatible.refusals import blame, late_refusal, refusal

MAX_ERROR_BYTES = 65_536
MAX_RETRY_S = 3600
CHECK_TIMEOUT_S = 5.0
FINISH_S = 0.25


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds: `outstanding` calls at once; `answer_bytes` for a whole answer, `event_bytes` for an event of a stream;
    `connect_s` for a new connection, `silence_s` before each piece of an answer. An idle connection is closed after
    `idle_s`: uvicorn closes its own after 5 s, and a request must not be sent at that moment.
    """

    outstanding: int = 256
    answer_bytes: int = 16 * 1024 * 1024
    event_bytes: int = 1024 * 1024
    connect_s: float = 5.0
    silence_s: float = 300.0
    idle_s: float = 4.0


class Upstream:
    """The connections to one server. `url` is without the preset's base."""

    def __init__(self, url: str, preset: Preset, model: str, api_key: str | None, clock: Clock, limits: Limits) -> None:
        self.limits = limits
        self._root = url.rstrip("/")
        self._preset = preset
        self._model = model
        self._clock = clock
        self._headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "antiphon",
        }
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._urls: dict[str, URL] = {}
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self.outstanding = 0

    def post(self, path: str, body: bytes, call: EngineCall, content: Iterable[str]) -> "Exchange":
        """Return an exchange, to be used as a context. No error's message may quote `content`."""
        return Exchange(self, path, body, call, content)

    async def check(self) -> None:
        """Check that the server can take calls. Raises `EngineError` if not."""
        timeout = aiohttp.ClientTimeout(total=CHECK_TIMEOUT_S)
        url = URL(self._root + self._preset.health.format(model=self._model))
        try:
            async with self.session().get(url, timeout=timeout, allow_redirects=False) as response:
                status = response.status
        except TimeoutError:
            raise EngineTimeout("The model's server does not answer.") from None
        except (aiohttp.ClientError, OSError):
            raise EngineError("The model's server cannot be reached.") from None
        if status != 200:
            raise EngineError(f"The model's server is not ready: it answered {status}.")

    async def close(self) -> None:
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def session(self) -> aiohttp.ClientSession:
        """Return the client session, made on first use because it needs a running loop."""
        if self._closed:
            raise EngineError("The connection to the model's server is closed.")
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=self.limits.idle_s, ttl_dns_cache=30)
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def url(self, path: str) -> URL:
        known = self._urls.get(path)
        if known is None:
            known = self._urls[path] = URL(self._root + self._preset.base + path)
        return known

    def timeout(self, call: EngineCall) -> aiohttp.ClientTimeout:
        """Return the timeouts of a call. Raises `EngineTimeout` if its deadline has passed."""
        left_s = None
        if call.deadline_ns is not None:
            left_s = (call.deadline_ns - self._clock.now_ns()) / 1e9
            if left_s <= 0:
                raise EngineTimeout("The model took too long.")
        return aiohttp.ClientTimeout(total=left_s, sock_connect=self.limits.connect_s, sock_read=self.limits.silence_s)


class Exchange:
    """One request and its answer. Leaving the context closes the connection, unless the answer was read to its end."""

    __slots__ = ("_body", "_call", "_content", "_path", "_response", "_upstream")

    def __init__(self, upstream: Upstream, path: str, body: bytes, call: EngineCall, content: Iterable[str]) -> None:
        self._upstream = upstream
        self._path = path
        self._body = body
        self._call = call
        self._content = content
        self._response: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> "Exchange":
        """Send the request and wait for a successful answer to begin. Raises the error of `refusal`."""
        upstream = self._upstream
        if upstream.outstanding >= upstream.limits.outstanding:
            raise CapacityError("The model's server has reached its maximum number of calls.", retry_after_s=1)
        upstream.outstanding += 1
        try:
            self._response = response = await upstream.session().post(
                upstream.url(self._path),
                data=self._body,
                headers={"X-Request-Id": self._call.id},
                timeout=upstream.timeout(self._call),
                allow_redirects=False,
            )
            if response.status != 200:
                raise await self._refusal(response)
        except BaseException as error:
            self._leave()
            raise _blamed(error) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        if isinstance(error, TimeoutError | aiohttp.ClientError | OSError):
            raise _blamed(error) from None

    def _leave(self) -> None:
        self._upstream.outstanding -= 1
        if self._response is not None:
            self._response.close()  # does nothing if the answer was read to its end

    @property
    def at_end(self) -> bool:
        """Whether the whole answer has been received."""
        assert self._response is not None
        return self._response.content.at_eof()

    async def read_some(self) -> bytes:
        """Return what has arrived since the last call; empty at the answer's end."""
        assert self._response is not None
        return await self._response.content.readany()

    async def finish(self) -> None:
        """Wait briefly for the end after the last event, so that the connection can be kept."""
        with suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(FINISH_S):
                while not self.at_end and not await self.read_some():
                    pass

    async def read_all(self) -> bytes:
        """Return the whole answer. Raises `EngineError` if it is longer than `answer_bytes`."""
        assert self._response is not None
        return await _bounded(self._response, self._upstream.limits.answer_bytes)

    def late_refusal(self, answer: bytes) -> AntiphonError:
        """Return the error that the server sent in the place of an answer."""
        return late_refusal(answer, self._content)

    async def _refusal(self, response: aiohttp.ClientResponse) -> AntiphonError:
        body = b""
        if blame(response.status) is CallerError:
            with suppress(EngineError):  # too long, as where a server repeats the request: the status says enough
                body = await _bounded(response, MAX_ERROR_BYTES)
        return refusal(response.status, body, self._content, _retry_after(response))


def _retry_after(response: aiohttp.ClientResponse) -> int:
    header = response.headers.get("Retry-After", "")
    return min(int(header), MAX_RETRY_S) if header.isascii() and header.isdigit() and len(header) < 10 else 1


async def _bounded(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    length = 0
    while True:
        piece = await response.content.readany()
        if not piece:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.append(piece)
        length += len(piece)
        if length > max_bytes:
            raise EngineError(f"The model's server answered with more than {max_bytes} bytes.")


def _blamed(error: BaseException) -> BaseException:
    """Return a server's failure as our error; any other error unchanged."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return EngineError("The model's server cannot be reached.")
    if isinstance(error, TimeoutError):
        return EngineTimeout("The model took too long.")
    if isinstance(error, aiohttp.ClientConnectorError):
        return EngineError("The model's server cannot be reached.")
    if isinstance(error, aiohttp.ClientError | OSError):
        return EngineError("The connection to the model's server broke.")
    return error
