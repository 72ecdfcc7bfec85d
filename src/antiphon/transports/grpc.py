"""gRPC as a carrier, and its listener: handlers by name, over bytes. Close codes are gRPC's status codes.

All methods are streams to `grpc`, including unary ones: so the caller is known before anything is read, and the next
message is read after the session has taken the last one, which slows down a fast caller. A call counts as a connection
(`transports/connections.py`), idle until its first message.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio

from antiphon.calls.playing import playing
from antiphon.calls.relay import relay
from antiphon.core.errors import CallerError, CapacityError, InternalError
from antiphon.core.identity import Principal
from antiphon.core.ports import Clock
from antiphon.core.routing import CallRow, DialogueRow, LookupRow, Row
from antiphon.core.units import NS_PER_MS
from antiphon.core.wire import HALF_CLOSED, Close, Head, Opening, Step, Wire, region_header
from antiphon.session.door import Door, defect
from antiphon.session.requests import OpenCall
from antiphon.transports.connection import Gone
from antiphon.transports.connections import RETRY_AFTER_S, Connections
from antiphon.transports.dialogues import Dialogues
from antiphon.transports.forwarding import HEADER, NO_PROXIES, Proxies
from antiphon.transports.tls import Certificates
from antiphon.transports.uploads import Upload, Uploads

SEND_TIMEOUT_S = 10.0
MOST_MESSAGE_BYTES = 12 << 20  # of any method; each has its own, smaller limit
STREAMS_PER_CONNECTION = 256
METADATA_BYTES = 16 << 10
HANDSHAKE_MS = 15_000
KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS = 60_000, 20_000
# A caller who pings more often than this is disconnected after so many strikes.
PING_INTERVAL_MS, PING_STRIKES = 10_000, 2
IDLE_MS = 300_000
AGE_MS, AGE_GRACE_MS = 3_600_000, 600_000  # also ends connections that read nothing
IDENTITY_ONLY = 1  # no compression: a small message may expand to a large one

HEALTH = "/grpc.health.v1.Health/"
_SERVING, _NOT_SERVING, _UNKNOWN_SERVICE = b"\x08\x01", b"\x08\x02", b"\x08\x03"  # HealthCheckResponse.status
WATCHED_S = 0.5  # between checks of a watched health status

log = logging.getLogger(__name__)


class GrpcCall:
    """Implements `transports.connection.Carrier` for one call."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._half_closed = False
        self._waiting: asyncio.Future[Any] | None = None
        self.over = False
        self.dropped = False
        self.on_first: Callable[[], None] | None = None

    def abort(self) -> None:
        """End for another call: a pending read fails. The task is not cancelled, because then `grpc` would send no
        status.
        """
        self.dropped = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def accept(self, headers: Sequence[tuple[str, str]], subprotocol: str | None) -> None:
        await self._in_time(self._context.send_initial_metadata(tuple(headers)))

    async def receive(self) -> str | bytes:
        if self._half_closed:
            await asyncio.Event().wait()  # the call's end is reported elsewhere
        if self.dropped:
            raise Gone
        # Must not be cancelled: the message would be lost, and `grpc` still uses its memory.
        self._waiting = asyncio.shield(_started(self._context.read()))
        try:
            message = await self._waiting
        except asyncio.CancelledError:
            if self.dropped:
                raise Gone from None
            raise
        if message is grpc.aio.EOF:
            self._half_closed = True
            return HALF_CLOSED
        if self.on_first is not None:
            self.on_first()
            self.on_first = None
        assert isinstance(message, bytes)
        return message

    async def send(self, sends: Sequence[Wire]) -> None:
        for message in sends:
            assert isinstance(message, bytes)
            await self._in_time(self._context.write(message))

    async def close(self, close: Close) -> None:
        """Set the status, which is sent when the handler returns."""
        if not self.over:
            self.over = True
            self._context.set_code(_CODES[close.code])
            self._context.set_details(close.reason)
            if close.trailers:
                self._context.set_trailing_metadata(close.trailers)

    async def _in_time(self, what: Awaitable[None]) -> None:
        if self.over:
            raise Gone
        doing = _started(what)
        done, _ = await asyncio.wait((doing,), timeout=SEND_TIMEOUT_S)
        if not done or doing.exception() is not None:
            raise Gone


_CODES = {code.value[0]: code for code in grpc.StatusCode}
_DROPPED = grpc.StatusCode.RESOURCE_EXHAUSTED, "The call gave way to another one: nothing was sent on it."
_UNREAD = grpc.StatusCode.ABORTED, "The client did not read results in time."


def _started(what: Awaitable[Any]) -> "asyncio.Future[Any]":
    """Start a task that runs by itself. An error in it means the end of the call."""
    doing = asyncio.ensure_future(_or_gone(what))
    doing.add_done_callback(lambda done: done.cancelled() or done.exception())
    return doing


