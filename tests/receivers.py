"""Receivers of usage that keep the rules that Stripe and OpenMeter write down, and a network that misbehaves. Without
a socket: `answer` is what they say to a request, and `behind` puts them behind one.
"""

import hmac
import json
import random
import re
from collections import Counter
from urllib.parse import parse_qs, parse_qsl, urlsplit

from aiohttp import web

from antiphon.metering.export.outbox import NoAnswer, NotSent
from antiphon.metering.export.receivers import Answer

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MINUTE_MS = 60_000
REPORT = "v1.billing.meter.error_report_triggered"


def behind(fake, lost=0.0):
    """An aiohttp handler that answers as a receiver does, of which that share of answers is lost."""
    chance = random.Random(3)

    async def answer(request):
        reply = fake.answer(request.method, request.path_qs, request.headers, await request.read())
        if chance.random() < lost and request.transport is not None:
            request.transport.abort()
        return web.Response(status=reply.status, headers=reply.headers, body=reply.body)

    return answer


def _json(value, status=200):
    return Answer(status, {"content-type": "application/json"}, json.dumps(value).encode())


def _error(message, code=None, status=400):
    error = {"type": "invalid_request_error", "message": message} | ({"code": code} if code else {})
    return _json({"error": error}, status)


class FakeStripe:
    """Meters and meter events. What a real one checks later on is in `failures`, and in the events of `report()`."""

    def __init__(self, clock, key="sk_test_1", customers=("cus_acme", "cus_other"), per_second=1000):
        self.clock, self.key, self.customers, self.per_second = clock, key, set(customers), per_second
        self.meters = {}
        self.known = {}  # when an identifier came
        self.saved = {}  # answers by Idempotency-Key
        self.sums = Counter()  # by customer and meter
        self.failures = []  # identifier, code
        self.events = {}  # thin events by id
        self.calls = Counter()  # by second
        self.bodies = {}  # by identifier, all of them

    def answer(self, method, path, headers, body):
        headers = {name.lower(): value for name, value in headers.items()}
        if headers.get("authorization") != f"Bearer {self.key}":
            return _error("Invalid API Key provided", status=401)
        self.calls[self.clock.unix_ms() // 1000] += 1
        if self.calls[self.clock.unix_ms() // 1000] > self.per_second:
            return _error("Too many requests", "rate_limit", 429)
        key = headers.get("idempotency-key")
        at, saved = self.saved.get(key, (0, None))
        if saved is not None and self.clock.unix_ms() - at < DAY_MS:
            return saved
        answer = self._answer(method, urlsplit(path), dict(parse_qsl((body or b"").decode(), True)))
        if key and method == "POST":
            self.saved[key] = self.clock.unix_ms(), answer
        return answer

    def _answer(self, method, url, form):
        if (method, url.path) == ("POST", "/v1/billing/meter_events"):
            return self._event(form)
        if (method, url.path) == ("POST", "/v1/billing/meters"):
            return self._meter(form)
        if (method, url.path) == ("GET", "/v1/billing/meters"):
            return self._list(parse_qs(url.query))
        if found := re.fullmatch(r"/v1/billing/meters/(\w+)/event_summaries", url.path):
            return self._summaries(found[1], parse_qs(url.query))
        if url.path.startswith("/v2/core/events/"):
            event = self.events.get(url.path.rpartition("/")[2])
            return _json(event) if event else _error("No such event", status=404)
        return _error("Unrecognized request URL", status=404)

    def _event(self, form):
        now, name = self.clock.unix_ms(), form.get("identifier", "")
        if not re.fullmatch(r"[A-Za-z0-9_/-]{1,100}", name) or "event_name" not in form:
            return _error("Invalid identifier", "parameter_invalid_string")
        self.bodies.setdefault(name, set()).add(json.dumps(form, sort_keys=True))
        stamp, value = form.get("timestamp", str(now // 1000)), form.get("payload[value]", "")
        if not stamp.isdigit() or not -5 * MINUTE_MS <= now - int(stamp) * 1000 <= 35 * DAY_MS:
            return _error("The timestamp is out of range", "timestamp_too_far_in_past")
        if not re.fullmatch(r"-?\d{1,15}", value):
            return _error("The value must be a whole number of at most 15 digits", "meter_event_invalid_value")
        if now - self.known.get(name, -DAY_MS) < DAY_MS:
            return _error(f"An event already exists with identifier {name}.")
        self.known[name] = now
        customer, meter = form.get("payload[stripe_customer_id]", ""), form["event_name"]
        if all(each["event_name"] != meter for each in self.meters.values()):
            self.failures.append((name, "no_meter"))
        elif customer not in self.customers:
            self.failures.append((name, "meter_event_customer_not_found"))
        else:
            self.sums[customer, meter] += int(value)
        payload = {"stripe_customer_id": customer, "value": value}
        event = {"object": "billing.meter_event", "event_name": meter, "identifier": name, "payload": payload}
        return _json(event | {"created": now // 1000, "livemode": False, "timestamp": int(stamp)})

    def _meter(self, form):
        if any(each["event_name"] == form["event_name"] for each in self.meters.values()):
            return _error("A meter with this event name already exists", "resource_already_exists")
        return _json(self.add_meter(form["event_name"], form["display_name"], form["default_aggregation[formula]"]))

    def add_meter(self, event_name, display_name="", formula="sum", status="active", value_key="value"):
        id = f"mtr_{len(self.meters) + 1}"
        self.meters[id] = {
            "id": id,
            "object": "billing.meter",
            "display_name": display_name or event_name,
            "event_name": event_name,
            "status": status,
            "default_aggregation": {"formula": formula},
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
            "value_settings": {"event_payload_key": value_key},
        }
        return self.meters[id]

    def _list(self, query):
        ids, limit = list(self.meters), int(query.get("limit", ["10"])[0])
        start = ids.index(query["starting_after"][0]) + 1 if "starting_after" in query else 0
        some = ids[start : start + limit]
        more = start + limit < len(ids)
        found = [self.meters[id] for id in some]
        return _json({"object": "list", "data": found, "has_more": more, "url": "/v1/billing/meters"})

    def _summaries(self, meter, query):
        total = self.sums[query["customer"][0], self.meters[meter]["event_name"]]
        start, end = int(query["start_time"][0]), int(query["end_time"][0])
        if start % 60 or end % 60:
            return _error("Times must be aligned with minutes")
        one = {"id": "mtrusg_1", "object": "billing.meter_event_summary", "aggregated_value": float(total)}
        one |= {"start_time": start, "end_time": end, "livemode": False, "meter": meter}
        return _json({"object": "list", "data": [one], "has_more": False, "url": "/"})

    def report(self, secret, samples=99):
        """The thin event of what failed, as it is posted: its body and its signature."""
        types = []
        for code in sorted({code for _, code in self.failures}):
            names = [name for name, each in self.failures if each == code]
            shown = [{"error_message": "?", "request": {"identifier": name}} for name in names[:samples]]
            types.append({"code": code, "error_count": len(names), "sample_errors": shown})
        id, now = f"evt_{len(self.events) + 1}", self.clock.unix_ms() // 1000
        thin = {"id": id, "object": "v2.core.event", "type": REPORT, "created": "2026-01-01T00:00:00.000Z"}
        thin |= {"livemode": False, "context": None, "reason": None}
        thin["related_object"] = {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"}
        reason = {"error_count": len(self.failures), "error_types": types}
        times = {"validation_start": "2026-01-01T00:00:00.000Z", "validation_end": "2026-01-01T00:10:00.000Z"}
        self.events[id] = thin | {"data": {"developer_message_summary": "?", "reason": reason} | times}
        self.failures = []
        return sign(json.dumps(thin).encode(), secret, now)


def sign(body, secret, unix_s):
    """A body and its `Stripe-Signature`."""
    made = hmac.digest(secret.encode(), f"{unix_s}.".encode() + body, "sha256").hex()
    return body, f"t={unix_s},v1={made}"


class FakeOpenMeter:
    """Takes CloudEvents, one or many, and knows `id` and `source` for 32 days."""

    def __init__(self, clock, token="om_1"):
        self.clock, self.token = clock, token
        self.known = {}
        self.sums = Counter()  # by subject and type
        self.times = []  # of events, by subject and type, as they came

    def answer(self, method, path, headers, body):
        headers = {name.lower(): value for name, value in headers.items()}
        if headers.get("authorization") != f"Bearer {self.token}":
            return _json({"title": "Unauthorized"}, 401)
        if found := re.fullmatch(r"/api/v1/meters/(\w+)/query", urlsplit(path).path):
            return self._query(found[1])
        if (method, path) != ("POST", "/api/v1/events"):
            return _json({"title": "Not Found"}, 404)
        several = headers["content-type"].startswith("application/cloudevents-batch+json")
        if not several and not headers["content-type"].startswith("application/cloudevents+json"):
            return _json({"title": "Bad Request"}, 400)
        events = json.loads(body) if several else [json.loads(body)]
        if not all(e.get("specversion") == "1.0" and {"id", "source", "type", "subject"} <= e.keys() for e in events):
            return _json({"title": "Bad Request"}, 400)
        now = self.clock.unix_ms()
        for event in events:
            key = event["id"], event["source"]
            if now - self.known.get(key, -99 * DAY_MS) >= 32 * DAY_MS:
                self.known[key] = now
                self.sums[event["subject"], event["type"]] += int(event["data"]["value"])
                self.times.append(event["time"])
        return Answer(204)

    def _query(self, meter):
        """All of it, by subject."""
        window = {"windowStart": "2026-01-01T00:00:00Z", "windowEnd": "2027-01-01T00:00:00Z"}
        sums = [(subject, total) for (subject, name), total in sorted(self.sums.items()) if name == meter]
        return _json({"data": [{"value": total, "subject": s, "groupBy": {}} | window for s, total in sums]})


class Network:
    """Between an outbox and a receiver. `mood()` says what happens to a request: `fine`, `lost` (taken, not answered),
    `twice` (taken twice, answered once), `refused` (nothing arrives), `late` (nothing arrives, nobody knows), or a
    status that is answered in place of the receiver, before it took it, or after (`500 after`).
    """

    def __init__(self, receiver, mood=lambda: "fine"):
        self.receiver, self.mood = receiver, mood
        self.dead = False
        self.requests = []

    async def post(self, request):
        if self.dead:
            raise NotSent("dead")
        mood = self.mood()
        self.requests.append((mood, request))
        if mood == "refused":
            raise NotSent("not reached")
        if mood == "late":
            raise NoAnswer("no answer")
        if mood.isdigit():
            return Answer(int(mood))
        url = urlsplit(request.url)
        path = url.path + (f"?{url.query}" if url.query else "")
        for _ in range(2 if mood == "twice" else 1):
            answer = self.receiver.answer(
                "POST" if request.body is not None else "GET", path, request.headers, request.body
            )
        if mood == "lost":
            raise NoAnswer("no answer")
        return Answer(500) if mood == "500 after" else answer
