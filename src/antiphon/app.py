"""The composition root: the one place that names concrete classes. It builds the house, and takes it down in order."""

import asyncio
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon import backends
from antiphon.audio.decode import DecodeLimits, Decoder
from antiphon.config import DEFAULT_MODEL, DETECTOR, Config, Invalid
from antiphon.core.errors import CallerError, EngineError
from antiphon.core.ports import Aligner, Clock, Hypothesis, Recogniser, Utterance, VoiceDetector
from antiphon.core.units import NS_PER_MS
from antiphon.metering.ledger import Ledger
from antiphon.models import Store
from antiphon.routes import (
    ROUTES,
    STRAY_PREFIXES,
    Document,
    Inquiring,
    Json,
    Kept,
    Listing,
    Live,
    Secret,
    Shared,
    Spending,
    Unary,
    VoiceListing,
    stray_body,
)
from antiphon.scheduler.policy import Limits
from antiphon.scheduler.runner import Runner, Settings
from antiphon.scheduler.specs import Timing
from antiphon.session.keeping import Keeper
from antiphon.session.observe import Observer
from antiphon.session.route import Models
from antiphon.session.services import Services
from antiphon.session.sessions import Bounds, Sessions
from antiphon.slo.objectives import Objectives
from antiphon.text.reading import warm
from antiphon.transports.bounds import HttpProtocol, WebSocketProtocol
from antiphon.transports.http import UnaryRoute
from antiphon.transports.inquiry import InquiryRoute
from antiphon.transports.json import JsonRoute
from antiphon.transports.kept import KeptRoute
from antiphon.transports.secrets import SecretRoute
from antiphon.transports.telling import ByHeader, ListRoute, SpentRoute, VoicesRoute
from antiphon.transports.uploads import Uploads
from antiphon.transports.websocket import LiveRoute
from antiphon.trust.auth import KeyRing
from antiphon.trust.control import Control
from antiphon.trust.fetch import Fetcher, FetchLimits
from antiphon.trust.kept import KeptAnswers
from antiphon.trust.provenance import Provenance, open_provenance


