"""The tables of exports."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from antiphon.config.agreements import Agreements
from antiphon.config.tables import NotNegative, Positive, Table
from antiphon.core.usage import Dimension


class ExportMeter(Table, frozen=True, kw_only=True):
    """The usage that a meter counts: a dimension, filtered by patterns."""

    dimension: Dimension
    model: str = "*"
    surface: str = "*"
    feature: str = "*"


class Export(Table, frozen=True, kw_only=True):
    """The export of usage to an external receiver, summed per interval, from now on or from the `beginning` of the
    ledger. Without `meters` there is one for each dimension; `without` are dimensions that no meter counts. `by` are
    the properties that separate events. Region, processor, agreements and retention are those of the receiver; it gets
    no content, so they are only shown in evidence.
    """

    region: str = ""
    processor: str = ""
    agreements: Agreements = ()
    retention: str = ""

    interval_s: Annotated[int, Meta(ge=1, le=3600)] = 300
    start: Literal["now", "beginning"] = "now"
    meters: dict[str, ExportMeter] = msgspec.field(default_factory=dict)
    without: tuple[Dimension, ...] = ()
    by: tuple[Literal["model", "surface", "feature"], ...] = ("model", "surface", "feature")


class StripeExport(Export, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="stripe"):
    """Stripe's billing meters. The variables hold the API key, and the secret that signs reports to `/hooks/stripe`."""

    url: str = "https://api.stripe.com"
    api_key_env: str = "STRIPE_API_KEY"
    webhook_secret_env: str = ""
    by: tuple[Literal["model", "surface", "feature"], ...] = ()


class OpenMeterExport(Export, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="openmeter"):
    """OpenMeter, or another receiver of CloudEvents at `/api/v1/events`."""

    url: str = "https://openmeter.cloud"
    api_key_env: str = ""


class WebhookExport(Export, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="webhook"):
    """A POST of at most `events` events to `url`, under the names in `fields`, in a list or in an `envelope`. The
    receiver recognises an event's id for `identifiers_h`, and accepts none older than `past_days`; 0 is any.
    """

    url: str
    api_key_env: str = ""
    secret_env: str = ""
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    envelope: str = ""
    events: Annotated[int, Meta(ge=1, le=1000)] = 100
    identifiers_h: Positive = 720
    past_days: NotNegative = 0
