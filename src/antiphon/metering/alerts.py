"""The message about a threshold of a budget that was reached: a CloudEvent, signed by Standard Webhooks."""

from collections.abc import Mapping

import msgspec

from antiphon.core.jobs import Notice
from antiphon.metering.budgets import Alert
from antiphon.metering.export.cloudevents import SOURCE, rfc3339
from antiphon.metering.export.webhook import signature

TYPE = "antiphon.budget.reached"


def notice(url: str, secret: bytes, project: str, alert: Alert, now_unix_ms: int) -> Notice:
    """Return the message for a URL. Its id is the same for the same threshold and window."""
    budget = alert.budget
    id = f"{project}/{budget.name}/{alert.until_unix_ms}/{alert.percent}"
    data = {
        "budget": budget.name,
        "measure": budget.measure.name.lower(),
        "currency": alert.currency,
        "window": budget.window.value,
        "key": budget.key,
        "hard": budget.hard,
        "percent": alert.percent,
        "used": alert.used,
        "amount": alert.amount,
    }
    event = {"specversion": "1.0", "id": id, "source": SOURCE, "type": TYPE, "subject": project}
    body = msgspec.json.encode(event | {"time": rfc3339(now_unix_ms), "data": data})

    def signed(at_unix_s: int, _: str) -> Mapping[str, str]:
        headers = {"content-type": "application/cloudevents+json"}
        return headers | (signature(secret, id, at_unix_s, body) if secret else {})

    return Notice(url, body, signed)
