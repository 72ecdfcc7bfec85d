"""TLS before HTTP: certificates that may be replaced while the server runs, and handshakes within the bounds of plain
connections. A handshake counts as a connection, is closed if there are too many, and must end within the time for the
head of a request.
"""

import asyncio
import logging
import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from antiphon.core.errors import CallerError
from antiphon.transports.bounds import HEAD_S
from antiphon.transports.connections import Connections
from antiphon.transports.http1 import SURPLUS_HEAD_S, HttpProtocol
from antiphon.transports.http2 import Http2Protocol, switch

HTTP2 = "h2"  # as ALPN names it
SHUTDOWN_S = 5.0  # for the peer's end of TLS

log = logging.getLogger(__name__)


class Certificates:
    """A certificate with its chain, and its key, both in PEM files. `context` is for new handshakes; open connections
    keep theirs. `pem` are the bytes of both files, for other TLS libraries.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load the files. Raises `CallerError` if they cannot be read or do not match."""
        self._files = certificate, key
        self._tried = self._seen = self._look()
        self.pem: tuple[bytes, bytes]
        try:
            self.context = self._load()
        except (OSError, ValueError) as error:
            raise CallerError(_reason(error)) from None

    def follow(self) -> None:
        """Reload changed files, once they stay the same between two calls, because both are not replaced at the same
        moment. Invalid files are logged, and the old ones stay in use.
        """
        before, self._seen = self._seen, self._look()
        if self._seen == self._tried or self._seen != before:
            return
        self._tried = self._seen
        try:
            self.context = self._load()
        except (OSError, ValueError) as error:
            log.error("the new TLS certificate is invalid; the old one stays in use", extra={"reason": _reason(error)})
        else:
            log.info("the TLS certificate was reloaded")

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate, key = self._files
        context.load_cert_chain(certificate, key, password="")  # otherwise OpenSSL asks for one on the terminal
        context.set_alpn_protocols([HTTP2, "http/1.1"])
        self.pem = certificate.read_bytes(), key.read_bytes()
        return context

    def _look(self) -> tuple[object, ...]:
        looks: list[object] = []
        for path in self._files:
            found: os.stat_result | None = None
            with suppress(OSError):
                found = path.stat()
            looks.append(found and (found.st_ino, found.st_size, found.st_mtime_ns))
        return tuple(looks)


def _reason(error: Exception) -> str:
    """Return the reason, without any content of the files."""
    if isinstance(error, ssl.SSLError):
        return f"the certificate or the key is not PEM, is encrypted, or they do not belong together ({error.reason})"
    return f"a file cannot be read: {error.strerror}" if isinstance(error, OSError) else "a file cannot be read"


class HttpsProtocol(HttpProtocol):
    """HTTP/1.1 after a handshake, or HTTP/2 if that was negotiated."""

    http2: ClassVar[type[Http2Protocol]] = Http2Protocol
    handshake: "TlsProtocol"

    def connection_made(self, transport: Any) -> None:
        self.places.leave(self.handshake)  # before this enters, to count one connection once
        if transport.get_extra_info("ssl_object").selected_alpn_protocol() == HTTP2:
            switch(self.http2(self.config, self.server_state, self.app_state, self.loop), transport)
        else:
            super().connection_made(transport)


class TlsProtocol(asyncio.Protocol):
    """A connection during its handshake; then `https` takes over. Constructed as uvicorn constructs a protocol.

    The event loop would report a connection only after its handshake. So it is accepted as a plain one, and its socket
    is passed to the loop again.
    """

    places: ClassVar[Connections]
    https: ClassVar[type[HttpsProtocol]]
    certificates: ClassVar[Certificates]

    def __init__(self, **named: Any) -> None:
        self._named = named
        self._socket: socket.socket | None = None
        self._shaking: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        address = transport.get_extra_info("peername") or ("",)
        try:
            self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        except OSError as error:  # no descriptor is left
            log.error("a connection could not be accepted", exc_info=error)
            return
        finally:
            transport.abort()  # has read nothing yet
        self._socket.setblocking(False)
        most_s = HEAD_S if self.places.enter(self, str(address[0])) else SURPLUS_HEAD_S
        self._shaking = asyncio.get_running_loop().create_task(self._shake(self._socket, most_s))

    def abort(self) -> None:
        """Close in favour of another connection."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _protocol(self) -> HttpsProtocol:
        protocol = self.https(**self._named)
        protocol.handshake = self
        return protocol

    async def _shake(self, accepted: socket.socket, most_s: float) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                accepted,
                ssl=self.certificates.context,
                ssl_handshake_timeout=most_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except OSError:  # the bytes are not TLS, nothing came, or the peer left
            accepted.close()
        finally:
            self._socket = None
            self.places.leave(self)
