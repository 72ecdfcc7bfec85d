"""A live stream as the load generator sees it, whatever carries it."""

import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from antiphon.bench.speech import Span
from antiphon.core.audio import SAMPLE_RATE

LANGUAGE = "en-US"  # for protocols that ask for one


@dataclass(frozen=True, slots=True)
class Target:
    """Where to, and with what parameters. `url` is an origin, `SCHEME://host:port`; `https`, `wss` and `grpcs` are over
    TLS.
    """

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
        """Authorities as the environment names them (`SSL_CERT_FILE`)."""
        return ssl.create_default_context() if self.secure else None


@dataclass(frozen=True, slots=True)
class Result:
    """What a server says of these samples of the stream."""

    window: Span
    final: bool
    text: str


class Refused(Exception):
    """The server has no room for this stream."""


class Broken(Exception):
    """The stream has ended as it should not; why."""


class Line(Protocol):
    """One live stream of 16 kHz mono int16."""

    async def open(self) -> None:
        """Returns when the server has let the stream in, as far as its protocol tells. Raises `Refused` for want of
        room, `CallerError` or `EngineError` for any other reason.
        """

    async def send(self, pcm: bytes) -> None:
        """Raises `Broken`."""

    async def finish(self) -> None:
        """Say that no more audio comes. Raises `Broken`."""

    def results(self) -> AsyncGenerator[Result, None]:
        """Ends when the server has closed the stream as it should. Raises `Broken`."""

    async def close(self) -> None: ...


def samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)
