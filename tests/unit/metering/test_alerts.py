import base64
import hmac
import json

import pytest

from antiphon.config import Budgets, Config, Invalid
from antiphon.core.budgets import parse_budgets
from antiphon.exporting import alerting
from antiphon.metering.budgets import Alert
from antiphon.testing import FakeClock

SECRET = bytes(range(32))
WHSEC = "whsec_" + base64.b64encode(SECRET).decode()
ALERT = Alert(parse_budgets("monthly tokens 100 month key=K1")[0], 80, 85, 100, 1_770_000_000_000)


class Sent:
    def __init__(self):
        self.notices = []

    def send(self, project, key, notice):
        self.notices.append((project, notice))


def post(table, environment=None):
    sent = Sent()
    for send in alerting(Config(budgets=table), environment or {}, sent, FakeClock()):
        send("acme", ALERT)
    return sent.notices


def test_an_alert_is_a_signed_event_with_one_id_a_threshold_and_window():
    ((project, notice),) = post(Budgets(webhook="https://ops.example.com/a", secret_env="S"), {"S": WHSEC})
    assert (project, notice.url) == ("acme", "https://ops.example.com/a")
    event = json.loads(notice.body)
    assert (event["id"], event["type"], event["subject"]) == (
        *("acme/monthly/1770000000000/80", "antiphon.budget.reached", "acme"),
    )
    assert event["data"] == {
        "budget": "monthly",
        "measure": "tokens",
        "currency": "",
        "window": "month",
        "key": "K1",
        "hard": True,
        "percent": 80,
        "used": 85,
        "amount": 100,
    }
    headers = notice.signed(5, "")
    signed = b".".join((event["id"].encode(), b"5", notice.body))
    expected = base64.b64encode(hmac.digest(SECRET, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_without_a_webhook_nothing_is_posted_and_a_wrong_one_is_refused():
    assert post(Budgets()) == []
    ((_, notice),) = post(Budgets(webhook="http://127.0.0.1:9/"))
    assert notice.signed(5, "") == {"content-type": "application/cloudevents+json"}
    for table, environment in (
        (Budgets(webhook="ftp://x"), {}),
        (Budgets(webhook="http://x", secret_env="S"), {}),
        (Budgets(webhook="http://x", secret_env="S"), {"S": "whsec_short"}),
    ):
        with pytest.raises(Invalid, match="setting budgets"):
            post(table, environment)