class SystemClock:
    """Implements `core.ports.Clock`."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def unix_ms(self) -> int:
        return time.time_ns() // NS_PER_MS


class _Deaf:
    """Stands where the configuration names no speech model, so that nothing opens a stream."""

    def recognise(self, batch: Sequence[Utterance]) -> list[Hypothesis]:
        raise EngineError("There is no speech model here.")

    def initial_state(self) -> None:
        raise EngineError("There is no speech model here.")

    def probabilities(self, frames: Sequence[bytes], states: Sequence[None]) -> tuple[list[float], list[None]]:
        raise EngineError("There is no speech model here.")


@dataclass(frozen=True, slots=True)
class House:
    """What stands. `first_key` is the API key made at the first start, to be shown once."""

    asgi: ASGIApp
    sessions: Sessions
    first_key: str | None


@asynccontextmanager
async def assemble(config: Config) -> AsyncIterator[House]:
    """The whole server but its socket. Raises `LedgerUnavailable` where another server has the data directory."""
    clock = SystemClock()
    directory = config.directory
    async with AsyncExitStack() as stack:
        ledger = Ledger(directory / "ledger.db")
        stack.push_async_callback(ledger.close)
        decoder = Decoder(_decode_limits(config))
        stack.push_async_callback(decoder.close)
        if config.speech:
            await decoder.start()
        recogniser, detector, aligner = await asyncio.to_thread(_models, config)
        runner = _runner(config, clock, recogniser, detector, lambda report: observer.batch(report))
        thresholds = config.objectives
        objectives = Objectives(
            thresholds.stt_ttfb_ms,
            thresholds.stt_final_ms,
            thresholds.ttft_ms,
            thresholds.tpot_ms,
            thresholds.llm_total_ms,
            thresholds.tts_ttfb_ms,
        )
        observer = Observer(objectives, runner.load, clock)
        stack.push_async_callback(runner.stop)
        if config.speech:
            await runner.start()
        languages, voices = await backends.build(config, clock, observer, stack, aligner)
        # The key is made when nothing else can fail: it is shown once.
        control = Control(directory / "control.db")
        first_key = control.prepare(config.api_key, clock.unix_ms())
        keys = KeyRing(directory / "control.db", clock)
        stack.callback(keys.close)
        fetcher = Fetcher(_fetch_limits(config), allow_private=tuple(ip_network(n) for n in config.fetch.allow))
        services = Services(clock, ledger, runner, decoder, fetcher, observer)
        recognised = {name: answer for name, answer in config.models.items() if answer == DEFAULT_MODEL}
        models = Models(recognised, clock.unix_ms() // 1000)
        limits = config.limits
        bounds = Bounds(
            live=limits.live_streams,
            recordings=limits.recordings,
            generations=limits.generations,
            generation_s=limits.generation_s,
            speeches=limits.speeches,
            conversation_s=limits.conversation_s,
        )
        keeper = Keeper(KeptAnswers(directory / "answers.db", clock, limits.kept_gb << 30), keys.keep_answers_s, clock)
        stack.push_async_callback(keeper.close)
        provenance = await asyncio.to_thread(_provenance, config) if config.speaks else None
        sessions = Sessions(services, keys, models, languages, voices, keeper, provenance, bounds)
        stack.push_async_callback(sessions.settle)
        for watch in (sessions.watch, keeper.watch):
            stack.callback(asyncio.create_task(watch(), name=watch.__qualname__).cancel)
        yield House(_asgi(config, clock, sessions, observer, control, keys), sessions, first_key)


def _models(config: Config) -> tuple[Recogniser, VoiceDetector[Any], Aligner | None]:
    """Loads them; blocking."""
    if config.speech or config.speaks:
        for room in ("live", "encode", "speech"):
            import_module(f"antiphon.audio.{room}")  # or the first session would wait for it
    if config.speaks:
        warm()
    if not config.speech:
        return _Deaf(), _Deaf(), None
    from antiphon.engines.moonshine import Moonshine
    from antiphon.engines.silero import SileroVad

    engine = config.recognition
    store = Store(config.directory / "models", offline=True)
    moonshine = Moonshine(store.path(DEFAULT_MODEL), speculative=engine.speculative, batched=engine.batched)
    return moonshine, SileroVad(store.path(DETECTOR) / "silero_vad.onnx"), moonshine


def _runner(
    config: Config,
    clock: SystemClock,
    recogniser: Recogniser,
    detector: VoiceDetector[Any],
    report: Callable[..., None],
) -> Runner:
    engine = config.recognition
    settings = Settings(
        workers=config.workers,
        tick_ms=engine.tick_ms,
        timing=_timing(config.objectives.stt_ttfb_ms, config.objectives.stt_final_ms),
        limits=Limits(rows=engine.batch_rows if engine.batched else 1),
    )
    return Runner(recogniser, detector, clock, settings, report)


def _provenance(config: Config) -> Provenance:
    """Blocking. Raises `Invalid`."""
    chain, key = (Path(p).expanduser() if p else None for p in (config.provenance.chain, config.provenance.key))
    try:
        return open_provenance(config.directory, chain, key)
    except CallerError as error:
        raise Invalid(f"setting provenance: {error.message}") from None


def _timing(ttfb_ms: int, final_ms: int) -> Timing:
    """Deadlines inside the objectives: a voice's end is heard up to 0.2 s late, and results take time to be sent."""
    return Timing(first_ms=max(50, ttfb_ms - 20), final_ms=max(100, final_ms - 240))


def _decode_limits(config: Config) -> DecodeLimits:
    return DecodeLimits(
        max_input_bytes=config.limits.upload_mb << 20,
        max_audio_ms=config.limits.audio_hours * 3_600_000,
        live_at_once=config.limits.live_decoders,
    )


def _fetch_limits(config: Config) -> FetchLimits:
    return FetchLimits(max_bytes=config.fetch.max_mb << 20, total_s=config.fetch.timeout_s)


