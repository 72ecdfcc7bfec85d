"""What everything else stands on, as the configuration names it: the data directory with its stores, the latest time,
the keys, who signs in, the audit log, and what signs speech.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path

import msgspec
from msgspec import structs

from antiphon import __version__
from antiphon.config import Config, Invalid, secret_in
from antiphon.core.audit import Action
from antiphon.core.errors import CallerError
from antiphon.core.identity import Webhook
from antiphon.core.stores import AnswerBounds, JobBounds, ServerStores
from antiphon.core.units import NS_PER_MS
from antiphon.routes import JOB_KINDS, surfaces
from antiphon.session.keeping import Keeper
from antiphon.session.subjects import Subjects
from antiphon.storage.directory import open_directory
from antiphon.storage.identity import server_id
from antiphon.storage.master_key import find_source
from antiphon.stores import open_server_stores
from antiphon.supervision import supervisor
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
from antiphon.trust.notary import Notary, Outside
from antiphon.trust.oidc import Oidc, Provider
from antiphon.trust.provenance import Provenance, open_provenance
from antiphon.trust.residency import requirement_of
from antiphon.trust.sign_in import SignIns

# Of URLs that the configuration names: it may name any.
OUTSIDE = FetchLimits(max_bytes=64 * 1024, total_s=5, max_redirects=0, at_once=64)
SIGNING_IN = 8  # people, at once, whose codes are redeemed
ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class SystemClock:
    """Implements `core.ports.Clock`."""

    now_ns = staticmethod(time.monotonic_ns)  # called some thirty times for a request

    def unix_ms(self) -> int:
        return time.time_ns() // NS_PER_MS


@dataclass(frozen=True, slots=True)
class Foundation:
    """The data directory of a server with that id. `latest` is the clock of what is stored."""

    directory: Path
    server: str
    clock: SystemClock
    latest: LatestClock
    stores: ServerStores


@dataclass(frozen=True, slots=True)
class Guard:
    """Who may do what, and the record of it. `first_key` is the API key made at the first start; `oidc` and `sign_ins`
    are there if the configuration names a provider.
    """

    control: Control
    first_key: str | None
    keys: KeyRing
    uses: LastUses
    auditor: Auditor
    notary: Notary
    oidc: Oidc | None
    sign_ins: SignIns | None

    @property
    def tasks(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What must run for as long as the server does."""
        return {
            "keep the last use of keys": self.uses.watch,
            "record changes": self.auditor.watch,
            "sign the audit log": self.notary.watch,
        }


def open_foundation(config: Config, stack: AsyncExitStack, accept_loss: bool = False) -> Foundation:
    """Open the data directory until `stack` unwinds; blocking. Raises `LedgerUnavailable` if another server uses it,
    `CallerError` if it is unusable.
    """
    directory, clock = open_directory(config.directory), SystemClock()
    latest = LatestClock(clock, directory / LATEST_NAME)
    server = server_id(directory)
    stores = open_server_stores(
        directory,
        server,
        latest,
        master=find_source(directory, os.environ, *structs.astuple(config.encryption)),
        answers=AnswerBounds(config.limits.kept_per_project_gb << 30, config.limits.kept_gb << 30),
        jobs=_job_bounds(config),
        accept_loss=accept_loss,
    )
    for store in (stores.ledger, stores.answers, stores.jobs, stores.passing):  # closed in reverse order
        stack.push_async_callback(store.close)
    stack.push_async_callback(latest.save)
    return Foundation(directory, server, clock, latest, stores)


async def open_guard(config: Config, base: Foundation, stack: AsyncExitStack, accept_loss: bool) -> Guard:
    """Prepare the keys of a server that starts, and open the audit log, until `stack` unwinds. Raises `Invalid`,
    `InternalError`, `CallerError`.
    """
    stores, clock, latest = base.stores, base.clock, base.latest
    oidc = _oidc(config, latest, stack)
    sign_ins = open_sign_ins(config, oidc, latest)
    notary = await asyncio.to_thread(_notary, config, stores, base.server, accept_loss)
    control = Control(stores.directory, profiles=config.profiles.found, surfaces=surfaces)
    # As late as possible: the key is shown once, and would be lost if the server did not start.
    first_key = control.prepare(config.api_key, clock.unix_ms())
    keys = KeyRing(stores.directory, latest, control.profiles)
    stack.callback(keys.close)
    uses = LastUses(base.directory / USES_NAME, keys.take_uses, keys.ids)
    stack.push_async_callback(uses.save)
    auditor = _auditor(config, base, keys)
    stack.push_async_callback(_end_audit, auditor, notary)
    auditor.event(Action.SERVER_START, object=base.server, reason=_described(config))
    return Guard(control, first_key, keys, uses, auditor, notary, oidc, sign_ins)


@asynccontextmanager
async def open_subjects(config: Config) -> AsyncIterator[Subjects]:
    """Open what is kept, without a server, to export or erase it. Raises as `open_foundation` does."""
    async with AsyncExitStack() as stack:
        base = open_foundation(config, stack)
        stores = base.stores
        keys = KeyRing(stores.directory, base.latest, config.profiles.found)
        stack.callback(keys.close)
        auditor = _auditor(config, base, keys)
        stack.push_async_callback(auditor.close)
        keep_s = partial(kept_for_s, keys)
        keeper = Keeper(stores.answers, keep_s, base.latest, sealer=stores.sealer)
        yield Subjects(stores, keeper, keep_s, auditor, JOB_KINDS)


def kept_for_s(keys: KeyRing, project: str) -> int:
    """Return for how long a project's answers are kept."""
    return keys.policy(project).keep_answers_s


def _auditor(config: Config, base: Foundation, keys: KeyRing) -> Auditor:
    return Auditor(
        *(base.stores.ledger, base.stores.directory, base.clock, keys.policy),
        addresses=Addresses(config.audit.addresses),
        keep_s=config.audit.keep_days * 86_400,
        behind_ms=lambda: base.latest.behind_ms,
    )


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
    key_id = secret_in(os.environ, "audit.bucket.key_id_env", settings.key_id_env)
    secret = secret_in(os.environ, "audit.bucket.secret_env", settings.secret_env)
    if not (key_id and secret):
        raise Invalid("setting audit.bucket: set both key_id_env and secret_env")
    return Bucket(settings.url, settings.region, key_id, secret)


def _described(config: Config) -> str:
    """Return the server's version and a hash of its configuration, for the audit log."""
    shown = structs.replace(config, api_key=None)
    return f"version {__version__}, configuration {hashlib.sha256(msgspec.json.encode(shown)).hexdigest()[:16]}"


def receivers(keys: KeyRing, project: str) -> Sequence[Webhook]:
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


def open_sign_ins(config: Config, oidc: Oidc | None, clock: LatestClock) -> SignIns | None:
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


def find_provenance(config: Config) -> Provenance:
    """Open what signs speech; blocking. Raises `Invalid`."""
    chain, key = (Path(p).expanduser() if p else None for p in (config.provenance.chain, config.provenance.key))
    try:
        return open_provenance(config.directory, chain, key)
    except CallerError as error:
        raise Invalid(f"setting provenance: {error.message}") from None


def _job_bounds(config: Config) -> JobBounds:
    limits = config.limits
    in_memory = limits.files_in_memory_mb << 20
    return JobBounds(limits.files_per_project_mb << 20, limits.files_mb << 20, in_memory // 2, in_memory)
