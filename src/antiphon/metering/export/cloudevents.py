"""CloudEvents 1.0 in batches (cloudevents.io, batched mode of the HTTP binding), as OpenMeter accepts them.

OpenMeter remembers `id` and `source` for 32 days, and accepts events of any age.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from antiphon.core.exports import Batch, UsageEvent
from antiphon.metering.export.receivers import DAY_MS, Answer, Judgement, Limits, Request, judge

CONTENT_TYPE = "application/cloudevents-batch+json"
SOURCE = "antiphon"  # identifiers distinguish servers
FOR_EVER_MS = 100 * 366 * DAY_MS
LIMITS = Limits(events=100, at_once=1, past_ms=FOR_EVER_MS, memory_ms=31 * DAY_MS)

_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class OpenMeter:
    """A receiver (`Receiver`). A project is the event's `subject`, a meter its `type`."""

    url: str
    token: str = field(default="", repr=False)
    limits: Limits = LIMITS

    def skips(self, project: str) -> bool:
        return False

    def refusal(self, event: UsageEvent) -> str | None:
        return None

    def lane(self, event: UsageEvent) -> str:
        return ""

    def body(self, events: Sequence[UsageEvent]) -> bytes:
        return msgspec.json.encode([cloud_event(event) for event in events])

    def request(self, batch: Batch, now_unix_ms: int) -> Request:
        headers = {"Content-Type": CONTENT_TYPE}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return Request(f"{self.url.rstrip('/')}/api/v1/events", headers, batch.body)

    def judge(self, answer: Answer) -> Judgement:
        return judge(answer)


def cloud_event(event: UsageEvent) -> dict[str, object]:
    """Return an event as a CloudEvent. The amount is text, since many programs read numbers in JSON as floats."""
    return {
        "specversion": "1.0",
        "id": event.identifier,
        "source": SOURCE,
        "type": event.meter,
        "subject": event.project,
        "time": rfc3339(event.at_unix_ms),
        "datacontenttype": "application/json",
        "data": {"value": str(event.quantity), **dict(event.labels)},
    }


def rfc3339(unix_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=unix_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
