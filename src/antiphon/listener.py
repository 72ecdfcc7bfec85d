"""The listeners: uvicorn on one port, gRPC on another; bounded connections, and sessions that end before they are
closed.
"""

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from antiphon.app import House, assemble
from antiphon.config import Config, Invalid
from antiphon.core.errors import CallerError
from antiphon.core.routing import DialogueRow
from antiphon.routes import ROUTES
from antiphon.supervision import supervisor
from antiphon.transports.connections import Connections, most_connections
from antiphon.transports.frames import WebSocketProtocol
from antiphon.transports.http2 import EitherProtocol, Http2Protocol
from antiphon.transports.listening import Listener
from antiphon.transports.tls import Certificates, HttpsProtocol, TlsProtocol
from antiphon.trust.authority import certify

if TYPE_CHECKING:
    from antiphon.transports.grpc import GrpcListener

MOST_DESCRIPTORS = 1 << 20  # counted at most
COLLECT_AFTER = 10_000  # new objects
# libuv accepts one new connection per socket and turn of the loop, however many wait. During long turns, honest
# callers would wait behind a flood of connections; so the loop is given the same port several times.
ACCEPTED_AT_ONCE = 16
GRPC_CONNECTIONS = 1_000  # or a quarter of all, if that is less
GRACE_S = 2  # for the rest of complete answers, once the sessions have ended

RENEWAL_S = 3600  # between checks of whether the server's own certificate is still valid

log = logging.getLogger(__name__)


class _Tls:
    """The TLS certificates of the port. `tick` is called once a second."""

    def __init__(self, config: Config) -> None:
        """Load the certificates. Raises `Invalid`."""
        self._config = config
        self._ticks = 0
        setting = "tls_self_signed" if config.tls_self_signed else "tls_cert and tls_key"
        try:
            self.certificates = Certificates(*self._files())
        except CallerError as error:
            raise Invalid(f"setting {setting}: {error.message}") from None

    async def tick(self) -> None:
        self._ticks += 1
        if self._config.tls_self_signed and self._ticks % RENEWAL_S == 0:
            try:
                await asyncio.to_thread(self._files)
            except CallerError as error:
                log.error("the server's own TLS certificate cannot be renewed", extra={"reason": error.message})
        self.certificates.follow()

    def _files(self) -> tuple[Path, Path]:
        if self._config.tls_self_signed:
            return certify(self._config.directory, self._config.host)
        return Path(self._config.tls_cert).expanduser(), Path(self._config.tls_key).expanduser()


class HttpListener(uvicorn.Server):
    """Implements `transports.listening.Listener`: HTTP and WebSockets, by uvicorn, on a bound socket."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket, tls: _Tls | None) -> None:
        super().__init__(config)
        self._listening = listening
        self._again = [listening.dup() for _ in range(ACCEPTED_AT_ONCE - 1)]
        self._tls = tls
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup([self._listening, *self._again])
        self._ticking = supervisor.start("tick connections", self.main_loop, essential=True)

    def stop_accepting(self) -> None:
        for server in self.servers:
            server.close()

    async def finish(self, grace_s: float) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        self.config.timeout_graceful_shutdown = grace_s  # type: ignore[assignment]  # which takes any number
        await self.shutdown([self._listening, *self._again])

    async def on_tick(self, counter: int) -> bool:
        """Do what is due, ten times a second."""
        if counter % 10 == 0:
            for connection in tuple(self.server_state.connections):
                connection.tick()  # type: ignore[union-attr]  # one of ours, by the settings below
            if self._tls is not None:
                await self._tls.tick()
        return await super().on_tick(counter)


async def serve(config: Config, ready: Callable[[House, int, int | None], None], accept_loss: bool = False) -> None:
    """Serve until a signal. `ready` is called with the server and the HTTP and gRPC ports (`None` if not served) when
    they are open. `accept_loss` is as in `assemble`.

    Raises `Invalid` if an address or the data directory is unavailable.
    """
    descriptors = _raise_descriptor_limit()
    with _bind(config, config.port) as listening:
        # What may be wrong is tried before the first API key is made, which is shown once.
        tls = _Tls(config) if config.tls_cert else None
        _check_grpc(config)
        async with assemble(config, accept_loss) as house:
            most = config.limits.connections or most_connections(descriptors)
            grpc_most = min(GRPC_CONNECTIONS, most // 4) if config.grpc.port is not None else 0
            places = Connections(most - grpc_most, config.limits.connections_per_address)
            house.observer.watch_connections(places)
            _spare_the_collector()
            if config.tls_self_signed:
                tls = _Tls(config)
            http = _http_listener(config, house, listening, places, tls)
            listeners: list[Listener] = [http]
            stopped = _stopped(http)
            grpc_port = None
            if config.grpc.port is not None:
                grpc = _grpc_listener(config, house, places, tls, grpc_most)
                await _start_grpc(grpc)
                listeners.append(grpc)
                grpc_port = grpc.port
            await http.start()
            ready(house, listening.getsockname()[1], grpc_port)
            await stopped.wait()
            await _drain(listeners, house, config.limits.drain_s)


def _check_grpc(config: Config) -> None:
    """Raise `Invalid` if gRPC is to be served and cannot be."""
    if config.grpc.port is None:
        return
    needed = ["grpc", *(["grpc_reflection"] if config.grpc.reflection else [])]
    if not all(map(find_spec, needed)):
        raise Invalid("setting grpc.port: this needs `pip install 'antiphon[grpc]'`")
    _bind(config, config.grpc.port, "grpc.port").close()


def _grpc_listener(config: Config, house: House, places: Connections, tls: _Tls | None, most: int) -> "GrpcListener":
    """Return the gRPC listener. Raises `Invalid`."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # otherwise callers' errors are written to stderr, outside our logs
    service = house.grpc(places)
    from antiphon.transports.grpc import GrpcListener, Place

    assert config.grpc.port is not None
    certificates = tls.certificates if tls else None
    place = Place(config.host, config.grpc.port, certificates, most, config.grpc.reflection)
    return GrpcListener(service, place)


