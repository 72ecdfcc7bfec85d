"""The composition root: the only place that names concrete classes. It builds the server, and closes it in order."""

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import structs
from starlette.types import ASGIApp

from antiphon import __version__, asgi, backends
from antiphon.audio.decode import DecodeLimits, Decoder
from antiphon.calls.services import Services
from antiphon.config import Config, Invalid
from antiphon.config import Limits as Configured
from antiphon.core.audit import Action
from antiphon.core.errors import CallerError
from antiphon.core.identity import Principal, Webhook
from antiphon.core.ports import Clock
from antiphon.core.routing import CallRow
from antiphon.core.stores import JobBounds, Ledger, ServerStores
from antiphon.core.units import NS_PER_MS
from antiphon.exporting import alerting, open_exporting
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
from antiphon.storage.directory import open_directory, warn_of_writable_models
from antiphon.storage.identity import server_id
from antiphon.storage.master_key import find_source
from antiphon.stores import open_server_stores
from antiphon.supervision import supervisor
from antiphon.text.reading import warm
from antiphon.transports.forwarding import Proxies
from antiphon.transports.uploads import Uploads
from antiphon.trust import checkpoint as notes
from antiphon.trust.audit import Addresses, Auditor
from antiphon.trust.auth import KeyRing
from antiphon.trust.bucket import Bucket
from antiphon.trust.control import Control
from antiphon.trust.fetch import Fetcher, FetchLimits
from antiphon.trust.last_use import FILE_NAME as USES_NAME
from antiphon.trust.last_use import LastUses
from antiphon.trust.latest import FILE_NAME as LATEST_NAME
from antiphon.trust.latest import LatestClock
from antiphon.trust.notary import Auditing, Notary, Outside
from antiphon.trust.oidc import Oidc, Provider
from antiphon.trust.pairs import Pairs
from antiphon.trust.provenance import Provenance, open_provenance
from antiphon.trust.redaction.requirements import Redactions
from antiphon.trust.residency import Permit, Policies, Residency, requirement_of
from antiphon.trust.sign_in import SignIns

if TYPE_CHECKING:
    from antiphon.transports.connections import Connections
    from antiphon.transports.grpc import GrpcService

FETCHES = Bound(8)  # at once, of recordings and pictures given by URL
PICTURES = Bound(256)  # mebibytes of those pictures, in memory
# Of URLs that the configuration names: it may name any.
OUTSIDE = FetchLimits(max_bytes=64 * 1024, total_s=5, max_redirects=0, at_once=64)
SIGNING_IN = 8  # people, at once, whose codes are redeemed
ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))

log = logging.getLogger(__name__)