def _asgi(
    config: Config, clock: SystemClock, sessions: Sessions, observer: Observer, control: Control, keys: KeyRing
) -> Starlette:
    uploads = Uploads(config.limits.upload_mb << 20, config.limits.uploads_mb << 20)
    routes = vendors(sessions, clock, uploads)

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        return PlainTextResponse("ready\n" if sessions.ready else "not ready\n", 200 if sessions.ready else 503)

    async def metrics(request: Request) -> Response:
        return Response(observer.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    routes += [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]

    def administration() -> ASGIApp:
        from antiphon.admin import create_admin

        return create_admin(control, keys, config.directory / "ledger.db", clock)

    routes.append(Mount("/admin/v1", _Later(administration)))
    return Starlette(routes=routes, exception_handlers={HTTPException: astray})


async def astray(request: Request, error: Exception) -> Response:
    """The answer to a path that is not there, or not by that method, in the words of the vendor whose it would be."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    if not path.startswith(STRAY_PREFIXES):
        return PlainTextResponse(error.detail, error.status_code, error.headers)
    body = stray_body(f"Invalid URL ({request.method} {path[:256]})")
    return Response(body, error.status_code, error.headers, "application/json")


class _Later:
    """An application that is made when it is first asked for, off the event loop."""

    def __init__(self, make: Callable[[], ASGIApp]) -> None:
        self._make = make
        self._making: asyncio.Task[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._making is None:
            self._making = asyncio.create_task(asyncio.to_thread(self._make))
        app = await asyncio.shield(self._making)
        await app(scope, receive, send)


def vendors(sessions: Sessions, clock: Clock, uploads: Uploads) -> list[BaseRoute]:
    """The table of routes, each carried by its transport."""
    routes: list[BaseRoute] = []
    for route in ROUTES:
        if isinstance(route, Live):
            live = LiveRoute(route.surface, route.endpoint, sessions, clock, route.scope)
            routes.append(WebSocketRoute(route.path, live))
        elif isinstance(route, Unary):
            app = UnaryRoute(route.surface, route.endpoint, sessions, clock, uploads)
            routes.append(Route(route.path, app, methods=["POST"]))
        elif isinstance(route, Json):
            asking = JsonRoute(route.surface, route.endpoint, sessions, clock, uploads, route.scope)
            routes.append(Route(route.path, asking, methods=["POST"]))
        elif isinstance(route, Secret):
            making = SecretRoute(route.surface, route.endpoint, sessions, uploads, route.scope)
            routes.append(Route(route.path, making, methods=["POST"]))
        elif isinstance(route, Kept):
            kept = KeptRoute(route.surface, route.endpoint, sessions)
            routes.append(Route(route.path, kept, methods=[route.method]))
        elif isinstance(route, Inquiring):
            inquiring = InquiryRoute(route.surface, route.endpoint, sessions)
            routes.append(Route(route.path, inquiring, methods=["GET"]))
        elif isinstance(route, Document):
            routes.append(Route(route.path, Response(route.body, media_type="application/json"), methods=["GET"]))
        elif isinstance(route, Shared):
            shared = ByHeader(route.header, _telling(route.theirs, sessions), _telling(route.ours, sessions))
            routes.append(Route(route.ours.path, shared, methods=["GET"]))
        else:
            routes.append(Route(route.path, _telling(route, sessions), methods=["GET"]))
    return routes


def _telling(route: Listing | VoiceListing | Spending, sessions: Sessions) -> ASGIApp:
    if isinstance(route, Listing):
        return ListRoute(route.surface, route.endpoint, sessions)
    if isinstance(route, VoiceListing):
        return VoicesRoute(route.surface, route.endpoint, sessions)
    return SpentRoute(route.surface, route.endpoint, sessions)


class _Server(uvicorn.Server):
    """Drains the sessions before the sockets are closed under them."""

    def __init__(self, config: uvicorn.Config, house: House, drain_s: int, ready: Callable[[House, int], None]) -> None:
        super().__init__(config)
        self._house = house
        self._drain_s = drain_s
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM drain and leave with 0; uvicorn would raise them again after its own shutdown."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            self._ready(self._house, self.servers[0].sockets[0].getsockname()[1])

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % 10 == 0:
            for connection in tuple(self.server_state.connections):
                connection.tick()  # type: ignore[union-attr]  # one of ours, by the settings below
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        for server in self.servers:
            server.close()
        await self._house.sessions.drain(self._drain_s)
        await super().shutdown(sockets)  # type: ignore[arg-type]


async def serve(config: Config, ready: Callable[[House, int], None]) -> None:
    """Serves until a signal; `ready` is told when the port (given or chosen) is open.

    Raises `Invalid` for an address or a data directory that cannot be had.
    """
    _raise_descriptor_limit()
    with _bind(config) as listening:
        async with assemble(config) as house:
            settings = uvicorn.Config(
                house.asgi,
                http=HttpProtocol,
                ws=_web_sockets(config.limits.frame_kb << 10),
                log_config=None,
                access_log=False,
                ws_max_size=config.limits.frame_kb << 10,
                ws_per_message_deflate=False,
                lifespan="off",
                timeout_graceful_shutdown=2,
                server_header=False,
                proxy_headers=False,
            )
            await _Server(settings, house, config.limits.drain_s, ready).serve([listening])


def _web_sockets(usual_bytes: int) -> type[WebSocketProtocol]:
    """With larger messages where a vendor's protocol needs them."""
    needed = ((route.path, route.message_bytes) for route in ROUTES if isinstance(route, Live))
    larger = {path: most for path, most in needed if most > usual_bytes}
    return type("Protocol", (WebSocketProtocol,), {"larger": larger})


def _bind(config: Config) -> socket.socket:
    """The port, taken before anything slow is done; nobody can connect yet."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, number)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise Invalid(f"settings host and port: {config.host} port {config.port}: {error.strerror}") from None
    return listening


def _raise_descriptor_limit() -> None:
    """To what the system allows: each stream holds one, those with a decoder two."""
    with suppress(ValueError, OSError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
