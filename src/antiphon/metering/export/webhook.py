"""A POST of events to any address: CloudEvents, or their data under other names, as a list or within an envelope. Lago,
Orb, Metronome and a team's own service are each just a table of the configuration.

Signed by Standard Webhooks (standardwebhooks.com): `webhook-id`, `webhook-timestamp`, and `webhook-signature`, which is
`v1,` and the base64 HMAC of these two and the body.
"""

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from antiphon.core.errors import CallerError
from antiphon.core.exports import Batch, UsageEvent
from antiphon.metering.export.cloudevents import CONTENT_TYPE, SOURCE, cloud_event, rfc3339
from antiphon.metering.export.receivers import Answer, Judgement, Limits, Request, judge

SECRET_PREFIX = "whsec_"
LEAST_SECRET_BYTES, MOST_SECRET_BYTES = 24, 64  # of Standard Webhooks
LITERAL = "="  # the beginning of a constant value

# The possible values of a field.
FACTS: Mapping[str, Callable[[UsageEvent], object]] = {
    "id": lambda event: event.identifier,
    "source": lambda event: SOURCE,
    "type": lambda event: event.meter,
    "subject": lambda event: event.project,
    "time": lambda event: rfc3339(event.at_unix_ms),
    "unix_s": lambda event: event.at_unix_ms // 1000,
    "unix_ms": lambda event: event.at_unix_ms,
    "value": lambda event: event.quantity,
    "value_text": lambda event: str(event.quantity),
    "labels": lambda event: dict(event.labels),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A receiver (`Receiver`). `fields` maps the receiver's names, nested ones with dots, to `FACTS` or to a constant
    text after `=`; if empty, events are CloudEvents. `envelope` is the name of the list in an object, or empty.
    """

    url: str
    limits: Limits
    fields: Mapping[str, str] = field(default_factory=dict)
    envelope: str = ""
    token: str = field(default="", repr=False)
    secret: bytes = field(default=b"", repr=False)

    def skips(self, project: str) -> bool:
        return False

    def refusal(self, event: UsageEvent) -> str | None:
        return None

    def lane(self, event: UsageEvent) -> str:
        return ""

    def body(self, events: Sequence[UsageEvent]) -> bytes:
        listed = [mapped(event, self.fields) if self.fields else cloud_event(event) for event in events]
        return msgspec.json.encode({self.envelope: listed} if self.envelope else listed)

    def request(self, batch: Batch, now_unix_ms: int) -> Request:
        plain = bool(self.fields or self.envelope)
        headers = {"Content-Type": "application/json" if plain else CONTENT_TYPE}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if self.secret:
            headers |= signature(self.secret, batch.identifier, now_unix_ms // 1000, batch.body)
        return Request(self.url, headers, batch.body)

    def judge(self, answer: Answer) -> Judgement:
        return judge(answer)


def mapped(event: UsageEvent, fields: Mapping[str, str]) -> dict[str, object]:
    """Return an event under the receiver's names."""
    whole: dict[str, object] = {}
    for path, fact in fields.items():
        *outer, name = path.split(".")
        inner = whole
        for part in outer:
            held = inner.setdefault(part, {})
            assert isinstance(held, dict)  # ensured by `check_fields`
            inner = held
        inner[name] = fact[len(LITERAL) :] if fact.startswith(LITERAL) else FACTS[fact](event)
    return whole


def check_fields(fields: Mapping[str, str]) -> None:
    """Raise `CallerError` for a mapping that is invalid, or without the event's id."""
    for path, fact in fields.items():
        if not fact.startswith(LITERAL) and fact not in FACTS:
            raise CallerError(f"{fact!r} is none of {', '.join(FACTS)}, and no text after '='", param=path)
        if not all(path.split(".")):
            raise CallerError(f"{path!r} is no name, or names with dots between", param=path)
        within = [f"{path}." == other[: len(path) + 1] for other in fields]
        if any(within):
            raise CallerError(f"{path!r} cannot be a value and hold others", param=path)
    if fields and "id" not in fields.values():
        raise CallerError("one of the fields must be the id, by which a receiver knows what comes again", param="id")


def signature(secret: bytes, id: str, unix_s: int, body: bytes) -> dict[str, str]:
    """Return the three headers of Standard Webhooks."""
    signed = b".".join((id.encode(), str(unix_s).encode(), body))
    made = base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
    return {"webhook-id": id, "webhook-timestamp": str(unix_s), "webhook-signature": f"v1,{made}"}


def parse_secret(text: str) -> bytes:
    """Return the bytes of a secret in Standard Webhooks' form: base64, after `whsec_`. Raises `CallerError`."""
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not LEAST_SECRET_BYTES <= len(secret) <= MOST_SECRET_BYTES:
        raise CallerError(
            f"a secret is {LEAST_SECRET_BYTES} to {MOST_SECRET_BYTES} bytes in base64, after '{SECRET_PREFIX}'"
        )
    return secret
