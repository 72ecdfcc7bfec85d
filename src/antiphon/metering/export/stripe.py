"""Stripe's billing meters (docs.stripe.com/api/billing/meter-event): one event per request, form encoded.

Stripe accepts whole numbers of at most 15 digits, of the last 35 days, one request at a time for each customer and
meter, and guarantees to remember an identifier for 24 hours.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

import msgspec

from antiphon.core.exports import Batch, UsageEvent
from antiphon.core.policy import NO_CUSTOMER
from antiphon.metering.export.receivers import DAY_MS, HOUR_MS, Answer, Judgement, Limits, Request, Verdict, judge

API = "https://api.stripe.com"
VERSION = "2026-10-28.endive"
MAX_VALUE = 10**15 - 1
CUSTOMER_KEY, VALUE_KEY = "stripe_customer_id", "value"  # keys of a payload, a meter's defaults
LIMITS = Limits(events=1, at_once=25, past_ms=34 * DAY_MS, memory_ms=23 * HOUR_MS)

_CODE = re.compile(r"[a-z0-9_]{1,64}")
_DUPLICATE = "duplicate_meter_event"
_DUPLICATE_WORDS = b"already exists with identifier"  # some answers have no code


class _Error(msgspec.Struct, frozen=True):
    code: str = ""
    param: str = ""


class _Refused(msgspec.Struct):
    error: _Error = _Error()


_refused = msgspec.json.Decoder(_Refused)


@dataclass(frozen=True, slots=True)
class Stripe:
    """A receiver (`Receiver`). `customer` maps a project to a customer's id: empty if there is none, `NO_CUSTOMER` if
    the project is excluded from Stripe.
    """

    api_key: str = field(repr=False)
    customer: Callable[[str], str]
    url: str = API
    limits: Limits = LIMITS

    def skips(self, project: str) -> bool:
        return self.customer(project) == NO_CUSTOMER

    def refusal(self, event: UsageEvent) -> str | None:
        if not self.customer(event.project):
            return "no_customer"
        return "too_many_digits" if abs(event.quantity) > MAX_VALUE else None

    def lane(self, event: UsageEvent) -> str:
        return f"{self.customer(event.project)} {event.meter}"

    def body(self, events: Sequence[UsageEvent]) -> bytes:
        [event] = events
        payload = {CUSTOMER_KEY: self.customer(event.project), VALUE_KEY: str(event.quantity), **dict(event.labels)}
        form = {
            "event_name": event.meter,
            "identifier": event.identifier,
            "timestamp": str(event.at_unix_ms // 1000),
            **{f"payload[{name}]": value for name, value in payload.items()},
        }
        return urlencode(form).encode()

    def request(self, batch: Batch, now_unix_ms: int) -> Request:
        headers = self.headers() | {
            "Content-Type": "application/x-www-form-urlencoded",
            "Idempotency-Key": batch.identifier,
        }
        return Request(f"{self.url}/v1/billing/meter_events", headers, batch.body)

    def judge(self, answer: Answer) -> Judgement:
        judged = judge(answer)
        if judged.verdict is not Verdict.REFUSED:
            return judged
        if answer.status == 400 and is_duplicate(answer.body):
            return Judgement(Verdict.TAKEN)
        return Judgement(Verdict.REFUSED, f"{judged.reason} {_code(answer.body)}".strip())

    def headers(self) -> dict[str, str]:
        """Return the headers of every request."""
        return {"Authorization": f"Bearer {self.api_key}", "Stripe-Version": VERSION}


def is_duplicate(body: bytes) -> bool:
    """Return whether an answer says that the event was received before."""
    return _code(body) == _DUPLICATE or _DUPLICATE_WORDS in body


def _code(body: bytes) -> str:
    """Return an error's code, or the parameter that it is about. Never its message, which may quote values."""
    try:
        error = _refused.decode(body).error
    except msgspec.DecodeError:
        return ""
    return next((text for text in (error.code, error.param) if _CODE.fullmatch(text)), "")