class SystemClock:
    """Implements `core.ports.Clock`."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def unix_ms(self) -> int:
        return time.time_ns() // NS_PER_MS


@dataclass(frozen=True, slots=True)
class House:
    """The running server. `grpc` makes the gRPC service, whose calls are counted among the connections. `first_key` is
    the API key made at the first start, to be shown once.
    """

    asgi: ASGIApp
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
    clock = SystemClock()
    directory = open_directory(config.directory)
    warn_of_writable_models(directory)
    async with AsyncExitStack() as stack:
        latest = LatestClock(clock, directory / LATEST_NAME)
        server = server_id(directory)
        stores = _stores(config, directory, server, latest, accept_loss)
        for store in (stores.ledger, stores.answers, stores.jobs, stores.passing):  # closed in reverse order
            stack.push_async_callback(store.close)
        control = Control(stores.directory, profiles=config.profiles.found)
        stack.push_async_callback(latest.save)
        decoder = Decoder(_decode_limits(config))
        stack.push_async_callback(decoder.close)
        if config.recognisers:
            await decoder.start()
        await asyncio.to_thread(_import, config)
        observer = Observer(Objectives(**structs.asdict(config.objectives)), clock)
        if config.recognisers:
            observer.watch_engine("audio-decoder", decoder.stats)
        residency = Residency(config.processing, lambda project: keys.policy(project), latest)
        catalogue, voices = await backends.build(config, clock, observer, stack, residency.permitted)
        exporting = open_exporting(
            *(config, os.environ, directory, stores.ledger),
            lambda project: keys.policy(project).stripe_customer,
            latest,
        )
        stack.push_async_callback(exporting.close)
        # The key is made when nothing else can fail: it is shown once.
        first_key = control.prepare(config.api_key, clock.unix_ms())
        keys = KeyRing(stores.directory, latest, control.profiles)
        stack.callback(keys.close)
        uses = LastUses(directory / USES_NAME, keys.take_uses, keys.ids)
        stack.push_async_callback(uses.save)
        auditor = _auditor(config, stores, clock, latest, keys)
        notary = await asyncio.to_thread(_notary, config, stores, server, accept_loss)
        stack.push_async_callback(_end_audit, auditor, notary)
        auditor.event(Action.SERVER_START, object=server, reason=_described(config))
        redactions = Redactions(keys.policy, await backends.tagger(config, stack))
        allowed = tuple(ip_network(n) for n in config.fetch.allow)
        fetcher = Fetcher(_fetch_limits(config), allow_private=allowed)
        posts = Fetcher(FetchLimits(total_s=POST_S, at_once=AT_ONCE), allow_private=allowed)
        webhooks = Webhooks(posts, clock, keys.webhook_secret, partial(_receivers, keys))
        stack.push_async_callback(webhooks.close)
        decoding = Steps(decoder.limits.files_at_once, clock)
        pricing = await asyncio.to_thread(_price_books, config)
        alerts = Webhooks(Fetcher(OUTSIDE, allow_private=ANYWHERE), clock, lambda key: b"")
        stack.push_async_callback(alerts.close)
        watchers = observer.budget_alert, *alerting(config, os.environ, alerts, clock)
        allowances = Allowances(
            *(keys.policy, keys.projects, keys.organisation, pricing.of),
            *(stores.ledger, latest, watchers),
        )
        stack.push_async_callback(allowances.close)
        await allowances.start()
        services = Services(
            *(clock, stores.ledger, decoder, decoding, fetcher),
            *(Shares(FETCHES), Shares(PICTURES), observer, keys.labels, redactions.filters),
            filter_failed=auditor.not_redacted,
            allowances=allowances,
        )
        limits = config.limits
        bounds = Bounds(
            places=places_of(limits), generation_s=limits.generation_s, conversation_s=limits.conversation_s
        )

        def keep_s(project: str) -> int:
            return keys.policy(project).keep_answers_s

        expired = partial(auditor.expired, Action.ANSWERS_EXPIRE)
        keeper = Keeper(stores.answers, keep_s, clock, expired, stores.sealer)
        stack.push_async_callback(keeper.close)
        tiers = Tiers(stores, keep_s, partial(auditor.expired, Action.FILES_EXPIRE))
        provenance = await asyncio.to_thread(_provenance, config) if config.speaks else None

        def permit(principal: Principal) -> Permit:
            return residency.permit(principal, auditor.misplaced)

        sessions = Sessions(services, keys, catalogue, voices, keeper, provenance, bounds, permit, residency.region)
        stack.push_async_callback(sessions.all.settle)
        jobs = Service(tiers, latest, stores.sealer, keeper.erased_since)
        oidc = _oidc(config, latest, stack)
        sign_ins = _sign_ins(config, oidc, latest)
        hooks = ProjectWebhooks(control, keys, latest, webhooks.failures)
        pairs = await asyncio.to_thread(Pairs, directory, stores.sealer)
        door = Door(sessions, keys, clock, jobs, auditor, stores.resources, pairs, oidc, hooks, sign_ins)
        worker = _worker(config, door, sessions, tiers, stores.ledger, latest, webhooks, server)
        jobs.wake = worker.wake
        subjects = Subjects(stores, keeper, keep_s, auditor, JOB_KINDS, worker, sessions.all.about)
        observer.watch_jobs(worker)
        stack.push_async_callback(worker.close)
        observer.watch_exports(exporting.outboxes)
        for outbox in exporting.outboxes:  # not essential: exports never stop serving
            stack.callback(supervisor.start(f"export to {outbox.name}", outbox.run).cancel)
        for name, work in (
            ("run jobs", worker.run),
            ("fill with items", worker.watch_items),
            ("wipe files and jobs", tiers.watch),
            ("watch sessions", sessions.all.watch),
            ("wipe kept answers", keeper.watch),
            ("keep the latest time", latest.keep),
            ("keep the last use of keys", uses.watch),
            ("record changes", auditor.watch),
            ("sign the audit log", notary.watch),
        ):
            stack.callback(supervisor.start(name, work, essential=True).cancel)
        stack.callback(supervisor.start("measure the event loop", observer.holds.watch).cancel)
        ready = partial(_trouble, sessions, stores.answers, tiers)
        uploads = Uploads(limits.upload_mb << 20, limits.uploads_mb << 20, limits.uploads_per_key_mb << 20)
        billing = Billing(stores.ledger, stores.bills, pricing.of, pricing.costs)
        auditing = Auditing(auditor, stores.trail, notary)
        policies = Policies(
            lambda policy, model: residency.verdicts(policy, config.serving(model)), config.audit.keep_days
        )
        managed = asgi.Managed(control, billing, auditing, exporting, subjects, policies, uses.of, allowances, sign_ins)
        served = asgi.make(config, clock, door, uploads, observer, managed, ready)
        grpc = partial(_grpc, door, clock, uploads, ready, asgi.proxies_of(config))
        yield House(served, grpc, sessions, observer, first_key)


@asynccontextmanager
async def open_subjects(config: Config) -> AsyncIterator[Subjects]:
    """Open what is kept, without a server, to export or erase it. Raises as `assemble` does."""
    directory = open_directory(config.directory)
    async with AsyncExitStack() as stack:
        latest = LatestClock(SystemClock(), directory / LATEST_NAME)
        stores = _stores(config, directory, server_id(directory), latest)
        for store in (stores.ledger, stores.answers, stores.jobs, stores.passing):
            stack.push_async_callback(store.close)
        stack.push_async_callback(latest.save)
        keys = KeyRing(stores.directory, latest, config.profiles.found)
        stack.callback(keys.close)
        auditor = _auditor(config, stores, SystemClock(), latest, keys)
        stack.push_async_callback(auditor.close)

        def keep_s(project: str) -> int:
            return keys.policy(project).keep_answers_s

        keeper = Keeper(stores.answers, keep_s, latest, sealer=stores.sealer)
        yield Subjects(stores, keeper, keep_s, auditor, JOB_KINDS)


def _stores(config: Config, directory: Path, server: str, clock: Clock, accept_loss: bool = False) -> ServerStores:
    """Open the stores of the server with that id; blocking. Raises as `open_server_stores`."""
    return open_server_stores(
        directory,
        server,
        clock,
        master=find_source(directory, os.environ, *structs.astuple(config.encryption)),
        answers_bytes=config.limits.kept_gb << 30,
        jobs=_job_bounds(config),
        accept_loss=accept_loss,
    )


def _auditor(config: Config, stores: ServerStores, clock: SystemClock, latest: LatestClock, keys: KeyRing) -> Auditor:
    return Auditor(
        *(stores.ledger, stores.directory, clock, keys.policy),
        addresses=Addresses(config.audit.addresses),
        keep_s=config.audit.keep_days * 86_400,
        behind_ms=lambda: latest.behind_ms,
    )


def _receivers(keys: KeyRing, project: str) -> Sequence[Webhook]:
    """Return the webhooks that may get a project's content: none if its policy says where that may go, because nothing
    is known of where they are.
    """
    return keys.webhooks(project) if requirement_of(keys.policy(project)) is None else ()


def _oidc(config: Config, clock: LatestClock, stack: AsyncExitStack) -> Oidc | None:
    """Return who verifies tokens of the configured OpenID provider, if there is one. Raises `Invalid`."""
    if not config.oidc.issuer:
        return None
    if find_spec("jwt") is None:
        raise Invalid("setting oidc: this needs `pip install 'antiphon[oidc]'`")
    known = structs.asdict(config.oidc)
    provider = Provider(**{each.name: known[each.name] for each in fields(Provider)})
    oidc = Oidc(provider, Fetcher(OUTSIDE, allow_private=ANYWHERE).fetch, clock)
    stack.callback(supervisor.start("read the OpenID provider's keys", oidc.watch).cancel)
    return oidc


def _sign_ins(config: Config, oidc: Oidc | None, clock: LatestClock) -> SignIns | None:
    """Return who signs people in at the provider, if browsers reach this server at a configured address. Raises
    `Invalid`.
    """
    name = config.oidc.secret_env
    if oidc is None or not config.oidc.url:
        return None
    if name and not os.environ.get(name):
        raise Invalid(f"setting oidc.secret_env: the variable {name} is not set")
    limits = replace(OUTSIDE, at_once=SIGNING_IN)
    exchange = Fetcher(limits, allow_private=ANYWHERE).exchange
    return SignIns(oidc, exchange, clock, config.oidc.url, os.environ.get(name, "") if name else "")


async def _end_audit(auditor: Auditor, notary: Notary) -> None:
    """Write the last record, and sign a checkpoint that includes it."""
    auditor.event(Action.SERVER_STOP)
    await auditor.close()
    await notary.look()


def _notary(config: Config, stores: ServerStores, server: str, accept_loss: bool) -> Notary:
    """Return the signer of checkpoints; blocking. Raises `Invalid`, `InternalError`."""
    settings = config.audit
    try:
        witnesses = tuple((each.url, notes.parse_verifier(each.key)) for each in settings.witnesses)
        signer = notes.open_signer(config.directory, settings.origin or notes.origin_of(server))
    except (ValueError, CallerError) as error:
        raise Invalid(f"setting audit: {error}") from None
    file = Path(settings.file).expanduser() if settings.file else None
    outside = Outside(file, settings.webhook, witnesses, _bucket(config))
    posts = Fetcher(OUTSIDE, allow_private=ANYWHERE)
    notary = Notary(stores.trail, signer, config.directory, outside, posts, SystemClock())
    if accept_loss:
        notary.last = None  # the log may be an earlier one, which does not continue the last checkpoint
    return notary


def _bucket(config: Config) -> Bucket | None:
    """Return the bucket for checkpoints, if there is one. Raises `Invalid` without its key."""
    settings = config.audit.bucket
    if settings is None:
        return None
    for name in (settings.key_id_env, settings.secret_env):
        if not os.environ.get(name):
            raise Invalid(f"setting audit.bucket: the variable {name} is not set")
    return Bucket(settings.url, settings.region, os.environ[settings.key_id_env], os.environ[settings.secret_env])


def _described(config: Config) -> str:
    """Return the server's version and a hash of its configuration, for the audit log."""
    shown = structs.replace(config, api_key=None)
    return f"version {__version__}, configuration {hashlib.sha256(msgspec.json.encode(shown)).hexdigest()[:16]}"


