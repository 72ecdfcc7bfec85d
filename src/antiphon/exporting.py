"""The configured exports: their receivers, the outboxes, and Stripe's later reports."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from antiphon.config import Config, Export, Invalid, OpenMeterExport, StripeExport, WebhookExport, secret_in
from antiphon.core.errors import AntiphonError, NotFound
from antiphon.core.ports import Clock
from antiphon.core.stores import Exports, Usage
from antiphon.jobs.webhook import Webhooks
from antiphon.metering.alerts import notice
from antiphon.metering.allowances import Watcher
from antiphon.metering.budgets import Alert
from antiphon.metering.export import cloudevents, stripe, webhook
from antiphon.metering.export.cloudevents import OpenMeter
from antiphon.metering.export.control import ExportControl
from antiphon.metering.export.meters import Meter, Metering, usual_meters
from antiphon.metering.export.outbox import Outbox, Start, Target
from antiphon.metering.export.receivers import DAY_MS, HOUR_MS, Limits, Receiver
from antiphon.metering.export.sender import Sender
from antiphon.metering.export.stripe import Stripe
from antiphon.metering.export.stripe_hook import Account, StripeHook
from antiphon.metering.export.webhook import Webhook
from antiphon.stores import open_exports

_NAME = re.compile(r"(?=.{1,24}$)[a-z0-9](-?[a-z0-9])*")
_METER = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_URL = re.compile(r"https?://[^\s/?#]+\S*")

log = logging.getLogger(__name__)

Customer = Callable[[str], str]  # by a project's id


@dataclass(frozen=True, slots=True)
class Exporting:
    """The server's parts for exports. Close it after they have stopped."""

    outboxes: tuple[Outbox, ...]
    control: ExportControl
    hook: StripeHook | None
    exports: Exports | None
    sender: Sender

    async def close(self) -> None:
        await self.sender.close()
        if self.exports is not None:
            await self.exports.close()


def open_exporting(
    config: Config, environment: Mapping[str, str], directory: Path, ledger: Usage, customer: Customer, clock: Clock
) -> Exporting:
    """Open the configured exports; blocking. Raises `Invalid`, or `InternalError` if the outbox cannot be opened."""
    found = targets(config, environment, customer)
    accounts = list(_accounts(config, environment, found))
    sender = Sender()
    exports = open_exports(directory, make=True) if found else _those_there(directory)
    control = ExportControl(exports, ledger, memory_ms(config), clock.unix_ms)
    if exports is None:
        return Exporting((), control, None, None, sender)
    outboxes = tuple(Outbox(target, exports, ledger, sender.post, clock) for target in found)
    hook = StripeHook(accounts, exports, sender.post, clock) if accounts else None
    return Exporting(outboxes, control, hook, exports, sender)


def alerting(config: Config, environment: Mapping[str, str], webhooks: Webhooks, clock: Clock) -> tuple[Watcher, ...]:
    """Return what posts alerts of budgets to the configured webhook, if there is one. Raises `Invalid`."""
    table = config.budgets
    if not table.webhook:
        return ()
    url = _url("budgets.webhook", table.webhook)
    signing = _signing("budgets", table.secret_env, environment)

    def send(project: str, alert: Alert) -> None:
        webhooks.send(project, "", notice(url, signing, project, alert, clock.unix_ms()))

    return (send,)


def _accounts(config: Config, environment: Mapping[str, str], found: Iterable[Target]) -> Iterator[Account]:
    for target in found:
        table = config.export[target.name]
        if isinstance(table, StripeExport) and table.webhook_secret_env and isinstance(target.receiver, Stripe):
            secret = secret_in(environment, f"export.{target.name}.webhook_secret_env", table.webhook_secret_env)
            yield Account(target.name, target.receiver, secret)


def _those_there(directory: Path) -> Exports | None:
    """Return the outbox of earlier exports, only to be shown; `None` if there is none or it cannot be opened."""
    try:
        return open_exports(directory, make=False)
    except AntiphonError as error:
        if not isinstance(error, NotFound):
            log.error("what was exported before cannot be shown", exc_info=error)
        return None


