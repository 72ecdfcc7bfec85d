"""The composition root: the only place that names concrete classes. It builds the server, and closes it in order."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import structs

from antiphon import asgi, backends
from antiphon.audio.decode import DecodeLimits, Decoder
from antiphon.calls.services import Services
from antiphon.config import Config, Invalid
from antiphon.config import Limits as Configured
from antiphon.core.audit import Action
from antiphon.core.identity import Principal
from antiphon.core.ports import Clock
from antiphon.core.routing import CallRow
from antiphon.exporting import Exporting, alerting, open_exporting
from antiphon.foundation import (
    ANYWHERE,
    OUTSIDE,
    Foundation,
    Guard,
    find_provenance,
    kept_for_s,
    open_foundation,
    open_guard,
    receivers,
)
from antiphon.jobs import items
from antiphon.jobs.filler import Filler
from antiphon.jobs.service import Service
from antiphon.jobs.tiers import Tiers
from antiphon.jobs.webhook import AT_ONCE, POST_S, Webhooks
from antiphon.jobs.worker import Worker
from antiphon.metering.allowances import Allowances
from antiphon.metering.pricing.library import Library, make_library
from antiphon.metering.statements import Billing
from antiphon.observe.observer import Observer
from antiphon.routes import GRPC_DESCRIPTORS, GRPC_ROUTES, JOB_CALLS, JOB_KINDS, ROUTES
from antiphon.scheduler.steps import Steps
from antiphon.session.door import Door
from antiphon.session.keeping import Keeper
from antiphon.session.places import CallKind
from antiphon.session.sessions import Bounds, Sessions
from antiphon.session.subjects import Subjects
from antiphon.session.webhooks import ProjectWebhooks
from antiphon.slo.objectives import Objectives
from antiphon.slo.shares import Bound, Shares
from antiphon.storage.directory import warn_of_writable_models
from antiphon.supervision import supervisor
from antiphon.text.reading import warm
from antiphon.transports.entrance import Application
from antiphon.transports.forwarding import Proxies
from antiphon.transports.uploads import Uploads
from antiphon.trust.audit import Auditor
from antiphon.trust.auth import KeyRing
from antiphon.trust.fetch import Fetcher, FetchLimits
from antiphon.trust.notary import Auditing
from antiphon.trust.pairs import Pairs
from antiphon.trust.redaction.requirements import Redactions
from antiphon.trust.residency import Permit, Policies, Residency

if TYPE_CHECKING:
    from antiphon.transports.connections import Connections
    from antiphon.transports.grpc import GrpcService

FETCHES = Bound(8)  # at once, of recordings and pictures given by URL
PICTURES = Bound(256)  # mebibytes of those pictures, in memory


@dataclass(frozen=True, slots=True)
class House:
    """The running server. `grpc` makes the gRPC service, whose calls are counted among the connections. `first_key` is
    the API key made at the first start, to be shown once.
    """

    asgi: Application
    grpc: Callable[["Connections"], "GrpcService"]
    sessions: Sessions
    observer: Observer
    first_key: str | None


@asynccontextmanager
async def assemble(config: Config, accept_loss: bool = False) -> AsyncIterator[House]:
    """Build the whole server except its socket. `accept_loss` lets it start anew if a database of the data directory is
    missing.

    Raises `LedgerUnavailable` if another server uses the data directory, `CallerError` if it is unusable.
    """
    async with AsyncExitStack() as stack:
        base = open_foundation(config, stack, accept_loss)
        warn_of_writable_models(base.directory)
        clock, latest, stores = base.clock, base.latest, base.stores
        observer = Observer(Objectives(**structs.asdict(config.objectives)), clock)
        decoder = await _decoder(config, observer, stack)
        await asyncio.to_thread(_import, config)
        residency = Residency(config.processing, lambda project: guard.keys.policy(project), latest)
        catalogue, voices = await backends.build(config, clock, observer, stack, residency.permitted)
        exporting = _exporting(config, base, lambda project: guard.keys.policy(project).stripe_customer)
        stack.push_async_callback(exporting.close)
        pricing = await asyncio.to_thread(_price_books, config)
        provenance = await asyncio.to_thread(find_provenance, config) if config.speaks else None
        guard = await open_guard(config, base, stack, accept_loss)
        keys, auditor = guard.keys, guard.auditor
        webhooks = _webhooks(config, base, keys, stack)
        allowances = await _allowances(config, base, keys, pricing, observer, stack)
        services = await _services(config, base, guard, observer, decoder, allowances, stack)
        keep_s = partial(kept_for_s, keys)
        keeper = Keeper(stores.answers, keep_s, clock, partial(auditor.expired, Action.ANSWERS_EXPIRE), stores.sealer)
        stack.push_async_callback(keeper.close)
        tiers = Tiers(stores, keep_s, partial(auditor.expired, Action.FILES_EXPIRE))
        sessions = Sessions(
            *(services, keys, catalogue, voices, keeper, provenance, _bounds(config)),
            *(partial(_permit, residency, auditor), residency.region),
        )
        stack.push_async_callback(sessions.all.settle)
        jobs = Service(tiers, latest, stores.sealer, keeper.erased_since)
        pairs = await asyncio.to_thread(Pairs, base.directory, stores.sealer)
        door = Door(
            *(sessions, keys, clock, jobs, auditor, stores.resources, pairs),
            *(guard.oidc, ProjectWebhooks(guard.control, keys, latest, webhooks.failures), guard.sign_ins),
        )
        worker = _worker(config, base, door, tiers, webhooks)
        stack.push_async_callback(worker.close)
        jobs.wake = worker.wake
        observer.watch_jobs(worker)
        observer.watch_exports(exporting.outboxes)
        _start(stack, {f"export to {outbox.name}": outbox.run for outbox in exporting.outboxes})  # never stops serving
        watched = {
            "run jobs": worker.run,
            "fill with items": worker.watch_items,
            "wipe files and jobs": tiers.watch,
            "watch sessions": sessions.all.watch,
            "wipe kept answers": keeper.watch,
        }
        _start(stack, watched | guard.tasks | {"keep the latest time": latest.keep}, essential=True)
        _start(stack, {"measure the event loop": observer.holds.watch})
        ready = partial(_trouble, sessions, stores.answers, tiers)
        uploads = _uploads(config)
        managed = asgi.Managed(
            guard.control,
            Billing(stores.ledger, stores.bills, pricing.of, pricing.costs),
            Auditing(auditor, stores.trail, guard.notary),
            exporting,
            Subjects(stores, keeper, keep_s, auditor, JOB_KINDS, worker, sessions.all.about),
            Policies(lambda policy, model: residency.verdicts(policy, config.serving(model)), config.audit.keep_days),
            guard.uses.of,
            allowances,
            guard.sign_ins,
        )
        served = asgi.make(config, clock, door, uploads, observer, managed, ready)
        grpc = partial(_grpc, door, clock, uploads, ready, asgi.proxies_of(config))
        yield House(served, grpc, sessions, observer, guard.first_key)


def _permit(residency: Residency, auditor: Auditor, principal: Principal) -> Permit:
    return residency.permit(principal, auditor.misplaced)


def _exporting(config: Config, base: Foundation, customer: Callable[[str], str]) -> Exporting:
    return open_exporting(config, os.environ, base.directory, base.stores.ledger, customer, base.latest)


def _start(stack: AsyncExitStack, tasks: Mapping[str, Callable[[], Awaitable[None]]], essential: bool = False) -> None:
    """Run permanent tasks until `stack` unwinds."""
    for name, work in tasks.items():
        stack.callback(supervisor.start(name, work, essential).cancel)


async def _decoder(config: Config, observer: Observer, stack: AsyncExitStack) -> Decoder:
    """Return what decodes recordings, which runs if they are recognised."""
    decoder = Decoder(_decode_limits(config))
    stack.push_async_callback(decoder.close)
    if config.recognisers:
        await decoder.start()
        observer.watch_engine("audio-decoder", decoder.stats)
    return decoder


def _webhooks(config: Config, base: Foundation, keys: KeyRing, stack: AsyncExitStack) -> Webhooks:
    """Return what posts to the webhooks of projects."""
    posts = Fetcher(FetchLimits(total_s=POST_S, at_once=AT_ONCE), allow_private=_allowed(config))
    webhooks = Webhooks(posts, base.clock, keys.webhook_secret, partial(receivers, keys))
    stack.push_async_callback(webhooks.close)
    return webhooks


async def _services(
    config: Config,
    base: Foundation,
    guard: Guard,
    observer: Observer,
    decoder: Decoder,
    allowances: Allowances,
    stack: AsyncExitStack,
) -> Services:
    """Return what all calls share."""
    redactions = Redactions(guard.keys.policy, await backends.tagger(config, stack))
    return Services(
        base.clock,
        base.stores.ledger,
        decoder,
        Steps(decoder.limits.files_at_once, base.clock),
        Fetcher(_fetch_limits(config), allow_private=_allowed(config)),
        Shares(FETCHES),
        Shares(PICTURES),
        observer,
        guard.keys.labels,
        redactions.filters,
        filter_failed=guard.auditor.not_redacted,
        allowances=allowances,
    )


async def _allowances(
    config: Config, base: Foundation, keys: KeyRing, pricing: Library, observer: Observer, stack: AsyncExitStack
) -> Allowances:
    """Return what budgets and limits leave to calls, with those who are told when little is left."""
    alerts = Webhooks(Fetcher(OUTSIDE, allow_private=ANYWHERE), base.clock, lambda key: b"")
    stack.push_async_callback(alerts.close)
    watchers = observer.budget_alert, *alerting(config, os.environ, alerts, base.clock)
    allowances = Allowances(
        *(keys.policy, keys.projects, keys.organisation, pricing.of),
        *(base.stores.ledger, base.latest, watchers),
    )
    stack.push_async_callback(allowances.close)
    await allowances.start()
    return allowances


class _Stored(Protocol):
    @property
    def trouble(self) -> str | None: ...


def _trouble(sessions: Sessions, *stored: _Stored) -> str | None:
    """Return why the server is not ready; `None` if it is."""
    return sessions.trouble or next((each.trouble for each in stored if each.trouble), None) or supervisor.trouble


def _worker(config: Config, base: Foundation, door: Door, tiers: Tiers, webhooks: Webhooks) -> Worker:
    """Return the worker that runs jobs."""
    rows = {(row.surface, row.path): row for row in (*ROUTES, *JOB_CALLS) if isinstance(row, CallRow)}
    at_once, clock = config.limits.items, base.latest
    services = items.Services(door, base.stores.ledger, clock, Filler(door.sessions, clock, at_once), rows, webhooks)
    return Worker(services, tiers, JOB_KINDS, base.server, at_once)


def _price_books(config: Config) -> Library:
    own = config.pricing
    return make_library(map(Path, own.books), own.default, own.projects, own.costs)


def places_of(limits: Configured) -> dict[CallKind, Bound]:
    """Return how many calls of each kind may be open at once."""
    return {
        kind: Bound(*(getattr(table, kind.value) for table in (limits, limits.per_project, limits.per_key)))
        for kind in CallKind
    }


def _bounds(config: Config) -> Bounds:
    limits = config.limits
    return Bounds(places=places_of(limits), generation_s=limits.generation_s, conversation_s=limits.conversation_s)


def _uploads(config: Config) -> Uploads:
    limits = config.limits
    return Uploads(limits.upload_mb << 20, limits.uploads_mb << 20, limits.uploads_per_key_mb << 20)


def _allowed(config: Config) -> tuple[IPv4Network | IPv6Network, ...]:
    """Return the private networks that URLs of callers may lead to."""
    return tuple(ip_network(each) for each in config.fetch.allow)


def _import(config: Config) -> None:
    """Import what the first session would wait for; blocking."""
    if config.recognisers or config.speaks:
        for room in ("live", "encode", "speech"):
            import_module(f"antiphon.audio.{room}")
    if config.speaks:
        warm()


def _decode_limits(config: Config) -> DecodeLimits:
    return DecodeLimits(
        max_input_bytes=config.limits.upload_mb << 20,
        max_audio_ms=config.limits.audio_hours * 3_600_000,
        live_at_once=places_of(config.limits)[CallKind.DECODER].all,
        held_bytes=config.limits.decoded_mb << 20,
    )


def _fetch_limits(config: Config) -> FetchLimits:
    return FetchLimits(config.fetch.max_mb << 20, config.fetch.timeout_s, at_once=FETCHES.all)


def _grpc(
    door: Door,
    clock: Clock,
    uploads: Uploads,
    trouble: Callable[[], str | None],
    proxies: Proxies,
    places: "Connections",
) -> "GrpcService":
    """Make the gRPC service. Raises `Invalid` if `grpc` is not installed."""
    try:
        from antiphon.transports.grpc import GrpcService

        descriptors = GRPC_DESCRIPTORS()
    except ModuleNotFoundError:
        raise Invalid("setting grpc.port: this needs `pip install 'antiphon[grpc]'`") from None
    return GrpcService(GRPC_ROUTES, descriptors, door, clock, uploads, places, trouble, proxies)
