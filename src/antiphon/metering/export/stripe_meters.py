"""Creation of the configured meters at Stripe. Nothing of a meter but its display name can be changed, so an existing
meter with other settings is an error for a person to resolve. Customers are never created.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from antiphon.core.errors import CallerError, EngineError
from antiphon.metering.export.meters import Meter
from antiphon.metering.export.outbox import NoAnswer, NotSent, Post
from antiphon.metering.export.receivers import Answer, Request
from antiphon.metering.export.stripe import CUSTOMER_KEY, VALUE_KEY, Stripe

PAGE = 100
MAX_PAGES = 100


class Outcome(StrEnum):
    MATCHED = "matched"
    CREATED = "created"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Synced:
    """The result for one meter. `id` is Stripe's; `why` says how an existing meter differs."""

    meter: Meter
    outcome: Outcome
    id: str = ""
    why: str = ""


async def sync(receiver: Stripe, post: Post, meters: Sequence[Meter], make: bool = True) -> list[Synced]:
    """Compare meters by their event name, and create the missing ones if `make` is true. Raises `EngineError` if Stripe
    cannot be reached, `CallerError` if it refuses.
    """
    there = {found["event_name"]: found for found in await _all(receiver, post)}
    synced = []
    for meter in meters:
        found = there.get(meter.name)
        if found is not None:
            why = _difference(found)
            synced.append(Synced(meter, Outcome.DIFFERENT if why else Outcome.MATCHED, found["id"], why))
        elif make:
            made = _whole(await _ask(receiver, post, "/v1/billing/meters", _form(meter)))
            synced.append(Synced(meter, Outcome.CREATED, made["id"]))
        else:
            synced.append(Synced(meter, Outcome.DIFFERENT, why="it is not there"))
    return synced


def _difference(found: dict[str, Any]) -> str:
    expected = {
        ("status",): "active",
        ("default_aggregation", "formula"): "sum",
        ("customer_mapping", "event_payload_key"): CUSTOMER_KEY,
        ("value_settings", "event_payload_key"): VALUE_KEY,
    }
    for path, value in expected.items():
        has: Any = found
        for name in path:
            has = has.get(name) if isinstance(has, dict) else None
        if has != value:
            return f"{'.'.join(path)} is {has!r}, expected {value!r}"
    return "event_time_window is set" if found.get("event_time_window") else ""


def _form(meter: Meter) -> dict[str, str]:
    return {
        "display_name": meter.name.replace("_", " "),
        "event_name": meter.name,
        "default_aggregation[formula]": "sum",
        "customer_mapping[type]": "by_id",
        "customer_mapping[event_payload_key]": CUSTOMER_KEY,
        "value_settings[event_payload_key]": VALUE_KEY,
    }


async def _all(receiver: Stripe, post: Post) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for _ in range(MAX_PAGES):
        after = {"starting_after": found[-1]["id"]} if found else {}
        query = urlencode({"limit": str(PAGE)} | after)
        page = _whole(await _ask(receiver, post, f"/v1/billing/meters?{query}"))
        found += page["data"]
        if not page["has_more"]:
            return found
    raise EngineError("Stripe lists too many meters")


async def _ask(receiver: Stripe, post: Post, path: str, form: dict[str, str] | None = None) -> Answer:
    headers = receiver.headers()
    if form is not None:
        headers |= {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        return await post(Request(f"{receiver.url}{path}", headers, urlencode(form).encode() if form else None))
    except (NotSent, NoAnswer):
        raise EngineError("Stripe cannot be reached") from None


def _whole(answer: Answer) -> dict[str, Any]:
    try:
        fields = json.loads(answer.body)
    except ValueError:
        fields = None
    if answer.status >= 500 or not isinstance(fields, dict):
        raise EngineError(f"Stripe answers with status {answer.status}")
    if answer.status >= 400:
        error = fields.get("error")
        message = error.get("message", "") if isinstance(error, dict) else ""
        raise CallerError(f"Stripe answers with status {answer.status}: {str(message)[:300]}")
    return fields