async def _start_grpc(listener: "GrpcListener") -> None:
    try:
        await listener.start()
    except OSError as error:
        raise Invalid(f"setting grpc.port: {error}") from None
    except ModuleNotFoundError:
        raise Invalid("setting grpc.reflection: this needs `pip install 'antiphon[grpc]'`") from None


def _http_listener(
    config: Config, house: House, listening: socket.socket, places: Connections, tls: _Tls | None
) -> HttpListener:
    settings = uvicorn.Config(
        house.asgi,
        http=_http(places, tls),
        ws=_web_sockets(config.limits.frame_kb << 10, places),
        log_config=None,
        access_log=False,
        ws_max_size=config.limits.frame_kb << 10,
        ws_per_message_deflate=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
    )
    return HttpListener(settings, listening, tls)


def _stopped(http: HttpListener) -> asyncio.Event:
    """Return an event that Ctrl-C or SIGTERM sets; the server then drains and exits with 0. After a second
    Ctrl-C, connections are closed without waiting for their requests.
    """
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()

    def stop(number: int) -> None:
        http.force_exit = stopped.is_set() and number == signal.SIGINT
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    return stopped


async def _drain(listeners: Sequence[Listener], house: House, drain_s: int) -> None:
    """End the sessions, then close their connections."""
    for listener in listeners:
        listener.stop_accepting()
    await house.sessions.all.drain(drain_s)
    await asyncio.gather(*(listener.finish(GRACE_S) for listener in listeners))


def _spare_the_collector() -> None:
    """Exclude all present objects from garbage collection, and collect less often: calls leave hardly any cycles, so
    the default of every 700 new objects is too frequent.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 10, 10)


def _http(places: Connections, tls: _Tls | None) -> type[asyncio.Protocol]:
    """Return the protocol that a new connection begins with."""
    http2 = type("Protocol", (Http2Protocol,), {"places": places})
    if tls is None:
        return type("Protocol", (EitherProtocol,), {"places": places, "http2": http2})
    https = type("Protocol", (HttpsProtocol,), {"places": places, "http2": http2})
    return type("Protocol", (TlsProtocol,), {"places": places, "https": https, "certificates": tls.certificates})


def _web_sockets(usual_bytes: int, places: Connections) -> type[WebSocketProtocol]:
    """Return the WebSocket protocol, with larger messages on the paths of vendors that need them."""
    needed = ((route.path, route.message_bytes) for route in ROUTES if isinstance(route, DialogueRow))
    larger = {path: most for path, most in needed if most > usual_bytes}
    return type("Protocol", (WebSocketProtocol,), {"larger": larger, "places": places})


def _bind(config: Config, port: int, setting: str = "port") -> socket.socket:
    """Return a socket that is bound to the port, before slow work begins; it accepts no connections yet."""
    with ExitStack() as stack:
        try:
            family, kind, number, _, address = socket.getaddrinfo(
                config.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listening = stack.enter_context(socket.socket(family, kind, number))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except OSError as error:
            reason = error.strerror or type(error).__name__
        except UnicodeError:
            reason = "this is no name of a host"
        else:
            stack.pop_all()
            return listening
    raise Invalid(f"settings host and {setting}: {config.host} port {port}: {reason}")


def _raise_descriptor_limit() -> int:
    """Raise the limit of descriptors to the system's maximum, and return it: each stream uses one, or two with a
    decoder.
    """
    with suppress(ValueError, OSError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_DESCRIPTORS if allowed == resource.RLIM_INFINITY else min(allowed, MOST_DESCRIPTORS)