async def _or_gone(what: Awaitable[Any]) -> Any:
    try:
        return await what
    except Exception:
        raise Gone from None


class GrpcService:
    """The rows of a table, with their handlers for `grpc`. `descriptors` is the pool of their messages; `trouble`
    returns why the server is not ready, if it is not.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        descriptors: Any,
        door: Door,
        clock: Clock,
        uploads: Uploads,
        places: Connections,
        trouble: Callable[[], str | None],
        proxies: Proxies = NO_PROXIES,
    ) -> None:
        self._proxies = proxies
        self._descriptors = descriptors
        self._door = door
        self._clock = clock
        self._uploads = uploads
        self._places = places
        self._trouble = trouble
        self._services = {row.path.rpartition("/")[0][1:] for row in rows}
        self._serving: dict[str, Callable[[GrpcCall, Opening], Awaitable[None]]] = {
            row.path: self._serves(row) for row in rows
        }
        self._rows: Mapping[str, Row] = {row.path: row for row in rows}

    def register(self, server: Any, *, reflection: bool) -> None:
        """Add the handlers to a server of `grpc`. Raises `ModuleNotFoundError` if the reflection package is missing."""
        service = self

        class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
            def service(self, details: Any) -> Any:
                return service._found(details.method)

        server.add_generic_rpc_handlers((Handler(),))
        if reflection:
            from grpc_reflection.v1alpha import reflection as reflecting

            described = [name for name in self._services if _described(self._descriptors, name)]
            reflecting.enable_server_reflection([*described, reflecting.SERVICE_NAME], server, self._descriptors)

    def _found(self, method: str) -> Any:
        """Return the handler; `None` is answered with UNIMPLEMENTED."""
        if method == f"{HEALTH}Check":
            return grpc.unary_unary_rpc_method_handler(self._health)
        if method == f"{HEALTH}Watch":
            return grpc.unary_stream_rpc_method_handler(self._watch)
        if method not in self._rows:
            return None
        return grpc.stream_stream_rpc_method_handler(partial(self._serve, method))

    async def _health(self, request: bytes, context: Any) -> bytes:
        """Answer a health check: https://github.com/grpc/grpc/blob/master/doc/health-checking.md. `request` holds a
        service's name.
        """
        status = self._status(request)
        if status == _UNKNOWN_SERVICE:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return status

    async def _watch(self, request: bytes, context: Any) -> None:
        """Send the status now, and whenever it changes. A watch counts as an idle connection, which may be closed for
        another one.
        """
        call, last_status = GrpcCall(context), b""
        try:
            room = self._places.enter(call, _address(context.peer()))
            while room and not call.dropped:
                status = self._status(request)
                if status != last_status:
                    await call.send((last_status := status,))
                await asyncio.sleep(WATCHED_S)
        except Gone:
            return
        finally:
            self._places.leave(call)
        await context.abort(*_DROPPED)

    def _status(self, request: bytes) -> bytes:
        if request and request[2:].decode(errors="replace") not in self._services:
            return _UNKNOWN_SERVICE
        return _NOT_SERVING if self._trouble() else _SERVING

    async def _serve(self, method: str, requests: Any, context: Any) -> None:
        call = GrpcCall(context)
        opening = _opening(method, context, self._proxies)
        call.on_first = partial(self._places.busy, call)
        try:
            if self._places.enter(call, _address(context.peer())):
                await self._serving[method](call, opening)
            else:
                full = CapacityError("There are too many connections.", retry_after_s=RETRY_AFTER_S)
                await _answer(call, self._door.refuse(self._rows[method], opening, full))
        except Gone:
            pass
        finally:
            self._places.leave(call)
            if not call.over:
                code, why = _DROPPED if call.dropped else _UNREAD
                context.set_code(code)
                context.set_details(why)

    def _serves(self, row: Row) -> Callable[[GrpcCall, Opening], Awaitable[None]]:
        match row:
            case DialogueRow():
                return Dialogues(row, self._door, self._clock, self._uploads).serve
            case CallRow():
                return partial(self._call, row)
            case LookupRow():
                return partial(self._look_up, row)

    async def _look_up(self, row: LookupRow, call: GrpcCall, opening: Opening) -> None:
        try:
            step = await self._door.look_up(row, opening, partial(self._read, row.max_body_bytes, call, opening))
        except Gone:
            raise
        except Exception as error:
            step = self._door.refuse(row, opening, error)
        await _answer(call, step)

    async def _call(self, row: CallRow, call: GrpcCall, opening: Opening) -> None:
        most_bytes = row.endpoint.max_body_bytes
        try:
            opened = await self._door.call(row, opening, partial(self._read, most_bytes, call, opening))
        except Gone:
            raise
        except Exception as error:
            opened = self._door.refuse(row, opening, error)
        if isinstance(opened, Step):
            await _answer(call, opened)
            return
        try:
            await self._converse(opened, call)
            if not call.over:
                raise InternalError("A surface did not end its answer.")
        except Gone:
            raise
        except Exception as error:
            await _answer(call, row.endpoint.refuse(opening, defect(error, opening)))
        finally:
            opened.held.release()

    async def _converse(self, opened: OpenCall, call: GrpcCall) -> None:
        """Relay the session's events. Raises `Gone`."""
        session = opened.session

        async def say(sends: list[Wire], close: Close | None) -> None:
            await call.send(sends)
            if close is not None:
                await call.close(replace(close, trailers=(*close.trailers, *region_header(session.region))))

        try:
            async with playing(session, opened.media):
                await relay(session, opened.surface, self._clock, say)
        finally:
            await session.close(delivered=call.over)

    async def _read(
        self, most_bytes: int, call: GrpcCall, opening: Opening, principal: Principal
    ) -> tuple[Upload, bytes]:
        """Return the one message of a call. Raises `CallerError`, `Gone`."""

        async def receive() -> dict[str, Any]:
            message = await call.receive()
            if not isinstance(message, bytes):
                raise CallerError("The call has no message.")
            return {"type": "http.request", "body": message, "more_body": False}

        upload = await self._uploads.read(principal, opening, receive, most_bytes)
        return upload, upload.take()


