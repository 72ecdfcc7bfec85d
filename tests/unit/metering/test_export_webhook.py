"""CloudEvents, and the same facts under other names, signed."""

import base64
import hmac
import json

import pytest

from antiphon.core.errors import CallerError
from antiphon.core.exports import Batch, UsageEvent
from antiphon.metering.export.cloudevents import LIMITS, OpenMeter
from antiphon.metering.export.webhook import Webhook, check_fields, parse_secret, signature

EVENT = UsageEvent(
    identifier="out/a/1-2/ff",
    project="acme",
    meter="speech",
    at_unix_ms=1_767_225_600_123,
    quantity=1500,
    first=1,
    last=2,
    labels=(("model", "m"),),
)
LAGO = {
    "transaction_id": "id",
    "external_subscription_id": "subject",
    "code": "type",
    "timestamp": "unix_s",
    "properties.value": "value_text",
    "properties.unit": "=ms",
}
METRONOME = {
    "customer_id": "subject",
    "event_type": "type",
    "timestamp": "time",
    "transaction_id": "id",
    "properties": "labels",
    "value": "value",
}


def batch(body):
    return Batch(identifier="out/a/1-2/ff", lane="", body=body, events=(EVENT,))


def webhook(**values):
    return Webhook(url="https://x/y", limits=LIMITS, **values)


def test_openmeter_gets_cloudevents_in_a_batch():
    receiver = OpenMeter("https://openmeter", "om_1")
    request = receiver.request(batch(receiver.body([EVENT, EVENT])), 0)
    assert request.url == "https://openmeter/api/v1/events"
    assert request.headers == {
        "Content-Type": "application/cloudevents-batch+json",
        "Authorization": "Bearer om_1",
    }
    one, two = json.loads(request.body)
    assert (
        one
        == two
        == {
            "specversion": "1.0",
            "id": "out/a/1-2/ff",
            "source": "antiphon",
            "type": "speech",
            "subject": "acme",
            "time": "2026-01-01T00:00:00.123Z",
            "datacontenttype": "application/json",
            "data": {"value": "1500", "model": "m"},
        }
    )


def test_the_same_goes_to_any_address_as_it_is():
    request = webhook().request(batch(webhook().body([EVENT])), 0)
    assert request.headers == {"Content-Type": "application/cloudevents-batch+json"}
    assert json.loads(request.body)[0]["subject"] == "acme"


def test_other_names_and_an_envelope_are_a_table():
    check_fields(LAGO)
    receiver = webhook(fields=LAGO, envelope="events", token="t")
    request = receiver.request(batch(receiver.body([EVENT])), 0)
    assert request.headers == {"Content-Type": "application/json", "Authorization": "Bearer t"}
    assert json.loads(request.body) == {
        "events": [
            {
                "transaction_id": "out/a/1-2/ff",
                "external_subscription_id": "acme",
                "code": "speech",
                "timestamp": 1_767_225_600,
                "properties": {"value": "1500", "unit": "ms"},
            }
        ]
    }
    check_fields(METRONOME)
    [listed] = json.loads(webhook(fields=METRONOME).body([EVENT]))
    assert listed["properties"] == {"model": "m"}
    assert (listed["value"], listed["timestamp"]) == (1500, "2026-01-01T00:00:00.123Z")


@pytest.mark.parametrize(
    "fields",
    [
        {"a": "id", "b": "colour"},
        {"a": "type"},
        {"a": "id", "a.b": "type"},
        {"a.b": "id", "a": "labels"},
        {".": "id"},
        {"": "id"},
        {"a..b": "id"},
    ],
)
def test_a_mapping_without_sense_is_refused(fields):
    with pytest.raises(CallerError):
        check_fields(fields)


def test_a_body_is_signed_by_standard_webhooks():
    secret = base64.b64encode(b"k" * 24).decode()
    receiver = webhook(secret=parse_secret(f"whsec_{secret}"))
    request = receiver.request(batch(b"{}"), 1_767_225_600_999)
    made = hmac.digest(b"k" * 24, b"out/a/1-2/ff.1767225600.{}", "sha256")
    assert request.headers["webhook-id"] == "out/a/1-2/ff"
    assert request.headers["webhook-timestamp"] == "1767225600"
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(made).decode()}"
    assert "kkkk" not in repr(receiver)


def test_the_signature_is_that_of_the_specification():
    """Its example: standardwebhooks.com, "Verifying signatures"."""
    secret = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_short", "whsec_" + "!" * 40, "whsec_" + "A" * 100])
def test_a_secret_without_sense_is_refused(text):
    with pytest.raises(CallerError):
        parse_secret(text)