class _Stored(Protocol):
    @property
    def trouble(self) -> str | None: ...


def _trouble(sessions: Sessions, *stored: _Stored) -> str | None:
    """Return why the server is not ready; `None` if it is."""
    return sessions.trouble or next((each.trouble for each in stored if each.trouble), None) or supervisor.trouble


def _worker(
    config: Config,
    door: Door,
    sessions: Sessions,
    tiers: Tiers,
    ledger: Ledger,
    clock: Clock,
    webhooks: Webhooks,
    server: str,
) -> Worker:
    """Return the worker that runs jobs. `clock` is that of the stores."""
    rows = {(row.surface, row.path): row for row in (*ROUTES, *JOB_CALLS) if isinstance(row, CallRow)}
    at_once = config.limits.items
    services = items.Services(door, ledger, clock, Filler(sessions, clock, at_once), rows, webhooks)
    return Worker(services, tiers, JOB_KINDS, server, at_once)


def _price_books(config: Config) -> Library:
    own = config.pricing
    return make_library(map(Path, own.books), own.default, own.projects, own.costs)


def _job_bounds(config: Config) -> JobBounds:
    limits = config.limits
    in_memory = limits.files_in_memory_mb << 20
    return JobBounds(limits.files_per_project_mb << 20, limits.files_mb << 20, in_memory // 2, in_memory)


def places_of(limits: Configured) -> dict[CallKind, Bound]:
    """Return how many calls of each kind may be open at once."""
    return {
        kind: Bound(*(getattr(table, kind.value) for table in (limits, limits.per_project, limits.per_key)))
        for kind in CallKind
    }


def _import(config: Config) -> None:
    """Import what the first session would wait for; blocking."""
    if config.recognisers or config.speaks:
        for room in ("live", "encode", "speech"):
            import_module(f"antiphon.audio.{room}")
    if config.speaks:
        warm()


def _provenance(config: Config) -> Provenance:
    """Open what signs speech; blocking. Raises `Invalid`."""
    chain, key = (Path(p).expanduser() if p else None for p in (config.provenance.chain, config.provenance.key))
    try:
        return open_provenance(config.directory, chain, key)
    except CallerError as error:
        raise Invalid(f"setting provenance: {error.message}") from None


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
    clock: SystemClock,
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