async def _answer(call: GrpcCall, step: Step) -> None:
    """Send a whole answer, or a refusal. Raises `Gone`."""
    try:
        await call.send([send for send in step.sends if not isinstance(send, Head)])
        if step.close is not None:
            await call.close(step.close)
    finally:
        step.release()


def _opening(method: str, context: Any, proxies: Proxies) -> Opening:
    metadata = context.invocation_metadata() or ()
    address = _address(context.peer())
    if proxies:
        address = proxies.address(address, ",".join(value for name, value in metadata if name.lower() == HEADER))
    return Opening(
        method="POST",
        path=method,
        headers={name.lower(): value for name, value in metadata if isinstance(value, str)},
        request_id=str(uuid.uuid4()),
        received_unix_ms=time.time_ns() // NS_PER_MS,
        address=address,
    )


def _address(peer: str) -> str:
    """Return the address in `ipv4:127.0.0.1:40000` or `ipv6:%5B::1%5D:40000`."""
    return unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]")


def _described(descriptors: Any, service: str) -> bool:
    with suppress(KeyError):
        descriptors.FindServiceByName(service)
        return True
    return False


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen, with certificates if TLS is used; the most connections, and whether reflection is served."""

    host: str
    port: int
    certificates: Certificates | None = None
    connections: int = 1_000
    reflection: bool = False


class GrpcListener:
    """Implements `transports.listening.Listener`. `port` is the given or chosen one."""

    def __init__(self, service: GrpcService, place: Place) -> None:
        self._service = service
        self._place = place
        self._server: Any = None
        self._stopping: asyncio.Task[None] | None = None
        self.port = place.port

    async def start(self) -> None:
        """Listen. Raises `OSError` if the port is not available."""
        self._server = grpc.aio.server(options=_options(self._place.connections))
        self._service.register(self._server, reflection=self._place.reflection)
        host = f"[{self._place.host}]" if ":" in self._place.host else self._place.host
        address, certificates = f"{host}:{self._place.port}", self._place.certificates
        try:
            if certificates is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, _credentials(certificates))
        except RuntimeError as error:
            raise OSError(f"gRPC cannot listen on {address}") from error
        await self._server.start()

    def stop_accepting(self) -> None:
        self._stopping = asyncio.get_running_loop().create_task(self._server.stop(AGE_MS / 1000))

    async def finish(self, grace_s: float) -> None:
        await self._server.stop(grace_s)
        if self._stopping is not None:
            with suppress(asyncio.CancelledError):
                await self._stopping


def _options(connections: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MS),
        ("grpc.http2.max_ping_strikes", PING_STRIKES),
        ("grpc.max_connection_idle_ms", IDLE_MS),
        ("grpc.max_connection_age_ms", AGE_MS),
        ("grpc.max_connection_age_grace_ms", AGE_GRACE_MS),
        ("grpc.max_allowed_incoming_connections", connections),
        ("grpc.compression_enabled_algorithms_bitset", IDENTITY_ONLY),
        ("grpc.so_reuseport", 0),
    ]


def _credentials(certificates: Certificates) -> Any:
    """Return credentials that use the certificates valid at each handshake."""

    def now() -> Any:
        certificate, key = certificates.pem
        return grpc.ssl_server_certificate_configuration([(key, certificate)])

    served = [certificates.pem]

    def changed() -> Any:
        """Return new certificates, if any. Called at each handshake, in a thread of `grpc`."""
        if certificates.pem is served[0]:
            return None
        served[0] = certificates.pem
        return now()

    return grpc.dynamic_ssl_server_credentials(now(), changed)
