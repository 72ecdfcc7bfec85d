"""The HTTP application: the vendors' routes, health and metrics for operators, and the management API."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network

from antiphon.config import Config
from antiphon.core.audit import Action
from antiphon.core.ports import Clock
from antiphon.exporting import Exporting
from antiphon.metering.allowances import Allowances
from antiphon.metering.export.stripe_reports import MAX_BODY_BYTES as MAX_REPORT_BYTES
from antiphon.metering.statements import Billing
from antiphon.observe.observer import Observer
from antiphon.routes import ROUTES, whose
from antiphon.session.door import Door
from antiphon.session.subjects import Subjects
from antiphon.transports import operators, table
from antiphon.transports.entrance import Application, any_path, enter
from antiphon.transports.forwarding import Proxies
from antiphon.transports.hooks import Hook
from antiphon.transports.inspecting import Inspectors
from antiphon.transports.later import later
from antiphon.transports.origins import Origins
from antiphon.transports.uploads import Uploads
from antiphon.trust.control import Control
from antiphon.trust.last_use import LastUse
from antiphon.trust.notary import Auditing
from antiphon.trust.residency import Policies
from antiphon.trust.sign_in import SignIns


@dataclass(frozen=True, slots=True)
class Managed:
    """What the management API manages."""

    control: Control
    billing: Billing
    auditing: Auditing
    exporting: Exporting
    subjects: Subjects
    policies: Policies
    uses: LastUse
    allowances: Allowances
    sign_ins: SignIns | None = None


def make(
    config: Config,
    clock: Clock,
    door: Door,
    uploads: Uploads,
    observer: Observer,
    managed: Managed,
    trouble: Callable[[], str | None],
) -> Application:
    """Return the application. `trouble` returns why the server is not ready, if it is not."""
    inspectors = Inspectors(door.administer, tuple(ip_network(n) for n in config.inspection.open_to))
    routes = table.routes(ROUTES, door, clock, uploads)
    open_to_pages = any_path(routes)
    refused = partial(managed.auditing.auditor.refuse, Action.MANAGE, f"GET {operators.METRICS}")
    routes += operators.routes(trouble, observer.render, inspectors, refused)
    if managed.exporting.hook is not None:
        hook = Hook(managed.exporting.hook.receive, "stripe-signature", MAX_REPORT_BYTES)
        routes.append(hook.route("/hooks/stripe"))

    def administration() -> Application:
        from antiphon.admin import create_admin

        checks = door.administer, managed.billing.ledger, clock, inspectors.check
        return create_admin(
            managed.control,
            *checks,
            managed.auditing,
            managed.exporting.control,
            managed.billing,
            managed.subjects,
            managed.policies,
            managed.uses,
            managed.allowances,
            managed.sign_ins,
        )

    routes.append(later("/admin/v1", administration))
    return enter(routes, whose, proxies_of(config), lambda app: Origins(app, config.origins, open_to_pages))


def proxies_of(config: Config) -> Proxies:
    """Return the proxies that may say where a request came from."""
    return Proxies([ip_network(each) for each in config.proxies])
