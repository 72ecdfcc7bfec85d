"""One server with OpenAI's API: its connections, its credential, its errors.

Connections are pooled, kept alive for less time than servers keep them, and bounded: a call over `outstanding` is
refused at once, since waiting is a queue's task. Compressed answers are not requested, redirects not followed, the
environment's proxies not used. If a caller stops reading an answer, its connection is closed, which tells the server to
stop; the same at a deadline, since none of these servers accepts one (llama.cpp has a time limit that cuts an answer
without saying so, which is worse).

Errors are classified by `blame`. A server's message reaches the caller only for errors of the caller, cut to
`MESSAGE_CHARS` characters, and not if it contains any `ECHO_CHARS` characters in a row of the caller's input: messages
must contain no content, and some servers quote their input.
"""

import asyncio
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

import aiohttp
import msgspec
from yarl import URL

from antiphon.core.errors import (
    AntiphonError,
    CallerError,
    CapacityError,
    ContextLengthExceeded,
    EngineError,
    EngineMisconfigured,
    EngineTimeout,
)
from antiphon.core.ports import Clock, EngineCall
from antiphon.engines.openai_compatible.presets import Preset

MESSAGE_CHARS = 300
ECHO_CHARS = 12
LEAST_ECHO_CHARS = 4  # a shorter prompt cannot be distinguished from the server's own words
MAX_ERROR_BYTES = 65_536
MAX_RETRY_S = 3600
CHECK_TIMEOUT_S = 5.0
FINISH_S = 0.25

# Parameters that a server may blame; any other name may be content.
PARAMETERS = frozenset(
    {"messages", "prompt", "input", "n", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed"}
    | {"presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "response_format", "dimensions"}
    | {"tools", "tool_choice", "parallel_tool_calls", "logit_bias", "reasoning_effort", "verbosity"}
)

# How servers say that a prompt is too long: OpenAI, vLLM, SGLang and Ollama name the context's length, llama.cpp its
# size, older versions of vLLM the model's length, TensorRT-LLM its own limits.
_TOO_LONG_CODES = ("context_length_exceeded", "exceed_context_size_error")
_TOO_LONG = re.compile(
    r"context (length|size|window)|maximum (model|sequence|input) length|max_(seq|input)_len|max_num_tokens",
    re.IGNORECASE,
)

_FULL = frozenset({429, 503})
_LATE = frozenset({408, 504})  # Ray Serve uses 408 for its own time limit
_CALLERS = frozenset({400, 413, 414, 415, 422, 431})


def blame(status: int) -> type[AntiphonError]:
    """Return the error for a status. Other 4xx are our errors: the credential (401), the address and the model's name
    (404), or a gateway that refuses us (403); a caller's content may cause them too, so they say nothing about the
    server's health.
    """
    if status in _FULL:
        return CapacityError
    if status in _LATE:
        return EngineTimeout
    if status in _CALLERS:
        return CallerError
    return EngineMisconfigured if 400 <= status < 500 else EngineError


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
        """Send the request and wait for a successful answer to begin. Raises the `AntiphonError` of `blame`."""
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

    async def _refusal(self, response: aiohttp.ClientResponse) -> AntiphonError:
        status = response.status
        blamed = blame(status)
        if blamed is CapacityError:
            return CapacityError("The model's server is full.", retry_after_s=_retry_after(response))
        if blamed is EngineTimeout:
            return EngineTimeout("The model took too long.")
        if blamed is not CallerError:
            return blamed(f"The model's server answered {status}.")
        message, param, codes = _told(await _bounded(response, MAX_ERROR_BYTES))
        too_long = any(code in codes for code in _TOO_LONG_CODES) or bool(_TOO_LONG.search(message))
        if _quotes(message, self._content):
            message = ""
        kind: type[CallerError] = CallerError
        if too_long:
            kind = ContextLengthExceeded
            if kind.WORDS not in message[:MESSAGE_CHARS]:
                message = f"This model's {kind.WORDS} is exceeded. {message}".rstrip()
        message = message or "The model's server refused the request."
        return kind(message[:MESSAGE_CHARS], param=param if param in PARAMETERS else None)


class _Error(msgspec.Struct):
    message: str | None = None
    param: str | None = None
    code: object = None
    type: object = None


class _Refusal(msgspec.Struct):
    """The known forms: OpenAI's `{"error": {...}}`; SGLang's and TensorRT-LLM's bare object; FastAPI's `{"detail":
    "..."}`.
    """

    error: _Error | str | None = None
    message: str | None = None
    param: str | None = None
    code: object = None
    type: object = None
    detail: object = None


def _told(body: bytes) -> tuple[str, str | None, tuple[object, ...]]:
    """Return the message, the parameter and the error's names; empty if the form is unknown."""
    try:
        refusal = msgspec.json.decode(body, type=_Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", None, ()
    error = refusal.error
    if isinstance(error, _Error):
        return error.message or "", error.param, (error.code, error.type)
    if error or refusal.message:
        return error or refusal.message or "", refusal.param, (refusal.code, refusal.type)
    return (refusal.detail, None, ()) if isinstance(refusal.detail, str) else ("", None, ())


def _quotes(message: str, content: Iterable[str]) -> bool:
    """Return whether `message` repeats some of `content`."""
    shown = message[:MESSAGE_CHARS]
    pieces = [shown[at : at + ECHO_CHARS] for at in range(max(1, len(shown) - ECHO_CHARS + 1))]
    for text in content:
        text = text.strip()
        if LEAST_ECHO_CHARS <= len(text) < ECHO_CHARS:
            if text in shown:
                return True
        elif any(piece in text for piece in pieces):
            return True
    return False


def _retry_after(response: aiohttp.ClientResponse) -> int:
    told = response.headers.get("Retry-After", "")
    return min(int(told), MAX_RETRY_S) if told.isascii() and told.isdigit() else 1


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
