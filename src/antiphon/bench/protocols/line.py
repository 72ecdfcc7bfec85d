"""A live stream as the load generator uses it, over any transport."""

import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from antiphon.bench.speech import Span
from antiphon.core.audio import SAMPLE_RATE

LANGUAGE = "en-US"  # for protocols that ask for one


@dataclass(frozen=True, slots=True)
class Target:
    """The server and the parameters. `url` is an origin, `SCHEME://host:port`; `https`, `wss` and `grpcs` use TLS."""

    url: str
    api_key: str
    model: str = "nova-3"
    chunk_ms: int = 100
    endpointing_ms: int = 300
    protocol: str = "deepgram"

    @property
    def secure(self) -> bool:
        return self.url.partition("://")[0] in ("https", "wss", "grpcs")

    @property
    def address(self) -> str:
        """`host:port`."""
        return self.url.rpartition("://")[2].rstrip("/")

    def tls(self) -> ssl.SSLContext | None:
        """Return a context with the authorities that the environment names (`SSL_CERT_FILE`); `None` without TLS."""
        return ssl.create_default_context() if self.secure else None


@dataclass(frozen=True, slots=True)
class Result:
    """The server's result for these samples of the stream."""

    window: Span
    final: bool
    text: str


class Refused(Exception):
    """The server has no capacity for this stream."""


class Broken(Exception):
    """The stream ended with an error; the message says which."""


class Line(Protocol):
    """One live stream of 16 kHz mono int16."""

    async def open(self) -> None:
        """Return when the server has accepted the stream, if its protocol reports that. Raises `Refused` for lack of
        capacity, `CallerError` or `EngineError` for any other reason.
        """

    async def send(self, pcm: bytes) -> None:
        """Send audio. Raises `Broken`."""

    async def finish(self) -> None:
        """Say that no more audio comes. Raises `Broken`."""

    def results(self) -> AsyncGenerator[Result, None]:
        """Yield results until the server closes the stream without an error. Raises `Broken`."""

    async def close(self) -> None: ...


def samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)
