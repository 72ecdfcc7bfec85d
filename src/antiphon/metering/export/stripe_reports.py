"""Stripe's later reports on meter events: it validates most of them only after its answer. Pure.

The event `v1.billing.meter.error_report_triggered` names a few of the events that are not counted, by the key of their
request, and the number of all. It comes by a webhook (docs.stripe.com/webhooks/signature) without its data, which are
fetched by its id.
"""

import hmac
import re
from dataclasses import dataclass

import msgspec

from antiphon.core.errors import CallerError, Unauthenticated
from antiphon.core.exports import Refusal

TYPES = frozenset({"v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found"})
TOLERANCE_S = 300
MAX_BODY_BYTES = 1 << 20
MAX_SIGNATURES = 8

_ID = re.compile(r"evt_[A-Za-z0-9_]{1,100}")
_CODE = re.compile(r"[a-z0-9_]{1,64}")


class _Request(msgspec.Struct, frozen=True):
    identifier: str = ""


class _Sample(msgspec.Struct, frozen=True):
    request: _Request = _Request()


class _Type(msgspec.Struct, frozen=True):
    code: str = ""
    error_count: int = 0
    sample_errors: tuple[_Sample, ...] = ()


class _Reason(msgspec.Struct, frozen=True):
    error_types: tuple[_Type, ...] = ()


class _Data(msgspec.Struct, frozen=True):
    reason: _Reason = _Reason()


class _Event(msgspec.Struct, frozen=True):
    id: str
    type: str
    data: _Data | None = None


_event = msgspec.json.Decoder(_Event)


@dataclass(frozen=True, slots=True)
class Report:
    """A report. `refusals` are the events that it names; `others` say how many more there are, by reason. A `thin`
    report has no data.
    """

    id: str
    refusals: tuple[Refusal, ...] = ()
    others: tuple[Refusal, ...] = ()
    thin: bool = False


def verify(body: bytes, header: str, secret: str, now_unix_s: int) -> None:
    """Raise `Unauthenticated` unless the body was signed with that secret within the last five minutes."""
    parts = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name == "t"]
    signatures = [value for name, _, value in parts if name == "v1"][:MAX_SIGNATURES]
    if len(times) != 1 or not re.fullmatch(r"\d{1,12}", times[0], re.ASCII):
        raise Unauthenticated("the signature has no time")
    made = hmac.digest(secret.encode(), times[0].encode() + b"." + body, "sha256").hex().encode()
    if not any(hmac.compare_digest(made, each.encode()) for each in signatures):
        raise Unauthenticated("the signature is not that of this body")
    if abs(now_unix_s - int(times[0])) > TOLERANCE_S:
        raise Unauthenticated("the signature is too old")


def parse(body: bytes) -> Report | None:
    """Return the report, `None` for an event of another type. Raises `CallerError` if it is not an event."""
    try:
        event = _event.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise CallerError("this is no event of Stripe's") from None
    if event.type not in TYPES:
        return None
    if not _ID.fullmatch(event.id):
        raise CallerError("this event has no id")
    if event.data is None:
        return Report(event.id, thin=True)
    refusals, others = [], []
    for each in event.data.reason.error_types:
        code = each.code if _CODE.fullmatch(each.code) else "unknown"
        named = {sample.request.identifier for sample in each.sample_errors if sample.request.identifier}
        refusals += [Refusal(identifier, code) for identifier in sorted(named)]
        if each.error_count > len(named):
            rest = f"{code}: {each.error_count - len(named)} more events, which Stripe does not name"
            others.append(Refusal(f"{event.id}/{code}", rest))
    return Report(event.id, tuple(refusals), tuple(others))