def targets(config: Config, environment: Mapping[str, str], customer: Customer) -> list[Target]:
    """Return a target for each `[export.NAME]`. Raises `Invalid`."""
    return [
        Target(
            name,
            receiver_of(name, table, environment, customer),
            metering_of(name, table),
            table.interval_s * 1000,
            Start(table.start),
        )
        for name, table in config.export.items()
    ]


def memory_ms(config: Config) -> dict[str, int]:
    """Return for how long (ms) each receiver recognises a repeated event, by the export's name."""
    return {name: _limits(table).memory_ms for name, table in config.export.items()}


def receiver_of(name: str, table: Export, environment: Mapping[str, str], customer: Customer) -> Receiver:
    """Return the receiver of an export. Raises `Invalid`."""
    if not _NAME.fullmatch(name):
        raise Invalid(f"setting export: {name!r} is not 1 to 24 characters of a-z, 0-9 and '-'")
    if isinstance(table, StripeExport):
        key = secret_in(environment, f"export.{name}.api_key_env", table.api_key_env)
        return Stripe(key, customer, _url(f"export.{name}.url", table.url))
    if isinstance(table, OpenMeterExport):
        return OpenMeter(
            _url(f"export.{name}.url", table.url),
            secret_in(environment, f"export.{name}.api_key_env", table.api_key_env),
        )
    assert isinstance(table, WebhookExport)
    signing = _signing(f"export.{name}", table.secret_env, environment)
    try:
        webhook.check_fields(table.fields)
    except AntiphonError as error:
        raise Invalid(f"setting export.{name}.fields: {error.message}") from None
    return Webhook(
        url=_url(f"export.{name}.url", table.url),
        limits=_limits(table),
        fields=table.fields,
        envelope=table.envelope,
        token=secret_in(environment, f"export.{name}.api_key_env", table.api_key_env),
        secret=signing,
    )


def metering_of(name: str, table: Export) -> Metering:
    """Return what an export counts. Raises `Invalid`."""
    for meter in table.meters:
        if not _METER.fullmatch(meter):
            raise Invalid(f"setting export.{name}.meters: {meter!r} is not 1 to 100 characters of A-Z, a-z, 0-9, _.:-")
    meters = tuple(
        Meter(
            name=meter,
            dimension=counted.dimension,
            model=counted.model,
            surface=counted.surface,
            feature=counted.feature,
        )
        for meter, counted in table.meters.items()
    )
    without = frozenset(table.without)
    if both := sorted(meter.name for meter in meters if meter.dimension in without):
        raise Invalid(f"setting export.{name}.without: meter {both[0]!r} counts one of these dimensions")
    usual = tuple(meter for meter in usual_meters() if meter.dimension not in without)
    return Metering(meters or usual, without, tuple(dict.fromkeys(table.by)))


def _limits(table: Export) -> Limits:
    if isinstance(table, StripeExport):
        return stripe.LIMITS
    if isinstance(table, WebhookExport):
        past_ms = table.past_days * DAY_MS or cloudevents.FOR_EVER_MS
        # One hour less than promised: a request may be on its way for a while.
        memory = max(HOUR_MS // 2, (table.identifiers_h - 1) * HOUR_MS)
        return replace(cloudevents.LIMITS, events=table.events, past_ms=past_ms, memory_ms=memory)
    return cloudevents.LIMITS


def _url(setting: str, url: str) -> str:
    if not _URL.fullmatch(url):
        raise Invalid(f"setting {setting}: expected http://HOST:PORT or https://HOST")
    return url.rstrip("/")


def _signing(table: str, variable: str, environment: Mapping[str, str]) -> bytes:
    """Return the secret that signs messages; empty if no variable is named. Raises `Invalid`."""
    secret = secret_in(environment, f"{table}.secret_env", variable)
    try:
        return webhook.parse_secret(secret) if secret else b""
    except AntiphonError as error:
        raise Invalid(f"setting {table}.secret_env: {error.message}") from None
